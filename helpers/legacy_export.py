"""Reads the export of a legacy user store: which users to create, what is wrong with the file, and its local copy."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

from helpers.settings import chosen_hides_people
from jitkit.display import Table, fold
from jitkit.endpoint.stores.hashes import problem as hash_problem
from jitkit.errors import BadTable
from jitkit.files import write_private
from jitkit.sign_in_names import BLANKS, clean_name, name_problem, normalise

COLUMNS: Final = (
    "username",
    "password_hash",
    "status",
    "must_change",
    "display_name",
    "country",
    "app",
    "last_legacy_sign_in",
    "hash_scheme",
    "sign_in_type",
    "mail",
    "old_id",
)
# The properties of a user in Graph that an export may bring along, in a column called alike: given_name, givenName.
PROFILE: Final = (
    *("givenName", "surname", "preferredLanguage", "country", "state", "city", "streetAddress", "postalCode"),
    *("companyName", "department", "jobTitle", "mobilePhone"),
)
_PROFILE_COLUMNS: Final = {name.lower(): name for name in PROFILE}
_SIGN_IN_TYPES: Final = {"email": "emailAddress", "emailaddress": "emailAddress", "username": "userName"}
_STATUSES: Final = ("active", "locked", "disabled")
_YES: Final = ("1", "true", "t", "yes", "y")
_NO: Final = ("0", "false", "f", "no", "n", "")
_SKIPPED: Final = "Skipped: no user is created."
_CLEANED: Final = "Created with the clean name. Check that the legacy system finds the account by it."
_SAVE_AS: Final = "Save it as UTF-8: in Excel, Save as, 'CSV UTF-8 (Comma delimited)'"
_LEGACY_USERS: Final = """
CREATE TABLE legacy_users (
    username TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    status TEXT NOT NULL,
    must_change INTEGER NOT NULL
);
CREATE INDEX legacy_users_by_key ON legacy_users (lower(trim(username)));
"""


@dataclass(frozen=True, slots=True)
class LegacyUser:
    """One user of the legacy store, ready to be created in the tenant; a text that was not exported is empty."""

    username: str  # normalised
    display_name: str
    country: str
    app: str
    status: str  # active, locked or disabled
    must_change: bool  # the store wants a new password at the next sign-in
    last_legacy_sign_in: date | None
    hash_scheme: str
    sign_in_type: str = "emailAddress"  # or userName, as Graph calls the kinds of sign-in names
    mail: str = ""  # where mail reaches the person
    old_id: str = ""  # the id in the legacy store
    # What the export says of the person besides, under the names of Graph's properties.
    profile: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with one row."""

    line: int  # where the row begins, counted from 1, header included
    username: str  # as exported, or as cleaned; empty where the row is shifted
    cause: str
    result: str  # what happens with the row
    skipped: bool  # no user is created from it


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file."""

    line: int  # where it begins, counted from 1, header included
    whole: bool  # has as many fields as the header; if not, its cells may be under the wrong names
    cells: Mapping[str, str] = field(repr=False)  # as exported; a known column that the file lacks is empty


@dataclass(frozen=True, slots=True)
class Rows:
    """A CSV file: its header in lower case, each different row once, and the rows that repeat an earlier one."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    repeats: tuple[Row, ...] = field(repr=False)


