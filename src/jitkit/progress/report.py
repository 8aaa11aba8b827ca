"""Write what a manager asks about a migration into one page, with the numbers beside it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jitkit.errors import BadTable
from jitkit.progress import abuse, cohorts, metrics, page, quality, reconcile, states, stuck
from jitkit.progress.campaigns import campaigns
from jitkit.progress.charts import moment
from jitkit.progress.interruptions import interruptions
from jitkit.progress.pace import pace
from jitkit.progress.sections import opening, sections
from jitkit.progress.stragglers import stragglers
from jitkit.progress.summary import summary

if TYPE_CHECKING:
    from jitkit.progress.figures import Figures

__all__ = ["write_report"]

_MANY = 10_000
_NOTE = "Moved means that the tenant says so: the flag of the user is false. The page holds no names and no passwords."


def write_report(
    figures: Figures,
    out: Path | str,
    *,
    title: str = "Password migration",
    export_problems: pd.DataFrame | None = None,
) -> Path:
    """Write `report.html`, `metrics.json` and a CSV for each figure.

    Args:
        figures: the figures.
        out: the folder; made if it is not there.
        title: the page's name.
        export_problems: what was wrong with the legacy export: `cause`, `result`, `rows`.

    Returns:
        the path of `report.html`.

    Raises:
        BadTable: the folder cannot be written to, or the tables hold something that no figure can be made of.
    """
    out = Path(out)
    parts = [opening(figures), *sections(figures, export_problems)]
    subtitle = f"As of {moment(figures.tables.as_of)}. {_NOTE}"
    files = {f"{name}.csv": _csv(frame) for name, frame in _numbers(figures).items()}
    files["metrics.json"] = json.dumps(_metrics(figures), indent=2, allow_nan=False) + "\n"
    files["report.html"] = page.document(title, subtitle, parts)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            _write(out / name, text)
    except OSError as problem:
        raise BadTable(
            f"The report cannot be written to {out} ({problem.strerror}).",
            next_step="Choose a folder that is yours and has room.",
        ) from None
    return out / "report.html"


def _metrics(figures: Figures) -> dict[str, Any]:
    choice = figures.cut_over()
    return {
        **summary(figures.tables, figures.certificate_ends),
        **figures.forecast.numbers(),
        "cut_over": {
            "target_share": figures.target,
            "date": None if choice.date is None else f"{choice.date:%Y-%m-%d}",
            "reason": choice.reason,
        },
        "findings": [
            {
                "kind": each.kind,
                "words": each.words,
                "since": _utc(each.since),
                "until": _utc(each.until),
                "users": each.users,
            }
            for each in figures.findings
        ],
    }


def _utc(time: pd.Timestamp | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _numbers(figures: Figures) -> dict[str, pd.DataFrame]:
    tables = figures.tables
    groups = [cohorts.cohorts(tables, by).assign(dimension=by) for by in figures.dimensions]
    effects = [each.effect.cells.assign(campaign=each.at) for each in campaigns(tables) if each.effect is not None]
    return {
        "curve": metrics.curve(tables),
        "daily": pace(tables),
        "states": states.table(tables),
        "outcomes": metrics.outcomes(tables),
        "failures": metrics.failures(tables),
        "remaining": stuck.remaining(tables),
        "latency": metrics.durations(tables),
        "interruptions": interruptions(tables),
        "forecast": figures.forecast.days,
        "cut_over": figures.cut_over().dates,
        "reconciliation": reconcile.matrix(tables),
        "cohorts": pd.concat(groups, ignore_index=True) if groups else pd.DataFrame(columns=["dimension", "cohort"]),
        "campaigns": pd.concat(effects, ignore_index=True) if effects else pd.DataFrame(columns=["campaign", "group"]),
        "abuse": abuse.attempts(tables),
        "quality": quality.quality(tables),
        "legacy_data": quality.legacy_data(tables),
        "stragglers": stragglers(tables),
    }


def _csv(frame: pd.DataFrame) -> str:
    times = {str(name): _texts(column) for name, column in frame.items() if len(frame) > _MANY and _is_time(column)}
    return frame.assign(**times).to_csv(index=False, lineterminator="\n")


def _is_time(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.DatetimeTZDtype) and bool((column != column.dt.normalize()).any())


def _texts(column: pd.Series) -> pd.Series:
    """Write times as pandas does, which writes them one by one."""
    known = column.dropna()
    unit = next((unit for unit in ("s", "ms") if known.dt.floor(unit).equals(known)), "us")
    times = pa.array(column.dt.as_unit(unit))
    return pd.Series(pc.replace_substring(times.cast(pa.string()), "Z", "+00:00"), index=column.index, dtype="str")


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, so that nobody reads half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
