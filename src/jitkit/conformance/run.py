"""Run the cases against one endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from jitkit.conformance.areas import areas
from jitkit.conformance.case import FAIL, PASS, SKIPPED, Case, Failed, Outcome, Skipped, TooSlow
from jitkit.conformance.config import Config
from jitkit.conformance.first_call import good_call
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import Launcher
from jitkit.conformance.legacy import Legacy
from jitkit.conformance.world import World
from jitkit.errors import KitError, SettingsError

__all__ = ["check_started", "check_url", "chosen", "run_cases", "stand_ins"]

_PATIENCE: Final = 120.0

_TICK: Final = 0.02
_LATE: Final = 0.2
_REPEATS: Final = 2
_BUSY: Final = "busy"


@asynccontextmanager
async def stand_ins(config: Config) -> AsyncIterator[tuple[Issuer, Legacy | None]]:
    """Serve the suite's issuer and legacy store.

    Raises:
        EndpointDown: a port is taken.
    """
    issuer = Issuer(config, config.key)
    legacy = None if config.legacy_url is None else Legacy(config)
    async with AsyncExitStack() as stack:
        for served in (issuer, legacy):
            if served is not None:
                await served.server.start()
                stack.push_async_callback(served.server.stop)
        yield issuer, legacy


def chosen(only: Collection[str]) -> dict[str, Sequence[Case]]:
    """Return the cases with these ids by area; all of them when none is named.

    Raises:
        SettingsError: there is no case of that id.
    """
    unknown = set(only) - {case.id for cases in areas().values() for case in cases}
    if unknown:
        raise SettingsError(
            f"There is no case {', '.join(sorted(unknown))}.",
            next_step="Leave out --only to see every case with its id.",
        )
    picked = {area: [case for case in cases if not only or case.id in only] for area, cases in areas().items()}
    return {area: cases for area, cases in picked.items() if cases}


async def run_cases(
    world: World, cases: dict[str, Sequence[Case]], tell: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run cases one after another.

    Args:
        world: the endpoint and what the suite brings.
        cases: by area.
        tell: hears of every outcome at once.

    Returns:
        One outcome a case.
    """
    outcomes = []
    for area, group in cases.items():
        for case in group:
            started = time.perf_counter()
            result, reason = await _result(world, case)
            for _ in range(_REPEATS):
                if result != _BUSY:
                    break
                result, reason = await _result(world, case)
            if result == _BUSY:
                result = SKIPPED
            outcome = Outcome(area, case, result, reason, time.perf_counter() - started)
            outcomes.append(outcome)
            tell(outcome)
    return outcomes


async def _watch(lags: list[float]) -> None:
    """Note how late this process itself is woken: on a busy machine, a late answer says nothing about the endpoint."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - before - _TICK)


async def _result(world: World, case: Case) -> tuple[str, str]:
    lags = [0.0]
    watch = asyncio.create_task(_watch(lags))
    try:
        async with asyncio.timeout(_PATIENCE):
            await case.run(world)
    except TooSlow as problem:
        if max(lags) > _LATE:
            return (
                _BUSY,
                f"this machine is too busy to judge time: the suite itself waited {max(lags):.1f} s ({problem})",
            )
        return FAIL, str(problem)
    except Skipped as reason:
        return SKIPPED, str(reason)
    except Failed as problem:
        return FAIL, str(problem)
    except TimeoutError:
        return FAIL, f"no end after {_PATIENCE:.0f} s"
    except KitError as problem:
        return FAIL, problem.happened
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, OSError) as error:
        return FAIL, f"the answer could not be read ({type(error).__name__})"
    finally:
        watch.cancel()
    return PASS, ""


async def check_url(config: Config, url: str, only: Collection[str], tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Run the cases against an endpoint that somebody else starts.

    Raises:
        KitError: a port is taken, or nothing answers at the URL.
    """
    cases = chosen(only)
    async with stand_ins(config) as (issuer, legacy):
        world = World(config, url, issuer, legacy)
        async with world.http:
            unready = await _unready(world)
            if unready is not None:
                tell(unready)
            return [*filter(None, (unready,)), *await run_cases(world, cases, tell)]


async def _unready(world: World) -> Outcome | None:
    """Return the failure of an endpoint that decides no good call, so that its refusals are not taken for virtues."""
    started = time.perf_counter()
    try:
        await good_call.run(world)
    except Failed as problem:
        world.well = False
        return Outcome("Before the rest", good_call, FAIL, str(problem), time.perf_counter() - started)
    return None


async def check_started(
    config: Config,
    make: Callable[[Issuer, Legacy | None], Launcher],
    only: Collection[str],
    tell: Callable[[Outcome], None],
) -> list[Outcome]:
    """Start an endpoint with settings for the suite, and run the cases against it.

    Raises:
        KitError: it does not start.
    """
    cases = chosen(only)
    async with stand_ins(config) as (issuer, legacy), AsyncExitStack() as stack:
        launcher = make(issuer, legacy)
        stack.push_async_callback(launcher.close)
        started = await launcher.start()
        world = World(config, started.url, issuer, legacy, launcher)
        async with world.http:
            return await run_cases(world, cases, tell)
