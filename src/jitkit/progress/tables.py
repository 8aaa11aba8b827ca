"""The three tables that every figure is made from: users, sign-ins and the endpoint's ledger.

`tidy` brings rows into a table's columns and types, each row once, in one order. Its cost is linear: user and app ids
become categories (a number a row), sorting looks at numbers, and only rows that share time and user are compared.
"""

from __future__ import annotations

import ctypes
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, wraps
from importlib.resources import files
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import union_categoricals

from jitkit.errors import BadTable

_Figure = TypeVar("_Figure")
_Further = ParamSpec("_Further")


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((files("jitkit.progress") / name).read_text(encoding="utf-8"))


TEXTS: Final = _read("texts.toml")
"""What the figures say in words."""

DICTIONARY: Final = _read("dictionary.toml")
"""What the tables of a report hold."""

COLUMNS: Final = _read("columns.toml")
KINDS: Final[dict[str, dict[str, str]]] = COLUMNS["tables"]
NEEDED: Final[dict[str, list[str]]] = COLUMNS["needed"]

PATHS: Final = ("callout", "silent", "reset")
"""How a user was moved: by a call answered MigratePassword, by a stored password that matched, by a new password."""

NEVER: Final = np.iinfo("int64").min
"""What `micros` returns for a missing time; pandas reads it as no time again."""

LOGS: Final = ("sign_ins", "ledger")
_COUNTED: Final = ("zeros", "untimed")  # what is counted while a table is read, for a remark
DAY: Final = pd.Timedelta(days=1)
QUIET: Final = 2 * DAY
"""How long a log may be silent at its ends before it counts as one that begins late or ends early."""
_MANY: Final = 0.1  # share of the moves
_ROUND: Final = 10_000  # portals and tools stop an export at a multiple of this many rows

_LARGEST: Final = 2**31 - 1
_PIECE: Final = 250_000  # rows of texts that are sorted at a time
SPELLED: Final = r"^(\d\d?)([./])(\d\d?)[./](\d{4})(?:,?\s+(\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?:\s?[AaPp][Mm])?))?$"
NAMED: Final = r"(?:[A-Za-z]{3}, ?)?(?:\d\d?[- ][A-Za-z]{3,9}|[A-Za-z]{3,9} \d\d?,?)[- ]\d{4}\b"  # with a month's name
_ISO: Final = r"\d{4}[-/]\d{1,2}[-/]\d|\d{8}"
_TICKS: Final = r"^(?:\\?/Date\(|(?=\d{13}$))(-?\d{1,15})(?:(?:[+-]\d{4})?\)\\?/)?$"  # alone, or of PowerShell 5
_NO_DAY: Final = "^0000-00-00.*$"  # of MySQL
# No migration has times outside of these.
EARLIEST: Final = pd.Timestamp("2000-01-01", tz="UTC")
AHEAD: Final = pd.Timedelta(days=5 * 365)
# What would act instead of being read: escapes of a terminal, marks that turn a text's direction, no XML at all.
_CONTROL: Final = "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]"
_ADDRESS: Final = r"\S@\S+\.\S"
_ZONED: Final = r"(?:[Zz]|GMT|UTC|[T:].*[+-]\d{2}(?::?\d{2})?)$"
_SHOWN: Final = 40  # characters of a cell that an error shows
# A further column of users with more different texts than this, and one for every two users, names them.
_GROUPS: Final = 10


class Spelling(NamedTuple):
    """What a person says about times that no look can decide."""

    dates: str = ""
    """How dates with slashes are written that could be read in two ways: day-first or month-first; or `excel`, where
    bare numbers are the serial numbers of a spreadsheet."""
    zone: str = "UTC"
    """The time zone of times that name none, such as Europe/Berlin."""


AS_WRITTEN: Final = Spelling()
"""Nothing is said about times."""


