"""Reads tables from files: CSV, JSON lines and Parquet, with the kit's own columns or exported from Log Analytics.

JSON lines of the kit's own columns are read by Apache Arrow, a block at a time: only the table's columns are parsed,
and what is held is the result, never the file. Any other shape, such as a torn line or a number written as text, is
read line by line, which can also say what is wrong.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json
from pyarrow import parquet

from jitkit.errors import BadTable
from jitkit.progress.log_analytics import translated
from jitkit.progress.tables import KINDS, NEEDED, tidy, times

_CSV: Final[dict[str, Any]] = {
    "dtype": str,
    "keep_default_na": False,
    "na_values": ["", "NULL"],
    "encoding": "utf-8-sig",
    # A separator at the end of each row would make the first column an index otherwise.
    "index_col": False,
}
_MOST_ROWS: Final = 100_000_000  # a few kilobytes of Parquet may say that they are more
_BLOCK: Final = 8 << 20  # bytes that are parsed at once
_TYPES: Final = {"number": pa.int32(), "decimal": pa.float64()}


def read_table(path: Path | str, kind: str) -> pd.DataFrame:
    """Read one of the tables from a file.

    Exports of Log Analytics are recognised by their columns: `SigninLogs` as sign_ins; `AppRequests` and `AppTraces` as
    ledger.

    Args:
        path: CSV (`.csv`), JSON lines or one JSON array (`.jsonl`, `.ndjson`, `.json`) or Parquet (`.parquet`).
        kind: users, sign_ins or ledger.

    Returns:
        the table in its columns and types.

    Raises:
        BadTable: the file is missing, is of another kind, or does not fit.
    """
    path = Path(path)
    with explained(path):
        # No variable holds the rows while they are made tidy: there may be millions.
        return tidy(_rows(path, kind), kind)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in a BadTable why a file cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise BadTable(f"There is no file {path}.", next_step="Check the path.") from None
    except UnicodeDecodeError:
        raise BadTable(f"{path.name} is not UTF-8.", next_step="Save it as UTF-8.") from None
    except OSError as problem:
        raise BadTable(
            f"{path} cannot be read ({problem.strerror}).", next_step="Check that it is a file that you may read."
        ) from None
    except (ValueError, RecursionError):
        # JSON may be nested too deeply. pandas and pyarrow quote the offending text; it must not be shown.
        raise BadTable(f"{path.name} is broken, or not what its name says.", next_step="Export it again.") from None


def gather(files: Mapping[str, Path], inputs: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Read tables from files whose kind is known, and from files and folders of which the columns say it.

    Returns:
        kind to table; of several files of one kind all rows.

    Raises:
        BadTable: as for `read_table`; a file is of no known kind; or there are no users.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    for kind, path in files.items():
        parts.setdefault(kind, []).append(read_table(path, kind))
    for path in (each for given in inputs for each in _files_in(given)):
        kind = kind_of(path)
        parts.setdefault(kind, []).append(read_table(path, kind))
    if "users" not in parts:
        raise BadTable(
            "No file says who is in scope and who was moved.",
            next_step=f"Give a table of users, with the columns {', '.join(NEEDED['users'])}.",
        )
    return {kind: tidy(pd.concat(frames), kind) if len(frames) > 1 else frames[0] for kind, frames in parts.items()}


def kind_of(path: Path) -> str:
    """Find by its columns which of the tables a file holds.

    Raises:
        BadTable: it is none of them.
    """
    columns = _columns(path)
    for kind, needed in NEEDED.items():
        if set(needed) <= set(columns):
            return kind
    raise BadTable(
        f"{path.name} is no table that is known. It has the columns {', '.join(columns)}.",
        next_step="; ".join(f"{kind} has {', '.join(needed)}" for kind, needed in NEEDED.items()) + ".",
    )


def _files_in(given: Path) -> list[Path]:
    """List a folder's files, also those of folders in it, without hidden ones; a file is the only one of its own."""
    if not given.is_dir():
        return [given]
    inside = [path for path in sorted(given.rglob("*")) if path.is_file()]
    found = [path for path in inside if not any(part.startswith(".") for part in path.relative_to(given).parts)]
    if not found:
        raise BadTable(f"There is no file in {given}.", next_step="Give the folder in which the exports lie.")
    return found


def _columns(path: Path) -> list[str]:
    """Read the names of a file's columns."""
    with explained(path):
        match path.suffix.lower():
            case ".parquet":
                return list(parquet.read_schema(path).names)
            case ".jsonl" | ".ndjson" | ".json":
                return list(next(iter(_read_objects(path)), {}))
        return [str(name) for name in _raw(path).columns]


