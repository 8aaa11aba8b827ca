"""Reads tables and exports from files: CSV, JSON, Parquet and Excel workbooks, also packed by gzip.

DuckDB reads every format. What it does not take as it is (a packed file, UTF-16, a workbook, pages of Graph, a torn
line) is first written as a plain file into a folder of its own. The columns of the kit's own tables come in their
types, some rows at a time; where a value is written in another way, the columns come as texts, for `tidy` to read in
more spellings, or to refuse by row and value.
"""

from __future__ import annotations

import csv
import glob
import gzip
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from jitkit.errors import BadTable
from jitkit.progress.log_analytics import SHAPES, by_place, connected, finished, plain_name, shape_of, translate
from jitkit.progress.tables import (
    AS_WRITTEN,
    KINDS,
    NEEDED,
    Source,
    Spelling,
    give_back,
    numbered,
    plain_text,
    refusal,
    tidy,
    united,
)

_MOST_ROWS: Final = 100_000_000  # a few kilobytes of Parquet may say that they are more
_AT_ONCE: Final = 1_000_000  # rows
_LARGEST: Final = 64 << 20  # bytes of one row
_LISTED: Final = 40  # columns that an error names
_TEXTS: Final = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
_HEAD: Final = 1 << 20  # characters in which the first object ends
_PAGES: Final = ("value", "records")  # what holds the rows of a page of Graph, and of a message of an event hub
_OWN: Final = {name for kind in KINDS.values() for name in kind}
# JSON may be nested too deeply.
_BROKEN: Final = (
    *(ValueError, RecursionError, EOFError, duckdb.Error),
    *(gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, csv.Error),
)
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_ABOVE: Final = 20  # rows in which the heading is looked for, below titles, empty rows and words to a program
_FEW: Final = 10  # files of an archive that are read one by one
_HIDDEN: Final = (".", "~$", "thumbs.db", "desktop.ini")  # what the names begin with that Windows or Excel hides
_NO_TABLES: Final = r"readme\.\w+|.*\.(eml|html|jpg|md|pdf|png)"


class _Rows(NamedTuple):
    """The rows of a file, or of a workbook's sheet: each column by its name, as an expression that gives its cells."""

    name: str
    relation: duckdb.DuckDBPyRelation
    cells: dict[str, str]
    translated: bool = False  # whether it is an export's, with `place` and `problem`
    more: bool = False  # whether a page of Graph follows


@dataclass
class Found:
    """What some files hold.

    Args:
        parts: kind to rows: users, sign_ins and ledger; audits and directory as `log_analytics.translate` gives them.
        sources: the files.
    """

    parts: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)

    def table(self, kind: str) -> pd.DataFrame:
        """Return all rows of a kind; without a column where no file holds any."""
        whole = united(parts := self.parts.get(kind, []))
        several = parts if kind == "sign_ins" and len(parts) > 1 else []  # of one file, no time need be looked at
        if len({bool(part["time"].dropna().dt.microsecond.any()) for part in several}) > 1:
            # Graph writes whole seconds: only so is a sign-in of two exports one.
            return whole.assign(time=whole["time"].dt.floor("s"))
        return whole


def read_table(path: Path | str, kind: str) -> pd.DataFrame:
    """Read one of the tables from a file.

    Exports of Microsoft's logs are recognised by their columns.

    Args:
        path: CSV, JSON (one object a line, an array, or pages of Graph), Parquet or an Excel workbook; or one of them
            packed by gzip.
        kind: users, sign_ins or ledger.

    Returns:
        the table in its columns and types.

    Raises:
        BadTable: the file is missing, is of another kind, or does not fit.
    """
    found = gather({kind: Path(path)}, ())
    if kind not in found.parts:
        raise refusal("other_table", file=Path(path).name, kind=kind, taken_for=found.sources[0].taken_for)
    return tidy(found.table(kind), kind)