class Extent(NamedTuple):
    """What is there of a log: how many rows were read, from when to when, and what is wrong with it, in a word."""

    rows: int
    since: pd.Timestamp | None
    until: pd.Timestamp | None
    flaw: str = ""  # absent, empty, cut, or nothing
    missing: tuple[str, ...] = ()  # days inside that are known not to have been read


class Source(NamedTuple):
    """A file that was read: what it was taken for, and what kinds of rows it gave."""

    file: str
    taken_for: str
    gives: tuple[str, ...]
    more: bool = False  # whether it names a next page


class Remark(NamedTuple):
    """What does not fit in the data: a phrase after a count of rows, the likely cause, what to do about it."""

    finding: str
    rows: int
    cause: str
    remedy: str


def remark(name: str, rows: int, detail: str = "") -> Remark:
    """Write a remark of `texts.toml` with its number of rows."""
    words = TEXTS["quality"][name]
    return Remark(words["finding"], rows, words["cause"].format(detail), words["remedy"])


def refusal(name: str, **values: Any) -> BadTable:
    """Write a refusal of `texts.toml`: what happened, and what to do next."""
    words = TEXTS["refusals"][name]
    return BadTable(words["happened"].format(**values), next_step=words["next"].format(**values))


@dataclass(eq=False)
class Tables:
    """What is known about a migration: tables with the columns of `columns.toml`, brought into their types.

    Args:
        users: one row a user in scope. `migrated_at` is set when the flag is false. Without `flagged_at` and
            `migrated_at` a user is staged: no flag yet.
        sign_ins: one row a sign-in.
        ledger: one row a call that the endpoint answered.
        as_of: the moment that the tables describe, UTC if it names no time zone; by default the last moment in them,
            not counting flags that are yet to be set.
        remarks: what the collector noticed and the tables themselves do not show.
        unread: the logs that the tenant did not let be read, `sign_ins` or `audits`, each with a sentence that says
            why. What such a log would say is not known, also where an older part of it is in the tables.
        extents: from when to when each log was read; by default from its first row to its last one.
        sources: the files that were read.
        planned: users who are not in scope yet: their flag is set after `as_of`.
        no_time: how many of those who moved count as moved at the last moment, because nothing says when.
    """

    users: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    sign_ins: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    ledger: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    as_of: pd.Timestamp | None = None
    remarks: tuple[Remark, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    extents: dict[str, Extent] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    planned: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    no_time: int = 0
    kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)  # what `once` has computed

    def __post_init__(self) -> None:
        found = {}
        for kind in KINDS:
            absent = not len(getattr(self, kind).columns)
            table = tidy(getattr(self, kind), kind)
            setattr(self, kind, table)
            found[kind] = table.attrs.pop("rows"), absent
            give_back()
            for name in _COUNTED:
                if count := table.attrs.pop(name, 0):
                    self.remarks = (*self.remarks, remark(name, count, kind))
        now = pd.Timestamp.now("UTC")
        self.as_of = self._last(now) if self.as_of is None else in_utc(self.as_of)
        # The clock of a rehearsal's tenant may be months ahead.
        latest = max(now + DAY, self.as_of or now)
        self.extents = {kind: _extent(getattr(self, kind), *found[kind], latest) for kind in LOGS} | self.extents

    def _last(self, now: pd.Timestamp) -> pd.Timestamp | None:
        """Find the last moment in the tables that has passed; the last one where all are to come."""
        columns = (self.users["flagged_at"], self.users["migrated_at"], self.sign_ins["time"], self.ledger["time"])
        # A flag may be planned; of a log, a clock may be wrong, by up to a day without a word, or a year mistyped.
        past = [column[column <= until] for column, until in zip(columns, (now, *3 * [now + DAY]), strict=True)]
        known = [each.max() for each in (past if any(map(len, past)) else columns[1:]) if each.notna().any()]
        return max(known, default=None)

    @property
    def undated(self) -> int:
        """How many moves nothing dates, if they are so many that no figure may rest on when people moved."""
        return self.no_time if self.no_time > _MANY * self.users["migrated_at"].count() else 0

    def until(self, as_of: pd.Timestamp) -> Tables:
        """Return the tables as they were at a moment (UTC if it names no zone): without what came later."""
        moment = in_utc(as_of)
        coming = self.users["flagged_at"] > moment
        users, later = self.users[~coming], self.users["migrated_at"] > moment
        users = users.assign(migrated_at=users["migrated_at"].mask(later), path=users["path"].mask(later))
        logs = {kind: getattr(self, kind) for kind in LOGS}
        ended = {kind: log.iloc[: int(log["time"].searchsorted(moment, side="right"))] for kind, log in logs.items()}
        return self.part(moment, self.users[coming], users=users, **ended)

    def part(self, as_of: pd.Timestamp | None, planned: pd.DataFrame, **tables: pd.DataFrame) -> Tables:
        """Return some rows of all three tables. They are tidy: nothing is sorted or compared once more."""
        same = {name: getattr(self, name) for name in ("remarks", "unread", "extents", "sources", "no_time")}
        made = Tables(as_of=as_of, planned=planned, **same)
        for kind, rows in tables.items():
            setattr(made, kind, rows.reset_index(drop=True))
        return made

    @cached_property
    def began(self) -> pd.Timestamp | None:
        """When the first flag was set, or else the first user was moved; None before that."""
        columns = (self.users["flagged_at"], self.users["migrated_at"])
        return next((column.min() for column in columns if column.notna().any()), None)

    @cached_property
    def watched_since(self) -> pd.Timestamp | None:
        """Since when the sign-in log is known whole up to `as_of`; None where nothing follows from its silence."""
        log, as_of = self.extents["sign_ins"], self.as_of
        if log.flaw or "sign_ins" in self.unread or as_of is None or log.since is None or log.until is None:
            return None
        if log.until < as_of - QUIET:
            return None
        return log.since if self.began is None or log.since > self.began + QUIET else min(log.since, self.began - QUIET)

    @property
    def blind(self) -> bool:
        """Whether the sign-in log does not reach from the first flag to `as_of`, or was not read at all."""
        return self.watched_since is None or (self.began is not None and self.watched_since > self.began)

    @cached_property
    def people(self) -> np.ndarray:
        """For each sign-in, the row of its user; -1 for a user who is not in scope."""
        return index_in(self.sign_ins["user_id"], self.users["user_id"])

    @cached_property
    def callers(self) -> np.ndarray:
        """For each line of the ledger, the row of its user; -1 for a user who is not in scope."""
        return index_in(self.ledger["user_id"], self.users["user_id"])

    @cached_property
    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Number the ledger's correlation ids: for each sign-in and each line its number; -1 without, or elsewhere."""
        lines, known = pd.factorize(self.ledger["correlation_id"])
        return index_in(self.sign_ins["correlation_id"], known), lines

    @cached_property
    def asked(self) -> np.ndarray:
        """Marks the sign-ins that ran a callout."""
        return self.sign_ins["callout_error"].notna().to_numpy()

    @cached_property
    def succeeded(self) -> np.ndarray:
        """Marks the sign-ins that succeeded."""
        return self.sign_ins["result_code"].eq(0).to_numpy(dtype=bool, na_value=False)


