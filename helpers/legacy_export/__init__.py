"""Read the export of a legacy user store: the users to create, and what is wrong with the file."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from helpers.legacy_export.hashes import complaint
from helpers.legacy_export.rows import ASCII_BLANKS, Row, Rows, read_rows
from helpers.legacy_export.table import Stored, write_table
from jitkit.display import Table, fold
from jitkit.errors import BadTable

__all__ = ["Export", "LegacyUser", "Problem", "normalise", "read_export"]

_STATUSES = ("active", "locked", "disabled")
_YES = ("1", "true", "t", "yes", "y")
_NO = ("0", "false", "f", "no", "n", "")
_ASIDE = "Set aside: nobody is created."


@dataclass(frozen=True, slots=True)
class LegacyUser:
    """One person of the legacy store, ready to be created in the tenant.

    Args:
        username: the sign-in name, normalised.
        display_name: the name on screen, or an empty string.
        country: as exported, or an empty string.
        app: as exported, or an empty string.
        status: active, locked or disabled.
        must_change: whether the store wants a new password at the next sign-in.
        last_legacy_sign_in: the day of the last sign-in to the old system, or None.
        hash_scheme: as exported, or an empty string.
    """

    username: str
    display_name: str
    country: str
    app: str
    status: str
    must_change: bool
    last_legacy_sign_in: date | None
    hash_scheme: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with one row.

    Args:
        line: the line of the file where the row begins, counted from 1, header included.
        username: the sign-in name as exported; empty where the row is shifted.
        cause: what is wrong, in words.
        result: what happens with the row.
        set_aside: whether the row is left out of the users.
    """

    line: int
    username: str
    cause: str
    result: str
    set_aside: bool


@dataclass(frozen=True)
class Export:
    """A legacy export, read and judged.

    Args:
        path: the file.
        users: the people who can be created, in the file's order.
        problems: what is wrong, in the file's order.
    """

    path: Path
    users: tuple[LegacyUser, ...] = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    _rows: Rows = field(repr=False)

    @property
    def set_aside(self) -> int:
        """How many rows are left out of the users."""
        return sum(problem.set_aside for problem in self.problems)

    def __repr__(self) -> str:
        return f"<{self.path.name}: {len(self.users):,} users, {self.set_aside:,} rows set aside>"

    def _repr_html_(self) -> str:
        counts = Counter((problem.cause, problem.result) for problem in self.problems)
        summary = Table(
            caption=f"{self.path.name}: {len(self.users):,} users to create, {self.set_aside:,} rows set aside",
            columns=("What is wrong", "Rows", "What happens"),
            rows=[(cause, f"{count:,}", result) for (cause, result), count in counts.most_common()],
        )._repr_html_()
        if not self.problems:
            return summary
        each = Table(
            caption="Row by row",
            columns=("Line", "Sign-in name", "What is wrong", "What happens"),
            rows=[(problem.line, problem.username, problem.cause, problem.result) for problem in self.problems],
        )
        return summary + fold("Row by row", each._repr_html_())

    def to_sqlite(self, path: Path | str) -> Path:
        """Write the store as the endpoint's default statement reads it: table `legacy_users`.

        Every row stays as exported, awkward ones too, for the legacy system has them as well. Only the blanks that
        fixed-width columns leave behind a hash go. The file replaces an older one in one step and is its owner's alone.

        Args:
            path: the database file.

        Returns:
            the path.

        Raises:
            BadTable: the export has no password hashes, or the file cannot be written.
        """
        if "password_hash" not in self._rows.columns:
            raise BadTable(
                f"{self.path.name} has no column password_hash, so no password can be checked against it.",
                next_step="Export the hashes too, or let the endpoint ask the legacy system itself.",
            )
        write_table(Path(path), (_stored(row.cells) for row in self._rows.rows))
        return Path(path)


def normalise(username: str) -> str:
    """Make the key under which a sign-in name is found: NFC, no ASCII blanks around it, lower case.

    Dots and plus tags stay, for most stores keep different people apart by them.

    Args:
        username: as exported or typed.

    Returns:
        the key.
    """
    return unicodedata.normalize("NFC", username).strip(ASCII_BLANKS).lower()


