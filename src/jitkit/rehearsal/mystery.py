"""The hidden-fault game: one to three faults at once, planted as an administrator would make them, and undone whole.

What is planted follows from the seed alone, so the tenant's file notes the seed and no fault. Faults of one area would
hide each other, so each is of another area.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import tomllib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from string import Template
from typing import Any, Final

import httpx

from jitkit.display import Card, Table
from jitkit.errors import KitError, NotReady
from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS, SetUp, misconfigure
from jitkit.rehearsal.snapshots import Snapshots
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["FAULTS", "Fault", "Game", "planted"]

_KEPT: Final = "mystery"  # the note in the tenant's file, and the snapshot
_MOST: Final = 3
_WRONG, _HINT = 20, 10  # points that a wrong name and a hint cost


@dataclass(frozen=True)
class Fault:
    """One fault that a game may plant."""

    name: str
    area: str
    symptom: str
    means: str = ""
    hides: tuple[str, ...] = ()  # areas whose faults do not show beside this one
    send: tuple[tuple[str, str, str], ...] = ()  # requests to Graph: method, path, body


_TABLE: Final = tomllib.loads((files("jitkit.rehearsal") / "mystery.toml").read_text(encoding="utf-8"))
_AREAS: Final[dict[str, str]] = _TABLE["area"]
_MISTAKES: Final = {each.name: each.mistake for each in MISCONFIGURATIONS}
FAULTS: Final = {each["name"]: Fault(**{"means": _MISTAKES.get(each["name"]), **each}) for each in _TABLE["fault"]}


def planted(seed: int | str) -> tuple[Fault, ...]:
    """Return what a seed plants: one to three faults that do not hide each other."""
    dice = Random(f"mystery {seed}")  # noqa: S311
    count = dice.randint(1, _MOST)
    while True:
        chosen = tuple(dice.sample(list(FAULTS.values()), count))
        areas = [each.area for each in chosen]
        if len(set(areas)) == count and not any(area in each.hides for each in chosen for area in areas):
            return chosen


class Game:
    """Plants faults in a rehearsal tenant, counts looks and hints, and scores what was found.

    Args:
        tenant: the rehearsal tenant.
        snapshots: its snapshots.
        session: what it needs of the session: `start_endpoint`, `check`, and `endpoint_settings`.
    """

    def __init__(
        self, tenant: RehearsalTenant, snapshots: Snapshots, session: Mapping[str, Callable[[], Awaitable[Any]]]
    ) -> None:
        self._tenant, self._directory, self._snapshots = tenant, tenant.directory, snapshots
        self._session = session

    def __repr__(self) -> str:
        on = self._note()
        return f"<Mystery {on['seed']}: something is wrong now>" if on else "<No mystery>"

    def _repr_html_(self) -> str:
        return Table(
            caption=f"{repr(self)[1:-1]}. Names to choose from",
            columns=("Name", "What it would be"),
            rows=[(name, FAULTS[name].means) for name in sorted(FAULTS)],
            note=f"One to {_MOST} of these are so. Sign people in, read the ledger, the logs and what the steps show."
            ' Then `await game.solve("name", …)`, once. Each thing that is read is a look and costs a point; '
            f"`s.check()` reads many. A minute costs one, `game.hint()` {_HINT}, a wrong name {_WRONG}.",
        )._repr_html_()

    async def begin(self, seed: int | str) -> None:
        """Plant the faults of a seed in a tenant that is in order, or go on with the same game."""
        if on := self._note():
            if on["seed"] == seed:
                return
            raise KitError(
                f"Mystery {on['seed']} is not solved yet.",
                next_step=f"Go on with `game = await s.rehearsal.mystery({on['seed']!r})`: solve it, or give it up.",
            )
        await self._session["start_endpoint"]()
        if faults := (await self._session["check"]()).faults:
            raise NotReady(
                f"The tenant is not in order before the game: {'; '.join(each.found for each in faults)}",
                next_step="Fix what `await s.check()` names, or restore a snapshot; then begin again.",
            )
        calls, ids, store = list(self._tenant.calls), SetUp(self._directory).ids(), await self._store()
        _set_store(store, up=True)
        self._snapshots.take(_KEPT)
        self._keep({"seed": seed, "began": time.time(), "looks": 0, "hints": 0, "store": str(store)})
        try:
            for fault in planted(seed):
                await self._plant(fault, ids, store)
        except BaseException:
            await self._restore()
            raise
        self._tenant.calls.clear()  # they would show what was planted
        self._tenant.calls.extend(calls)

    def looked(self) -> None:
        """Count a look, if a game is on."""
        if on := self._note():
            self._keep({**on, "looks": on["looks"] + 1})

    def hint(self) -> Card:
        """Name the area of a fault, then of the next one; when all areas are named, where each fault shows."""
        on = self._required()
        faults = planted(on["seed"])
        hints = [f"Look at {_AREAS[each.area]}." for each in faults] + [each.symptom for each in faults]
        given = min(on["hints"] + 1, len(hints))
        self._keep({**on, "hints": given})
        return Card(title=f"Hint {given} of {len(hints)}", status=hints[given - 1])

    async def solve(self, *names: str) -> Card:
        """End the game: score the names given, say what it was, and bring the tenant back as it was before.

        Args:
            names: names from the game's list; none to give up.

        Raises:
            KitError: a name is not in the list; the game goes on.
        """
        on = self._required()
        given = {"-".join(name.lower().split()) for name in names}
        if unknown := sorted(given - FAULTS.keys()):
            raise KitError(
                f"No fault is called {', '.join(unknown)}; the game goes on.",
                next_step=f"Choose from {', '.join(sorted(FAULTS))}.",
            )
        there = {each.name for each in planted(on["seed"])}
        found, wrong, minutes = given & there, given - there, int(time.time() - on["began"]) // 60
        lost = _WRONG * len(wrong) + _HINT * on["hints"] + on["looks"] + minutes
        return Card(
            title=f"Mystery {on['seed']}: {len(found)} of {len(there)} found",
            status=f"{max(0, round(100 * len(found) / len(there)) - lost)} points of 100",
            facts={
                "Found": _words(found),
                "Missed": _words(there - given),
                "Wrong": ", ".join(sorted(wrong)) or "none",
                "It took": f"{minutes} minutes, {on['looks']} looks, {on['hints']} hints",
                "The tenant": await self._restore(),
            },
        )

    async def give_up(self) -> Card:
        """End the game without an answer: say what it was, and bring the tenant back as it was before."""
        return await self.solve()

    def put_store_back(self) -> None:
        """Put back what a game took from the legacy store, before the tenant that notes the game is replaced."""
        if on := self._note():
            _set_store(Path(on["store"]), up=True)

    async def _restore(self) -> str:
        self.put_store_back()
        self._snapshots.restore(_KEPT)
        try:
            await self._session["start_endpoint"]()
        except KitError as problem:
            return f"as it was before the game, but the endpoint does not run. {problem}"
        return "as it was before the game"

    async def _plant(self, fault: Fault, ids: Mapping[str, str], store: Path) -> None:
        if fault.name == "store-down":
            _set_store(store, up=False)
        elif fault.name == "tunnel-closed":
            self._directory.publish(ids["host"], None)
        elif not fault.send:
            misconfigure(self._directory, fault.name, noted=False)
        else:
            token = (await self._tenant.credential().get_token()).token
            base, headers = "https://graph.microsoft.com/v1.0", {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(transport=self._tenant.transport(), base_url=base, headers=headers) as graph:
                for method, path, body in fault.send:
                    path, body = (Template(each).substitute(ids) for each in (path, body))
                    (await graph.request(method, path, json=json.loads(body or "null"))).raise_for_status()

    async def _store(self) -> Path:
        address = (await self._session["endpoint_settings"]())["LegacyApiConnectionString"]
        path = Path(address.removeprefix("sqlite:///"))
        if path.is_relative_to(self._tenant.path.parent):
            return path
        raise NotReady(
            "The endpoint asks a legacy store of your own, which a game must not break.",
            next_step="Start JupyterLab without LegacyApiConnectionString in its environment.",
        )

    def _required(self) -> dict[str, Any]:
        if on := self._note():
            return on
        raise NotReady("No mystery is on.", next_step="Begin one with `game = await s.rehearsal.mystery(7)`.")

    def _note(self) -> dict[str, Any]:
        kept: dict[str, Any] = json.loads(self._directory.meta(_KEPT) or "{}")
        return kept

    def _keep(self, note: Mapping[str, Any]) -> None:
        self._directory.set_meta(_KEPT, json.dumps(note))


def _set_store(path: Path, *, up: bool) -> None:
    """Take the table of the rehearsal's legacy store away, or put it back."""
    names = ("legacy_users_gone", "legacy_users") if up else ("legacy_users", "legacy_users_gone")
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        if store.execute("SELECT 1 FROM sqlite_master WHERE name = ?", names[:1]).fetchone():
            store.execute(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")


def _words(names: Collection[str]) -> str:
    return "\n".join(f"{name}: {FAULTS[name].means} {FAULTS[name].symptom}." for name in sorted(names)) or "none"