def _extent(log: pd.DataFrame, rows: int, absent: bool, latest: pd.Timestamp) -> Extent:
    if not len(log):
        return Extent(0, None, None, "absent" if absent else "empty")
    time = log["time"]
    past = int(time.searchsorted(latest, side="right"))
    ends = time.iloc[0], time.iloc[(past or len(time)) - 1]
    return Extent(len(log), *ends) if rows % _ROUND else Extent(rows, *ends, "cut")


def give_back() -> None:
    """Give memory that is free back to the system; the C library of Linux would keep it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def numbered(codes: np.ndarray, texts: pd.Index) -> pd.Categorical:
    """Keep texts that are different, and for each row the number of one of them; -1 for none."""
    # To see that they are different, pandas would make a Python text of each and a hash table, and keep both.
    of_texts = getattr(pd.CategoricalDtype, "_from_fastpath", pd.CategoricalDtype)
    return pd.Categorical.from_codes(codes, dtype=of_texts(texts, ordered=False))


def once(figure: Callable[Concatenate[Tables, _Further], _Figure]) -> Callable[Concatenate[Tables, _Further], _Figure]:
    """Compute a figure once for each `Tables`; others are made from it, so callers must not change it."""

    @wraps(figure)
    def kept(tables: Tables, /, *args: _Further.args, **kwargs: _Further.kwargs) -> _Figure:
        key = (figure, args)
        if key not in tables.kept:
            tables.kept[key] = figure(tables, *args, **kwargs)
            give_back()
        result: _Figure = tables.kept[key]
        return result

    return kept


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a small table, each by the names of its columns."""
    return frame.to_dict("records")  # type: ignore[return-value]


