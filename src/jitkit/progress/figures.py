"""The tables of one migration with every figure that is made of them, for notebooks and for the report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pandas as pd

from jitkit.display import Table
from jitkit.errors import BadTable
from jitkit.progress import charts, measures, states
from jitkit.progress.charts import Chart, Charts
from jitkit.progress.cutover import CutOver, cut_over
from jitkit.progress.findings import Finding, findings
from jitkit.progress.forecast import Forecast, forecast
from jitkit.progress.groups import COLUMN, campaigns
from jitkit.progress.measures import time_of
from jitkit.progress.report import Report, dimensions
from jitkit.progress.tables import Tables

__all__ = ["Figures"]

_OFFERED: Final = 40  # values of a dimension


@dataclass(frozen=True)
class Figures:
    """What the tables say, one question a method.

    Args:
        tables: users, sign-ins and ledger.
        target: which share of the users (0 to 1) is to be moved before the old system is switched off.
        certificate_ends: until when the certificate is valid; None if that is not known.
    """

    tables: Tables = field(repr=False)
    target: float = 0.95
    certificate_ends: pd.Timestamp | None = None

    def __repr__(self) -> str:
        counts = self.counts
        return f"<Figures: {counts['migrated']:,} of {counts['in_scope']:,} users migrated, {self._as_of}>"

    def _repr_html_(self) -> str:
        return self.totals()._repr_html_()

    @property
    def _as_of(self) -> str:
        return f"as of {charts.moment(self.tables.as_of)}"

    @cached_property
    def counts(self) -> dict[str, Any]:
        """The figures of `measures.totals`."""
        return measures.totals(self.tables)

    @property
    def blocked(self) -> int:
        """How many users are not moved because their account is blocked."""
        return int(states.count_states(self.tables)["states"]["blocked"])

    @cached_property
    def forecast(self) -> Forecast:
        """How many users will be moved on each coming day, and how many never."""
        return forecast(self.tables)

    @property
    def dimensions(self) -> list[str]:
        """The columns of users by which people can be grouped, such as country or app."""
        return dimensions(self.tables)

    def values(self, dimension: str) -> list[str]:
        """List what a dimension's column holds, the most frequent first and at most forty."""
        counts = self.tables.users[dimension].astype("str").value_counts()
        return [value for value in counts.index[:_OFFERED] if value]

    @cached_property
    def findings(self) -> list[Finding]:
        """What stands out."""
        return findings(self.tables, self.certificate_ends)

    def aim(self, target: float, certificate_ends: str = "") -> Figures:
        """Set what the figures are judged by.

        Args:
            target: which share of the users (0 to 1) is to be moved before the old system is switched off.
            certificate_ends: until when the certificate is valid, such as `2027-01-31`; empty if that is not known.

        Raises:
            BadTable: the target or the time makes no sense.
        """
        if not 0 < target <= 1:
            raise BadTable(f"A target of {target:g} makes no sense.", next_step="Give a share above 0 and up to 1.")
        ends = time_of(certificate_ends, "The certificate's end") if certificate_ends else None
        return replace(self, target=target, certificate_ends=ends)

    def only(self, **values: str) -> Figures:
        """Select some of the people.

        Args:
            values: a dimension and what it has to be, such as `country="DE"`; an empty text selects everybody.

        Returns:
            The figures of these people, as of the same moment.

        Raises:
            BadTable: the users have no such column.
        """
        users = self.tables.users
        for name, value in values.items():
            if name not in self.dimensions:
                known = ", ".join(self.dimensions) or "none"
                raise BadTable(f"The users have no column {name}.", next_step=f"Columns to choose by: {known}.")
            if value:
                users = users[users[name].astype("str") == value]
        rows = set(users.index)
        logs = {
            kind: log[pd.Series(people, index=log.index).isin(rows)]
            for kind, log, people in (
                ("sign_ins", self.tables.sign_ins, self.tables.people),
                ("ledger", self.tables.ledger, self.tables.callers),
            )
        }
        return replace(self, tables=Tables(users=users, **logs, as_of=self.tables.as_of, remarks=self.tables.remarks))

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
        return Table(caption=f"How far the migration is, {self._as_of}", columns=("What", "Users"), rows=rows)

    def stands_out(self) -> Table:
        """List what stands out, with what to do about it."""
        rows = [(found.label, found.words, found.next_step) for found in self.findings]
        return Table(caption=f"What stands out, {self._as_of}", columns=("What", "In numbers", "Next"), rows=rows)

    def curve(self) -> Chart:
        """Draw how the number of migrated users grew."""
        return charts.curve_chart(self.tables)

    def pace(self) -> Chart:
        """Draw how many moved on each day, and mark what stands out."""
        return charts.pace_chart(self.tables, self.findings)

    def failures(self) -> Chart:
        """Draw what made sign-ins fail, with what fixes it."""
        return charts.failures_chart(self.tables)

    def latency(self) -> Chart:
        """Draw how long the endpoint took, against the time that Entra waits."""
        return charts.latency_chart(self.tables)

    def outcomes(self) -> Chart:
        """Draw what the endpoint answered."""
        return charts.outcomes_chart(self.tables)

    def remaining(self) -> Chart:
        """Draw why people are not moved yet, with what to do about it."""
        return charts.remaining_chart(self.tables)

    def course(self) -> Chart:
        """Draw how the number of migrated users is likely to go on."""
        return charts.forecast_chart(self.forecast, self.tables)

    def cut_over(self, target: float | None = None) -> CutOver:
        """Weigh the days on which the old system could be switched off.

        Args:
            target: which share of the users (0 to 1) has to be moved; that of these figures if left out.
        """
        share = self.target if target is None else target
        return cut_over(self.forecast, round(1 - share, 9))

    def cohorts(self, by: str) -> Chart:
        """Draw how far groups of users are, after the same time.

        Args:
            by: a column of users, such as country or app.
        """
        return charts.cohort_chart(self.tables, by)

    def campaigns(self) -> Charts:
        """Draw what each reminder did: who got it next to who did not."""
        drawn = (charts.campaign_chart(self.tables, sent) for sent in campaigns(self.tables))
        return Charts(tuple(drawn), f"The users have no column {COLUMN} that says who was reminded.")

    def agreement(self) -> Table:
        """Compare the flag, the sign-in log and the ledger: where they disagree, and why that may be."""
        found = states.matrix(self.tables)
        found = found[~found["agree"]].drop(columns="agree")
        caption = f"Where flag, log and ledger disagree, {self._as_of}"
        return Table(caption=caption, columns=charts.headings_of(found), rows=charts.rows_of(found))

    def in_words(self) -> str:
        """Answer the five questions in lines for a screen, with what stands out below."""
        lines = [f"{question}\n  {answer}" for question, answer in self._report.answers()]
        found = [f"  {each.label}: {each.words}" for each in self.findings]
        found += [f"  Data: {each.rows:,} {each.finding}." for each in self.tables.remarks if each.rows]
        return "\n".join([*lines, "What stands out", *(found or ["  Nothing."])])

    def report(
        self, out: Path | str, *, title: str = "Password migration", export_problems: pd.DataFrame | None = None
    ) -> Path:
        """Write `report.html`, `metrics.json` and a CSV for each figure.

        Args:
            out: the folder; made if it is not there.
            title: the page's name.
            export_problems: what was wrong with the legacy export: `cause`, `result`, `rows`.

        Returns:
            The path of `report.html`.

        Raises:
            BadTable: the folder cannot be written to, or the tables hold something that no figure can be made of.
        """
        return self._report.write(Path(out), title, export_problems)

    @property
    def _report(self) -> Report:
        choice, found = self.cut_over(), self.findings
        return Report(self.tables, self.forecast, choice, found, self.target, self.certificate_ends)