def gather(
    files: Mapping[str, Path],
    inputs: Sequence[Path],
    spelling: Spelling = AS_WRITTEN,
    *,
    without: Path | None = None,
) -> Found:
    """Read files whose kind is known, and files and folders of which the columns say it.

    Args:
        files: kind of table to file.
        inputs: files, and folders with all that lie in them.
        spelling: how times are written, where no look can decide it.
        without: a folder that is left out, where the last report lies.

    Raises:
        BadTable: as for `read_table`; or nothing that is known has the columns of a file.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # the other ones keep what is freed
    found = Found()
    named = [*files.items(), *(("", path) for given in inputs for path in _files_in(given, without))]
    with closing(connected()) as database:
        records = {path for kind, path in named if not kind and _holds_records(path)}
        if len(records) > _FEW and _read_joined(database, sorted(records), spelling, found):
            named = [each for each in named if each[1] not in records]
        for kind, path in named:
            if re.fullmatch(_NO_TABLES, path.name.lower()) and path not in (*files.values(), *inputs):
                found.sources.append(Source(plain_text(path.name), "no table", ()))
                continue
            try:
                _read(database, path, kind, spelling, found)
            except BadTable as problem:
                where = f" It lies in {path.parent}." if path in records else ""  # many have this name
                raise BadTable(problem.happened, next_step=f"{problem.next_step}{where}") from None
    ended = {each.taken_for for each in found.sources if not each.more}
    if further := [each for each in found.sources if each.more and not {each.taken_for, "an empty file"} & ended]:
        raise refusal("further_page", file=further[0].file, taken_for=further[0].taken_for)
    return found


def _files_in(given: Path, without: Path | None) -> list[Path]:
    """List a folder's files, also those of folders in it, without hidden ones; a file is the only one of its own."""
    if not given.is_dir():
        return [given]
    found, seen = list[Path](), {without.resolve()} if without else set[Path]()
    for folder, folders, names in os.walk(given, followlinks=True, onerror=_unreadable):
        # A link may lead to a folder that was read, even to one around it.
        if (here := Path(folder).resolve()) in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [Path(folder, name) for name in names if not name.lower().startswith(_HIDDEN)]
        found += [path for path in shown if path.is_file() or path.is_symlink()]
    if found:
        return sorted(found)
    raise refusal("empty_folder", folder=given)


def _holds_records(path: Path) -> bool:
    """Return whether a file is part of an archive of logs, which has one for each hour."""
    with suppress(OSError, ValueError):
        array, names = _beginning(path) if path.suffix.lower() == ".json" else (True, [])
        return not array and (shape := shape_of(map(plain_name, names))) is not None and shape.by == "archive"
    return False


def _read_joined(database: duckdb.DuckDBPyConnection, paths: Sequence[Path], spelling: Spelling, found: Found) -> bool:
    """Add what files hold together, which takes as long as each of them; return False where one is refused."""
    with tempfile.TemporaryDirectory() as scratch, suppress(BadTable):
        joined = Path(scratch, f"{len(paths):,} files such as {paths[0].name}")
        with joined.open("wb") as target:
            for path in paths:
                target.write(path.read_bytes().removeprefix(BOM_UTF8) + b"\n")
        _read(database, joined, "", spelling, found)
        return True
    return False


def _unreadable(problem: OSError) -> None:
    raise refusal("closed_folder", path=problem.filename, why=problem.strerror) from None


