"""Write what a manager asks about a migration into one page, with the numbers beside it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pandas as pd

from helpers.errors import BadTable
from helpers.progress import charts, metrics, page, quality, states, stuck, summary
from helpers.progress.charts import moment
from helpers.progress.tables import Tables
from helpers.protocol import TIMEOUT_MS

__all__ = ["write_report"]

_NOTE = (
    "Migrated means that the tenant says so: the flag of the user is false. The page holds no names and no passwords."
)


def write_report(
    tables: Tables,
    out: Path | str,
    *,
    title: str = "Password migration",
    as_of: pd.Timestamp | None = None,
    export_problems: pd.DataFrame | None = None,
) -> Path:
    """Write `report.html`, `metrics.json` and a CSV for each figure.

    Args:
        tables: what is known.
        out: the folder; made if it is not there.
        title: the page's name.
        as_of: until when to tell; the tables' own moment if left out.
        export_problems: what was wrong with the legacy export: `cause`, `result`, `rows`.

    Returns:
        the path of `report.html`.

    Raises:
        BadTable: the folder cannot be written to.
    """
    if as_of is not None:
        tables = tables.until(as_of)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        numbers = _numbers(tables)
        for name, frame in numbers.items():
            _write(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        _write(out / "metrics.json", summary.as_json(tables))
        parts = (
            _figures(tables),
            _moved(tables, numbers),
            _stuck(tables, numbers),
            _health(tables, numbers),
            _quality(numbers["quality"], export_problems),
        )
        _write(out / "report.html", page.document(title, f"As of {moment(tables.as_of)}. {_NOTE}", parts))
    except OSError as problem:
        raise BadTable(
            f"The report cannot be written to {out} ({problem.strerror}).",
            next_step="Choose a folder that is yours and has room.",
        ) from None
    return out / "report.html"


def _numbers(tables: Tables) -> dict[str, pd.DataFrame]:
    return {
        "curve": metrics.curve(tables),
        "outcomes": metrics.outcomes(tables),
        "failures": metrics.failures(tables),
        "remaining": stuck.remaining(tables),
        "latency": metrics.durations(tables),
        "quality": quality.quality(tables),
    }


def _figures(tables: Tables) -> str:
    counts = metrics.totals(tables)
    share = counts["migrated_share"]
    counts_by_state = states.summary(tables)["states"]
    return page.tiles(
        (
            ("Users in scope", f"{counts['in_scope']:,}"),
            ("Migrated", f"{counts['migrated']:,}"),
            ("Share", "–" if share is None else f"{100 * share:.1f} %"),
            ("Not moved yet", f"{counts['remaining']:,}"),
            ("Of these, blocked", f"{counts_by_state['blocked']:,}"),
        )
    )


def _moved(tables: Tables, numbers: dict[str, pd.DataFrame]) -> str:
    counts = metrics.totals(tables)
    ways = pd.DataFrame(
        [
            ("by a call", counts["by_path"]["callout"], "the endpoint proved the old password"),
            ("silently", counts["by_path"]["silent"], "the tenant had the password already"),
            ("by a new password", counts["by_path"]["reset"], "the person chose a new one"),
            ("unknown how", counts["by_path"].get(metrics.UNKNOWN, 0), "no log tells"),
        ],
        columns=["way", "users", "meaning"],
    )
    return page.section(
        "How many moved, and how fast?",
        f"{counts['migrated']:,} of {counts['in_scope']:,} users are moved, {counts['remaining']:,} are not yet.",
        page.picture(charts.curve_chart(numbers["curve"], counts["in_scope"])),
        page.table("How people were moved", ways[ways["users"] > 0]),
    )


def _stuck(tables: Tables, numbers: dict[str, pd.DataFrame]) -> str:
    waiting, causes = numbers["remaining"], numbers["failures"]
    words = "Everybody is moved."
    if len(waiting):
        words = (
            f"Most of the {waiting['users'].sum():,} users who are not moved yet: "
            f"{waiting['reason'][0]} ({waiting['users'][0]:,})."
        )
    return page.section(
        "Who is stuck, and why?",
        words,
        page.picture(charts.remaining_chart(waiting, tables.as_of), numbers=False),
        page.table("What to do about it", waiting),
        page.picture(charts.failures_chart(causes, tables.as_of), numbers=False),
        page.table("What mends each cause", causes),
    )


def _health(tables: Tables, numbers: dict[str, pd.DataFrame]) -> str:
    took = metrics.latency(tables)
    words = "The endpoint has not been called yet."
    if took["calls"]:
        words = (
            f"Half of the calls were answered within {took['p50']:,.0f} ms and 99 % within {took['p99']:,.0f} ms. "
            f"Entra waits {TIMEOUT_MS:,} ms; {took['over_limit']:,} of {took['calls']:,} calls took longer."
        )
    return page.section(
        "Is the endpoint healthy?",
        words,
        page.picture(charts.latency_chart(numbers["latency"], took, tables.as_of)),
        page.picture(charts.outcomes_chart(numbers["outcomes"], tables.as_of)),
    )


def _quality(findings: pd.DataFrame, export_problems: pd.DataFrame | None) -> str:
    shown = []
    if export_problems is not None and len(export_problems):
        shown.append(page.table("The legacy export", export_problems))
    if len(findings):
        shown.append(page.table("The logs", findings))
    words = "What does not fit together in the data behind these figures:" if shown else "Nothing contradicts itself."
    return page.section("Can the data be trusted?", words, *shown)


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
