"""Read tables from files: CSV, JSON lines and Parquet, of the kit or exported from Log Analytics."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress import exports
from jitkit.progress.json_lines import read_fast
from jitkit.progress.tidy import KINDS, tidy

__all__ = ["read_audits", "read_table"]

_Read = TypeVar("_Read")

_CSV: Final[dict[str, Any]] = {
    "dtype": str,
    "keep_default_na": False,
    "na_values": ["", "NULL"],
    "encoding": "utf-8-sig",
    # A separator at the end of each row would make the first column an index otherwise.
    "index_col": False,
}


def read_table(path: Path | str, kind: str) -> pd.DataFrame:
    """Read one of the tables from a file.

    Besides the kit's own columns, exports of Log Analytics are known by theirs: `SigninLogs` as sign_ins; `AppRequests`
    and `AppTraces` as ledger.

    Args:
        path: CSV (`.csv`), JSON lines or one JSON array (`.jsonl`, `.ndjson`, `.json`) or Parquet (`.parquet`).
        kind: users, sign_ins or ledger.

    Returns:
        the table in its columns and types.

    Raises:
        BadTable: the file is missing, is of another kind, or does not fit.
    """
    # Nothing here holds the rows while they are made tidy: there may be millions.
    return tidy(_rows(Path(path), kind), kind)


def read_audits(path: Path | str) -> list[dict[str, Any]]:
    """Read an export of the directory's audit log, from Graph (`directoryAudit`) or Log Analytics (`AuditLogs`).

    Args:
        path: as for `read_table`.

    Returns:
        `directoryAudit` objects with what tells of flags and passwords.

    Raises:
        BadTable: the file is missing, or is no audit log.
    """
    return exports.audits(_frame(Path(path)))


def _rows(path: Path, kind: str) -> pd.DataFrame:
    frame = _guarded(path, lambda: read_fast(path, kind) if _is_json(path) else None)
    if frame is not None:
        return frame
    frame = _frame(path)
    if not len(frame.columns):
        frame = pd.DataFrame({name: [] for name in KINDS[kind]})
    return exports.translated(frame, kind)


def _frame(path: Path) -> pd.DataFrame:
    match path.suffix.lower():
        case ".csv":
            return _guarded(path, lambda: _csv(path))
        case ".parquet":
            return _guarded(path, lambda: pd.read_parquet(path))
        case _ if _is_json(path):
            return _guarded(path, lambda: pd.DataFrame(_objects(path)))
        case other:
            raise BadTable(
                f"{path.name} ends in {other or 'nothing'}: it is not known how to read that.",
                next_step="Give a .csv, .jsonl or .parquet file.",
            )


def _csv(path: Path) -> pd.DataFrame:
    """Read text with commas, or with the semicolons or tabs of a spreadsheet, whose decimals may have commas then."""
    with path.open(encoding="utf-8-sig") as lines:
        heading = lines.readline()
    separator = max(",;\t", key=heading.count)
    with warnings.catch_warnings():
        # What has no heading would be dropped with a warning, and the other columns may be shifted.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.DataFrame(pd.read_csv(path, sep=separator, **_CSV))
        except pd.errors.ParserWarning:
            raise BadTable(
                f"{path.name} has rows with more cells than its heading.",
                next_step="Give each column a name, and put texts that hold a separator into quotes.",
            ) from None
    if separator != ",":
        decimals = [name for name in ("duration_ms", "DurationMs") if name in frame]
        frame[decimals] = frame[decimals].apply(lambda column: column.str.replace(",", "."))
    return frame


def _is_json(path: Path) -> bool:
    return path.suffix.lower() in (".jsonl", ".ndjson", ".json")


def _guarded(path: Path, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except pd.errors.EmptyDataError:
        return pd.DataFrame()  # type: ignore[return-value]
    except FileNotFoundError:
        raise BadTable(f"There is no file {path}.", next_step="Check the path.") from None
    except UnicodeDecodeError:
        raise BadTable(f"{path.name} is not UTF-8.", next_step="Save it as UTF-8.") from None
    except OSError as problem:
        raise BadTable(
            f"{path} cannot be read ({problem.strerror}).", next_step="Check that it is a file that you may read."
        ) from None
    except ValueError:
        # pandas and pyarrow quote the offending text; it stays here.
        raise BadTable(f"{path.name} is broken, or not what its name says.", next_step="Export it again.") from None


def _objects(path: Path) -> list[dict[str, Any]]:
    """Read one object a line, or one array. A line that a stopped writer or a crash tore is passed over."""
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if not rows and line.lstrip().startswith("["):
                return _array(path)
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            elif line.endswith("\n") and not _torn(line):
                raise BadTable(
                    f"Line {number} of {path.name} is not a JSON object.",
                    next_step="Give a file with one JSON object a line.",
                )
    return rows


def _array(path: Path) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text(encoding="utf-8-sig"))
    if not all(isinstance(row, dict) for row in rows):
        raise BadTable(f"{path.name} holds more than objects.", next_step="Give an array of JSON objects.")
    return list(rows)


def _torn(line: str) -> bool:
    return line.lstrip().startswith("{") and not line.rstrip().endswith("}")
