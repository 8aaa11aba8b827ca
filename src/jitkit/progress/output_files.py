"""Writes what a report holds for other programs, as CSV and as one workbook, and what was collected, as Parquet."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from jitkit.files import write_private
from jitkit.progress.tables import DICTIONARY, KINDS, Extent, Remark, Tables, refusal
from jitkit.progress.wording import moment

if TYPE_CHECKING:
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

WORKBOOK: Final = "report.xlsx"
_OF_THE_OWNER: Final = ("stragglers.csv", WORKBOOK)  # they list people by their ids
_MOST_ROWS: Final = 20_000  # of a sheet; longer tables are in their CSV alone
_AT_ONCE: Final = 50_000  # rows of a CSV: more would need much memory
_NOTE: Final = ".collected.json"
_ACTS: Final = ("=", "#", "+", "-", "@")  # what a spreadsheet reads, or would on the next edit, as more than text


def as_csv(frame: pd.DataFrame) -> bytes:
    """Write a table as CSV that a spreadsheet opens: with its mark of UTF-8, times in UTC, and nothing that acts."""
    heading = pd.DataFrame(columns=_csv_cells(pd.Series([*map(str, frame)], dtype="str")).to_pylist())
    written = io.BytesIO()
    written.write(heading.to_csv(index=False, lineterminator="\n").encode("utf-8-sig"))
    with TemporaryDirectory() as folder:  # DuckDB writes files alone, in a quarter of the time
        path = Path(folder, "rows.csv")
        for begin in range(0, len(frame), _AT_ONCE):
            cells = [_csv_cells(column) for _, column in frame.iloc[begin : begin + _AT_ONCE].items()]
            rows = duckdb.from_arrow(pa.table(cells, names=[*map(str, range(len(cells)))]))
            rows.write_csv(str(path), header=False, timestamp_format="%Y-%m-%d %H:%M:%S")
            written.write(path.read_bytes())
    return written.getvalue()


def _csv_cells(column: pd.Series) -> pa.Array:
    if pd.api.types.is_datetime64_any_dtype(column):
        return pa.array(column.dt.tz_localize(None))
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return pa.array(column.replace([np.inf, -np.inf], np.nan), from_pandas=True)
    texts = column.astype("str").replace("", None)
    return pa.array(texts.str.replace(r"^([=+\-@\t\r])", r"'\1", regex=True), from_pandas=True)


def as_workbook(frames: Mapping[str, pd.DataFrame], as_of: pd.Timestamp | None) -> bytes:
    """Write tables as one workbook: a sheet a table, times as Excel's own (UTC), texts as texts, a data dictionary."""
    from openpyxl import Workbook
    from openpyxl.utils import get_column_letter

    rows = [("", "", f"As of {moment(as_of)}. All times are UTC.")]
    for name, frame in frames.items():
        long = f" Not in this workbook, as it has {len(frame):,} rows: see {name}.csv." * (len(frame) > _MOST_ROWS)
        rows.append((name, "", DICTIONARY["sheets"][name] + long))
        rows += [(name, column, DICTIONARY["columns"].get(column, DICTIONARY["other"])) for column in map(str, frame)]
    dictionary = pd.DataFrame(rows, columns=["sheet", "column", "meaning"])
    book = Workbook(write_only=True)
    for name, frame in {"dictionary": dictionary, **frames}.items():
        if len(frame) > _MOST_ROWS:
            continue
        sheet = book.create_sheet(name)
        sheet.freeze_panes = "A2"
        for number, column in enumerate(map(str, frame), start=1):
            widest = max(map(len, [column, *frame[column].head(200).map(str)]))
            sheet.column_dimensions[get_column_letter(number)].width = min(widest + 2, 60)  # characters
        sheet.append([*_cells(sheet, pd.Series([*map(str, frame)]))])
        for cells in zip(*(_cells(sheet, frame[column]) for column in frame), strict=True):
            sheet.append(cells)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def _cells(sheet: WriteOnlyWorksheet, column: pd.Series) -> Iterator[Any]:
    """Give the cells of a column: numbers, dates and times without a zone, and texts that no program calculates."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if dated := pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.tz_localize(None)
        column = column.dt.date if (column.dropna() == column.dropna().dt.normalize()).all() else column
    for value in column.astype("object"):
        if pd.isna(value) or value in (np.inf, -np.inf):
            yield None
        elif dated or isinstance(value, (int, float, np.number)):
            yield value
        else:
            text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", str(value))
            if text.startswith(_ACTS):
                cell = WriteOnlyCell(sheet, text)
                cell.data_type, cell.quotePrefix = "s", True
            yield cell if text.startswith(_ACTS) else text


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, which is made if it is not there; lists of people are their owner's alone.

    Each is replaced in one step, so that no reader sees half of it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            part, mode = folder / f".{name}.{os.getpid()}", 0o600 if name in _OF_THE_OWNER else 0o666
            try:
                with open(part, "xb", opener=partial(os.open, mode=mode)) as file:
                    file.write(content)
                part.replace(folder / name)
            finally:
                part.unlink(missing_ok=True)
    except OSError as problem:
        raise refusal("not_written", folder=folder, why=problem.strerror) from None


def save_tables(tables: Tables, folder: Path) -> None:
    """Write tables as Parquet, readable by their owner alone, and note what their rows do not show.

    That is when they were collected, from when to when each log was read, and which one the tenant refused.
    """
    for kind in KINDS:
        write_private(folder / f"{kind}.parquet", getattr(tables, kind).to_parquet(index=False))
    note = {"as_of": tables.as_of, "extents": tables.extents, "remarks": tables.remarks, "unread": dict(tables.unread)}
    write_private(folder / _NOTE, json.dumps(note, indent=2, default=str).encode())


def noted(tables: Tables, folder: Path) -> Tables:
    """Take into new tables what `save_tables` noted in their folder, if they are all that was read; return them."""
    path, read = folder / _NOTE, sorted(each.file for each in tables.sources)
    if not path.exists() or read != sorted(f"{kind}.parquet" for kind in KINDS):
        return tables
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        tables.as_of, tables.unread = _moment(note["as_of"]), dict(note["unread"])
        tables.remarks = (*tables.remarks, *(Remark(*each) for each in note["remarks"]))
        tables.extents = {
            kind: Extent(rows, _moment(since), _moment(until), flaw, tuple(missing))
            for kind, (rows, since, until, flaw, missing) in note["extents"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise refusal("changed_note", path=path) from None
    return tables


def _moment(text: str | None) -> pd.Timestamp | None:
    return None if text is None else pd.Timestamp(text)