def in_utc(moment: pd.Timestamp) -> pd.Timestamp:
    """Return a moment in UTC; one without a zone is in UTC already."""
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def micros(times: pd.Series) -> np.ndarray:
    """Return times as microseconds since the epoch, `NEVER` for a missing one; not to be written to."""
    index = pd.DatetimeIndex(times)
    numbers: np.ndarray = (index if index.unit == "us" else index.as_unit("us")).asi8
    return numbers


def moments(numbers: np.ndarray) -> pd.Series:
    """Return microseconds since the epoch as times (UTC)."""
    return pd.Series(pd.DatetimeIndex(numbers.view("M8[us]")).tz_localize("UTC"))


class _Unfit(ValueError):
    """The value at this position does not fit its column."""

    def __init__(self, unfit: pd.Series) -> None:
        super().__init__("a value does not fit its column")
        self.at = int(np.flatnonzero(unfit)[0])


def times(column: pd.Series, spelling: Spelling = AS_WRITTEN) -> pd.Series:
    """Read times: in ISO 8601, or in a spelling of which the rows show what is the month; UTC if nothing else is said.

    Raises ValueError for numbers, which name no moment, and for dates that could be read in two ways.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return pd.Series(column.dt.tz_convert("UTC").dt.as_unit("us"))
    if pd.api.types.is_datetime64_dtype(column):
        return _placed(column, spelling.zone)
    if pd.api.types.is_numeric_dtype(column) and column.notna().any() and spelling.dates != "excel":
        raise _Unfit(column.notna())
    texts = column.astype("str").str.strip().str.replace(_NO_DAY, "0001-01-01", regex=True).replace("", None)
    # pandas would take `now` for a time, and a year for its first day.
    read = _placed(texts.where(texts.str.match(_ISO)), spelling.zone)
    if (left := texts.notna() & read.isna()).any():
        ticks = pd.to_numeric(texts.where(left).str.extract(_TICKS)[0], errors="coerce").astype("Int64")
        read = read.fillna(pd.to_datetime(ticks, unit="ms", utc=True).dt.as_unit("us"))
        read = read.fillna(_placed(texts.where(left & texts.str.match(NAMED)), spelling.zone, "mixed"))
    if (left := texts.notna() & read.isna()).any():
        read[left] = _spelled(texts, left, spelling)
    return read


def _placed(texts: pd.Series, zone: str, written: str = "ISO8601") -> pd.Series:
    """Read times; those that name no zone are in this one. What cannot be read is missing."""
    read = pd.to_datetime(texts, utc=True, format=written, errors="coerce").dt.as_unit("us")
    if zone == "UTC" or not len(texts):
        return pd.Series(read)
    bare = read.notna()
    if not pd.api.types.is_datetime64_dtype(texts):
        bare &= ~texts.astype("str").str.contains(_ZONED)
    local = read[bare].dt.tz_localize(None)
    # Of an hour that the clock shows twice the first one; one that it leaps over is the hour after.
    first = np.ones(len(local), dtype=bool)
    read[bare] = local.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")
    return pd.Series(read)


def _spelled(texts: pd.Series, left: pd.Series, spelling: Spelling) -> pd.Series:
    """Read times as a browser or a spreadsheet writes them: 31.10.2026 14:05, 10/31/2026, 2:05:33.123 PM or 46326.5."""
    parts = texts.where(left).str.extract(SPELLED)
    numbers = pd.to_numeric(texts.where(left & (spelling.dates == "excel")).str.replace(",", "."), errors="coerce")
    if (unknown := left & numbers.isna() & parts[0].isna()).any():
        raise _Unfit(unknown)
    first, second = (pd.to_numeric(parts[number]) for number in (0, 2))
    slashes = parts[1] == "/"
    day_shown, month_shown = (bool((slashes & (after > 12)).any()) for after in (first, second))
    told = day_shown or month_shown or spelling.dates in ("day-first", "month-first")
    # Only America writes AM and PM in capitals.
    if not told and (undecided := slashes & (parts[4].str[-1:] != "M")).any():
        raise _Unfit(undecided)
    first_is_day = ~slashes | day_shown | (spelling.dates == "day-first" and not month_shown)
    day, month = first.where(first_is_day, second), second.where(first_is_day, first)
    dates = parts[3] + "-" + month.astype("Int64").astype("str") + "-" + day.astype("Int64").astype("str")
    read = pd.to_datetime(dates.str.cat(parts[4].fillna("00:00"), " "), format="mixed", errors="coerce")
    read = read.fillna(pd.to_datetime(numbers, unit="D", origin="1899-12-30", errors="coerce").dt.round("s"))
    if (impossible := left & read.isna()).any():
        raise _Unfit(impossible)
    return _placed(read[left], spelling.zone)


def _possible(read: pd.Series, frame: pd.DataFrame, name: str, kind: str) -> pd.Series:
    """Take the zero or the end of another system's clock for no time, and refuse a time that cannot be.

    A flag that is yet to be set may have any time to come.
    """
    early, late = read < EARLIEST, read > pd.Timestamp.now("UTC") + AHEAD
    if not (early | late).any():
        return read
    zeros = (early | late) & read.dt.strftime("%Y-%m-%d").isin(COLUMNS["times"]["zeros"])
    odd = (early if name == "flagged_at" else early | late) & ~zeros
    if odd.any():
        at = int(np.flatnonzero(odd)[0])
        raise refusal("odd_year", column=name, kind=kind, year=read.iloc[at].year, cell=_cell(frame, name, at))
    frame.attrs["zeros"] = frame.attrs.get("zeros", 0) + int(zeros.sum())
    return read.mask(zeros)


def _cell(frame: pd.DataFrame, name: str, at: int) -> str:
    """Name a cell by its row, with its value, which is cut and cannot act."""
    value = plain_text(str(frame[name].iloc[at]))
    return f"{row_of(frame, at)}: “{value[:_SHOWN]}{'…' * (len(value) > _SHOWN)}”"


def row_of(frame: pd.DataFrame, at: int) -> str:
    """Name a row by its number (the heading is none) and its file."""
    row, file = frame.index[at], frame.attrs.get("file")
    return f"row {(row if isinstance(row, (int, np.integer)) else at) + 1:,}" + (f" of {file}" if file else "")


def index_in(texts: pd.Series | pd.Index, known: pd.Series | pd.Index) -> np.ndarray:
    """Find the first position of each text in `known`, by Apache Arrow; -1 where it is not there, or missing."""
    if isinstance(texts.dtype, pd.CategoricalDtype):
        column: Any = texts.array
        rows: np.ndarray = np.append(index_in(column.categories, known), np.int32(-1))[column.codes]
    else:
        found = pc.index_in(_arrow(texts), value_set=_arrow(known).combine_chunks(), skip_nulls=True)
        rows = found.fill_null(-1).to_numpy()
    return rows


def _arrow(column: pd.Series | pd.Index) -> pa.ChunkedArray:
    texts = pa.array(column.astype("str").array, pa.large_string())
    return texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])


def tidy(frame: pd.DataFrame, kind: str, spelling: Spelling = AS_WRITTEN) -> pd.DataFrame:
    """Bring rows in any order, as text or as types, into a table's columns and types, sorted and each row once.

    Times that name no zone are in that of `spelling`. Of several rows about one user, the one that knows the earliest
    `migrated_at` counts, whatever their order. Columns of `users` beyond the known ones are kept as dimensions. A frame
    without any column is an empty table.
    Raises BadTable where a needed column is missing, or a value does not fit its column.
    """
    known, whole = KINDS[kind], frame.attrs.pop("typed", False)
    if not len(frame.columns):
        frame = pd.DataFrame(columns=[*known])
    missing = [name for name in NEEDED[kind] if name not in frame.columns]
    if missing:
        held = ", ".join(map(str, frame.columns))
        raise refusal("lacks_columns", kind=kind, missing=", ".join(missing), columns=held, known=", ".join(known))
    columns, rows = {}, len(frame)
    for name, type_ in known.items():
        in_type = whole and type_ == "id" and name in frame
        columns[name] = frame[name] if in_type else typed(frame, name, kind, type_, spelling)
        if whole and name in frame:
            del frame[name]  # nobody else has this frame: a column of millions of rows is not to exist twice
    noted = {"rows": rows} | frame.attrs
    if kind == "users":
        columns |= {str(name): _flat(frame[name]) for name in frame.columns if name not in known}
        people = pd.DataFrame(columns, index=frame.index, copy=False)
        people.attrs |= frame.attrs
        result = _one_row_per_user(people)
    else:
        del frame  # while the columns are sorted, each can then be freed as it is replaced
        result = _in_order(columns)
    result.attrs |= noted
    return result


def united(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the rows of one kind of table from several files together; nothing is sorted yet."""
    if len(frames) < 2:
        return frames[0] if frames else pd.DataFrame()
    joined = {}
    for name in dict.fromkeys(name for frame in frames for name in frame):
        parts = [frame[name] if name in frame else pd.Series(None, frame.index, "object") for frame in frames]
        numbers = all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts)
        joined[name] = pd.Series(union_categoricals(parts)) if numbers else pd.concat(parts, ignore_index=True)
    whole = pd.DataFrame(joined, copy=False)
    counts = [frame.attrs.get("rows", len(frame)) for frame in frames]
    # One file that was cut is enough for the whole to lack rows.
    whole.attrs["rows"] = next((count for count in counts if count and not count % _ROUND), sum(counts))
    whole.attrs |= {name: sum(frame.attrs.get(name, 0) for frame in frames) for name in _COUNTED}
    return whole


