"""What a notebook asks about its own tenant: collect the logs once, then look at them from several sides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from helpers.graph import Graph
from helpers.refusals import explained

if TYPE_CHECKING:
    from helpers.progress.figures import Figures

__all__ = ["Progress"]


class _FlagStep(Protocol):
    async def show(self) -> Any:
        """Return a card with `full_name`."""


class Progress:
    """Collect a migration's figures from the tenant's logs and the endpoint's ledger.

    Args:
        graph: the tenant's Graph.
        flag: the migration flag's step.
        ledger: the endpoint's ledger; it may be missing.
    """

    def __init__(self, graph: Graph, flag: _FlagStep, ledger: Path) -> None:
        self._graph = graph
        self._flag = flag
        self._ledger = ledger

    async def collect(self) -> Figures:
        """Read users, sign-ins and audits from the tenant, and the ledger from this machine.

        Returns:
            The figures, as of now.

        Raises:
            NotReady: there is no migration flag.
            GraphRefused: a log cannot be read.
        """
        import pandas as pd

        from helpers.progress.collect import assemble, read_table, sign_ins_from_graph
        from helpers.progress.figures import Figures

        flag = (await self._flag.show()).full_name
        users = f"/users?$select=id,createdDateTime,{flag}&$top=999"
        # The event's name is served only to callers who ask for values newer than the published ones.
        newer = {"Prefer": "include-unknown-enum-members"}
        with explained("collect the migration's figures"):
            people = [row async for row in self._graph.pages(users)]
            sign_ins = [
                row async for row in self._graph.pages("/auditLogs/signIns?$top=999", headers=newer, version="beta")
            ]
            audits = [row async for row in self._graph.pages("/auditLogs/directoryAudits?$top=999")]
        ledger = read_table(self._ledger, "ledger") if self._ledger.exists() else None
        tables = assemble(
            people,
            flag=flag,
            seen_at=pd.Timestamp.now("UTC"),
            sign_ins=sign_ins_from_graph(sign_ins),
            audits=audits,
            ledger=ledger,
        )
        return Figures(tables)
