"""Reads users, sign-ins and audits from a tenant and keeps them on this machine, for longer than the service does.

Sources: Microsoft Graph, "List users", "List signIns" (beta), "List directoryAudits"; Microsoft Learn, "Data retention"
(seven days in an external tenant). How late a row may appear in a log is not documented: a day is read twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pandas as pd
from tqdm.auto import tqdm

from jitkit.errors import NotReady
from jitkit.explanations import refused
from jitkit.files import make_private, write_private
from jitkit.progress.log_analytics import Row, audits_from_graph, sign_ins_from_graph
from jitkit.progress.tables import DAY, KINDS, refusal, times
from jitkit.protocol import USER_SIGN_INS

KEPT: Final = pd.Timedelta(days=7)
"""How long the service keeps its logs."""

_OVERLAP: Final = DAY
_AT_ONCE: Final = 20_000  # rows that an interruption can cost
_LONG: Final = 2.0  # seconds after which a bar shows how far it is
_FORBIDDEN: Final = 403
_REFUSED: Final = (400, 404, 410)  # the link of the next page cannot be followed any more
_BEGINNING: Final = pd.Timestamp(0, tz="UTC")

_AUDITS: Final = ("id", "time", "user_id", "event")
_USERS: Final = {"user_id": "str", "flag": "boolean", "again": "bool"} | dict.fromkeys(
    ("created_at", "true_at", "false_at", "gone_at", "seen_at"), "datetime64[us, UTC]"
)
_DIRECTORY: Final = "/users?$top=999&$select=id,createdDateTime,"
# Graph's logs: the path, the property with a row's time, and which rows.
_LOGS: Final = {
    "sign_ins": ("/auditLogs/signIns", "createdDateTime", [USER_SIGN_INS]),
    "audits": ("/auditLogs/directoryAudits", "activityDateTime", []),
}
# A callout's name is served only to callers who ask for values newer than the published ones.
_REQUESTS: Final = {"sign_ins": {"version": "beta", "headers": {"Prefer": "include-unknown-enum-members"}}}

Send = Callable[..., Awaitable[Any]]
"""Sends a request (method, path, headers, version) and returns the parsed JSON, as `helpers.graph.Graph.send` does."""


class Archive:
    """Logs and users of one tenant and one migration flag: one Parquet file a day and log, the users in one file.

    `state.json` notes how far each log is covered. Files are replaced whole, and only their owner can read them. They
    hold ids, and neither names nor passwords.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._noted = folder, folder / "state.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder's lock while collecting. It is SQLite's, on every system, and ends with the process.

        Raises:
            NotReady: another process collects.
            SettingsError: the folder cannot be written.
        """
        path = self.folder / "lock.sqlite3"
        make_private(path)  # never replaced: two that begin at once have to meet in the same file
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                raise NotReady(
                    "Another notebook or run collects into the same history.",
                    next_step="Wait until it is done, or stop its kernel; then run this again.",
                ) from None
            yield

    def append(self, kind: str, rows: pd.DataFrame) -> None:
        """Add rows to a log; one that is there already, known by its id or by all columns, is replaced."""
        for day, part in rows.dropna(subset="time").groupby(rows["time"].dt.strftime("%Y-%m-%d")):
            path = self.folder / kind / f"{day}.parquet"
            whole = pd.concat([_read(path), part], ignore_index=True) if path.exists() else part
            whole = whole.drop_duplicates("id" if "id" in whole else None, keep="last")
            _write(path, whole.sort_values("time", kind="stable", ignore_index=True))

    def read(self, kind: str) -> pd.DataFrame:
        """Read a whole log, in the order of time."""
        parts = [_read(path) for path in sorted((self.folder / kind).glob("*.parquet"))]
        whole = pd.concat(parts) if parts else pd.DataFrame(columns=[*KINDS.get(kind, _AUDITS)])
        return whole.sort_values("time", kind="stable", ignore_index=True)

    def users(self) -> pd.DataFrame:
        """Read the users as they were last seen, as `users_from_graph` describes them."""
        path = self.folder / "users.parquet"
        return _read(path) if path.exists() else users_from_graph((), "", _BEGINNING)

    def see(self, users: pd.DataFrame, *, begun: pd.Timestamp, last: bool) -> None:
        """Bring the users up to what a page shows; after the last one, who was not seen since `begun` is gone."""
        whole = _merged(self.users(), users)
        if last:
            unseen = (whole["seen_at"] < begun) & whole["gone_at"].isna()
            whole["gone_at"] = whole["gone_at"].mask(unseen, users["seen_at"].max())
        _write(self.folder / "users.parquet", whole)

    def note(self, kind: str, **values: Any) -> None:
        """Remember something about a log, such as the link of its next page; None forgets it."""
        state = self._state()
        state[kind] = {name: each for name, each in (state.get(kind, {}) | values).items() if each is not None}
        write_private(self._noted, json.dumps(state, indent=2, default=pd.Timestamp.isoformat).encode())

    def noted(self, kind: str) -> dict[str, Any]:
        """Return what is remembered about a log."""
        return dict(self._state().get(kind, {}))

    def cover(self, kind: str, since: pd.Timestamp, until: pd.Timestamp) -> None:
        """Note that a log was read whole between two moments, which are later than most of the last window."""
        windows = self.windows(kind)
        if windows and since <= windows[-1][1]:
            begin, end = windows.pop()
            since, until = min(since, begin), max(until, end)
        self.note(kind, covered=[*windows, (since, until)])

    def missing_days(self, kind: str, since: pd.Timestamp, until: pd.Timestamp) -> list[str]:
        """Name the days (UTC) between two moments of which a log was not read whole."""
        windows = self.windows(kind)
        return [
            f"{day:%Y-%m-%d}"
            for day in pd.date_range(since.floor("D"), until, freq="D", inclusive="left")
            if not any(left <= max(day, since) and min(day + DAY, until) <= right for left, right in windows)
        ]

    def windows(self, kind: str) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        """Return the spans of time, ascending, of which a log was read whole."""
        return [(pd.Timestamp(begin), pd.Timestamp(end)) for begin, end in self.noted(kind).get("covered", [])]

    def _state(self) -> dict[str, Any]:
        with _undamaged(self._noted):
            return dict(json.loads(self._noted.read_text(encoding="utf-8"))) if self._noted.exists() else {}


def _read(path: Path) -> pd.DataFrame:
    with _undamaged(path):
        return pd.read_parquet(path)


def _write(path: Path, rows: pd.DataFrame) -> None:
    write_private(path, rows.to_parquet(index=False))


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError):
        raise refusal("lost", path=path) from None


def users_from_graph(rows: Iterable[Row], flag: str, at: pd.Timestamp) -> pd.DataFrame:
    """Make a table of Graph's users.

    Args:
        rows: `user` objects with `id`, `createdDateTime` and the flag.
        flag: the flag's full name, `extension_…`.
        at: when they were read.

    Returns:
        `user_id`, `flag`, `again` (whether it became true once more), `created_at`, `true_at` (last seen true),
        `false_at` (first seen false since), `gone_at`, `seen_at`; of several rows about one user the last one counts.
    """
    found = {row["id"].lower(): (row.get("createdDateTime"), row.get(flag)) for row in rows if row.get("id")}
    frame = pd.DataFrame([*found.values()], columns=["created_at", "flag"]).assign(user_id=[*found], seen_at=at)
    value = frame["flag"].astype("boolean")
    return frame.assign(
        again=False,
        created_at=times(frame["created_at"]),
        true_at=frame["seen_at"].where(value.fillna(False)),
        false_at=frame["seen_at"].where((~value).fillna(False)),
        gone_at=None,
    )[[*_USERS]].astype(_USERS)


def _merged(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Bring what was known about users up to what is seen now: when a flag changed is only known by comparing."""
    old, new = before.set_index("user_id"), now.set_index("user_id")
    known = old.reindex(new.index)
    back = known["false_at"].notna() & new["true_at"].notna()
    new = new.assign(
        true_at=new["true_at"].fillna(known["true_at"]),
        false_at=known["false_at"].where(new["false_at"].notna()).fillna(new["false_at"]),
        again=(known["again"].astype("boolean").fillna(False) | back).astype("bool"),
    )
    whole = pd.concat([old[~old.index.isin(new.index)], new])
    return whole.rename_axis("user_id").reset_index()[[*_USERS]].astype(_USERS)