def _in_order(columns: dict[str, pd.Series]) -> pd.DataFrame:
    """Sort by time and user, then by all other columns, and drop rows that are the same in every column."""
    if (unknown := columns["time"].isna()).any():
        _take(columns, np.flatnonzero(~unknown))
    if (order := _order(columns)) is not None:
        _take(columns, order)
    time, user = _keys(columns)
    alike = _next_to_alike((time[1:] == time[:-1]) & (user[1:] == user[:-1]))
    # By codes, where a missing user comes first, as above.
    by = ["time", "user_id", *(name for name in columns if name not in ("time", "user_id"))]
    found = pd.DataFrame({name: columns[name].array[alike] for name in by}).assign(user_id=user[alike])
    found = found.set_index(alike).sort_values(by, kind="stable")
    if found.duplicated().any() or (found.index != alike).any():
        order, keep = np.arange(len(time)), np.ones(len(time), dtype=bool)
        order[alike], keep[alike] = found.index, ~found.duplicated()
        _take(columns, order[keep])
    return pd.DataFrame({name: column.array for name, column in columns.items()}, copy=False)


def _keys(columns: Mapping[str, pd.Series]) -> tuple[np.ndarray, np.ndarray]:
    return micros(columns["time"]), columns["user_id"].cat.codes.to_numpy()


