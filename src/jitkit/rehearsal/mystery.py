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
from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS, WHOLE, Made, SetUp, make, take_back
from jitkit.rehearsal.snapshots import Snapshots
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["FAULTS", "Fault", "Game", "planted"]

_KEPT: Final = "mystery"  # the note in the tenant's file, and the snapshot
_MOST: Final = 3
_WRONG, _HINT = 20, 10  # points that a wrong name and a hint cost
_LOOKS: Final = {"s.check()": 40}  # points that a look costs; any other costs one
_FREE: Final = "sign people in"
_MADE: Final = "mystery-made"  # what was changed for each fault, to repair one


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
        self._last: Card | None = None

    def __repr__(self) -> str:
        if on := self._note():
            return f"<Mystery {on['seed']}: something is wrong now>"
        return f"<{self._last.title}>" if self._last else "<No mystery>"

    def _repr_html_(self) -> str:
        on = self._note()
        if not on:
            none = Card(title="No mystery is on", status="begin one with `game = await s.rehearsal.mystery(7)`")
            return (self._last or none)._repr_html_()
        return Table(
            caption=f"{repr(self)[1:-1]}. {_words_of_looks(on)}. Names to choose from",
            columns=("Name", "What it would be"),
            rows=[(name, FAULTS[name].means) for name in sorted(FAULTS)],
            note=f"One to {_MOST} of these are so. Sign people in: that is free, and the card shows what the tenant's"
            " log would say. Read the ledger, and what the steps show: each card is a look and costs a point,"
            f" `s.check()` {_LOOKS['s.check()']}. A minute costs one, `game.hint()` {_HINT}, a wrong name {_WRONG}."
            ' `await game.repair("name")` undoes a fault that you have found. `await game.solve("name", …)` ends the'
            " game, once.",
        )._repr_html_()

    def __bool__(self) -> bool:
        return bool(self._note())

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
        note = {"seed": seed, "began": time.time(), "store": str(store)}
        self._keep({**note, "looks": {}, "hints": 0, "wrong": [], "repaired": []})
        try:
            made = [await self._plant(fault, ids, store) for fault in planted(seed)]
            self._directory.set_meta(_MADE, json.dumps(made))
        except BaseException:
            await self._restore()
            raise
        self._tenant.calls.clear()  # they would show what was planted
        self._tenant.calls.extend(calls)

    def looked(self, what: str) -> None:
        """Count a look, if a game is on; to sign people in is none."""
        if what != _FREE and (on := self._note()):
            self._keep({**on, "looks": {**on["looks"], what: on["looks"].get(what, 0) + 1}})

    def hint(self) -> Card:
        """Name the area of a fault, then of the next one; when all areas are named, where each fault shows."""
        on = self._required()
        faults = planted(on["seed"])
        hints = [f"Look at {_AREAS[each.area]}." for each in faults] + [each.symptom for each in faults]
        given = min(on["hints"] + 1, len(hints))
        self._keep({**on, "hints": given})
        return Card(title=f"Hint {given} of {len(hints)}", status=hints[given - 1])

    async def repair(self, name: str) -> Card:
        """Undo a fault that is named rightly, so that what stands behind it shows; a wrong name costs points.

        Args:
            name: a name from the game's list. What the players changed stays as it is.

        Raises:
            KitError: the name is not in the list.
        """
        on, (given,) = self._required(), _known(name)
        names = [each.name for each in planted(on["seed"])]
        if given not in names:
            self._keep({**on, "wrong": sorted({*on["wrong"], given})})
            return Card(title=given, status="is not what is wrong here", facts={"It costs": f"{_WRONG} points"})
        take_back(self._directory, json.loads(self._directory.meta(_MADE) or "[]")[names.index(given)])
        if given == "store-down":
            self.put_store_back()
        elif given == "tunnel-closed":
            await self._session["start_endpoint"]()
        self._keep({**on, "repaired": sorted({*on["repaired"], given})})
        return Card(title=given, status="was there, and is undone", facts={"Next": "sign somebody in again"})

    async def solve(self, *names: str) -> Card:
        """End the game: score the names given, say what it was, and bring the tenant back as it was before.

        Args:
            names: names from the game's list; what was repaired counts as named.

        Raises:
            KitError: no name is given, or one is not in the list; the game goes on.
        """
        on, given = self._required(), _known(*names)
        if not given and not on["repaired"]:
            raise KitError(
                "No name was given; the game goes on.",
                next_step='Name what you found, as in `await game.solve("flag-misspelt")`, or run'
                " `await game.give_up()`.",
            )
        return await self._end(given)

    async def _end(self, named: set[str]) -> Card:
        on = self._required()
        there, given = {each.name for each in planted(on["seed"])}, {*named, *on["repaired"]}
        found, wrong, minutes = given & there, (given - there).union(on["wrong"]), int(time.time() - on["began"]) // 60
        lost = _WRONG * len(wrong) + _HINT * on["hints"] + _spent(on["looks"]) + minutes
        looks = ", ".join(f"{what} {count}" for what, count in on["looks"].items())
        self._last = Card(
            title=f"Mystery {on['seed']}: {len(found)} of {len(there)} found",
            status=f"{max(0, round(100 * len(found) / len(there)) - lost)} points of 100",
            facts={
                "Found": _words(found),
                "Missed": _words(there - given),
                "Wrong": ", ".join(sorted(wrong)) or "none",
                "It took": f"{_count(minutes, 'minute')}, {_words_of_looks(on)}, {_count(on['hints'], 'hint')}",
                "Looks": looks or "none",
                "The tenant": await self._restore(),
            },
        )
        return self._last

    async def give_up(self) -> Card:
        """End the game without an answer: say what it was, and bring the tenant back as it was before."""
        return await self._end(set())

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

    async def _plant(self, fault: Fault, ids: Mapping[str, str], store: Path) -> list[Made]:
        """Plant a fault and return what was changed for it in the directory."""
        if fault.name == "store-down":
            _set_store(store, up=False)
        elif fault.name == "tunnel-closed":
            self._directory.publish(ids["host"], None)
        elif not fault.send:
            return make(self._directory, fault.name)
        else:
            before = self._objects()
            token = (await self._tenant.credential().get_token()).token
            base, headers = "https://graph.microsoft.com/v1.0", {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(transport=self._tenant.transport(), base_url=base, headers=headers) as graph:
                for method, path, body in fault.send:
                    path, body = (Template(each).substitute(ids) for each in (path, body))
                    (await graph.request(method, path, json=json.loads(body or "null"))).raise_for_status()
            return _differences(before, self._objects())
        return []

    def _objects(self) -> dict[tuple[str, str], dict[str, Any]]:
        whole = "json_patch(body, json_object('parent', parent))"
        rows = self._directory.rows(f"SELECT kind, id, {whole} AS body FROM objects WHERE deleted IS NULL")  # noqa: S608
        return {(row["kind"], row["id"]): json.loads(row["body"]) for row in rows}

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


def _differences(before: Mapping[tuple[str, str], Any], after: Mapping[tuple[str, str], Any]) -> list[Made]:
    made: list[Made] = []
    for thing in {**before, **after}:
        old, new = before.get(thing), after.get(thing)
        if old is None or new is None:
            made.append((*thing, WHOLE, old, new))
        else:
            made += [(*thing, name, old.get(name), new.get(name)) for name in {**old, **new}]
    return [each for each in made if each[3] != each[4]]


def _known(*names: str) -> set[str]:
    given = {"-".join(name.lower().split()) for name in names}
    if unknown := sorted(given - FAULTS.keys()):
        raise KitError(
            f"No fault is called {', '.join(unknown)}; the game goes on.",
            next_step=f"Choose from {', '.join(sorted(FAULTS))}.",
        )
    return given


def _spent(looks: Mapping[str, int]) -> int:
    return sum(count * _LOOKS.get(what, 1) for what, count in looks.items())


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _words_of_looks(on: Mapping[str, Any]) -> str:
    looks = on["looks"]
    return f"{_count(sum(looks.values()), 'look')} for {_count(_spent(looks), 'point')}"


def _words(names: Collection[str]) -> str:
    return "\n".join(f"{name}: {FAULTS[name].means} {FAULTS[name].symptom}." for name in sorted(names)) or "none"