async def collect(send: Send, flag: str, archive: Archive, now: pd.Timestamp, *, logs_only: bool = False) -> None:
    """Bring the archive up to what the tenant shows now.

    An interrupted reading goes on at the page at which it stopped. A log that the tenant forbids is noted as such.

    Args:
        send: sends a request to the tenant's Graph.
        flag: the flag's full name, `extension_…`.
        archive: of this tenant and flag.
        now: the moment (UTC).
        logs_only: leave the users for a later collection; only the logs are forgotten by the service.

    Raises:
        httpx.HTTPStatusError: Graph refused the users, or failed; what was read until then is kept.
    """
    if not logs_only:
        await _bring_up(send, flag, archive, "users", now)
    for kind, (path, *_) in _LOGS.items():
        try:
            await _bring_up(send, flag, archive, kind, now)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != _FORBIDDEN:
                raise
            # No licence or no role for this log: the others, and the flags, still say how many were moved.
            archive.note(kind, refused=_why(error.response, f"GET {path}"))
        else:
            archive.note(kind, refused=None)


def _why(answer: httpx.Response, call: str) -> list[str]:
    """Return why a log was refused, and what to do."""
    try:
        error = dict(answer.json()["error"])
    except (ValueError, TypeError, KeyError):
        error = {}
    return list(refused(answer.status_code, str(error.get("code", "")), str(error.get("message", "")), call))


