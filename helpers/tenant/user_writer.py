"""Create, mark, unmark and delete users in batches of 20, and record in a journal what was done as it is done."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import string
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from helpers.graph import BatchAnswer, BatchItem, Graph, refusal
from helpers.legacy_export import LegacyUser
from jitkit import protocol
from jitkit.errors import SettingsError

__all__ = ["Journal", "Pace", "UserWriter", "temporary_password"]

_MOST_AT_ONCE: Final = 4
# Source: "Self-service password reset policies": the characters that a password may hold.
_SYMBOLS: Final = "@#$%^&*-_!+=[]{}|:',.?/`~();<>"
_CLASSES: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)

Action = Literal["created", "marked", "removed"]


class Journal:
    """An owner-only file of what was done to users: one JSON line each, with the object id and nothing personal."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, action: Action, user_ids: Iterable[str]) -> None:
        """Record what was done to these users; it is on the disk when this returns."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        lines = "".join(json.dumps({"id": each, "did": action, "at": at}) + "\n" for each in user_ids)
        if not lines:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                # A line that a crash tore must not swallow the next one.
                if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                    lines = "\n" + lines
                file.write(lines.encode())
                os.fsync(handle)
        except OSError as problem:
            next_step = "Give yourself write permission there and run again; the next plan finds who was written."
            raise self._unusable("written", problem, next_step) from problem

    def read(self) -> dict[str, Action]:
        """Read what was done last to each user, by object id."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as problem:
            next_step = "Give yourself permission to read it. It says whom the kit created: do not delete it."
            raise self._unusable("read", problem, next_step) from problem
        done: dict[str, Action] = {}
        for line in lines:
            try:
                entry = json.loads(line)
                done[str(entry["id"])] = entry["did"]
            except (ValueError, TypeError, KeyError):
                continue  # torn by a crash: the next plan finds that user in the tenant
        return done

    def _unusable(self, done: str, problem: OSError, next_step: str) -> SettingsError:
        return SettingsError(f"{self._path} cannot be {done}.", service=str(problem), next_step=next_step)


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


@dataclass
class UserWriter:
    """Write users and count the results."""

    graph: Graph
    journal: Journal
    flag: str  # the migration flag's full name
    progress: Callable[[int, int], object] | None = None  # called with how many are done, and how many in all
    pace: Pace = field(default_factory=Pace)
    total: int = 0
    done: int = 0
    created: int = 0
    marked: int = 0
    there: int = 0  # turned out to exist already, or to have the flag
    stayed: int = 0  # not removed, because they have migrated
    refused: list[tuple[str, str]] = field(default_factory=list)  # user, the service's words

    async def write(self, create: Sequence[LegacyUser], mark: Sequence[tuple[str, str]], issuer: str) -> None:
        """Create these people, and set the flag of these users, each with object id and sign-in name."""
        self.total = len(create) + len(mark)
        self._advance(0)
        # Composed batch by batch: a temporary password exists only while its request is sent.
        people = (
            _Item(BatchItem("POST", "/users", _creation(each, self.flag, issuer)), each.username) for each in create
        )
        await self._run(people, self._create)
        await self._run((self._change(id, name, True) for id, name in mark), self._mark)

    async def remove(self, delete: Iterable[str], unmark: Iterable[str]) -> None:
        """Delete some users and unmark others; each is read again just before, and those who have migrated stay."""
        items = [_Item(BatchItem("DELETE", f"/users/{each}"), each, each) for each in delete]
        await self._run([*items, *(self._change(each, each, None) for each in unmark)], self._remove)

    def _change(self, user_id: str, name: str, flag: bool | None) -> _Item:
        return _Item(BatchItem("PATCH", f"/users/{user_id}", {self.flag: flag}), name, user_id)

    async def _run(self, items: Iterable[_Item], send: Callable[[list[_Item]], Awaitable[None]]) -> None:
        """Send batches, a few at a time.

        When it is interrupted, or when one fails, what is under way is waited for: the tenant has it already, and it
        has to be recorded.
        """
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
        made = await self._send(items, 201, action="created")
        self.created += len(made)

    async def _mark(self, items: Sequence[_Item]) -> None:
        # Read again, because a plan may be old: users who have migrated since must not be marked again.
        now = await self._send(items, 200)
        unset = [item for item, answer in now if answer.body.get(self.flag) is None]
        self.there += len(now) - len(unset)
        marked = await self._send(unset, 204, action="marked")
        self.marked += len(marked)

    async def _remove(self, items: Sequence[_Item]) -> None:
        # 404: someone else deleted the user in the meantime, which is recorded as well.
        now = await self._send(items, 200, 404)
        stay = [item for item, answer in now if answer.status == 200 and answer.body.get(self.flag) is not True]
        self.stayed += len(stay)
        await self._send([item for item, _ in now if item not in stay], 204, 404, action="removed")

    async def _send(
        self, items: Sequence[_Item], *good: int, action: Action | None = None
    ) -> list[tuple[_Item, BatchAnswer]]:
        """Send a batch, or read the flags when there is no action; return what was answered well, and count refusals.

        What went well is recorded first. What would be refused to every other user too is raised: no permission, or
        lasting throttling.
        """
        if not items:
            return []
        reads = [BatchItem("GET", f"/users/{item.user_id}?$select=id,{self.flag}") for item in items]
        answers = await self.graph.batch([item.request for item in items] if action else reads)
        self.pace.learn(any(answer.pressed for answer in answers))
        answered = list(zip(items, answers, strict=True))
        went_well = [(item, answer) for item, answer in answered if answer.status in good]
        if action is not None:
            self.journal.add(action, [item.user_id or answer.body["id"] for item, answer in went_well])
        for answer in answers:
            if answer.status in (401, 403, 429, 503, 504):
                raise refusal("write the users", answer.status, answer.code, answer.message, call="PATCH /users")
        for item, answer in answered:
            if answer.status in (400, 409) and "already exists" in answer.message:
                self.there += 1
            elif answer.status not in good:
                self.refused.append((item.name, f"{answer.status} {answer.code}: {answer.message}"))
        return went_well

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


def _creation(person: LegacyUser, flag: str, issuer: str) -> dict[str, Any]:
    """Compose the body that creates one person with the flag set; who is disabled in the export is created disabled.

    Source: Graph v1.0, "Create user", example of a customer account; how-to, stage 1. With
    `forceChangePasswordNextSignIn` true, a migrated person would be sent to a change-password page and stay flagged.
    """
    return {
        "accountEnabled": person.status != "disabled",
        "creationType": "LocalAccount",
        "displayName": person.display_name or person.username.partition("@")[0],
        "mail": person.username,
        "identities": [{"signInType": "emailAddress", "issuer": issuer, "issuerAssignedId": person.username}],
        "passwordProfile": {"password": temporary_password(), "forceChangePasswordNextSignIn": False},
        "passwordPolicies": "DisablePasswordExpiration",
        flag: True,
    }


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, protocol.BATCH_SIZE)):
        yield chunk