def _read(database: duckdb.DuckDBPyConnection, path: Path, kind: str, spelling: Spelling, found: Found) -> None:
    """Add what a file holds. A file that DuckDB refuses is read again with care: a torn line costs that line alone."""
    with _explained(path), tempfile.TemporaryDirectory() as scratch:
        plain = _unpacked(path, Path(scratch))
        for careful in (False, True):
            try:
                parts = _sources(database, plain, plain_text(path.name), Path(scratch), careful)
                read = [_tables(database, rows, kind, spelling) for rows in parts]
                break
            except (duckdb.Error, OSError):  # Apache Arrow has no better name for what DuckDB finds on the way
                if careful:
                    raise
    give_back()
    for source, tables in read:
        found.sources.append(source)
        for name, table in tables.items():
            found.parts.setdefault(name, []).append(table)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in a BadTable why a file cannot be read."""
    try:
        yield
    except BadTable as problem:
        if (name := plain_text(path.name)) in problem.happened:
            raise
        raise BadTable(f"{name}: {problem.happened}", next_step=problem.next_step) from None
    except FileNotFoundError:
        raise refusal("no_path", path=path) from None
    except UnicodeDecodeError:
        raise refusal("not_utf_8", file=path.name) from None
    except _BROKEN:
        # DuckDB and pandas quote the offending text; it must not be shown.
        raise refusal("broken", file=path.name) from None
    except OSError as problem:
        raise refusal("closed_file", path=path, why=problem.strerror) from None


def _unpacked(path: Path, scratch: Path) -> Path:
    """Return a file that is not packed, and of UTF-8 if it is a text."""
    if path.suffix.lower() == ".gz":
        packed, path = path, scratch / f"unpacked{Path(path.stem).suffix}"
        with gzip.open(packed) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
    elif glob.escape(str(path)) != str(path):  # DuckDB would take the name for a pattern
        path = Path(shutil.copyfile(path, scratch / f"copy{path.suffix}"))
    with path.open("rb") as file:
        mark = file.read(2)
    if not (mark in _UTF_16 or b"\0" in mark) or path.suffix.lower() not in _TEXTS:
        return path
    plain = scratch / f"utf-8{path.suffix}"
    encoding = "utf-16" if mark in _UTF_16 else "utf-16-be" if mark[0] == 0 else "utf-16-le"
    with path.open(encoding=encoding, newline="") as source, plain.open("w", encoding="utf-8", newline="") as target:
        shutil.copyfileobj(source, target)
    return plain


def _sources(
    database: duckdb.DuckDBPyConnection, path: Path, name: str, scratch: Path, careful: bool
) -> Iterator[_Rows]:
    match path.suffix.lower():
        case ".csv" | ".tsv" | ".txt":
            yield _csv(database, path, name, careful)
        case ".json" | ".jsonl" | ".ndjson":
            yield _json(database, path, name, scratch, careful)
        case ".parquet":
            yield _parquet(database, path, name)
        case ".xlsx":
            for sheet, copy in _sheets(path, name, scratch):
                yield _csv(database, copy, f"{name}, sheet {plain_text(sheet)}", careful)
        case other:
            raise refusal("ending", file=name, ending=other or "nothing")


def _csv(database: duckdb.DuckDBPyConnection, path: Path, name: str, careful: bool) -> _Rows:
    """Read text with commas, or with the semicolons or tabs of a spreadsheet, whose decimals may then have commas."""
    csv.field_size_limit(_LARGEST)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        above, separator, names = _heading([*islice(lines, _ABOVE)])
        lines.seek(0)
        rest = islice(csv.reader(islice(lines, above, None), delimiter=separator), 1, None) if careful else ()
        if longer := next((number for number, cells in enumerate(rest, 1) if any(cells[len(names) :])), 0):
            raise refusal("more_cells", file=name, row=longer)
    # The first of several columns of one name counts, and none without a name.
    cells = _first((each, f"c{number}") for number, each in enumerate(names) if each)
    if not cells:
        return _Rows(name, database.sql("SELECT 1 LIMIT 0"), {})
    if separator != ",":
        decimals = [each for each in cells if plain_name(each) in ("duration_ms", "durationms", "duration")]
        cells |= {each: f"replace({cells[each]}, ',', '.')" for each in decimals}
    relation = database.read_csv(
        str(path),
        header=True,
        skiprows=above,
        auto_detect=False,
        columns={f"c{number}": "VARCHAR" for number in range(len(names))},
        sep=separator,
        na_values=["", "NULL"],
        max_line_size=_LARGEST,
        buffer_size=2 * _LARGEST,
        null_padding=careful,
        strict_mode=not careful,
        parallel=not careful,
    )
    return _Rows(name, relation, cells)


def _heading(lines: Sequence[str]) -> tuple[int, str, list[str]]:
    """Find the row of names that a known table has, or else take the first one: its place, its separator, the names."""
    rows = list[tuple[int, str, list[str]]]()
    for place, line in enumerate(lines):
        separator = max(",;\t|", key=line.count)
        rows.append((place, separator, next(csv.reader(lines[place:], delimiter=separator), [])))
        if _own_kind(map(_own_name, rows[-1][2])) or shape_of(map(plain_name, rows[-1][2])):
            return rows[-1]
    return rows[0] if rows else (0, ",", [])


def _own_name(heading: str) -> str:
    """Write a heading without the zone that the portal adds, and a name of the kit's tables in its spelling."""
    name = heading.removesuffix(" [UTC]").strip()
    return name.lower() if name.lower() in _OWN else name


