"""The figures of one look at a migration, each shown as a chart or a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.progress import charts, metrics, report, states, stuck
from helpers.progress.chart import Chart
from helpers.progress.tables import Tables
from helpers.show import Table

__all__ = ["Figures"]


@dataclass(frozen=True)
class Figures:
    """What the tables say, one question a method.

    Args:
        tables: users, sign-ins and ledger.
    """

    tables: Tables = field(repr=False)

    def __repr__(self) -> str:
        counts = self.counts
        return f"<Figures: {counts['migrated']:,} of {counts['in_scope']:,} users migrated, {self._as_of}>"

    def _repr_html_(self) -> str:
        return self.totals()._repr_html_()

    @property
    def counts(self) -> dict[str, Any]:
        """The figures of `metrics.totals`."""
        return metrics.totals(self.tables)

    @property
    def blocked(self) -> int:
        """How many users are not moved because their account is barred."""
        return int(states.summary(self.tables)["states"]["blocked"])

    @property
    def _as_of(self) -> str:
        return f"as of {charts.moment(self.tables.as_of)}"

    def totals(self) -> Table:
        """Count who is migrated, who is not, and who of them is blocked."""
        counts = self.counts
        share = counts["migrated_share"]
        rows = [
            ("In scope", f"{counts['in_scope']:,}"),
            ("Migrated", f"{counts['migrated']:,}" + ("" if share is None else f" ({100 * share:.1f} %)")),
            *((f"… {charts.words_of(path)}", f"{count:,}") for path, count in counts["by_path"].items()),
            ("Not moved yet", f"{counts['remaining']:,}"),
            ("… of them blocked", f"{self.blocked:,}"),
        ]
        return Table(caption=f"How far the migration is, {self._as_of}", columns=("What", "Users"), rows=rows)

    def curve(self) -> Chart:
        """Draw how the number of migrated users grew."""
        return charts.curve_chart(metrics.curve(self.tables), len(self.tables.users))

    def failures(self) -> Chart:
        """Draw what made sign-ins fail, with what mends it."""
        return charts.failures_chart(metrics.failures(self.tables), self.tables.as_of)

    def latency(self) -> Chart:
        """Draw how long the endpoint took, against the time that Entra waits."""
        took = metrics.latency(self.tables)
        return charts.latency_chart(metrics.durations(self.tables), took, self.tables.as_of)

    def outcomes(self) -> Chart:
        """Draw what the endpoint answered."""
        return charts.outcomes_chart(metrics.outcomes(self.tables), self.tables.as_of)

    def remaining(self) -> Chart:
        """Draw why people are not moved yet, with what to do about it."""
        return charts.remaining_chart(stuck.remaining(self.tables), self.tables.as_of)

    def report(self, out: Path | str) -> Path:
        """Write the report, `metrics.json` and the CSVs.

        Args:
            out: the folder.

        Returns:
            the path of `report.html`.
        """
        return report.write_report(self.tables, out)
