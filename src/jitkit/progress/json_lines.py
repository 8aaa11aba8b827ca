"""Read JSON lines of the kit's own columns at the speed of Apache Arrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from jitkit.progress.tidy import KINDS, NEEDED

__all__ = ["read_fast"]

_BLOCK: Final = 8 << 20  # bytes that are parsed at once
_TYPES: Final = {"number": pa.int32(), "decimal": pa.float64()}


def read_fast(path: Path, kind: str) -> pd.DataFrame | None:
    """Read a file whose lines are whole and whose columns are those of `KINDS`.

    Only the table's own columns are parsed, a block at a time: what is held is the result, never the file. Of users,
    other columns are kept as dimensions.

    Args:
        path: one JSON object a line.
        kind: users, sign_ins or ledger.

    Returns:
        the rows, or None where the file has another shape, such as a torn line, a number written as text or other
        columns: the patient reader takes those, or says what is wrong.

    Raises:
        OSError: the file cannot be read.
    """
    known = KINDS[kind]
    schema = pa.schema([(name, _TYPES.get(type_, pa.string())) for name, type_ in known.items()])
    others = "infer" if kind == "users" else "ignore"
    if not path.stat().st_size:
        return None
    try:
        with arrow_json.open_json(
            path,
            read_options=arrow_json.ReadOptions(block_size=_BLOCK),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
        ) as blocks:
            table = pa.Table.from_batches([_in_types(block, known) for block in blocks]).unify_dictionaries()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError):
        return None
    absent = [name for name in NEEDED[kind] if table[name].null_count == len(table)]
    return None if absent and not _named(path, absent) else _to_pandas(table)


def _in_types(block: pa.RecordBatch, known: dict[str, str]) -> pa.RecordBatch:
    for place, name in enumerate(block.schema.names):
        column = block.column(place)
        match known.get(name):
            case "time":
                column = _times(column)
            case "id":
                column = pc.utf8_lower(column)
            case "often":
                column = pc.utf8_lower(column).dictionary_encode()
            case "text":
                column.validate(full=True)
        block = block.set_column(place, name, column)
    return block


def _times(column: pa.Array) -> pa.Array:
    try:
        # Ten-millionths of a second, as Microsoft writes them, fit into nanoseconds alone.
        return pc.cast(column, pa.timestamp("ns", "UTC")).cast(pa.timestamp("us", "UTC"), safe=False)
    except pa.ArrowInvalid:
        # Some name no zone, or several ways of writing are mixed.
        times = pd.to_datetime(column.to_pandas().replace("", None), utc=True, format="ISO8601")
        return pa.array(times.dt.as_unit("us"))


def _named(path: Path, columns: list[str]) -> bool:
    """Tell whether the first line names the columns: what is empty everywhere is not missing."""
    with path.open(encoding="utf-8-sig") as lines:
        return set(columns) <= set(json.loads(next(lines)))


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(
        types_mapper={pa.int32(): pd.Int32Dtype()}.get, self_destruct=True, split_blocks=True, ignore_metadata=True
    )
    # What was parsed is freed; the pool would keep it for later.
    pa.default_memory_pool().release_unused()
    return frame