def _first(columns: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Take the first of several columns of one name; it stands where the last of them stood."""
    return dict(reversed(dict(reversed([*columns])).items()))


def _own_kind(names: Iterable[str]) -> str:
    """Find which of the kit's tables has these columns; empty if none has."""
    held = {*names}
    return next((kind for kind, needed in NEEDED.items() if {*needed} <= held), "")


def _json(database: duckdb.DuckDBPyConnection, path: Path, name: str, scratch: Path, careful: bool) -> _Rows:
    """Read one object a line, one array, or pages that hold the rows in a list."""
    (array, names), more = _beginning(path), False
    if careful or not (array or names) or any(page in names for page in _PAGES):
        path, more = _rewritten(path, name, scratch)
        array, names = _beginning(path)
    options: dict[str, Any] = {"format": "array" if array else "newline_delimited", "maximum_object_size": _LARGEST}
    if (own := _own_kind(names)) and own != "users":
        names = [*KINDS[own]]
    elif (shape := shape_of(map(plain_name, names))) is None or shape.lacks(map(plain_name, names)):
        every = database.sql(
            "SELECT DISTINCT unnest(json_keys(json)) FROM "
            "read_json_objects($path, format = $format, maximum_object_size = $most)",
            params={"path": str(path), "format": options["format"], "most": _LARGEST},
        )
        names += sorted(key for (key,) in every.fetchall() if key not in names)
    # Names that differ in their case alone are one to DuckDB: the first counts.
    names = [*_first((each.lower(), each) for each in names if each).values()]
    if not names:
        return _Rows(name, database.sql("SELECT 1 LIMIT 0"), {})
    relation = database.read_json(str(path), columns=dict.fromkeys(names, "VARCHAR"), **options)
    return _Rows(name, relation, {each: _quoted(each) for each in names}, more=more)


def _beginning(path: Path) -> tuple[bool, list[str]]:
    """Look whether a JSON file is an array, and which names its first object has."""
    with path.open(encoding="utf-8-sig") as file:
        head = file.read(_HEAD).lstrip()
    try:
        first, _ = json.JSONDecoder().raw_decode(head.lstrip("[ \t\r\n"))
    except json.JSONDecodeError:
        first = None
    return head.startswith("["), list(first) if isinstance(first, dict) else []


def _rewritten(path: Path, name: str, scratch: Path) -> tuple[Path, bool]:
    """Write the rows of a JSON file as one object a line. Returns it, and whether its last page names a next one."""
    plain, row = scratch / "rows.jsonl", dict[str, Any]()
    with path.open(encoding="utf-8-sig") as source, plain.open("w", encoding="utf-8") as target:
        for row in _objects(source, name):
            page = next((row[each] for each in _PAGES if isinstance(row.get(each), list)), [row])
            target.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in page if isinstance(each, dict))
    return plain, "@odata.nextLink" in row


def _objects(file: TextIO, name: str) -> Iterator[dict[str, Any]]:
    """Read objects, in lines or in lists. A line that a stopped writer or a crash tore is skipped."""
    first = next(filter(str.strip, file), "")
    file.seek(0)
    if not isinstance(_value(first), dict) and (values := _values(file.read().strip())) is not None:
        if not all(isinstance(value, dict) for value in values):
            raise refusal("no_objects", file=name)
        yield from values
        return
    file.seek(0)
    for number, line in enumerate(file, 1):
        text = line.strip()
        if isinstance(row := _value(text), dict):
            yield row
        elif text and line.endswith("\n") and not (text.startswith("{") and not text.endswith("}")):
            raise refusal("no_object", file=name, line=number)


