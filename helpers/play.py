"""Lets the invented users of the rehearsal sign in over weeks, in the tenant's own time: `s.rehearsal.play()`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from tqdm.auto import tqdm

from helpers.legacy_export import read_export
from jitkit.display import Card
from jitkit.rehearsal.population import DAY, HOUR, MakeEndpoint, Person, Plan, play
from jitkit.rehearsal.tenant import RehearsalTenant
from jitkit.sign_in_names import normalise

__all__ = ["Player"]

_SEED: Final = 20261101
_BEGAN: Final = "play_began"
# The tenant keeps its logs for seven days: what is played is collected more often than that, as a schedule would.
_COLLECT_EVERY_DAYS: Final = 6


class Player:
    """Plays days of sign-ins at a rehearsal tenant that is set up, and collects its logs in between.

    Args:
        tenant: the rehearsal tenant.
        people: returns what the invented users type, name to password.
        export: returns the path of the legacy export; the time since a user's last sign-in says how often they come.
        client_app_id: returns the app that they sign in to.
        host: the public host name of the endpoint.
        endpoint_settings: returns the environment settings of the endpoint on this machine.
        collect: collects the tenant's logs into the history.
    """

    def __init__(
        self,
        tenant: RehearsalTenant,
        *,
        people: Callable[[], Mapping[str, str]],
        export: Callable[[], Path],
        client_app_id: Callable[[], Awaitable[str]],
        host: str,
        endpoint_settings: Callable[[], Awaitable[Mapping[str, str]]],
        collect: Callable[[], Awaitable[object]],
    ) -> None:
        self._tenant = tenant
        self._people, self._export, self._client_app_id = people, export, client_app_id
        self._host, self._endpoint_settings, self._collect = host, endpoint_settings, collect

    async def __call__(self, days: int) -> Card:
        """Let time pass until so many whole days have been played, counted from the midnight before the first one."""
        clock = self._tenant.directory.clock
        clock.follow()
        began = float(self._tenant.directory.meta(_BEGAN) or -(-(clock.now() - HOUR) // DAY) * DAY)
        Plan(seed=_SEED, days=days)  # raises when `days` cannot be played
        left = days - passed(clock.now(), began)
        ends: Counter[str] = Counter()
        if left > 0:
            make_endpoint = in_process(await self._endpoint_settings())
            people = self._persons(await self._client_app_id())
            await self._collect()
            self._tenant.directory.set_meta(_BEGAN, repr(began))
            with (
                self._reachable_endpoint(),
                _quiet_endpoint(),
                tqdm(total=left, desc="Days      ", unit="day", leave=False) as bar,
            ):
                while left > 0:
                    plan = Plan(seed=_SEED, days=min(left, _COLLECT_EVERY_DAYS))
                    ends += await asyncio.to_thread(
                        play, self._tenant.directory.path, people, plan, make_endpoint, each_day=lambda _: bar.update()
                    )
                    clock.follow()
                    await self._collect()
                    left -= plan.days
        return Card(
            title=f"{days} days of sign-ins",
            status="played" if ends else "reused: so many days have been played already",
            facts={
                "Sign-ins": f"{sum(ends.values()):,}" if ends else "none were added",
                **{f"… ended as {outcome}": f"{count:,}" for outcome, count in ends.most_common()},
                "The tenant's clock": f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%d %H:%M} UTC",
            },
        )

    @contextmanager
    def _reachable_endpoint(self) -> Iterator[None]:
        """Let the host lead somewhere, also where the endpoint on this machine never ran."""
        if self._host in self._tenant.directory.publications():
            yield
            return
        self._tenant.publish(self._host, "http://127.0.0.1")
        try:
            yield
        finally:
            self._tenant.directory.publish(self._host, None)

    def _persons(self, client_app_id: str) -> list[Person]:
        export = read_export(self._export())
        seen = {each.username: each.last_legacy_sign_in for each in export.users}
        newest = max((day for day in seen.values() if day), default=None)

        def absent(username: str) -> float | None:
            last = seen.get(normalise(username))
            return (newest - last).days if newest and last else None

        return [
            Person(username, password, client_app_id, days_absent=absent(username))
            for username, password in self._people().items()
        ]


def passed(now: float, began: float) -> int:
    """Count the whole days that were played; the clock may stand a little before a midnight."""
    return max(0, int((now - began + 1) // DAY))


def in_process(environment: Mapping[str, str]) -> MakeEndpoint:
    """Make the endpoint with these settings in this process, in the tenant's time, with the tenant's own documents."""
    from jitkit.endpoint.app import Clock, create_app
    from jitkit.endpoint.settings import Settings
    from jitkit.endpoint.stores import open_store

    def make(http: httpx.AsyncClient, now: Callable[[], float], store_seconds: Callable[[], float | None]) -> Any:
        settings = Settings.from_environment({**environment, "JIT_OPENID_CONFIGURATION": ""})
        store = _SlowStore(
            open_store(settings.legacy_url, settings.legacy_query, settings.legacy_pepper), store_seconds
        )
        return create_app(settings, http=http, store=store, clock=Clock(now, now))

    return make


class _SlowStore:
    """A legacy store that takes time to answer, or does not answer."""

    def __init__(self, store: Any, seconds: Callable[[], float | None]) -> None:
        self.kind = store.kind
        self._store, self._seconds = store, seconds

    async def verify(self, username: str, password: str) -> Any:
        from jitkit.endpoint.stores.base import Verdict

        seconds = self._seconds()
        if seconds is None:
            return Verdict.DOWN
        await asyncio.sleep(seconds)
        return await self._store.verify(username, password)

    async def close(self) -> None:
        await self._store.close()


@contextmanager
def _quiet_endpoint() -> Iterator[None]:
    """Keep the endpoint's warnings, one for each damaged hash, out of the notebook; its ledger has them."""
    log = logging.getLogger("jitkit.endpoint")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
