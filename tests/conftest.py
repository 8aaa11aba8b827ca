"""The order of the files; and tenants, untouched and set up, made once a worker, for each test to copy."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import npm
import pytest
from sessions import Opening

from helpers import kit, settings
from helpers.kit import Session
from helpers.worlds import SAMPLE_DATA
from jitkit.rehearsal.tenant import RehearsalTenant

HERE = Path(__file__).parent
# A worker runs a whole file. These take longest and begin first, so that no worker is left alone with one at the end.
LONGEST = (
    HERE / "notebooks" / "test_execution.py",
    HERE / "conformance" / "test_planted_faults.py",
    HERE / "conformance" / "test_command.py",
    HERE / "test_quality.py",
    HERE / "browser" / "test_lab.py",
)


def pytest_configure() -> None:
    # A background job of a shell ignores Ctrl-C, and so would the processes that tests start and end with it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    assert all(path.exists() for path in LONGEST)
    items.sort(key=lambda item: LONGEST.index(item.path) if item.path in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def record() -> Iterator[ModuleType]:
    """The script that records migrations."""
    path = SAMPLE_DATA / "record.py"
    spec = importlib.util.spec_from_file_location("record", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "record", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="session")
def serious(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Return what keeps people from using a page of a browser: axe's serious and critical findings.

    It takes the page and, unless all of it counts, selectors of its parts.
    """
    folder = tmp_path_factory.mktemp("axe")
    shutil.copy(HERE / "browser" / "package.json", folder)
    npm.install(folder)
    script = (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def judge(page: Any, *parts: str) -> list[str]:
        page.evaluate(script)
        scope = {"include": [[part] for part in parts]} if parts else {"exclude": []}
        found = page.evaluate("scope => axe.run(scope, {resultTypes: ['violations']})", scope)
        return [
            f"{each['id']}: {node['html']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    return judge


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untouched tenant's file: signing keys take their time."""
    path = tmp_path_factory.mktemp("untouched") / "rehearsal.sqlite3"
    RehearsalTenant.open(path).close()
    return path


async def _set_up(folder: Path) -> None:
    s = await kit.open(folder)
    try:
        for step in (
            s.attribute,
            s.apps.extension,
            s.apps.extension_consent,
            s.apps.client,
            s.apps.client_consent,
            s.apps.user_flow,
            s.policies.extension,
            s.policies.listener,
            s.key,
        ):
            await step.ensure()
        await s.users.apply(await s.users.plan(s.export()))
    finally:
        await s.close()


@pytest.fixture(scope="session")
def set_up_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What notebooks 01 to 06 leave, with the sample's first ten people."""
    folder = tmp_path_factory.mktemp("set-up")
    for name in ("legacy_users.csv", "people.csv"):
        lines = (SAMPLE_DATA / name).read_text(encoding="utf-8").splitlines()[:11]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    home = folder / "home"
    settings.save(home, settings.Profile(endpoint_port=0, export=str(folder / "legacy_users.csv")))
    asyncio.run(_set_up(home))
    return home


@pytest.fixture
def home(set_up_home: Path, tmp_path: Path) -> Path:
    """A copy of it, with an export of the test's own, at a path that is hard to quote."""
    folder = tmp_path / "Küche & 50 % mehr#1"
    home = Path(shutil.copytree(set_up_home, folder / "home"))
    for name in ("legacy_users.csv", "people.csv"):
        shutil.copy(set_up_home.parent / name, folder / name)
    settings.save(home, settings.load(home).model_copy(update={"export": str(folder / "legacy_users.csv")}))
    return home


@pytest.fixture
async def opening() -> AsyncIterator[Opening]:
    """Open sessions that are closed when the test is done."""
    async with AsyncExitStack() as stack:

        async def another(folder: Path) -> Session:
            session = await kit.open(folder)
            stack.push_async_callback(session.close)
            return session

        yield another