def _value(line: str) -> Any:
    """Read a line that is one JSON value; None if it is not."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _values(text: str) -> list[Any] | None:
    """Read a text that is one value or several, each over as many lines as it likes; None if it is lines of objects."""
    at, found, decoder = 0, list[Any](), json.JSONDecoder()
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found += value if isinstance(value, list) else [value]
            while text[at : at + 1].isspace():
                at += 1
    except json.JSONDecodeError:
        if text.startswith("["):
            raise
        return None
    return found


def _parquet(database: duckdb.DuckDBPyConnection, path: Path, name: str) -> _Rows:
    if (rows := parquet.read_metadata(path).num_rows) > _MOST_ROWS:
        raise refusal("many_rows", file=name, rows=rows, most=_MOST_ROWS)
    relation = database.read_parquet(str(path))
    cells = {}
    for each, type_ in zip(relation.columns, relation.types, strict=True):
        nested = type_.id in ("struct", "map", "list", "array")
        # An index without a name is the number of a row.
        if not re.fullmatch(r"__index_level_\d+__", each):
            cells[each] = f"to_json({_quoted(each)})" if nested else _quoted(each)
    return _Rows(name, relation, cells)


def _sheets(path: Path, name: str, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Write each sheet of a workbook that holds anything as CSV. Cells that the workbook calls dates become ISO."""
    import openpyxl

    if not path.stat().st_size:
        raise refusal("empty_workbook", file=name)
    try:
        with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            for number, sheet in enumerate(book.worksheets):
                copy = scratch / f"sheet {number}.csv"
                with copy.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerows(
                        [cell.isoformat() if isinstance(cell, date) else cell for cell in cells]
                        for cells in sheet.iter_rows(values_only=True)
                        if any(cell is not None for cell in cells)
                    )
                if copy.stat().st_size:
                    yield sheet.title, copy
    except (AttributeError, LookupError, TypeError, SyntaxError):  # of XML that is broken, or of parts that are missing
        raise ValueError from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables(
    database: duckdb.DuckDBPyConnection, rows: _Rows, kind: str, spelling: Spelling
) -> tuple[Source, dict[str, pd.DataFrame]]:
    """Find what some rows are, and read them as that. The portal adds the zone to the headings of times."""
    if any(name.endswith(" [UTC]") for name in rows.cells):
        spelling = spelling._replace(zone="UTC")
    rows = rows._replace(cells=_first((_own_name(name), cell) for name, cell in rows.cells.items()))
    names = [*rows.cells]
    own = _own_kind(names)
    shape = None if own or not names else shape_of(map(plain_name, names))
    if kind and (shape is None or shape.of != kind):
        own, shape = kind, None
    if own:
        return Source(rows.name, f"the kit's table {own}", (own,)), {own: _own(rows, own, spelling)}
    if shape:
        plain = _first((plain_name(name), name) for name in names)
        wanted = {name: plain[name] for name in shape.wants(plain)}
        local = [name for name in wanted.values() if "[" in name and "[UTC]" not in name]
        if local and spelling.zone == "UTC":
            raise refusal("local_times", column=local[0])
        chosen = ", ".join(f"as_text({rows.cells[old]}) AS {_quoted(new)}" for new, old in wanted.items())
        tables = {}
        for each, relation in translate(database, rows.relation.project(chosen), shape).items():
            cells = {name: _quoted(name) for name in relation.columns if name not in ("place", "problem")}
            part = _Rows(rows.name, relation, cells, translated=True)
            tables[each] = _own(part, each, spelling) if each in KINDS else finished(_as_texts(part), each, spelling)
        return Source(rows.name, shape.name, tuple(tables), rows.more), tables
    if not names:
        return Source(rows.name, "an empty file", ()), {}
    known = [each.name for each in SHAPES]
    known += [f"the kit's table {each} ({', '.join(needed)})" for each, needed in NEEDED.items()]
    columns = plain_text(", ".join(names[:_LISTED]))
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    raise refusal("unknown_table", file=rows.name, columns=columns, more=more, known="; ".join(known))


def _own(rows: _Rows, kind: str, spelling: Spelling) -> pd.DataFrame:
    """Read one of the kit's own tables."""
    known = KINDS[kind]
    if {*NEEDED[kind]} - {*rows.cells}:
        return tidy(pd.DataFrame(columns=[*rows.cells]), kind)  # of an empty file; refused where a column lacks
    rows = rows._replace(cells={name: cell for name, cell in rows.cells.items() if kind == "users" or name in known})
    fast = _in_types(rows, known) if spelling.zone == "UTC" else None
    return tidy(_as_texts(rows), kind, spelling) if fast is None else fast


