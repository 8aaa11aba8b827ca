"""Read users, sign-ins and audits from a tenant, go on where the last reading stopped, and lose none in between.

Sources: Microsoft Graph, `user: delta` (a link is good for seven days; 410 means to read all again), "List signIns"
(beta), "List directoryAudits"; Microsoft Learn, "Data retention" (seven days in an external tenant). How late a row may
appear in a log is not documented: a day is read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import pandas as pd
from tqdm.auto import tqdm

from jitkit.progress import users_seen
from jitkit.progress.archive import Archive
from jitkit.progress.from_graph import audits_from_graph, sign_in_rows

__all__ = ["KEPT", "Reader", "collect"]

KEPT: Final = pd.Timedelta(days=7)
"""How long the service keeps its logs."""

_OVERLAP: Final = pd.Timedelta(days=1)
_AT_ONCE: Final = 20_000  # rows that an interruption can cost
_LONG: Final = 2.0  # seconds, from which on a bar shows how far it is

# The link cannot be followed: too old, not served in this tenant, or not by this service.
_REFUSED: Final = (400, 404, 410, 501)


class Reader(Protocol):
    """What `helpers.graph.Graph` offers for this."""

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, version: str = "v1.0"
    ) -> Any:
        """Send one request, and return the parsed JSON."""


@dataclass(frozen=True)
class _Log:
    kind: str
    path: str
    time: str
    version: str
    headers: Mapping[str, str]
    table: Callable[[Sequence[Mapping[str, Any]], str], pd.DataFrame]

    def first_page(self, since: pd.Timestamp | None) -> str:
        later = f"&$filter={self.time} ge {since:%Y-%m-%dT%H:%M:%SZ}" if since is not None else ""
        return f"{self.path}?$top=999{later}"


_LOGS: Final = (
    _Log(
        "sign_ins",
        "/auditLogs/signIns",
        "createdDateTime",
        "beta",
        # The event's name is served only to callers who ask for values newer than the published ones.
        {"Prefer": "include-unknown-enum-members"},
        lambda rows, flag: sign_in_rows(rows),
    ),
    _Log("audits", "/auditLogs/directoryAudits", "activityDateTime", "v1.0", {}, audits_from_graph),
)


async def collect(graph: Reader, flag: str, archive: Archive, now: pd.Timestamp) -> None:
    """Bring the history up to what the tenant tells now.

    An interrupted reading goes on at the page at which it stopped.

    Args:
        graph: the tenant's Graph.
        flag: the flag's full name, `extension_…`.
        archive: of this tenant and flag.
        now: the moment (UTC).

    Raises:
        httpx.HTTPStatusError: Graph refused; what was read until then is kept.
    """
    await _users(graph, flag, archive, now)
    for log in _LOGS:
        await _log(graph, log, flag, archive, now)


async def _users(graph: Reader, flag: str, archive: Archive, now: pd.Timestamp) -> None:
    """Follow the changes since the last time; read all users where the service has no such link, or it is too old."""
    fields = f"$select=id,createdDateTime,{flag}"
    noted = archive.noted("users")
    kept = [noted[name] for name in ("next", "delta") if name in noted]
    links: list[str] = [*kept, f"/users/delta?{fields}", f"/users?{fields}&$top=999"]
    for place, link in enumerate(links):
        goes_on = link == noted.get("next")
        whole = noted.get("whole", True) if goes_on else link != noted.get("delta")
        begun = pd.Timestamp(noted["begun"]) if goes_on else now
        try:
            await _user_pages(graph, link, flag, archive, now, begun=begun, whole=whole)
            return
        except httpx.HTTPStatusError as refused:
            if refused.response.status_code not in _REFUSED or place == len(links) - 1:
                raise
            archive.note("users", next=None, delta=None, begun=None, whole=None)


async def _user_pages(
    graph: Reader, link: str, flag: str, archive: Archive, now: pd.Timestamp, *, begun: pd.Timestamp, whole: bool
) -> None:
    users, rows = archive.users(), list[Mapping[str, Any]]()
    with _bar("Users") as bar:
        while True:
            try:
                page = await graph.send("GET", link)
            except httpx.HTTPStatusError:
                # Throttled for too long, say: the next reading goes on here, not twenty pages before.
                if rows:
                    archive.keep_users(users_seen.merged(users, users_seen.seen(rows, flag, max(now, begun))))
                    archive.note("users", next=link, begun=begun.isoformat(), whole=whole)
                raise
            rows += page["value"]
            bar.update(len(page["value"]))
            following = page.get("@odata.nextLink")
            if following is None or len(rows) >= _AT_ONCE:
                users, rows = users_seen.merged(users, users_seen.seen(rows, flag, max(now, begun))), []
                if following is None and whole:
                    users = users_seen.without_the_unseen(users, begun, now)
                archive.keep_users(users)
                archive.note("users", next=following, begun=begun.isoformat(), whole=whole)
            if following is None:
                break
            link = following
    archive.note("users", next=None, delta=page.get("@odata.deltaLink"), begun=None, whole=None)


async def _log(graph: Reader, log: _Log, flag: str, archive: Archive, now: pd.Timestamp) -> None:
    noted, until = archive.noted(log.kind), archive.covered_until(log.kind)
    since = until - _OVERLAP if until is not None else None
    if "next" in noted:
        begun = pd.Timestamp(noted["since"]) if "since" in noted else None
        try:
            await _log_pages(graph, log, noted["next"], flag, archive, begun, pd.Timestamp(noted["until"]))
        except httpx.HTTPStatusError as refused:
            if refused.response.status_code not in _REFUSED:
                raise
            archive.note(log.kind, next=None, since=None, until=None)
        else:
            since = pd.Timestamp(noted["until"]) - _OVERLAP
    await _log_pages(graph, log, log.first_page(since), flag, archive, since, now)


async def _log_pages(
    graph: Reader,
    log: _Log,
    link: str,
    flag: str,
    archive: Archive,
    since: pd.Timestamp | None,
    until: pd.Timestamp,
) -> None:
    rows, first = list[Mapping[str, Any]](), None

    def keep(following: str | None) -> None:
        nonlocal rows, first, until
        archive.append(log.kind, log.table(rows, flag))
        first, until = _bounds(rows, log.time, first, until)
        rows = []
        window = {"since": since.isoformat() if since is not None else None, "until": until.isoformat()}
        archive.note(log.kind, next=following, **window)

    with _bar(log.kind.replace("_", "-").capitalize()) as bar:
        following: str | None = link
        while following:
            try:
                page = await graph.send("GET", following, headers=log.headers, version=log.version)
            except httpx.HTTPStatusError:
                if rows:
                    keep(following)
                raise
            rows += page["value"]
            bar.update(len(page["value"]))
            following = page.get("@odata.nextLink")
            if following is None or len(rows) >= _AT_ONCE:
                keep(following)
    kept_from = min(until - KEPT, first) if first is not None else until - KEPT
    archive.cover(log.kind, max(since, kept_from) if since is not None else kept_from, until)
    archive.note(log.kind, next=None, since=None, until=None)


def _bounds(
    rows: Sequence[Mapping[str, Any]], name: str, first: pd.Timestamp | None, last: pd.Timestamp
) -> tuple[pd.Timestamp | None, pd.Timestamp]:
    """Widen a window to the rows in it: a tenant may keep more than promised, and its clock may be ahead."""
    times = pd.to_datetime(pd.Series([row.get(name) for row in rows], dtype="str"), utc=True, format="ISO8601").dropna()
    if not len(times):
        return first, last
    return min(first, times.min()) if first is not None else times.min(), max(last, times.max())


def _bar(what: str) -> Any:
    return tqdm(desc=f"{what:<10}", unit=" rows", delay=_LONG, leave=False)
