"""The suite's pytest plugin: collects the cases, runs them one after another in one event loop, and keeps the outcomes.

Each row of a table in `case_functions/` is a test of its own for pytest; the rows of one case make one outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, TypeAlias
from unittest import mock

import pytest

from jitkit.conformance.catalogue import CASES, Case
from jitkit.conformance.endpoint import Endpoint, TooSlow
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import Launcher
from jitkit.conformance.results import FAIL, PASS, SKIPPED, Outcome
from jitkit.errors import KitError, SettingsError

# What a case works with; a launcher only when the suite started the endpoint.
Opened: TypeAlias = tuple[Endpoint, Launcher | None]

_FOLDER: Final = Path(__file__).parent / "case_functions"
# What a case needs of the endpoint -> why it is skipped without.
_NEEDS: Final = {
    "breaker": "the configuration says that the endpoint has no breaker",
    "limiter": "the configuration says that the endpoint does not limit guesses",
    "replay": "the configuration says that the endpoint keeps no nonces",
    "context_issuer": "the configuration says that the endpoint does not check it",
    "user_mapping": "the configuration says that the endpoint compares no directory accounts",
    "strong_passwords": "the configuration says that weak passwords are let in",
    "previous_certificate": "the configuration names no previous_certificate",
    "logs": "the configuration names no logs to search",
    "legacy": "the endpoint asks its own legacy store, which the suite cannot make misbehave",
    "launcher": "the suite did not start this endpoint, so it cannot start one with other settings",
}
# Nothing of the user's own pytest: no settings, conftest, plugins, cache or output.
_WITHOUT: Final = "terminal cacheprovider warnings logging faulthandler threadexception unraisableexception debugging"
_ARGUMENTS: Final = (
    *("-c", os.devnull, "--rootdir", str(_FOLDER), "--noconftest", "--assert=plain", "--capture=no"),
    *(f"-pno:{name}" for name in _WITHOUT.split()),
    *(str(path) for path in _FOLDER.glob("[a-z]*.py")),
)
_LONGEST: Final = 120.0
_ATTEMPTS: Final = 3
_QUIET: Final = 0.8  # of two processors
_DRAIN: Final = 2.0  # seconds in which the endpoint finishes what a case left behind


class _Suite:
    """One run: of the cases with these ids (all when empty), against the endpoint that is opened in the cases' loop."""

    def __init__(
        self,
        opening: AbstractAsyncContextManager[Opened],
        only: Collection[str],
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.problem: KitError | None = None
        self._opening = opening
        self._only = only or CASES
        self._on_outcome = on_outcome
        self._results: list[tuple[str, str, str]] = []

    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return self._opened[0]

    @pytest.fixture
    def issuer(self) -> Issuer:
        return self._opened[0].issuer

    @pytest.fixture
    def legacy(self) -> Any:
        return self._needed("legacy")

    @pytest.fixture
    def launcher(self) -> Any:
        return self._needed("launcher")

    def _needed(self, name: str) -> Any:
        """Return a part of what was opened or configured; the case is skipped without it."""
        endpoint, launcher = self._opened
        config = endpoint.config
        parts = {"legacy": endpoint.legacy, "launcher": launcher, **dict(config), **dict(config.features)}
        parts["strong_passwords"] = not config.features.weak_passwords
        return parts[name] or pytest.skip(_NEEDS[name])

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if absent := CASES.keys() - {_case(item).id for item in items}:
            raise RuntimeError(f"nothing asks {', '.join(sorted(absent))}")
        order = list(CASES)
        items[:] = [item for item in items if _case(item).id in self._only]
        items.sort(key=lambda item: order.index(_case(item).id))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise RuntimeError("the cases cannot be collected")
        stack = contextlib.AsyncExitStack()
        with asyncio.Runner() as self._loop:
            try:
                self._opened = self._loop.run(stack.enter_async_context(self._opening))
                for case, items in itertools.groupby(session.items, key=_case):
                    self._run(case, list(items))
            except KitError as problem:
                self.problem = problem
            finally:
                self._loop.run(stack.aclose())
        return True

    def _run(self, case: Case, items: list[pytest.Item]) -> None:
        self._results, started = [], time.perf_counter()
        for item in items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        # The first failure of a table, or else its first skipped row, stands for the case.
        result, row, reason = min(self._results, key=lambda each: (FAIL, SKIPPED, PASS).index(each[0]))
        if result == FAIL and len(items) > 1:
            reason = f"{row.removeprefix(f'{case.id} ')}: {reason}"
        self.outcomes.append(Outcome(case, result, reason, time.perf_counter() - started))
        self._on_outcome(self.outcomes[-1])

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        for name in _case(item).needs:
            self._needed(name)

    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
        self._loop.run(_judged(lambda: pyfuncitem.obj(**arguments)))
        return True

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        problem = call.excinfo.value if call.excinfo else None
        row = item.callspec.id if hasattr(item, "callspec") else ""
        if isinstance(problem, pytest.skip.Exception):
            self._results.append((SKIPPED, row, str(problem.msg)))
        elif problem is not None:
            self._results.append((FAIL, row, _reason(problem)))
        elif call.when == "call":
            self._results.append((PASS, row, ""))


def run_cases(
    opening: AbstractAsyncContextManager[Opened],
    only: Collection[str] = (),
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run the cases with these ids (all when empty) against one endpoint; returns one outcome a case.

    Raises:
        KitError: there is no such case, or the endpoint cannot be opened.
    """
    if unknown := set(only) - CASES.keys():
        raise SettingsError(
            f"There is no case {', '.join(sorted(unknown))}.",
            next_step="Leave out --only to see every case with its id.",
        )
    suite = _Suite(opening, only, on_outcome)
    # Variables that change what pytest does are hidden from it.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    with mock.patch.dict(os.environ, kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, clear=True):
        code = pytest.main(list(_ARGUMENTS), plugins=[suite])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise RuntimeError(f"pytest could not run the cases: {code!r}")
    if suite.problem:
        raise suite.problem
    return suite.outcomes


def _case(item: pytest.Item) -> Case:
    """Return the case of a row that names it, or of a function that is named after it."""
    row = item.callspec.params if hasattr(item, "callspec") else {}
    return row["case"] if "case" in row else CASES[item.name.split("_")[1].upper()]


async def _judged(run: Callable[[], Awaitable[Any]]) -> None:
    """Run a case; being late fails it the second time that the machine turns out to be quiet, else it is skipped."""
    late = 0
    for _ in range(_ATTEMPTS):
        try:
            async with asyncio.timeout(_LONGEST):
                await run()
            return
        except TimeoutError:
            raise AssertionError(f"no end after {_LONGEST:.0f} s") from None
        except TooSlow as problem:
            await asyncio.sleep(_DRAIN)
            share = await asyncio.to_thread(_share_of_two_processors)
            late += share > _QUIET
            if late == 2:  # other work may have ended just before the first look
                raise
            reason = f"this machine is too busy to judge time: the suite got {share:.0%} of two processors ({problem})"
    pytest.skip(reason)


def _share_of_two_processors() -> float:
    """Measure how much processor time two threads of this process get while the endpoint has nothing to do."""
    workers = min(2, os.cpu_count() or 1)

    def work(_: int) -> float:
        started, used = time.perf_counter(), time.thread_time()
        while time.perf_counter() - started < 0.4:
            hashlib.pbkdf2_hmac("sha256", b"work", b"that needs no lock", 20_000)
        return (time.thread_time() - used) / (time.perf_counter() - started)

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(work, range(workers))) / workers


def _reason(problem: BaseException) -> str:
    """Say what went wrong; other errors than the cases' own may repeat secrets, so they are only named."""
    if isinstance(problem, AssertionError):
        return str(problem)
    if isinstance(problem, KitError):
        return problem.happened
    return f"the answer could not be read ({type(problem).__name__})"