def read_export(path: Path | str) -> Export:
    """Read a CSV export of a legacy user store.

    The file is UTF-8 with a header; comma, semicolon or tab separates the fields. `username`, an e-mail address, has to
    be there; `password_hash`, `status`, `must_change`, `display_name`, `country`, `app`, `last_legacy_sign_in` and
    `hash_scheme` may be. Other columns are passed over. A line that repeats an earlier one exactly counts once.

    Args:
        path: the file.

    Returns:
        the users, and what is wrong.

    Raises:
        BadTable: the file cannot be read as such an export.
    """
    path = Path(path)
    read = read_rows(path)
    holders = Counter(normalise(row.cells["username"]) for row in read.rows)
    users: list[LegacyUser] = []
    problems = [_problem(row, "The line repeats an earlier one.", "Passed over.") for row in read.repeats]
    for row in read.rows:
        if cause := _obstacle(row, holders):
            problems.append(_problem(row, cause, _ASIDE))
        else:
            users.append(_user(row.cells))
            problems += _remarks(row, hashed="password_hash" in read.columns)
    return Export(path, tuple(users), tuple(sorted(problems, key=lambda problem: problem.line)), read)


def _problem(row: Row, cause: str, result: str, *, set_aside: bool = True) -> Problem:
    # In a row that is shifted, the cell under `username` may be the hash.
    return Problem(row.line, row.cells["username"] if row.whole else "", cause, result, set_aside)


def _obstacle(row: Row, holders: Mapping[str, int]) -> str:
    """Say why nobody can be created from a row, or nothing."""
    key = normalise(row.cells["username"])
    local, _, domain = key.partition("@")
    if not row.whole:
        return "The line has more or fewer fields than the header: a separator may be unquoted."
    if not key:
        return "The sign-in name is empty."
    if not local or not domain or "@" in domain or any(letter.isspace() for letter in key):
        return "The sign-in name is not an e-mail address."
    if holders[key] > 1:
        return "Several rows have this sign-in name; at most capitals and blanks tell them apart."
    if _text(row.cells["status"]).lower() not in ("", *_STATUSES):
        return f"The status is none of {', '.join(_STATUSES)}."
    if _text(row.cells["must_change"]).lower() not in (*_YES, *_NO):
        return "must_change is neither 1 nor 0."
    return ""


def _remarks(row: Row, *, hashed: bool) -> Iterator[Problem]:
    """Say what is wrong with a row whose person is created all the same."""
    if hashed and (cause := complaint(row.cells["password_hash"].strip(ASCII_BLANKS))):
        yield _problem(row, cause, "Created, but has no old password to move: needs a password reset.", set_aside=False)
    if _text(row.cells["last_legacy_sign_in"]) and _day(row.cells["last_legacy_sign_in"]) is None:
        cause = "last_legacy_sign_in is not a date such as 2026-10-31."
        yield _problem(row, cause, "Created; the date is left empty.", set_aside=False)


def _user(cells: Mapping[str, str]) -> LegacyUser:
    return LegacyUser(
        username=normalise(cells["username"]),
        display_name=_text(cells["display_name"]),
        country=_text(cells["country"]),
        app=_text(cells["app"]),
        status=_text(cells["status"]).lower() or "active",
        must_change=_text(cells["must_change"]).lower() in _YES,
        last_legacy_sign_in=_day(cells["last_legacy_sign_in"]),
        hash_scheme=_text(cells["hash_scheme"]),
    )


def _stored(cells: Mapping[str, str]) -> Stored:
    must_change = _text(cells["must_change"]).lower()
    return (
        cells["username"],
        cells["password_hash"].rstrip(ASCII_BLANKS),
        _text(cells["status"]).lower() or "active",
        # A word that means neither yes nor no counts as yes: the person chooses a new password rather than keeping one.
        0 if must_change in _NO else 1,
    )


def _text(cell: str) -> str:
    """Take the blanks off; the word NULL, which exports write for nothing, is nothing."""
    text = cell.strip(ASCII_BLANKS)
    return "" if text.upper() == "NULL" else text


def _day(cell: str) -> date | None:
    try:
        return datetime.fromisoformat(_text(cell)).date()
    except ValueError:
        return None