async def _bring_up(send: Send, flag: str, archive: Archive, kind: str, now: pd.Timestamp) -> None:
    """Finish a reading that was interrupted, unless its link is no longer valid, and read what is new in a log."""
    noted = archive.noted(kind)
    if {"next", "since", "until"} <= noted.keys():
        since, until = (pd.Timestamp(noted[name]) for name in ("since", "until"))
        try:
            await _read_on(send, flag, archive, kind, noted["next"], since, now if kind == "users" else until)
            if kind == "users":
                return
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in _REFUSED:
                raise
    link, since = f"{_DIRECTORY}{flag}", now
    if kind in _LOGS:
        path, time, which = _LOGS[kind]
        windows = archive.windows(kind)
        since = windows[-1][1] - _OVERLAP if windows else _BEGINNING
        which = [*which, *([f"{time} ge {since:%Y-%m-%dT%H:%M:%SZ}"] if windows else [])]
        link = f"{path}?$top=999" + (f"&$filter={' and '.join(which)}" if which else "")
    await _read_on(send, flag, archive, kind, link, since, now)


async def _read_on(
    send: Send, flag: str, archive: Archive, kind: str, link: str, since: pd.Timestamp, until: pd.Timestamp
) -> None:
    """Read from a page to the last one; `since` is when users began to be read, and from when a log is."""
    firsts: list[pd.Timestamp] = []
    async for rows, following in _pages(send, kind, link):
        if kind == "users":
            archive.see(users_from_graph(rows, flag, until), begun=since, last=following is None)
        else:
            archive.append(kind, sign_ins_from_graph(rows) if kind == "sign_ins" else audits_from_graph(rows, flag))
            found = times(pd.Series([row.get(_LOGS[kind][1]) for row in rows], dtype="str")).dropna()
            # A tenant may keep more than promised, and its clock may be ahead.
            firsts, until = [*firsts, *found.nsmallest(1)], max([until, *found.nlargest(1)])
        archive.note(kind, next=following, since=since, until=until)
    if kind != "users":
        archive.cover(kind, max(since, min([until - KEPT, *firsts])), until)


async def _pages(send: Send, kind: str, link: str) -> AsyncIterator[tuple[list[Row], str | None]]:
    """Read page after page; yield many rows at a time, with the link of the page that follows them."""
    rows: list[Row] = []
    following: str | None = link
    with _bar(kind.replace("_", "-").capitalize()) as bar:
        while following:
            try:
                page = await send("GET", following, **_REQUESTS.get(kind, {}))
            except httpx.HTTPStatusError:
                # Graph may have throttled for too long: the next reading goes on here.
                if rows:
                    yield rows, following
                raise
            rows += page["value"]
            bar.update(len(page["value"]))
            following = page.get("@odata.nextLink")
            if following is None or len(rows) >= _AT_ONCE:
                yield rows, following
                rows = []


def _bar(what: str) -> Any:
    return tqdm(desc=f"{what:<10}", unit=" rows", delay=_LONG, leave=False)
