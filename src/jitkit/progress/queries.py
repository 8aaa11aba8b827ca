"""KQL queries for the figures, to be run where the logs already are: Log Analytics, or Azure Data Explorer over it.

Tables and columns: Azure Monitor reference, `SigninLogs`, `AuditLogs`, `AppRequests`, `AppTraces`; operators: Kusto
query language reference, as far as it applies to Azure Monitor. They read what the workspace kept: a flag that was set
before the export to it began is not there, nor a silent migration that no audit shows.

They are tested on exported logs with a local engine and with Microsoft's parser, in no workspace of Azure. What is not
documented there is read either way: how names are spelt inside the dynamic columns, how an audited flag is written.
"""

from __future__ import annotations

import html
from typing import Final

from jitkit import kql
from jitkit.display import fold
from jitkit.errors import KitError
from jitkit.progress.log_analytics import FLAG

QUERIES: Final = ("curve", "failures", "latency", "states", "load", "users")
"""The questions that there are queries for."""


class Queries(dict[str, str]):
    """Queries by name, each shown whole behind the question that it answers."""

    def _repr_html_(self) -> str:
        # The comment at the head of a query begins with its question.
        questions = {name: kql.read(name).removeprefix("// ").partition("?")[0] + "?" for name in self}
        shown = (fold(questions[name], f"<pre>{html.escape(text)}</pre>") for name, text in self.items())
        return "<p>Paste one into Log Analytics, and set the time range to the whole migration.</p>" + "".join(shown)


def query(name: str, flag: str) -> str:
    """Write one of `QUERIES` for the migration flag with this full name, whole: it can be pasted as it is."""
    if name not in QUERIES:
        raise KitError(f"There is no query {name}.", next_step=f"Ask for one of {', '.join(QUERIES)}.")
    if not FLAG.fullmatch(flag):
        raise KitError(
            f"{flag} is not the full name of a migration flag.",
            next_step="Take the name that notebook 01 shows: extension_, 32 hexadecimal digits, _ and the attribute.",
        )
    return kql.whole(kql.read(name)).replace(kql.EXAMPLE_FLAG, flag)


def queries(flag: str) -> Queries:
    """Write every query, by name, for the migration flag with this full name."""
    return Queries({name: query(name, flag) for name in QUERIES})
