"""Create, mark, unmark and delete users in batches of 20, and record in a journal what was done as it is done."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import string
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

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
T = TypeVar("T")


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
            raise SettingsError(
                f"{self._path} cannot be written.",
                service=str(problem),
                next_step="Give yourself write permission there and run again; the next plan finds who was written.",
            ) from problem

    def read(self) -> dict[str, Action]:
        """Read what was done last to each user, by object id."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise SettingsError(
                f"{self._path} cannot be read.",
                service=str(problem),
                next_step="Give yourself permission to read it. It says whom the kit created: do not delete it.",
            ) from problem
        done: dict[str, Action] = {}
        for line in lines:
            try:
                entry = json.loads(line)
                done[str(entry["id"])] = entry["did"]
            except (ValueError, TypeError, KeyError):
                continue  # torn by a crash: the next plan finds that user in the tenant
        return done


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

    async def write(self, create: Sequence[LegacyUser], mark: Mapping[str, str], issuer: str) -> None:
        """Create these people, and set the flag of these users."""
        self.total = len(create) + len(mark)
        self._advance(0)
        await self._run(create, lambda people: self._create(people, issuer))
        await self._run(mark.items(), self._mark)

    async def remove(self, delete: Iterable[str], unmark: Iterable[str]) -> None:
        """Delete some users and unmark others; each is read again just before, and those who have migrated stay."""
        items = [(each, BatchItem("DELETE", f"/users/{each}")) for each in delete]
        items += [(each, BatchItem("PATCH", f"/users/{each}", {self.flag: None})) for each in unmark]
        await self._run(items, self._remove)

    async def _run(self, items: Iterable[T], send: Callable[[list[T]], Awaitable[None]]) -> None:
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

    async def _create(self, people: Sequence[LegacyUser], issuer: str) -> None:
        answers = await self._batch(
            [BatchItem("POST", "/users", _creation(each, self.flag, issuer)) for each in people]
        )
        made = [answer.body["id"] for answer in answers if answer.status == 201]
        self.journal.add("created", made)
        self.created += len(made)
        self._judge([each.username for each in people], answers, 201)

    async def _mark(self, users: Sequence[tuple[str, str]]) -> None:
        # Read again, because a plan may be old: users who have migrated since must not be marked again.
        now = await self._flags([id for id, _ in users])
        self._judge([name for _, name in users], now, 200)
        shown = [(user, answer) for user, answer in zip(users, now, strict=True) if answer.status == 200]
        unset = [user for user, answer in shown if answer.body.get(self.flag) is None]
        self.there += len(shown) - len(unset)
        answers = await self._batch([BatchItem("PATCH", f"/users/{id}", {self.flag: True}) for id, _ in unset])
        marked = [id for (id, _), answer in zip(unset, answers, strict=True) if answer.status == 204]
        self.journal.add("marked", marked)
        self.marked += len(marked)
        self._judge([name for _, name in unset], answers, 204)

    async def _remove(self, items: Sequence[tuple[str, BatchItem]]) -> None:
        now = await self._flags([id for id, _ in items])
        # 404, here and below: someone else deleted the user in the meantime.
        self._judge([id for id, _ in items], now, 200, 404)
        there = [(item, answer) for item, answer in zip(items, now, strict=True) if answer.status == 200]
        flagged = [item for item, answer in there if answer.body.get(self.flag) is True]
        self.stayed += len(there) - len(flagged)
        gone = [id for (id, _), answer in zip(items, now, strict=True) if answer.status == 404]
        answers = await self._batch([item for _, item in flagged])
        gone += [id for (id, _), answer in zip(flagged, answers, strict=True) if answer.status in (204, 404)]
        self.journal.add("removed", gone)
        self._judge([id for id, _ in flagged], answers, 204, 404)

    async def _flags(self, ids: Sequence[str]) -> list[BatchAnswer]:
        return await self._batch([BatchItem("GET", f"/users/{each}?$select=id,{self.flag}") for each in ids])

    async def _batch(self, items: Sequence[BatchItem]) -> list[BatchAnswer]:
        if not items:
            return []
        answers = await self.graph.batch(items)
        self.pace.learn(any(answer.pressed for answer in answers))
        return answers

    def _judge(self, names: Sequence[str], answers: Sequence[BatchAnswer], *good: int) -> None:
        """Count refusals; raise what would be refused to every other user too: no permission, or lasting throttling."""
        for answer in answers:
            if answer.status in (401, 403, 429, 503, 504):
                raise refusal("write the users", answer.status, answer.code, answer.message)
        for name, answer in zip(names, answers, strict=True):
            if answer.status in (400, 409) and "already exists" in answer.message:
                self.there += 1
            elif answer.status not in good:
                self.refused.append((name, f"{answer.status} {answer.code}: {answer.message}"))

    def _advance(self, by: int) -> None:
        self.done += by
        if self.progress is not None:
            self.progress(self.done, self.total)


def temporary_password() -> str:
    """Make a random password of 32 characters of all four classes; it is not kept and never typed."""
    letters = [secrets.choice(each) for each in _CLASSES]
    letters += [secrets.choice("".join(_CLASSES)) for _ in range(32 - len(letters))]
    secrets.SystemRandom().shuffle(letters)
    return "".join(letters)


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


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, protocol.BATCH_SIZE)):
        yield chunk
