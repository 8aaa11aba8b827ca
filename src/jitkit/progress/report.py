"""Answers what a migration's tables say: for a notebook one question a method, and all of it as a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.display import Table
from jitkit.errors import BadTable
from jitkit.progress import charts, cohorts, figures, history, states
from jitkit.progress import findings as stands_out
from jitkit.progress.charts import Chart, Charts
from jitkit.progress.cutover import CutOver, cut_over
from jitkit.progress.findings import Finding, attacks, findings, pace, waiting, wrong_passwords
from jitkit.progress.forecast import Forecast, forecast, interval
from jitkit.progress.history import Changes
from jitkit.progress.outages import interruptions
from jitkit.progress.output_files import WORKBOOK, as_csv, as_workbook, write_all
from jitkit.progress.tables import Tables, give_back
from jitkit.progress.wording import moment, say, table_of, template

SCHEMA_VERSION: Final = 1
"""Of `metrics.json`; it grows when a field changes its meaning or goes, and not when one is added."""


@dataclass(frozen=True)
class Figures:
    """What the tables say, one question a method."""

    tables: Tables = field(repr=False)
    target: float = 0.95  # which share of the users is to be moved before the old system is switched off
    certificate_ends: pd.Timestamp | None = None  # until when the certificate is valid, if that is known
    mails: tuple[pd.Timestamp, ...] = ()  # days of reminders to everybody who waits, past and planned
    deadline: pd.Timestamp | None = None  # the last day that people were told, if there is one

    def __repr__(self) -> str:
        counts = self.counts
        return f"<Figures: {counts['migrated']:,} of {counts['in_scope']:,} users migrated, {self._as_of}>"

    def _repr_html_(self) -> str:
        return self.totals()._repr_html_()

    @property
    def _as_of(self) -> str:
        return f"as of {moment(self.tables.as_of)}"

    @cached_property
    def counts(self) -> dict[str, Any]:
        """The figures of `figures.totals`."""
        return figures.totals(self.tables)

    @property
    def blocked(self) -> int:
        """How many users are not moved because their account is blocked."""
        return int(states.count_states(self.tables)["states"]["blocked"])

    @cached_property
    def forecast(self) -> Forecast:
        """How many users will be moved on each coming day, and how many never."""
        part = stands_out.standing(self.tables)
        held_back, outside = part.eq("held_back").to_numpy(), part.isin(("held_back", "blocked")).to_numpy()
        return forecast(self.tables, outside=outside, held_back=held_back, mails=self.mails, deadline=self.deadline)

    @cached_property
    def everybody(self) -> dict[str, Any]:
        """How many users are in each part of the whole; of those who may come, with the ends of the 80 % interval."""
        parts, left, made = stands_out.standing(self.tables).value_counts(), waiting(self.tables), self.forecast
        names = ("confirmed", "unconfirmed", "not_covered", "held_back", "blocked", "waiting")
        count: dict[str, Any] = {part: int(parts.get(part, 0)) for part in names}
        held = states.by_value(left["cause"][left["held"]], lambda cause: states.explain(cause).reason)
        count["held_back_by"] = pd.Series(held).value_counts().to_dict()
        whole = count.pop("waiting")
        if made.too_early or not len(made.paths):
            return count | {"waiting": whole}
        low, middle, high = (min(int(end), whole) for end in interval(made.coming))
        coming = {"low": low, "estimate": middle, "high": high}
        unlikely = {"low": whole - high, "estimate": whole - middle, "high": whole - low}
        return count | {"coming": coming, "unlikely": unlikely}

    def _table(self, caption: str, frame: pd.DataFrame, note: str = "") -> Table:
        return replace(table_of(f"{caption}, {self._as_of}", frame), note=note)

    def do_next(self) -> Table:
        """List what to do, who does it and how many people it can bring, the most first."""
        found = stands_out.do_next(self.tables).rename(columns={"brings": "brings, at most"})
        return self._table("Do next", found, "The people of each action are in stragglers.csv, by the column do_next.")

    @property
    def dimensions(self) -> list[str]:
        """The columns of users by which people can be grouped, such as country or app."""
        return [name for name in cohorts.dimensions(self.tables) if name != cohorts.COLUMN]

    def values(self, dimension: str) -> list[str]:
        """List a dimension's groups: bands of dates and numbers in their order, else the most frequent first."""
        return cohorts.groups(self.tables.users[dimension]) if dimension in self.dimensions else []

    @cached_property
    def findings(self) -> list[Finding]:
        """What stands out."""
        return findings(self.tables, self.certificate_ends)

    @property
    def current(self) -> list[Finding]:
        """What stands out and is not over."""
        return [each for each in self.findings if not stands_out.is_over(each, self.tables.as_of)]

    def aim(
        self, target: float | str, certificate_ends: str = "", mails: Sequence[str] = (), deadline: str = ""
    ) -> Figures:
        """Set what the figures are judged by, and what the forecast is to know, as people type it.

        A target is 0.95, 95 or `95 %`, a time `2027-01-31`. `mails` are reminders to everybody who waits, past and
        planned, and the `deadline` the last day that people were told.

        Raises:
            BadTable: the target or a time makes no sense.
        """
        ends = figures.time_of(certificate_ends, "The certificate's end") if certificate_ends else None
        sent = tuple(figures.time_of(mail, "A reminder's day") for mail in mails)
        last = figures.time_of(deadline, "The deadline") if deadline else None
        return replace(self, target=figures.share_of(target), certificate_ends=ends, mails=sent, deadline=last)

    def only(self, **values: str) -> Figures:
        """Select some of the people, by a column and its value or group, such as `country="DE"`; empty ones select all.

        Raises:
            BadTable: the users have no such column.
        """
        tables, users, planned = self.tables, self.tables.users, self.tables.planned
        for name, value in values.items():
            if value and name not in self.dimensions:
                known = ", ".join(self.dimensions) or "none"
                raise BadTable(f"The users have no column {name}.", next_step=f"Columns to choose by: {known}.")
            if value:
                whole = tables.users[name]
                chosen = (whole.astype("str") == value) | (cohorts.grouped(whole) == value)
                users = users[chosen[users.index]]
                planned = planned[cohorts.are_like(planned[name], whole[chosen])] if len(planned) else planned
        sign_ins = tables.sign_ins[np.isin(tables.people, users.index)]
        ledger = tables.ledger[np.isin(tables.callers, users.index)]
        return replace(self, tables=tables.part(tables.as_of, planned, users=users, sign_ins=sign_ins, ledger=ledger))

    def totals(self) -> Table:
        """Count who is migrated, who is not, and who of them is blocked."""
        counts = self.counts
        share = counts["migrated_share"]
        rows = [
            ("In scope", f"{counts['in_scope']:,}"),
            ("Migrated", f"{counts['migrated']:,}" + ("" if share is None else f" ({100 * share:.1f} %)")),
            *((f"… {charts.PATH_WORDS[path]}", f"{count:,}") for path, count in counts["by_path"].items()),
            ("Not moved yet", f"{counts['remaining']:,}"),
            ("… of them blocked", f"{self.blocked:,}"),
        ]
        return self._table(
            "How far the migration is", pd.DataFrame(rows, columns=["What", "Users"]), " ".join(self.unknown)
        )

    def coverage(self) -> Table:
        """List the tables behind the figures: from when to when each reaches, and what cannot be said because of it."""
        return self._table("What this report rests on", figures.coverage(self.tables).drop(columns="complete"))

    @property
    def unknown(self) -> list[str]:
        """What cannot be said, a sentence or two for each table that does not cover the whole time."""
        return [*filter(None, figures.coverage(self.tables)["unknown"])]

    def stands_out(self) -> Table:
        """List what stands out, with what to do about it."""
        rows = [(found.label, found.words, found.next_step) for found in self.findings]
        return self._table("What stands out", pd.DataFrame(rows, columns=["What", "In numbers", "Next"]))

    def curve(self) -> Chart:
        """Draw how the number of migrated users grew."""
        return charts.curve_chart(self.tables)

    def pace(self) -> Chart:
        """Draw how many moved on each day, and mark what stands out."""
        return charts.pace_chart(self.tables, self.findings)

    def failures(self) -> Chart:
        """Draw what made sign-ins fail, with what fixes it."""
        return charts.bar_chart(self.tables, "failures")

    def latency(self) -> Chart:
        """Draw how long the endpoint took, against the time that Entra waits."""
        return charts.latency_chart(self.tables)

    def outcomes(self) -> Chart:
        """Draw what the endpoint answered."""
        return charts.bar_chart(self.tables, "outcomes")

    def remaining(self) -> Chart:
        """Draw why people are not moved yet, with what to do about it."""
        return charts.bar_chart(self.tables, "remaining")

    def course(self) -> Chart:
        """Draw how the number of migrated users is likely to go on."""
        return charts.forecast_chart(self.forecast, self.tables)

    def cut_over(self) -> CutOver:
        """Weigh the days on which the old system could be switched off."""
        return self._choice

    @cached_property
    def _choice(self) -> CutOver:
        return cut_over(self.forecast, round(1 - self.target, 9))

    def cohorts(self, by: str) -> Chart:
        """Draw how far groups of users are, after the same time, by a column such as country or app."""
        return charts.cohort_chart(self.tables, by)

    def campaigns(self) -> Charts:
        """Draw what each reminder did: who got it next to who did not."""
        return Charts(tuple(charts.campaign_chart(self.tables, each) for each in cohorts.campaigns(self.tables)))

    def agreement(self) -> Table:
        """Compare the flag, the sign-in log and the ledger: where they disagree, and why that may be."""
        differ = states.matrix(self.tables).query("not agree").drop(columns="agree")
        return self._table("Where flag, log and ledger disagree", differ)

    @cached_property
    def _whole_days(self) -> dict[str, pd.Series]:
        """The moves of each whole day: of all, the first seven and the last seven."""
        daily, flagged = pace(self.tables), self.tables.users["flagged_at"]
        # The day of `as_of` is not over; that of the first flag is not whole, unless the flag was set at midnight.
        began = int(len(daily) > 0 and flagged.min() > daily["day"].iloc[0])
        whole = daily["moved"].iloc[began:-1]
        return {"all": whole, "first_7_days": whole.head(7), "last_7_days": whole.tail(7)}

    @cached_property
    def answers(self) -> dict[str, str]:
        """The five questions that everybody asks, each with a sentence or two made of numbers."""
        tables, counts, made = self.tables, self.counts, self.forecast
        counted, reasons, whole = states.count_states(tables), states.remaining(tables), self._whole_days["all"]
        tried = reasons[~reasons["reason"].isin(states.UNSEEN)]
        never = reasons.loc[reasons["reason"] == states.NEVER_TRIED, "users"].sum()
        return {
            "How many moved?": say("how_many_moved", counts=counts, counted=counted, blind=tables.blind),
            "How fast?": say("how_fast", days=len(pace(tables)), whole=whole, counts=counts, undated=tables.undated),
            "Who is stuck, and why?": say("who_is_left", counts=counts, tried=tried, never=never, counted=counted),
            "Who never comes back?": say("who_never_comes", forecast=made, whole=self.everybody, blind=tables.blind),
            "When may the old system be switched off?": say("when_to_switch_off", forecast=made, choice=self._choice),
        }

    def in_words(self) -> str:
        """Answer the five questions in lines for a screen, with what stands out below."""
        return template("summary.jinja").render(figures=self).rstrip()

    def report(
        self, out: Path | str, *, title: str = "Password migration", export_problems: pd.DataFrame | None = None
    ) -> Path:
        """Write `report.html`, `metrics.json`, a CSV for each figure and all of them as a workbook, `report.xlsx`.

        The report's counts become a row of `history.csv`; one of the same moment is replaced.

        Args:
            out: the folder; made if it is not there.
            title: the page's name.
            export_problems: what was wrong with the legacy export: `cause`, `result`, `rows`.

        Returns:
            The path of `report.html`.

        Raises:
            BadTable: the folder cannot be written to, or the tables hold something that no figure can be made of.
        """
        self.write(Path(out), title, export_problems)
        return Path(out) / "report.html"

    def write(
        self, folder: Path, title: str = "Password migration", export_problems: pd.DataFrame | None = None
    ) -> Changes:
        """Write the report, as `report` does, and return what changed since the last one of an earlier moment."""
        past, row = history.read(folder), history.row(self.tables, self.counts | self.everybody, self.findings)
        changes = history.compare(past, row)
        numbers = self._metrics(changes)
        give_back()
        files = {f"{name}.csv": as_csv(frame) for name, frame in self.frames.items()}
        files[WORKBOOK] = as_workbook(self.frames, self.tables.as_of)
        if self.tables.as_of is not None:
            files[history.FILE] = as_csv(history.added(past, row))
        files["metrics.json"] = json.dumps(numbers, indent=2, allow_nan=False, default=_plain).encode() + b"\n"
        page = self._page(title=title, numbers=numbers, changes=changes, export_problems=export_problems)
        files["report.html"] = page.encode()
        write_all(folder, files)
        return changes

    def _page(self, **given: Any) -> str:
        differ = self.frames["reconciliation"].query("not agree")
        said = "flag " + differ["flag"] + ", log: " + differ["log"] + ", ledger: " + differ["ledger"]
        causes = differ.assign(said=said).groupby(["cause", "remedy"], sort=False)
        differ = causes.agg(users=("users", "sum"), said=("said", "; ".join)).reset_index()
        differ = differ.sort_values("users", ascending=False)[["cause", "users", "said", "remedy"]]
        campaigns = cohorts.campaigns(self.tables)
        return template("report.html.jinja").render(figures=self, campaigns=campaigns, differ=differ, **given)

    def _metrics(self, changes: Changes) -> dict[str, Any]:
        tables, frames, choice = self.tables, self.frames, self._choice
        listed = ("do_next", "daily", "interruptions", "reconciliation", "cohorts", "legacy_data", "quality")
        measured = ("extra", "low", "high", "days", "by_lot")
        named = ("kind", "name", "words", "since", "until", "users")
        agree = frames["reconciliation"].groupby("agree")["users"].sum()
        return {
            "schema_version": SCHEMA_VERSION,
            "since_last": asdict(changes),
            "everybody": self.everybody,
            **{name: frames[name] for name in listed},
            "campaigns": [
                {"at": each.at.date(), "reached": len(each.reached), "control": len(each.control)}
                | ({name: getattr(each.effect, name) for name in measured} if each.effect else {})
                for each in cohorts.campaigns(tables)
            ],
            **states.summary(tables, self.certificate_ends),
            **self.forecast.numbers(),
            "pace": {
                name: round(float(part.mean()), 2) if len(part) else None for name, part in self._whole_days.items()
            },
            "remaining_by_reason": frames["remaining"][["reason", "users"]],
            "answers": frames["outcomes"],
            "calls": figures.latency(tables) | {"steps": frames["latency"]},
            "retries": figures.retries(tables),
            "agreement": {"agree": int(agree.get(True, 0)), "differ": int(agree.get(False, 0))},
            "abuse": attacks(tables) | {"accounts_by_tries": frames["abuse"]},
            "cut_over": {
                "target_share": self.target,
                "target": choice.target,
                "dates": choice.dates,
                "date": choice.date and choice.date.date(),
                "reason": choice.reason,
                "settled": choice.settled and choice.settled.date(),
                "left_in_the_end": choice.left,
            },
            "findings": [{name: getattr(each, name) for name in named} for each in self.findings],
        }

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables of a report, each by the name of its file; `dictionary.toml` says what they hold."""
        tables, listed = self.tables, states.stragglers(self.tables)
        causes = waiting(tables)["cause"]
        todo = pd.Series(states.by_value(causes, lambda cause: states.explain(cause).fix), causes.index)
        chances = self.forecast.chances.reindex(listed["user_id"]).to_numpy().round(3)
        compared = [cohorts.cohorts(tables, by).assign(dimension=by) for by in self.dimensions]
        measured = [each.effect.cells.assign(campaign=each.at) for each in cohorts.campaigns(tables) if each.effect]
        return {
            "curve": figures.curve(tables),
            "daily": pace(tables),
            "states": states.state_table(tables),
            "outcomes": figures.outcomes(tables),
            "failures": figures.failures(tables),
            "remaining": states.remaining(tables),
            "latency": figures.durations(tables),
            "interruptions": interruptions(tables),
            "forecast": self.forecast.days,
            "forecast_lines": self.forecast.lines,
            "cut_over": self._choice.dates,
            "reconciliation": states.matrix(tables),
            "cohorts": pd.concat(compared) if compared else pd.DataFrame(columns=["dimension", "cohort"]),
            "campaigns": pd.concat(measured) if measured else pd.DataFrame(columns=["campaign", "group"]),
            "abuse": wrong_passwords(tables),
            "coverage": figures.coverage(tables),
            "quality": figures.quality(tables),
            "legacy_data": figures.legacy_data(tables),
            "stragglers": listed.assign(do_next=listed["user_id"].map(todo), chance_30_days=chances),
            "do_next": stands_out.do_next(tables),
        }


def _plain(value: Any) -> Any:
    """Give JSON what it does not know: the rows of a table, and times in ISO 8601; nothing for what is missing."""
    if isinstance(value, pd.DataFrame):
        return json.loads(value.to_json(orient="records", date_format="iso", date_unit="s"))
    return figures.iso(value)
