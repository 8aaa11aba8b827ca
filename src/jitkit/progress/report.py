"""Writes what a manager asks about a migration into one page, with the numbers next to it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress import charts, findings, groups, measures, states
from jitkit.progress.cutover import CutOver
from jitkit.progress.findings import Finding, pace
from jitkit.progress.forecast import Forecast
from jitkit.progress.groups import COLUMN, campaigns
from jitkit.progress.measures import clock, day, days
from jitkit.progress.outages import interruptions
from jitkit.progress.states import stragglers, summary
from jitkit.progress.tables import Tables
from jitkit.protocol import CALLS_PER_SECOND, TIMEOUT_MS

__all__ = ["Report", "dimensions"]

_WEEK: Final = 7


def dimensions(tables: Tables) -> list[str]:
    """List the columns of users by which people can be grouped, such as country or app."""
    return [name for name in groups.dimensions(tables) if name != COLUMN]


@dataclass(frozen=True)
class Report:
    """What the page, `metrics.json` and the CSVs are made of."""

    tables: Tables
    forecast: Forecast
    choice: CutOver
    findings: Sequence[Finding]
    target: float  # share of the users to be moved before the old system is switched off
    certificate_ends: pd.Timestamp | None

    def answers(self) -> list[tuple[str, str]]:
        """Answer the five questions that everybody asks, each in a sentence or two made of numbers."""
        return [
            ("How many moved?", moved(self.tables)),
            ("How fast?", fast(self.tables)),
            ("Who is stuck, and why?", left(self.tables)),
            ("Who never comes back?", never(self.forecast)),
            ("When may the old system be switched off?", when(self.forecast, self.choice)),
        ]

    def write(self, out: Path, title: str, export_problems: pd.DataFrame | None) -> Path:
        """Write `report.html`, `metrics.json` and a CSV for each figure; return the path of `report.html`."""
        csvs = self._csvs().items()
        files = {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in csvs}
        files["metrics.json"] = json.dumps(self._metrics(), indent=2, allow_nan=False) + "\n"
        files["report.html"] = self._page(title, export_problems)
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

    def _page(self, title: str, export_problems: pd.DataFrame | None) -> str:
        tables = self.tables
        standing, people = states.state_table(tables).query("users > 0"), stragglers(tables).groupby("state").size()
        broken, found = interruptions(tables), states.matrix(tables)
        witnesses = ["flag", "log", "ledger", "users"]
        broken = broken.assign(
            since=broken["since"].map(clock), until=broken["until"].map(clock), cause=broken["meaning"]
        )
        page = jinja2.Environment(
            loader=jinja2.PackageLoader("jitkit.progress", ""),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page.filters |= {"count": "{:,}".format, "headings": charts.headings_of, "rows": charts.rows_of}
        page.filters["numeric"] = lambda frame: [*map(pd.api.types.is_numeric_dtype, frame.dtypes)]
        return page.get_template("report.html.jinja").render(
            title=title,
            report=self,
            tables=tables,
            charts=charts,
            dimensions=dimensions(tables),
            campaigns=campaigns(tables),
            states=_spaced(_in_percent(standing, "share, %")),
            interruptions=broken[["since", "until", "failed", "users", "came_back", "cause"]],
            latency=measures.latency(tables),
            retries=measures.retries(tables),
            busy_seconds=len(measures.busy_seconds(tables)),
            timeout=TIMEOUT_MS,
            calls_per_second=CALLS_PER_SECOND,
            agree=found[found["agree"]][witnesses],
            differ=found[~found["agree"]][[*witnesses, "cause", "remedy"]],
            effects=[(each.words, _per_thousand(each.effect.cells)) for each in campaigns(tables) if each.effect],
            abuse=findings.attacks(tables),
            attempts=findings.wrong_passwords(tables)[["tries", "accounts", "wrong"]],
            quality=measures.quality(tables),
            legacy_data=_in_percent(measures.legacy_data(tables), "share of those asked about, %"),
            export_problems=export_problems,
            stragglers=_spaced(people.rename("people").reset_index().sort_values("people", ascending=False)),
        )

    def _metrics(self) -> dict[str, Any]:
        date = self.choice.date
        names = ("kind", "words", "since", "until", "users")
        return {
            **summary(self.tables, self.certificate_ends),
            **self.forecast.numbers(),
            "cut_over": {
                "target_share": self.target,
                "date": None if date is None else f"{date:%Y-%m-%d}",
                "reason": self.choice.reason,
            },
            "findings": [{name: _utc(getattr(each, name)) for name in names} for each in self.findings],
        }

    def _csvs(self) -> dict[str, pd.DataFrame]:
        tables = self.tables
        compared = [groups.cohorts(tables, by).assign(dimension=by) for by in dimensions(tables)]
        effects = [each.effect.cells.assign(campaign=each.at) for each in campaigns(tables) if each.effect is not None]
        return {
            "curve": measures.curve(tables),
            "daily": pace(tables),
            "states": states.state_table(tables),
            "outcomes": measures.outcomes(tables),
            "failures": measures.failures(tables),
            "remaining": states.remaining(tables),
            "latency": measures.durations(tables),
            "interruptions": interruptions(tables),
            "forecast": self.forecast.days,
            "cut_over": self.choice.dates,
            "reconciliation": states.matrix(tables),
            "cohorts": _joined(compared, ["dimension", "cohort"]),
            "campaigns": _joined(effects, ["campaign", "group"]),
            "abuse": findings.wrong_passwords(tables),
            "quality": measures.quality(tables),
            "legacy_data": measures.legacy_data(tables),
            "stragglers": stragglers(tables),
        }


def _in_percent(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame.assign(share=(100 * frame["share"]).round(1)).rename(columns={"share": name})


def _per_thousand(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(hazard=(1000 * cells["hazard"]).round(1)).rename(
        columns={"hazard": "moves per 1,000 user days"}
    )


def _spaced(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(state=frame["state"].astype("str").str.replace("_", " "))


def _joined(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _utc(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, pd.Timestamp) else value


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, so that no reader sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def moved(tables: Tables) -> str:
    """Say how many users moved, and how many of them a sign-in confirms."""
    counts, confirmed = measures.totals(tables), states.count_states(tables)["confirmed"]
    if not counts["in_scope"]:
        return "No user is in scope."
    words = f"{counts['migrated']:,} of {_people(counts['in_scope'])} moved ({100 * counts['migrated_share']:.1f} %)."
    if len(tables.sign_ins) and counts["migrated"]:
        share = "All" if confirmed == counts["migrated"] else f"{confirmed:,}" if confirmed else "None"
        words += f" {share} of them signed in when they were moved or since"
        words += ", which confirms it." if confirmed else ", as far as the log shows: nothing confirms it."
    return words


def fast(tables: Tables) -> str:
    """Say how many users move a day now, and how many did at first."""
    table = pace(tables)
    # The day of `as_of` is not over; that of the first flag is not whole, unless the flag was set at midnight.
    began = int(len(table) > 0 and tables.users["flagged_at"].min() > table["day"].iloc[0])
    whole = table.iloc[began:-1]
    if not len(whole):
        if len(table):
            return f"The first {'whole ' if len(table) > 1 else ''}day is not over yet."
        known = not tables.users["migrated_at"].notna().any()
        return "No user has been flagged yet." if known else "No table says when people were flagged."
    last, first = whole.tail(_WEEK), whole.head(_WEEK)
    words = f"{_a_day(last['moved'])} people a day, over the last {days(len(last))}."
    if len(whole) >= 2 * _WEEK:
        words += f" In the first {days(len(first))} it was {_a_day(first['moved'])} a day."
    return words


def left(tables: Tables) -> str:
    """Say how many users are left, how many of them tried, and the most frequent reason."""
    reasons = states.remaining(tables)
    whole = int(reasons["users"].sum())
    if not whole:
        return "No user: all are moved." if len(tables.users) else "No user is in scope."
    tried = reasons[reasons["reason"] != states.NEVER_TRIED]
    count = int(tried["users"].sum())
    if not count or not tables.logged:
        return f"{_people(whole)} left, and no log shows an attempt to sign in."
    words = (
        f"{_people(whole)} left. {whole - count:,} of them have not tried to sign in. {count:,} have; the largest "
        f"group of these, {tried['users'].iloc[0]:,}: {tried['reason'].iloc[0]}."
    )
    counts = states.count_states(tables)
    blocked, cannot = counts["states"]["blocked"], counts["cannot_migrate"]
    are = f"{blocked:,} {'is' if blocked == 1 else 'are'}"
    if not blocked:
        return words
    if blocked == cannot:
        return f"{words} {are} blocked: no sign-in can move them."
    if not cannot:
        return f"{words} {are} locked; a lock may end by itself."
    return f"{words} {are} blocked; {blocked - cannot:,} of them by a lock that may end by itself."


def never(forecast: Forecast) -> str:
    """Say how many users never come back, as far as that can be estimated from those who came."""
    if forecast.too_early:
        return str(forecast)
    if forecast.never_return is None or forecast.migrated == forecast.in_scope:
        return "No user is left."
    low, middle, high = (round(forecast.never_return[name] * forecast.in_scope) for name in ("low", "estimate", "high"))
    return (
        f"About {middle:,} people ({low:,} to {high:,}), {100 * forecast.never_return['estimate']:.0f} % of all, "
        "unless something brings them back. This is an estimate from how fast the number of arrivals falls: people who "
        "come once a year look the same. Such a range holds the truth about 6 times in 10."
    )


def when(forecast: Forecast, choice: CutOver) -> str:
    """Say on which day the target is met, or why on none."""
    if forecast.too_early or not len(choice.dates) or forecast.migrated == forecast.in_scope:
        return choice.reason
    today = choice.dates.iloc[0]
    return (
        f"{choice.reason} If it is switched off today ({day(today['date'])}), about {today['resets']:,} of those who "
        f"are left would come within {days(len(forecast.days) - 1)} and need a new password."
    )


def _people(count: int) -> str:
    return "1 person is" if count == 1 else f"{count:,} people are"


def _a_day(moved: pd.Series) -> str:
    """Write a mean so that a slow pace does not look like none."""
    mean = float(moved.mean())
    return f"{mean:,.0f}" if mean >= 10 or mean.is_integer() else f"{mean:.1f}"