@dataclass(frozen=True)
class Export:
    """A legacy export: the people who can be created, and what is wrong, both in the file's order."""

    path: Path
    users: tuple[LegacyUser, ...] = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    _rows: Rows = field(repr=False)

    @property
    def skipped(self) -> int:
        """How many rows are left out of the users."""
        return sum(problem.skipped for problem in self.problems)

    def __repr__(self) -> str:
        return f"<{self.path.name}: {len(self.users):,} users, {self.skipped:,} rows skipped>"

    def _repr_html_(self) -> str:
        counts = Counter((problem.cause, problem.result) for problem in self.problems)
        summary = Table(
            caption=f"{self.path.name}: {len(self.users):,} users to create, {self.skipped:,} rows skipped",
            columns=("What is wrong", "Rows", "What happens"),
            rows=[(cause, f"{count:,}", result) for (cause, result), count in counts.most_common()],
        )._repr_html_()
        if not self.problems:
            return summary
        hide = chosen_hides_people()
        each = Table(
            caption="Row by row",
            columns=("Line", *(() if hide else ("Sign-in name",)), "What is wrong", "What happens"),
            rows=[(row.line, *(() if hide else (row.username,)), row.cause, row.result) for row in self.problems],
        )
        return summary + fold("Row by row", each._repr_html_())

    def to_sqlite(self, path: Path | str) -> Path:
        """Write the store as the endpoint's default statement reads it: the table `legacy_users` of a SQLite file.

        Every row stays, also those with problems, because the legacy system has them as well. Only what was cleaned
        off a sign-in name goes, and the blanks that fixed-width columns leave behind a hash.
        """
        if "password_hash" not in self._rows.columns:
            raise BadTable(
                f"{self.path.name} has no column password_hash, so no password can be checked against it.",
                next_step="Export the hashes too, or let the endpoint ask the legacy system itself.",
            )
        write_legacy_users(Path(path), (_stored(row.cells) for row in self._rows.rows))
        return Path(path)


