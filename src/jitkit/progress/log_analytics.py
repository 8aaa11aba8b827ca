"""Translates rows of Microsoft's logs: exports of Log Analytics and Graph's own rows into the kit's columns.

Sources: Azure Monitor reference, `SigninLogs`, `AuditLogs`, `AppRequests`, `AppTraces`; Microsoft Graph beta `signIn`
with `appliedAuthenticationEventListener` and `customExtensionCalloutResult`, v1.0 `directoryAudit`. Not documented: the
casing inside the dynamic columns (that of Graph and that of Azure Monitor's own columns are both read), the text of an
audited flag, whether a silent migration is audited (what the flag says counts), and the columns of the CSV of audits
that the admin center downloads (those that public tools for it read).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

import duckdb
import pandas as pd
import pyarrow as pa

from jitkit.errors import BadTable
from jitkit.progress.tables import COLUMNS, KINDS, Spelling, refusal, row_of, times, typed

Row = Mapping[str, Any]

ANSWERED: Final = "Answered"
"""The action where a log shows that the endpoint answered with status 200, and not what."""

FLAG: Final = re.compile(r"extension_[0-9a-f]{32}_\w+", re.ASCII)
"""The full name of a migration flag, in lower case but for its last part."""

# Categories of an archive's records, in lower case; Graph's rows are given the first.
_CATEGORIES: Final = {"sign_ins": ["signinlogs", "noninteractiveusersigninlogs"], "audits": ["auditlogs"]}
_SHOWS: Final = {"sign_ins": "appliedeventlisteners", "audits": "targetresources"}


def connected() -> duckdb.DuckDBPyConnection:
    """Connect to a database in memory that knows the translations of `exports.sql`."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    database.execute((files("jitkit.progress") / "exports.sql").read_text(encoding="utf-8"))
    return database


def sign_ins_from_graph(rows: Iterable[Row]) -> pd.DataFrame:
    """Make a table of `signIn` objects of the beta log: the columns of sign_ins, and the `id` of each row.

    Rows in which nobody typed a password, such as the refresh of a token, are left out.
    """
    found = _of_graph(rows, "sign_ins")[["id", *KINDS["sign_ins"]]].dropna(subset="time", ignore_index=True)
    numbers = [name for name, type_ in KINDS["sign_ins"].items() if type_ == "number"]
    found[numbers] = found[numbers].apply(pd.to_numeric).astype("Int64")
    return found.assign(time=times(found["time"]))


def audits_from_graph(rows: Iterable[Row], flag: str) -> pd.DataFrame:
    """Make a table of what `directoryAudit` objects say about the flag (by its full name) and about passwords.

    Its columns are `id`, `time`, `user_id` and `event`: flag_false, flag_true, reset (of the password) or change.
    """
    found = _of_graph(rows, "audits")
    found = found[found["flag"].isin((flag.lower(), ""))].reset_index(drop=True)
    # One audit may concern several users.
    found["id"] += " " + found["user_id"] + " " + found["event"]
    return found.assign(time=times(found["time"]))[["id", "time", "user_id", "event"]]


def _of_graph(rows: Iterable[Row], kind: str) -> pd.DataFrame:
    """Translate rows of Graph, as texts."""
    texts = pa.array((json.dumps(row) for row in rows), pa.string())
    with connected() as database:
        given = database.from_arrow(pa.table({"properties": texts}))
        _whole(given.project(f"*, '{_CATEGORIES[kind][0]}' AS category")).create_view("export")
        found = database.sql(f"FROM recorded_{kind}('export', {_CATEGORIES[kind]})")
        return by_place(found.to_arrow_table().to_pandas()).astype("str")


class Shape(NamedTuple):
    """What a file is that was not written by the kit: what its columns are named, how it is read, for which table."""

    name: str
    by: str
    of: str
    needs: list[str]
    reads: list[str]

    def wants(self, names: Iterable[str]) -> list[str]:
        """Choose the columns that are read, by their names in lower case and without a zone."""
        return [name for name in names if re.fullmatch("|".join([*self.needs, *self.reads]), name)]

    def lacks(self, names: Iterable[str]) -> bool:
        """Return whether further rows may have columns to read that are not among these; each flag is one."""
        return self.by == "directory" or bool(_lacking([*self.needs, *self.reads], [*names]))


SHAPES: Final = tuple(Shape(**each) for each in COLUMNS["shapes"])
"""What exports are; the first one that fits the columns of a file counts."""

(REQUESTS,) = (shape.name for shape in SHAPES if shape.by == "requests")
"""What a file is taken for that shows calls, and of many neither what was answered nor about whom."""


def shape_of(names: Iterable[str]) -> Shape | None:
    """Find what an export is by its columns (as `plain_name` writes them); None if it is none that is known."""
    names = [*names]
    return next((shape for shape in SHAPES if not _lacking(shape.needs, names)), None)


def _lacking(patterns: Iterable[str], names: Sequence[str]) -> list[str]:
    return [each for each in patterns if not any(re.fullmatch(each, name) for name in names)]


def plain_name(heading: str) -> str:
    """Write a heading in lower case, without the zone that the portal adds."""
    return heading.split(" [")[0].strip().lower()


