"""Create, mark, change and delete users in batches of 20, and record in a journal what was done as it is done."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import itertools
import json
import secrets
import string
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote

from helpers.graph import PAUSES, BatchAnswer, BatchItem, Graph, refusal
from helpers.legacy_export import LegacyUser
from helpers.tenant.step import quoted
from jitkit import protocol
from jitkit.errors import SettingsError
from jitkit.files import append_private, write_private

__all__ = ["Changed", "IdMap", "Journal", "Pace", "UserWriter", "identity_filter", "temporary_password"]

_MOST_AT_ONCE: Final = 4
# Source: "Self-service password reset policies": the characters that a password may hold.
_SYMBOLS: Final = "@#$%^&*-_!+=[]{}|:',.?/`~();<>"
_CLASSES: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)

T = TypeVar("T")
Changed = tuple[str, Mapping[str, Any]]  # a sign-in name, and what is set
Action = Literal["created", "marked", "removed"]


class Journal:
    """An owner-only file of what was done to users: one JSON line each, with the object id and nothing personal.

    Next to it, a file for each batch that is under way says whom it is about, and is gone once the answer is recorded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._under_way = path.with_name(f"{path.stem}-under-way")

    def add(self, action: Action, user_ids: Iterable[str]) -> None:
        """Record what was done to these users; it is on the disk when this returns."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"id": each, "did": action, "at": at}) for each in user_ids]
        append_private(self._path, lines)

    def read(self) -> dict[str, Action]:
        """Read what was done last to each user, by object id."""
        done: dict[str, Action] = {}
        next_step = "Give yourself permission to read it. It says whom the kit created: do not delete it."
        for line in _lines(self._path, next_step):
            try:
                entry = json.loads(line)
                done[str(entry["id"])] = entry["did"]
            except (ValueError, TypeError, KeyError):
                continue  # torn by a crash: the next plan finds that user in the tenant
        return done

    def begin(self, action: Action, who: Sequence[str]) -> Path:
        """Say whom a batch is about before it is sent: sign-in names to create, or object ids to mark."""
        path = self._under_way / f"{secrets.token_hex(8)}.json"
        write_private(path, json.dumps({"did": action, "who": who}).encode())
        return path

    def interrupted(self) -> list[tuple[Path, Action, list[str]]]:
        """Read whom the batches were about whose answers were not recorded."""
        found = []
        for path in sorted(self._under_way.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                entry = json.loads(path.read_bytes())
                found.append((path, entry["did"], list(entry["who"])))
        return found


class IdMap:
    """An owner-only CSV file that maps the ids of the legacy store to the object ids of the tenant."""

    COLUMNS: Final = ("old_id", "user_id")

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, ids: Iterable[tuple[str, str]]) -> None:
        """Add pairs of old id and object id; those without an old id, or in the file already, are left out."""
        there = self.read()
        new = {old: user_id for old, user_id in ids if old and there.get(old) != user_id}
        rows = [*([] if there or not new else [self.COLUMNS]), *new.items()]
        append_private(self._path, [_csv_line(each) for each in rows])

    def read(self) -> dict[str, str]:
        """Read the object ids by old id."""
        lines = _lines(self._path, "Give yourself permission to read it.")
        return {row[0]: row[1] for row in csv.reader(lines[1:]) if len(row) == len(self.COLUMNS)}


def _csv_line(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _lines(path: Path, next_step: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise SettingsError(f"{path} cannot be read.", service=str(problem), next_step=next_step) from problem


class Pace:
    """How many batches may be under way: one more after each that went well, half after one that was throttled.

    The first goes alone: what is refused to it, by the tenant or by the person asked to confirm, is refused once. The
    documented limit of an application in a tenant is 3,000 writes in 150 seconds; public tools report more. So the
    tenant's own answers set the pace.
    """

    def __init__(self) -> None:
        self.at_once = 1

    def learn(self, pressed: bool) -> None:
        """Adapt to how one batch went: whether the tenant throttled it or said that a limit is near."""
        self.at_once = max(1, self.at_once // 2) if pressed else min(_MOST_AT_ONCE, self.at_once + 1)


class _Item(NamedTuple):
    request: BatchItem
    name: str  # what a refusal calls the user
    user_id: str = ""  # empty when the request creates the user
    old_id: str = ""  # the id in the legacy store, if the export has it


@dataclass
class UserWriter:
    """Write users and count the results."""

    graph: Graph
    journal: Journal
    flag: str  # the migration flag's full name
    issuer: str  # the tenant's initial domain, which issues the sign-in names
    ids: IdMap
    progress: Callable[[int, int], object] | None = None  # called with how many are done, and how many in all
    pace: Pace = field(default_factory=Pace)
    total: int = 0
    done: int = 0
    created: int = 0
    changed: int = 0
    there: int = 0  # turned out to exist already
    stayed: int = 0  # not removed or changed, because their flag has changed
    refused: list[tuple[str, str]] = field(default_factory=list)  # user, the service's words
    _unsure: set[str] = field(default_factory=set)  # names that a request of the kit may have created

    async def create(self, people: Sequence[LegacyUser]) -> None:
        """Create these people."""
        # Composed batch by batch: a temporary password exists only while its request is sent.
        items = (
            _Item(BatchItem("POST", "/users", _creation(each, self.flag, self.issuer)), each.username, "", each.old_id)
            for each in people
        )
        await self._run(items, self._create, len(people))

    async def change(self, changes: Mapping[str, Changed], *, mark: bool = False) -> None:
        """Change users by object id, as long as they have not migrated; or mark those who have no flag."""
        items = (_change(user_id, name, values) for user_id, (name, values) in changes.items())
        await self._run(items, self._mark if mark else self._update, len(changes))

    async def remove(self, delete: Sequence[str], unmark: Sequence[str]) -> None:
        """Delete some users and unmark others; each is read again just before, and those who have migrated stay."""
        items = [_Item(BatchItem("DELETE", f"/users/{each}"), each, each) for each in delete]
        items += [_change(each, each, {self.flag: None}) for each in unmark]
        await self._run(items, self._remove, len(items))

    async def settle(self) -> None:
        """Record what batches did whose answers an earlier run did not live to record."""
        for path, action, who in self.journal.interrupted():
            for names in _chunks(who):
                found = await self._flagged(names) if action == "created" else await self._flagged_of(names)
                self.journal.add(action, sorted(set(found.values()) - self.journal.read().keys()))
                self._unsure |= {name for name in names if action == "created"} - found.keys()
            path.unlink(missing_ok=True)

    async def _run(self, items: Iterable[_Item], send: Callable[[list[_Item]], Awaitable[None]], count: int) -> None:
        """Send batches, a few at a time.

        When it is interrupted, or when one fails, what is under way is waited for: the tenant has it already, and it
        has to be recorded.
        """
        self.total += count
        self._advance(0)
        waiting = _chunks(items)
        under_way: dict[asyncio.Future[None], int] = {}
        try:
            while True:
                free = max(0, self.pace.at_once - len(under_way))
                under_way |= {asyncio.ensure_future(send(each)): len(each) for each in itertools.islice(waiting, free)}
                if not under_way:
                    return
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    count = under_way.pop(each)
                    each.result()
                    self._advance(count)
        finally:
            if under_way:
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _create(self, items: Sequence[_Item]) -> None:
        """Create users. Where the outcome is unknown, look them up, and try again with those who are not there."""
        under_way, waiting = self.journal.begin("created", [item.name for item in items]), items
        for pause in (*PAUSES, None):
            unsure = await self._try_to_create(waiting)
            if unsure and pause is None:
                lost = next((answer for _, answer in unsure if answer.outcome_unknown), None)
                if lost is not None:
                    raise refusal("write the users", lost.status, lost.code, lost.message)
                self.there += len(unsure)  # they exist, and are not shown with the flag: others created them
            elif unsure and pause is not None:
                await asyncio.sleep(pause)
                found = await self._flagged([item.name for item, _ in unsure])
                self._created([(item, found[item.name]) for item, _ in unsure if item.name in found])
                waiting = [item for item, _ in unsure if item.name not in found]
            if not unsure or not waiting:
                break
        under_way.unlink(missing_ok=True)

    async def _try_to_create(self, items: Sequence[_Item]) -> list[tuple[_Item, BatchAnswer]]:
        """Send a batch and record who was created; return who may have been, by this request or by one before."""
        answers = await self.graph.batch([item.request for item in items])
        self.pace.learn(any(answer.pressed for answer in answers))
        answered = list(zip(items, answers, strict=True))
        self._unsure |= {item.name for item, answer in answered if answer.outcome_unknown}
        unsure = [
            (item, answer)
            for item, answer in answered
            if answer.outcome_unknown or (_exists(answer) and item.name in self._unsure)
        ]
        self._created([(item, str(answer.body["id"])) for item, answer in answered if answer.status == 201])
        self._judge([each for each in answered if each not in unsure], 201)
        return unsure

    def _created(self, made: Sequence[tuple[_Item, str]]) -> None:
        self.journal.add("created", [user_id for _, user_id in made])
        self.ids.add((item.old_id, user_id) for item, user_id in made)
        self.created += len(made)

    async def _flagged(self, names: Sequence[str]) -> dict[str, str]:
        """Look users up by sign-in name; return the object ids of those who carry the flag."""
        reads = [
            BatchItem("GET", f"/users?$select=id,{self.flag}&$filter={quote(identity_filter(name, self.issuer))}")
            for name in names
        ]
        answers = zip(names, await self._read(reads), strict=True)
        rows = ((name, row) for name, answer in answers for row in answer.body["value"])
        return {name: str(row["id"]) for name, row in rows if row.get(self.flag) is True}

    async def _flagged_of(self, user_ids: Sequence[str]) -> dict[str, str]:
        answers = await self._read([BatchItem("GET", f"/users/{each}?$select=id,{self.flag}") for each in user_ids])
        return {
            each: each
            for each, answer in zip(user_ids, answers, strict=True)
            if answer.status == 200 and answer.body.get(self.flag) is True
        }

    async def _read(self, reads: Sequence[BatchItem]) -> list[BatchAnswer]:
        answers = await self.graph.batch(reads)
        for answer in answers:
            if answer.status not in (200, 404):
                raise refusal("look users up", answer.status, answer.code, answer.message)
        return answers

    async def _mark(self, items: Sequence[_Item]) -> None:
        unset = await self._still(items, None)
        under_way = self.journal.begin("marked", [item.user_id for item in unset])
        self._count(await self._send(unset, 204, action="marked"))
        under_way.unlink(missing_ok=True)

    async def _update(self, items: Sequence[_Item]) -> None:
        self._count(await self._send(await self._still(items, True), 204, write=True))

    def _count(self, done: Sequence[object]) -> None:
        # In `changed += await …` batches at the same time would each start from the number before.
        self.changed += len(done)

    async def _still(self, items: Sequence[_Item], flag: bool | None) -> list[_Item]:
        """Read users again, because a plan may be old; return those whose flag is what it has to be."""
        now = await self._send(items, 200)
        as_planned = [item for item, answer in now if answer.body.get(self.flag) is flag]
        self.stayed += len(now) - len(as_planned)
        return as_planned

    async def _remove(self, items: Sequence[_Item]) -> None:
        # 404: someone else deleted the user in the meantime, which is recorded as well.
        now = await self._send(items, 200, 404)
        stay = [item for item, answer in now if answer.status == 200 and answer.body.get(self.flag) is not True]
        self.stayed += len(stay)
        await self._send([item for item, _ in now if item not in stay], 204, 404, action="removed")

    async def _send(
        self, items: Sequence[_Item], *good: int, action: Action | None = None, write: bool = False
    ) -> list[tuple[_Item, BatchAnswer]]:
        """Send a batch, or read the flags when it neither writes nor has an action to record.

        Returns what was answered well, and counts refusals. What went well is recorded first.
        """
        if not items:
            return []
        reads = [BatchItem("GET", f"/users/{item.user_id}?$select=id,{self.flag}") for item in items]
        answers = await self.graph.batch([item.request for item in items] if action or write else reads)
        self.pace.learn(any(answer.pressed for answer in answers))
        answered = list(zip(items, answers, strict=True))
        went_well = [(item, answer) for item, answer in answered if answer.status in good]
        if action is not None:
            self.journal.add(action, [item.user_id for item, _ in went_well])
        self._judge(answered, *good)
        return went_well

    def _judge(self, answered: Sequence[tuple[_Item, BatchAnswer]], *good: int) -> None:
        """Count refusals; raise what would be refused to every other user too: no permission, lasting throttling."""
        for _, answer in answered:
            if answer.status in (401, 403, 429, 503, 504):
                raise refusal("write the users", answer.status, answer.code, answer.message, call="PATCH /users")
        for item, answer in answered:
            if _exists(answer):
                self.there += 1
            elif answer.status not in good:
                self.refused.append((item.name, f"{answer.status} {answer.code}: {answer.message}"))

    def _advance(self, by: int) -> None:
        self.done += by
        if self.progress is not None:
            self.progress(self.done, self.total)


def temporary_password() -> str:
    """Make a random password of 32 characters of all four classes; it is not kept and never typed."""
    while True:
        made = secrets.token_urlsafe(24)
        if all(set(each) & set(made) for each in _CLASSES):
            return made


def _change(user_id: str, name: str, values: Mapping[str, Any]) -> _Item:
    return _Item(BatchItem("PATCH", f"/users/{user_id}", values), name, user_id)


def identity_filter(username: str, issuer: str) -> str:
    """Write the filter that finds a user by sign-in name; both parts are required."""
    return f"identities/any(c:c/issuerAssignedId eq {quoted(username)} and c/issuer eq {quoted(issuer)})"


def _exists(answer: BatchAnswer) -> bool:
    return answer.status in (400, 409) and "already exists" in answer.message


def _creation(person: LegacyUser, flag: str, issuer: str) -> dict[str, Any]:
    """Compose the body that creates one person with the flag set; who is disabled in the export is created disabled.

    Source: Graph v1.0, "Create user", example of a customer account; how-to, stage 1. With
    `forceChangePasswordNextSignIn` true, a migrated person would be sent to a change-password page and stay flagged.
    """
    mail = person.mail or (person.username if person.sign_in_type == "emailAddress" else "")
    return {
        "accountEnabled": person.status != "disabled",
        "creationType": "LocalAccount",
        **person.profile,
        "displayName": person.display_name or person.username.partition("@")[0],
        **({"mail": mail} if mail else {}),
        "identities": [{"signInType": person.sign_in_type, "issuer": issuer, "issuerAssignedId": person.username}],
        "passwordProfile": {"password": temporary_password(), "forceChangePasswordNextSignIn": False},
        "passwordPolicies": "DisablePasswordExpiration",
        flag: True,
    }


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, protocol.BATCH_SIZE)):
        yield chunk