def _order(columns: Mapping[str, pd.Series]) -> np.ndarray | None:
    """Order rows by time and user; None if they are in that order."""
    time, user = _keys(columns)
    if (time[1:] < time[:-1]).any():
        return np.lexsort((user, time))
    # Of a log in the order of time, only users of the same moment are sorted.
    rows, order = _next_to_alike(time[1:] == time[:-1]), np.arange(len(time))
    moment = np.cumsum(np.diff(time[rows], prepend=0) > 0) * (int(user.max(initial=0)) + 2) + user[rows]
    order[rows] = rows[np.argsort(moment, kind="stable")]
    return order if (order[1:] < order[:-1]).any() else None


def _next_to_alike(as_next: np.ndarray) -> np.ndarray:
    """Find the rows that are as the next one or as the one before."""
    return np.flatnonzero(np.append(as_next, False) | np.append(False, as_next))


def _take(columns: dict[str, pd.Series], rows: np.ndarray) -> None:
    """Replace each column by some of its rows: no more than one column exists twice at a time, of texts a piece."""
    for name in [*columns]:
        if columns[name].dtype == "str":
            columns[name] = pd.Series(_taken(_arrow(columns.pop(name)), rows), dtype="str")
        else:
            columns[name] = pd.Series(columns.pop(name).array.take(rows))