def write_legacy_users(path: Path, rows: Iterable[tuple[str, str, str, int | str]]) -> None:
    """Write username, password_hash, status and must_change of each user as the table `legacy_users` in SQLite."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(_LEGACY_USERS)
        with database:
            database.executemany("INSERT INTO legacy_users VALUES (?, ?, ?, ?)", rows)
        write_private(path, database.serialize())


def read_export(path: Path | str) -> Export:
    """Read a CSV export of a legacy user store.

    The file is UTF-8 with a header; comma, semicolon or tab separates the fields. `username`, an e-mail address or a
    user name, is required; `password_hash`, `status`, `must_change`, `display_name`, `country`, `app`,
    `last_legacy_sign_in`, `hash_scheme`, `sign_in_type` (email or username; else a name without @ is a user name),
    `mail`, `old_id` and the properties of `PROFILE` are optional. Other columns are ignored. A line that repeats an
    earlier one exactly counts once. What stands around a sign-in name and belongs to no name is cleaned off.

    Args:
        path: the file.

    Returns:
        The users, and what is wrong.

    Raises:
        BadTable: the file cannot be read as such an export.
    """
    path = Path(path)
    read = read_rows(path)
    if not read.rows:
        raise BadTable(f"{path.name} has a header and no rows.", next_step="Export the users again.")
    rows, notes = _cleaned_rows(read.rows)
    read = replace(read, rows=rows)
    holders = Counter(normalise(row.cells["username"]) for row in rows)
    users: list[LegacyUser] = []
    problems = [_problem(row, "The line repeats an earlier one.", "Ignored.") for row in read.repeats]
    for row in rows:
        if cause := _obstacle(row, holders):
            problems.append(_problem(row, cause, _SKIPPED))
        else:
            if note := notes.get(row.line):
                problems.append(_problem(row, note, _CLEANED, skipped=False))
            users.append(_user(row.cells))
            problems += _remarks(row, hashed="password_hash" in read.columns)
    return Export(path, tuple(users), tuple(sorted(problems, key=lambda problem: problem.line)), read)


def legacy_copy(export: Path, folder: Path) -> Path:
    """Return the database made from an export; make it when it is missing, and remove the ones of other exports.

    Its name tells which state of which file it was made from.
    """
    try:
        found = export.resolve().stat()
    except OSError as problem:
        raise BadTable(
            f"The export {export} cannot be read ({problem.strerror}).",
            next_step="Check the path that kit.choose got as `export` in notebook 00.",
        ) from None
    state = f"{export.resolve()}\n{found.st_mtime_ns}\n{found.st_size}"
    path = folder / f"legacy-{hashlib.sha256(state.encode(errors='surrogateescape')).hexdigest()[:12]}.sqlite3"
    if not path.exists():
        read_export(export).to_sqlite(path)
        for other in folder.glob("legacy-*.sqlite3"):
            if other != path:
                with contextlib.suppress(PermissionError):  # Windows keeps what an endpoint has open
                    other.unlink(missing_ok=True)
    return path


def _problem(row: Row, cause: str, result: str, *, skipped: bool = True) -> Problem:
    # In a row that is shifted, the cell under `username` may be the hash.
    return Problem(row.line, row.cells["username"] if row.whole else "", cause, result, skipped)


def _obstacle(row: Row, holders: Mapping[str, int]) -> str:
    """Return why no user can be created from a row; empty when one can."""
    key = normalise(_text(row.cells["username"]))
    if not row.whole:
        return "The line has more or fewer fields than the header: a separator may be unquoted."
    if not key:
        return "The sign-in name is empty."
    if cause := name_problem(key, _sign_in_type(row.cells)):
        return cause
    if holders[key] > 1:
        return "Several rows have this sign-in name; at most capitals and blanks distinguish them."
    if _text(row.cells["status"]).lower() not in ("", *_STATUSES):
        return f"The status is none of {', '.join(_STATUSES)}."
    if _text(row.cells["must_change"]).lower() not in (*_YES, *_NO):
        return "must_change is neither 1 nor 0."
    return ""


def _remarks(row: Row, *, hashed: bool) -> Iterator[Problem]:
    """Yield what is wrong with a row whose user is created all the same."""
    if hashed and (cause := hash_problem(row.cells["password_hash"])):
        yield _problem(row, cause, "Created, but has no old password to move: needs a password reset.", skipped=False)
    if _text(row.cells["last_legacy_sign_in"]) and _day(row.cells["last_legacy_sign_in"]) is None:
        cause = "last_legacy_sign_in is not a date such as 2026-10-31."
        yield _problem(row, cause, "Created; the date is left empty.", skipped=False)
    if _text(row.cells["mail"]) and not _mail(row.cells):
        yield _problem(row, "mail is not an e-mail address.", "Created without it.", skipped=False)


def _user(cells: Mapping[str, str]) -> LegacyUser:
    return LegacyUser(
        username=normalise(cells["username"]),
        status=_text(cells["status"]).lower() or "active",
        must_change=_text(cells["must_change"]).lower() in _YES,
        last_legacy_sign_in=_day(cells["last_legacy_sign_in"]),
        **{name: _text(cells[name]) for name in ("display_name", "country", "app", "hash_scheme", "old_id")},
        mail=_mail(cells),
        sign_in_type=_sign_in_type(cells),
        profile={
            name: _text(value)
            for column, value in cells.items()
            if (name := _PROFILE_COLUMNS.get(column.replace("_", ""))) and _text(value)
        },
    )


def _mail(cells: Mapping[str, str]) -> str:
    name = normalise(clean_name(_text(cells["mail"]))[0])
    return "" if name_problem(name, "emailAddress") else name


def _sign_in_type(cells: Mapping[str, str]) -> str:
    said = _text(cells["sign_in_type"])
    return _SIGN_IN_TYPES.get(said.lower(), said) or ("emailAddress" if "@" in cells["username"] else "userName")


def _cleaned_rows(rows: Iterable[Row]) -> tuple[tuple[Row, ...], dict[int, str]]:
    """Clean the sign-in names that are possible then; return the rows, and by line what was cleaned off."""
    cleaned, notes = [], dict[int, str]()
    for row in rows:
        name, note = clean_name(row.cells["username"])
        clean = replace(row, cells={**row.cells, "username": name})
        possible = note and row.whole and not name_problem(normalise(name), _sign_in_type(clean.cells))
        cleaned.append(clean if possible else row)
        if possible:
            notes[row.line] = note
    return tuple(cleaned), notes


def _stored(cells: Mapping[str, str]) -> tuple[str, str, str, int]:
    # A must_change that means neither yes nor no counts as yes: the person chooses a new password, which is safe.
    must_change = _text(cells["must_change"]).lower() not in _NO
    status = _text(cells["status"]).lower() or "active"
    return cells["username"], cells["password_hash"].rstrip(BLANKS), status, int(must_change)


def _text(cell: str) -> str:
    """Strip blanks; the word NULL, which exports write for nothing, becomes empty."""
    text = cell.strip(BLANKS)
    return "" if text.upper() == "NULL" else text


def _day(cell: str) -> date | None:
    try:
        return datetime.fromisoformat(_text(cell)).date()
    except ValueError:
        return None


def read_rows(path: Path, *, required: tuple[str, ...] = ("username",)) -> Rows:
    """Read a CSV file in UTF-8 whose header has the required columns; comma, semicolon or tab separates the fields."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            return _rows(path, text, required)
    except UnicodeDecodeError:
        raise _wrong_encoding(path) from None
    except FileNotFoundError:
        raise BadTable(f"There is no file {path}.", next_step="Check the path of the export.") from None
    except OSError as problem:
        raise BadTable(
            f"{path} cannot be read ({problem.strerror}).", next_step="Check that it is a file that you may read."
        ) from None


