"""Read the lines of an export, whatever separates its fields, and say clearly why a file cannot be read."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jitkit.errors import BadTable

__all__ = ["ASCII_BLANKS", "COLUMNS", "Row", "Rows", "read_rows"]

COLUMNS = (
    "username",
    "password_hash",
    "status",
    "must_change",
    "display_name",
    "country",
    "app",
    "last_legacy_sign_in",
    "hash_scheme",
)
ASCII_BLANKS = " \t\r\n\v\f"

_SAVE_AS = "Save it as UTF-8: in Excel, Save as, 'CSV UTF-8 (Comma delimited)'"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file.

    Args:
        line: where it begins, counted from 1, header included.
        whole: whether it has as many fields as the header; if not, its cells may sit under the wrong names.
        cells: column to text, as exported; a known column that the file lacks is an empty string.
    """

    line: int
    whole: bool
    cells: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file holds.

    Args:
        columns: the header, in lower case.
        rows: each different row once.
        repeats: lines that repeat an earlier line exactly.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    repeats: tuple[Row, ...] = field(repr=False)


def read_rows(path: Path) -> Rows:
    """Read a CSV file with a header.

    Args:
        path: UTF-8, with or without a byte order mark; comma, semicolon or tab between the fields.

    Returns:
        the header, the rows, and the lines that only repeat another.

    Raises:
        BadTable: the file is missing, empty, in another encoding, without `username`, or broken.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            return _read(path, text)
    except UnicodeDecodeError:
        raise _wrong_encoding(path) from None
    except FileNotFoundError:
        raise BadTable(f"There is no file {path}.", next_step="Check the path of the export.") from None
    except OSError as problem:
        raise BadTable(
            f"{path} cannot be read ({problem.strerror}).", next_step="Check that it is a file that you may read."
        ) from None


def _read(path: Path, text: Iterator[str]) -> Rows:
    header = next(text, "")
    if "\0" in header:
        raise _wrong_encoding(path)
    separator = max(",;\t", key=header.count)
    columns = tuple(name.strip(ASCII_BLANKS).lower() for name in next(csv.reader([header], delimiter=separator), []))
    _check_header(path, columns)
    rows: list[Row] = []
    repeats: list[Row] = []
    seen: set[tuple[str, ...]] = set()
    absent = dict.fromkeys(COLUMNS, "")
    for line, fields in _fields(path, text, separator):
        if not any(cell.strip(ASCII_BLANKS) for cell in fields):
            continue
        row = Row(line, len(fields) == len(columns), absent | dict(zip(columns, fields, strict=False)))
        (repeats if fields in seen else rows).append(row)
        seen.add(fields)
    if not rows:
        raise BadTable(f"{path.name} has a header and no rows.", next_step="Export the users again.")
    return Rows(columns, tuple(rows), tuple(repeats))


def _fields(path: Path, text: Iterator[str], separator: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(text, delimiter=separator, strict=True)
    line = 2
    try:
        for fields in reader:
            yield line, tuple(fields)
            line = reader.line_num + 2
    except csv.Error as problem:
        raise BadTable(
            f"{path.name} breaks off in the row that begins on line {line}: {problem}.",
            next_step='Look for a quotation mark that is not closed, or not doubled inside a field ("").',
        ) from None


def _check_header(path: Path, columns: tuple[str, ...]) -> None:
    if not any(columns):
        raise BadTable(f"{path.name} is empty.", next_step="Export the users again, with a header in the first line.")
    for name, count in Counter(columns).items():
        if name in COLUMNS and count > 1:
            raise BadTable(
                f"{path.name} has {count} columns called {name}.", next_step="Keep one of them and rename the others."
            )
    if "username" not in columns:
        known = [name for name in columns if name in COLUMNS]
        # A file without a header would put somebody's name and hash here: show only what looks like column names.
        found = (
            ", ".join(columns[:20])
            if known or all(map(str.isidentifier, columns))
            else "nothing that looks like column names"
        )
        raise BadTable(
            f"{path.name} has no column username. Its first line holds: {found}.",
            next_step="Call the column with the sign-in name 'username'. If the file has no header, add one.",
        )


def _wrong_encoding(path: Path) -> BadTable:
    with path.open("rb") as lines:
        start = lines.read(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
            return BadTable(f"{path.name} is UTF-16, not UTF-8.", next_step=f"{_SAVE_AS}.")
        lines.seek(0)
        bad = next((number for number, line in enumerate(lines, 1) if not _is_utf8(line)), 1)
    return BadTable(
        f"{path.name} is not UTF-8: line {bad} has a byte that does not fit. It is most likely Windows-1252.",
        next_step=f"{_SAVE_AS}; or run iconv -f WINDOWS-1252 -t UTF-8 on it.",
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
