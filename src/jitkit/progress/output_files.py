"""Writes what a report holds for other programs, as CSV and as one workbook, and what was collected, as Parquet."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.files import write_private
from jitkit.progress.tables import DICTIONARY, KINDS, Extent, Remark, Tables
from jitkit.progress.wording import moment

if TYPE_CHECKING:
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

__all__ = ["WORKBOOK", "as_csv", "as_workbook", "noted", "save_tables", "write_all"]

WORKBOOK: Final = "report.xlsx"
_OF_THE_OWNER: Final = ("stragglers.csv", WORKBOOK)  # they list people by their ids
_MOST_ROWS: Final = 20_000  # of a sheet; longer tables are in their CSV alone
_WIDEST, _MEASURED = 60, 200  # characters of a column, and rows that say how wide it is
_LONGEST: Final = 32_767  # characters of a cell, by Excel's format
_NOTE: Final = ".collected.json"
_ACTS: Final = ("=", "#", "+", "-", "@")  # what a spreadsheet reads, or would on the next edit, as more than text
_FORMULA: Final = r"[=+\-@\t\r]"


def as_csv(frame: pd.DataFrame) -> str:
    """Write a table as CSV that a spreadsheet opens: with its mark of UTF-8, times in UTC, and nothing that acts."""
    return "\ufeff" + _inert(frame).to_csv(index=False, lineterminator="\n", date_format="%Y-%m-%d %H:%M:%S")


def _inert(frame: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before texts that a spreadsheet would take for a formula."""
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    safe = frame.copy(deep=False)
    for name in texts:
        words = frame[name].astype("str")
        if (formula := frame[name].notna() & words.str.match(_FORMULA)).any():
            safe[name] = frame[name].astype("object").mask(formula, "'" + words)
    return safe


def as_workbook(frames: Mapping[str, pd.DataFrame], as_of: pd.Timestamp | None) -> bytes:
    """Write tables as one workbook: a sheet a table, times as Excel's own (UTC), texts as texts, a data dictionary."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    rows = [("", "", f"As of {moment(as_of)}. All times are UTC.")]
    for name, frame in frames.items():
        long = f" Not in this workbook, as it has {len(frame):,} rows: see {name}.csv." * (len(frame) > _MOST_ROWS)
        rows.append((name, "", DICTIONARY["sheets"][name] + long))
        rows += [(name, column, DICTIONARY["columns"].get(column, DICTIONARY["other"])) for column in map(str, frame)]
    dictionary = pd.DataFrame(rows, columns=["sheet", "column", "meaning"])
    for name, frame in {"dictionary": dictionary, **frames}.items():
        if len(frame) <= _MOST_ROWS:
            _fill(book.create_sheet(name), frame)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def _fill(sheet: WriteOnlyWorksheet, frame: pd.DataFrame) -> None:
    from openpyxl.utils import get_column_letter

    sheet.freeze_panes = "A2"
    for number, name in enumerate(map(str, frame), start=1):
        widest = max((len(str(value)) for value in frame[name].head(_MEASURED)), default=0)
        sheet.column_dimensions[get_column_letter(number)].width = min(max(widest, len(name)) + 2, _WIDEST)
    sheet.append([*_cells(sheet, pd.Series([*map(str, frame)]))])
    for cells in zip(*(_cells(sheet, frame[name]) for name in frame), strict=True):
        sheet.append(cells)


def _cells(sheet: WriteOnlyWorksheet, column: pd.Series) -> Iterator[Any]:
    """Give the cells of a column: numbers, dates and times without a zone, and texts that no program calculates."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    dated, whole_days = pd.api.types.is_datetime64_any_dtype(column), False
    if dated:
        column = column.dt.tz_localize(None)
        whole_days = bool((column.dropna() == column.dropna().dt.normalize()).all())
    for value in column.astype("object"):
        if pd.isna(value) or (isinstance(value, float) and not np.isfinite(value)):
            yield None
        elif whole_days:
            cell = WriteOnlyCell(sheet, value.to_pydatetime())
            cell.number_format = "yyyy-mm-dd"
            yield cell
        elif dated or isinstance(value, (bool, int, float, np.number)):
            yield value.to_pydatetime() if dated else value
        else:
            text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", str(value))[:_LONGEST]
            if text.startswith(_ACTS):
                cell = WriteOnlyCell(sheet, text)
                cell.data_type, cell.quotePrefix = "s", True
            yield cell if text.startswith(_ACTS) else text


def write_all(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files into a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _write(folder / name, content if isinstance(content, bytes) else content.encode())
    except OSError as problem:
        raise BadTable(
            f"The report cannot be written to {folder} ({problem.strerror}).",
            next_step="Choose a folder that is yours and has room.",
        ) from None


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader sees half of it; lists of people are their owner's alone."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    mode = 0o600 if path.name in _OF_THE_OWNER else 0o666
    try:
        with open(part, "xb", opener=partial(os.open, mode=mode)) as file:
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save_tables(tables: Tables, folder: Path) -> None:
    """Write tables as Parquet, readable by their owner alone, and note what their rows do not show.

    That is when they were collected, from when to when each log was read, and which one the tenant refused.
    """
    for kind in KINDS:
        content = io.BytesIO()
        getattr(tables, kind).to_parquet(content, index=False)
        write_private(folder / f"{kind}.parquet", content.getvalue())
    note = {"as_of": tables.as_of, "extents": tables.extents, "remarks": tables.remarks, "unread": dict(tables.unread)}
    write_private(folder / _NOTE, json.dumps(note, indent=2, default=str).encode())


def noted(tables: Tables, folder: Path) -> Tables:
    """Take into new tables what `save_tables` noted in their folder, if they are all that lies there; return them."""
    path = folder / _NOTE
    if {each.name for each in folder.glob("[!.]*")} != {f"{kind}.parquet" for kind in KINDS}:
        return tables
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        tables.as_of, tables.unread = _moment(note["as_of"]), dict(note["unread"])
        tables.remarks = (*tables.remarks, *(Remark(*each) for each in note["remarks"]))
        tables.extents = {
            kind: Extent(rows, _moment(since), _moment(until), flaw, tuple(missing))
            for kind, (rows, since, until, flaw, missing) in note["extents"].items()
        }
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise BadTable(f"{path} was changed.", next_step="Run jitkit collect again: it is written anew.") from None
    return tables


def _moment(text: str | None) -> pd.Timestamp | None:
    return None if text is None else pd.Timestamp(text)
