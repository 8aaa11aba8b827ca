"""What a notebook asks about its own tenant: collect the logs once, then look at them from several sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.graph import Graph, explained

if TYPE_CHECKING:
    import pandas as pd

    from helpers.tenant.attribute import MigrationFlag
    from jitkit.display import Table
    from jitkit.progress.collect import Archive
    from jitkit.progress.queries import Queries
    from jitkit.progress.report import Figures

__all__ = ["Progress"]


class Progress:
    """Collect a migration's figures from the tenant's logs and the endpoint's ledger.

    What was collected is kept next to the ledger, one folder a flag, for longer than the tenant keeps it.
    """

    def __init__(self, graph: Graph, flag: MigrationFlag, ledger: Path) -> None:
        self._graph, self._flag, self._ledger = graph, flag, ledger  # the ledger may be missing

    async def figures(
        self, files: Path | str | Sequence[Path | str] = "", dimensions: pd.DataFrame | None = None, **reading: Any
    ) -> Figures:
        """Take the tables of files where some are named, and collect them from the tenant where none is.

        Args:
            files: a file or a folder of tables and exports, or several; empty for the tenant.
            dimensions: for the tenant's users, `user_id` and any columns to group by, such as country or app.
            reading: for files, `dates`, `zone` and `flag` as of `jitkit.progress.command.read`.

        Raises:
            KitError: as for `collect`, or a file does not fit.
        """
        if not files:
            return await self.collect(dimensions)
        from jitkit.progress.command import read
        from jitkit.progress.report import Figures

        return Figures(read(files, **reading))

    async def collect(self, dimensions: pd.DataFrame | None = None) -> Figures:
        """Read users, sign-ins and audits from the tenant, and the ledger from this machine.

        Only what is new is read, and an interrupted reading goes on where it stopped.

        Args:
            dimensions: `user_id` and any columns to group by, such as country or app.

        Returns:
            The figures, as of now. Their data-quality list names the days that were not collected.

        Raises:
            NotReady: there is no migration flag, or another run collects at this moment.
            GraphRefused: a log cannot be read.
            BadTable: the ledger or the kept history cannot be read.
        """
        from jitkit.progress.assemble import from_archive
        from jitkit.progress.report import Figures
        from jitkit.progress.table_files import read_table

        archive, now = await self._keep(logs_only=False)
        with archive.alone():
            if self._ledger.exists():
                archive.append("ledger", read_table(self._ledger, "ledger"))
            return Figures(from_archive(archive, now, dimensions))

    async def save(self, folder: Path | str, dimensions: pd.DataFrame | None = None) -> Table:
        """Collect, and write the tables into a folder for `jitkit report`.

        Args:
            folder: for the three tables; made if it is not there.
            dimensions: as for `collect`.

        Returns:
            What was read, from when to when, and what is not known because of it.

        Raises:
            KitError: as for `collect`, or the folder cannot be written to.
        """
        from jitkit.progress.output_files import save_tables

        figures = await self.collect(dimensions)
        save_tables(figures.tables, Path(folder))
        return replace(figures.coverage(), note=" ".join(figures.tables.unread.values()))

    async def keep_logs(self) -> None:
        """Read what is new in the tenant's logs into the history on this machine, and compute nothing."""
        await self._keep(logs_only=True)

    async def _keep(self, *, logs_only: bool) -> tuple[Archive, pd.Timestamp]:
        import pandas as pd

        from jitkit.progress.collect import Archive, collect

        flag = (await self._flag.show()).full_name
        archive, now = Archive(self._ledger.parent / "history" / flag), pd.Timestamp.now("UTC").floor("us")
        with archive.alone(), explained("collect the migration's figures"):
            await collect(self._graph.send, flag, archive, now, logs_only=logs_only)
        return archive, now

    async def queries(self) -> Queries:
        """Write the same figures as KQL queries, for the logs of this tenant in Log Analytics.

        Raises:
            NotReady: there is no migration flag.
            GraphRefused: the flag cannot be read.
        """
        from jitkit.progress.queries import queries

        return queries((await self._flag.show()).full_name)