def _as_texts(rows: _Rows) -> pd.DataFrame:
    """Read columns as text."""
    further = ["place", "problem"] if rows.translated else []
    # By numbers: to DuckDB, names that differ in their case alone are one.
    held = enumerate(rows.cells.items())
    texts = ((place, f"as_text({cell})" if name in _OWN else cell) for place, (name, cell) in held)
    chosen = [f"{cell}::VARCHAR AS c{place}" for place, cell in texts]
    frame: pd.DataFrame = rows.relation.project(", ".join([*chosen, *further])).to_arrow_table().to_pandas()
    frame.columns = pd.Index([*rows.cells, *further])
    frame.attrs |= {"file": rows.name} | _untimed(rows, frame)
    return by_place(frame) if rows.translated else frame


def _in_types(rows: _Rows, known: Mapping[str, str]) -> pd.DataFrame | None:
    """Read a table's columns in their types; None where a value is written in another way than the usual one."""
    typed = {name: f"as_{known[name]}({cell})" if name in known else cell for name, cell in rows.cells.items()}
    odd = [f"odd_{known[name]}({cell})" for name, cell in rows.cells.items() if name in known]
    if known["user_id"] == "id":  # a user without one is refused by its row
        odd.append(f"{typed['user_id']} IS NULL")
    if rows.translated:  # a time that cannot be is refused by its row
        odd.append(f"problem IS NOT NULL OR {typed['time']} NOT BETWEEN '2000-01-01' AND now() + INTERVAL 4 YEAR")
    numbered = {name: _Numbered() for name in typed if known.get(name) == "category"}
    places = {name: f"c{place}" for place, name in enumerate(typed)}
    chosen = [f"{value} AS {places[name]}" for name, value in typed.items()]
    chosen += [f"hash({typed[name]}) AS hash_of_{places[name]}" for name in numbered]
    chosen.append(f"{' OR '.join(odd)} AS odd")
    batches = rows.relation.project(", ".join(chosen)).to_arrow_reader(_AT_ONCE)
    kept = {name: [pa.array([], batches.schema.field(places[name]).type)] for name in typed if name not in numbered}
    for batch in batches:
        if pc.any(batch.column("odd")).as_py():
            return None
        for name, texts in numbered.items():
            texts.add(batch.column(places[name]), batch.column(f"hash_of_{places[name]}"))
        for name, parts in kept.items():
            # A copy: one column that is used as it is would keep all those of DuckDB's batch in memory.
            parts.append(pa.concat_arrays([batch.column(places[name]), batch.column(places[name])[:0]]))
        del batch
    columns = {}
    for name in [*typed]:
        if name in numbered:
            columns[name] = numbered.pop(name).column()
        else:
            table = pa.table({name: pa.chunked_array(kept.pop(name))})
            columns[name] = table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get, self_destruct=True)[name]
            del table
    frame = pd.DataFrame(columns, copy=False)
    frame.attrs |= {"typed": True, "file": rows.name} | _untimed(rows, frame)
    return frame


def _untimed(rows: _Rows, frame: pd.DataFrame) -> dict[str, int]:
    """Count the rows of a log without a time. An export's are no sign-ins, or no lines of a ledger."""
    return {"untimed": 0 if rows.translated or "time" not in frame else int(frame["time"].isna().sum())}


class _Numbered:
    """Numbers the texts of a column that comes in parts: each by its hash of 64 bits, which is quicker than by text."""

    def __init__(self) -> None:
        self._known: pd.Index[Any] = pd.Index([], dtype="uint64")
        self._texts, self._codes = list[pa.Array](), [np.array([], dtype="int32")]

    def add(self, texts: pa.Array, hashes: pa.Array) -> None:
        numbers = hashes.to_numpy()
        codes = self._known.get_indexer(numbers).astype("int32")
        unknown = np.flatnonzero(codes < 0)
        further, new = pd.factorize(numbers[unknown])
        first = np.empty(len(new), dtype="int64")
        first[further[::-1]] = unknown[::-1]
        self._texts.append(texts.take(pa.array(first)))
        codes[unknown] = further + len(self._known)
        self._codes.append(codes)
        self._known = self._known.append(pd.Index(new))

    def column(self) -> pd.Categorical:
        texts = pa.chunked_array(self._texts, pa.string()).to_pandas()
        return numbered(np.concatenate(self._codes), pd.Index(texts, dtype="str"))