def _taken(texts: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Take rows a piece at a time: what no later piece needs is freed on the way."""
    pieces = [rows[begin : begin + _PIECE] for begin in range(0, len(rows), _PIECE)]
    needed = np.minimum.accumulate([int(piece.min()) for piece in pieces[::-1]])[::-1]
    found, gone = list[pa.Array](), 0
    for piece, first in zip(pieces, needed.tolist(), strict=True):
        texts, gone = texts.slice(first - gone), first
        found += texts.slice(0, piece.max() + 1 - gone).take(pa.array(piece - gone)).chunks
    return pa.chunked_array(found, pa.large_string())


def without_names(tables: Tables) -> Tables:
    """Take out of new tables the further columns of users that would name people; return the tables.

    Those are addresses, or another text in nearly every row. A remark says which. The column `campaign` stays.
    """
    users, named = tables.users, []
    for name in users.columns.difference([*KINDS["users"], "campaign"], sort=False):
        texts = users[name].dropna()
        if name.lower() in COLUMNS["straggler"]["names"]:
            named.append(name)
        elif pd.api.types.is_string_dtype(texts) and measured(pd.Series(texts.unique())) is None:  # else seen in bands
            values = texts[texts != ""]
            many = values.nunique() > max(_GROUPS, len(values) / 2)
            if many or pd.Series(values.unique()).str.contains(_ADDRESS).any():
                named.append(name)
    if named:  # in place: making other tables would sort the logs once more
        tables.users = users.drop(columns=named)
        tables.remarks = (*tables.remarks, remark("named_people", len(named), ", ".join(named)))
    return tables


def measured(column: pd.Series) -> pd.Series | None:
    """Return the dates or numbers that a column holds; None where it holds texts."""
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return column
    numbers = pd.to_numeric(filled := column.replace("", None), errors="coerce")
    with suppress(ValueError):
        return numbers if numbers.notna().sum() == filled.notna().sum() else times(filled)
    return None


def _one_row_per_user(users: pd.DataFrame) -> pd.DataFrame:
    outside = sorted(set(users["path"].dropna().unique()) - set(PATHS))
    if outside:
        raise refusal("odd_paths", held=", ".join(outside[:5]), known=", ".join(PATHS))
    if users["user_id"].isna().any():
        users = users.dropna(how="all")  # what a spreadsheet leaves below its rows
    if (unknown := users["user_id"].isna()).any():
        raise refusal("no_user_id", row=row_of(users, int(unknown.argmax())))
    if users["user_id"].is_unique:
        return users.sort_values("user_id", ignore_index=True)
    dimensions = [name for name in users.columns if name not in KINDS["users"]]
    chosen = users.sort_values(
        ["user_id", "migrated_at", "flagged_at", "path", *dimensions],
        key=lambda column: column.astype("str") if column.name in dimensions else column,
        kind="stable",
    )
    return chosen.drop_duplicates("user_id", ignore_index=True)


def typed(frame: pd.DataFrame, name: str, kind: str, type_: str, spelling: Spelling) -> pd.Series:
    """Bring a column of a kind of table into its type; raise BadTable where a value does not fit."""
    column = frame[name] if name in frame.columns else pd.Series(None, index=frame.index, dtype="object")
    try:
        match type_:
            case "time":
                return _possible(times(column, spelling), frame, name, kind)
            case "number" if column.dtype != "Int32":
                numbers = _decimals(column)
                if (unfit := (numbers % 1 != 0) & numbers.notna()).any():
                    raise _Unfit(unfit)
                return numbers.astype("Int32")
            case "decimal" if column.dtype != "float64":
                return _decimals(column)
            case "number" | "decimal":
                return column
            case "category":
                return _categories(column)
        texts = column.astype("str")
        plain = texts.str.strip().str.lower() if type_ == "id" else texts.str.strip()
        # Most ids are in lower case already; then a second copy of all of them is not kept.
        texts = texts if plain.equals(texts) else plain
        return texts.mask(texts == "") if (texts == "").any() else texts
    except (ValueError, TypeError, OverflowError) as problem:
        where = f", in {_cell(frame, name, problem.at)}" if isinstance(problem, _Unfit) else ""
        held = {"column": name, "kind": kind, "values": COLUMNS["values"].get(type_, "text"), "where": where}
        raise refusal("unfit_time" if type_ == "time" else "unfit", **held) from None


def _decimals(column: pd.Series) -> pd.Series:
    texts = column.replace("", None)
    numbers = pd.to_numeric(texts, errors="coerce").astype("Float64").astype("float64")
    if (unfit := texts.notna() & ~(numbers.abs() <= _LARGEST)).any():
        raise _Unfit(unfit)
    return numbers


def _categories(column: pd.Series) -> pd.Series:
    """Keep each different text once, in lower case and in alphabetical order, and a number a row."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("str").astype("category")
    texts = _inert(pd.Series(column.cat.categories.astype("str"))).str.strip().str.lower()
    rows, wanted = pd.factorize(texts.where(texts != ""), sort=True)
    codes = np.append(rows, -1).astype("int32")[column.cat.codes.to_numpy()]
    return pd.Series(numbered(codes, wanted.astype("str")), index=column.index)


def _flat(column: pd.Series) -> pd.Series:
    """Write lists and objects as text: nothing can be grouped by them otherwise."""
    if column.dtype == "object":
        nested = column.map(lambda value: isinstance(value, (list, dict, np.ndarray))).astype("bool")
        column = column.mask(nested, column.astype("str")) if nested.any() else column
    return _inert(column) if pd.api.types.is_string_dtype(column) else column


def plain_text(text: str) -> str:
    """Replace characters of a text that would act instead of being read."""
    return re.sub(_CONTROL, "\ufffd", text)


def _inert(texts: pd.Series) -> pd.Series:
    """Replace characters that would act instead of being read."""
    return texts.str.replace(_CONTROL, "\ufffd", regex=True) if texts.str.contains(_CONTROL).any() else texts