def translate(
    database: duckdb.DuckDBPyConnection, export: duckdb.DuckDBPyRelation, shape: Shape
) -> dict[str, duckdb.DuckDBPyRelation]:
    """Give an export's rows the columns of the tables.

    Args:
        database: of `connected`.
        export: of this database. Its columns are texts, named as `plain_name` writes them.
        shape: what it is.

    Returns:
        kind to rows, as texts: sign_ins; ledger; audits as of `audits_from_graph` with the column `flag`; directory
        (users of a tenant). Each row has its `place` and its `problem`, for `by_place`.

    Raises:
        BadTable: the export does not show which sign-ins ran a callout, or whose flag changed.
    """
    whole, names = _whole(export), export.columns
    whole.create_view("export")
    match shape.by:
        case "sign_ins" | "audits":
            if (nested := _SHOWS[shape.by]) not in names:
                raise _unread(nested)
            return {shape.by: database.sql(f"FROM {shape.by}('export')")}
        case "archive":
            found = {category for (category,) in database.sql("SELECT DISTINCT lower(category) FROM export").fetchall()}
            parts = {kind: f"('export', {each})" for kind, each in _CATEGORIES.items() if found & {*each}}
            for kind, part in parts.items():
                if not _any(database, f"recorded{part}", _SHOWS[kind]):
                    raise _unread(_SHOWS[kind])
            return {kind: database.sql(f"FROM recorded_{kind}{part}") for kind, part in parts.items()}
        case "downloaded_audits":
            return {"audits": database.sql("FROM downloaded_audits('export')")}
        case "traces" | "requests":
            source = f"ledger('export', {shape.by == 'requests'})"
            if shape.by == "traces" and not _any(database, source, "time") and (rows := len(whole)):
                raise refusal("no_ledger", rows=rows)
            return {"ledger": database.sql(f"FROM {source}")}
        case "directory":
            return {"directory": _directory(whole, names)}
    raise refusal("downloaded")


def _whole(export: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Add the columns that an export lacks, without values, the number of each row, and what it stands for."""
    held = export.columns
    lacking = [f'NULL::VARCHAR AS "{name}"' for name in COLUMNS["translated"] if name not in held]
    sample = "CASE WHEN try_cast(itemcount AS DOUBLE) > 1 THEN itemcount END" if "itemcount" in held else "NULL"
    marks = ["row_number() OVER () - 1 AS place", f"{sample}::VARCHAR AS problem"]
    return export.project(", ".join(["*", *lacking, *marks]))


def _any(database: duckdb.DuckDBPyConnection, source: str, name: str) -> bool:
    """Return whether a column holds anything, or a row cannot be taken."""
    rows = database.sql(f"FROM {source}").filter(f"{name} IS NOT NULL OR problem IS NOT NULL")
    return bool(rows.limit(1).fetchall())


def _directory(export: duckdb.DuckDBPyRelation, names: Iterable[str]) -> duckdb.DuckDBPyRelation:
    """Read users of a tenant: `user_id`, `created_at`, flags by their full names, and columns to group by."""
    flags = [name for name in names if FLAG.fullmatch(name)]
    chosen = [name for name in SHAPES[-1].reads if name in names and name not in ("createddatetime", "accountenabled")]
    chosen += [f"nullif(lower({flag}), '') AS {flag}" for flag in flags]
    if "accountenabled" in names:
        chosen.append("CASE WHEN lower(accountenabled) = 'false' THEN 'disabled' END AS status")
    odd = "".join(f" WHEN {flag} <> '' AND lower({flag}) NOT IN ('true', 'false') THEN '{flag}'" for flag in flags)
    user = "lower(coalesce(nullif(id, ''), objectid)) AS user_id, createddatetime AS created_at"
    problem = f"CASE{odd} END AS problem" if odd else "problem"
    return export.project(", ".join(["place", problem, user, *chosen])).filter("user_id IS NOT NULL")


def by_place(rows: pd.DataFrame) -> pd.DataFrame:
    """Number translated rows as in their file, which `attrs` names.

    Raises:
        BadTable: a row cannot be read, or stands for several.
    """
    if (stand_for := pd.to_numeric(rows["problem"], errors="coerce")).notna().any():
        raise refusal("sample", rows=len(rows), stand_for=stand_for.fillna(1).sum())
    rows = rows.set_index("place").rename_axis(None)
    if (unread := rows["problem"].notna()).any():
        first = int(unread.argmax())
        raise _unread(str(rows["problem"].iloc[first]), row_of(rows, first))
    return rows.drop(columns="problem")


def _unread(name: str, row: str = "") -> BadTable:
    """Say that a column is not there, or cannot be read in a row."""
    if FLAG.fullmatch(name):
        return refusal("odd_flag", flag=name, row=row)
    spelt, shows = COLUMNS["nested"][name]
    return refusal("unread_nested" if row else "lacks_nested", row=row, column=spelt, shows=shows)


def finished(rows: pd.DataFrame, kind: str, spelling: Spelling) -> pd.DataFrame:
    """Bring audits and users of a tenant, by their place, into types."""
    if kind == "audits":
        return rows.assign(time=typed(rows, "time", "audits", "time", spelling))
    truth = {"true": True, "false": False}
    flags = {str(name): rows[name].map(truth).astype("boolean") for name in rows if FLAG.fullmatch(str(name))}
    return rows.assign(**flags, created_at=typed(rows, "created_at", "users", "time", spelling))