def _rows(path: Path, kind: str) -> pd.DataFrame:
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json") and (read := _read_blocks(path, kind)) is not None:
        return read
    frame = _raw(path)
    # Of traces, not every row is a line of the ledger: whether an export was cut shows in the rows of the file.
    result = translated(frame, kind)
    result.attrs["rows"] = len(frame)
    return result


def _raw(path: Path) -> pd.DataFrame:
    match path.suffix.lower():
        case ".csv":
            try:
                return _read_csv(path)
            except pd.errors.EmptyDataError:
                return pd.DataFrame()
        case ".parquet":
            if (rows := parquet.read_metadata(path).num_rows) > _MOST_ROWS:
                raise BadTable(
                    f"{path.name} says that it has {rows:,} rows, more than the {_MOST_ROWS:,} that are read.",
                    next_step="Export it in parts, by time.",
                )
            frame = pd.read_parquet(path)
            return frame.reset_index() if any(frame.index.names) else frame
        case ".jsonl" | ".ndjson" | ".json":
            return pd.DataFrame(_read_objects(path))
        case other:
            raise BadTable(
                f"{path.name} ends in {other or 'nothing'}: it is not known how to read that.",
                next_step="Give a .csv, .jsonl or .parquet file.",
            )


def _read_csv(path: Path) -> pd.DataFrame:
    """Read text with commas, or with the semicolons or tabs of a spreadsheet, whose decimals may then have commas."""
    with path.open(encoding="utf-8-sig") as lines:
        heading = lines.readline()
    separator = max(",;\t", key=heading.count)
    with warnings.catch_warnings():
        # Cells without a heading would be dropped with a warning, and the other columns may be shifted.
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


def _read_objects(path: Path) -> list[dict[str, Any]]:
    """Read one object a line, or one array. A line that a stopped writer or a crash tore is skipped."""
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not rows and text.startswith("["):
                rows = json.loads(path.read_text(encoding="utf-8-sig"))
                if not all(isinstance(row, dict) for row in rows):
                    raise BadTable(f"{path.name} holds more than objects.", next_step="Give an array of JSON objects.")
                return rows
            try:
                row = json.loads(text) if text else None
            except json.JSONDecodeError:
                row = None
            torn = not line.endswith("\n") or (text.startswith("{") and not text.endswith("}"))
            if isinstance(row, dict):
                rows.append(row)
            elif text and not torn:
                raise BadTable(
                    f"Line {number} of {path.name} is not a JSON object.",
                    next_step="Give a file with one JSON object a line.",
                )
    return rows


def _read_blocks(path: Path, kind: str) -> pd.DataFrame | None:
    """Read JSON lines whose columns are those of `KINDS` by Arrow; None if the file has another shape."""
    known = KINDS[kind]
    schema = pa.schema([(name, _TYPES.get(type_, pa.string())) for name, type_ in known.items()])
    others = "infer" if kind == "users" else "ignore"  # other columns of users are dimensions
    try:
        with path.open("rb") as lines:
            if not set(NEEDED[kind]) <= set(json.loads(lines.readline())):
                return None
        with arrow_json.open_json(
            path,
            read_options=arrow_json.ReadOptions(block_size=_BLOCK),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
        ) as blocks:
            table = pa.Table.from_batches([_in_types(block, known) for block in blocks]).unify_dictionaries()
    except (ValueError, TypeError, NotImplementedError):
        return None
    frame: pd.DataFrame = table.to_pandas(
        types_mapper={pa.int32(): pd.Int32Dtype()}.get, self_destruct=True, split_blocks=True, ignore_metadata=True
    )
    frame.attrs["rows"] = len(frame)
    # What was parsed is freed; the pool would keep it for later.
    pa.default_memory_pool().release_unused()
    return frame


def _in_types(block: pa.RecordBatch, known: dict[str, str]) -> pa.RecordBatch:
    for index, name in enumerate(block.schema.names):
        column, type_ = block.column(index), known.get(name)
        column.validate(full=True)  # as UTF-8
        if type_ == "time":
            block = block.set_column(index, name, _times(column))
        elif type_ == "category":
            block = block.set_column(index, name, column.dictionary_encode())
    return block


def _times(column: pa.Array) -> pa.Array:
    try:
        # Ten-millionths of a second, as Microsoft writes them, fit into nanoseconds alone.
        return pc.cast(column, pa.timestamp("ns", "UTC")).cast(pa.timestamp("us", "UTC"), safe=False)
    except pa.ArrowInvalid:
        # Some name no zone, or several ways of writing are mixed.
        return pa.array(times(column.to_pandas()))