def _rows(path: Path, text: Iterator[str], required: tuple[str, ...]) -> Rows:
    header = next(text, "")
    if "\0" in header:
        raise _wrong_encoding(path)
    separator = max(",;\t", key=header.count)
    columns = tuple(name.strip(BLANKS).lower() for name in next(csv.reader([header], delimiter=separator), []))
    _check_header(path, columns, required)
    rows: list[Row] = []
    repeats: list[Row] = []
    seen: set[tuple[str, ...]] = set()
    absent = dict.fromkeys((*COLUMNS, *required), "")
    reader = csv.reader(text, delimiter=separator, strict=True)
    line = 2
    try:
        for fields in map(tuple, reader):
            if any(cell.strip(BLANKS) for cell in fields):
                row = Row(line, len(fields) == len(columns), absent | dict(zip(columns, fields, strict=False)))
                (repeats if fields in seen else rows).append(row)
                seen.add(fields)
            line = reader.line_num + 2
    except csv.Error as problem:
        raise BadTable(
            f"{path.name} breaks off in the row that begins on line {line}: {problem}.",
            next_step='Look for a quotation mark that is not closed, or not doubled inside a field ("").',
        ) from None
    return Rows(columns, tuple(rows), tuple(repeats))


def _check_header(path: Path, columns: tuple[str, ...], required: tuple[str, ...]) -> None:
    if not any(columns):
        raise BadTable(f"{path.name} is empty.", next_step="Export the users again, with a header in the first line.")
    for name, count in Counter(columns).items():
        if name in COLUMNS and count > 1:
            raise BadTable(
                f"{path.name} has {count} columns called {name}.", next_step="Keep one of them and rename the others."
            )
    missing = [name for name in required if name not in columns]
    if missing:
        # A file without a header would put a user's name and hash here: show only what looks like column names.
        names = any(name in COLUMNS for name in columns) or all(map(str.isidentifier, columns))
        found = ", ".join(columns[:20]) if names else "nothing that looks like column names"
        raise BadTable(
            f"{path.name} has no column {missing[0]}. Its first line holds: {found}.",
            next_step="Call the column with the sign-in name 'username'. If the file has no header, add one.",
        )


def _wrong_encoding(path: Path) -> BadTable:
    with path.open("rb") as lines:
        start = lines.read(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
            return BadTable(f"{path.name} is UTF-16, not UTF-8.", next_step=f"{_SAVE_AS}.")
        lines.seek(0)
        # A byte that is not UTF-8 is read as a surrogate.
        texts = (line.decode(errors="surrogateescape") for line in lines)
        bad = next((number for number, text in enumerate(texts, 1) if re.search("[\udc80-\udcff]", text)), 1)
    return BadTable(
        f"{path.name} is not UTF-8: line {bad} has a byte that does not fit. It is most likely Windows-1252.",
        next_step=f"{_SAVE_AS}; or run iconv -f WINDOWS-1252 -t UTF-8 on it.",
    )
