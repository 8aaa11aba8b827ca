"""`jitkit rehearse`: the whole migration against a fresh tenant, from the first notebook to the report."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from helpers import notebook_runs, settings
from jitkit.errors import KitError

__all__ = ["Result", "play", "rehearse"]

DAYS: Final = 90


@dataclass(frozen=True)
class Result:
    """How far a rehearsal got.

    Args:
        migrated: users whose flag is false in the tenant.
        remaining: users whose flag is true.
        blocked: of those, users who cannot move until an administrator acts, as `progress.states` says.
        report: the report's page.
        home: where the rehearsal's tenant, ledger and report are kept.
    """

    migrated: int
    remaining: int
    blocked: int
    report: Path
    home: Path


def rehearse(*, html: Path | None = None) -> int:
    """Play the whole migration and say how far it got.

    It has a state folder of its own inside the kit's, so that it never touches what you set up by hand.

    Args:
        html: a folder for the executed notebooks as pages, or None.

    Returns:
        0 when every cell and checkpoint passed and the figures agree with the tenant.
    """
    started = time.monotonic()
    result = play(settings.home() / "rehearse", html=html)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    tqdm.write(
        f"""
Days       {DAYS:>6,} of sign-ins by invented users, in the tenant's own time
Migrated   {result.migrated:>6,} users: their flag is false in the rehearsal tenant
Remaining  {result.remaining:>6,} users
Blocked    {result.blocked:>6,} of the remaining: they cannot move until an administrator acts
Took       {minutes} min {seconds} s

Report     {result.report}
Tenant     JIT_KIT_HOME={result.home} jitkit rehearsal    serves it for a closer look
Next       jitkit lab    and do it by hand, with an untouched tenant"""
    )
    return 0


def play(home: Path, *, html: Path | None = None, export: Path | None = None) -> Result:
    """Run every notebook in a fresh kernel against a fresh tenant, then the rest of 90 days, then the report.

    Args:
        home: the state folder; an earlier rehearsal in it is replaced.
        html: a folder for the executed notebooks as pages, or None.
        export: a legacy export with its `people.csv` next to it, instead of the sample data.

    Raises:
        KitError: a cell failed, or the report and the tenant disagree.
    """
    paths = notebook_runs.in_order()
    if html is not None:
        _require_folder(html)
    _fresh(home, export)
    for path in tqdm(paths, desc="Notebooks", unit="notebook", ncols=88):
        executed = notebook_runs.run(path, home=home)
        if html is not None:
            notebook_runs.write_html(executed, html / f"{path.stem}.html")
    return asyncio.run(_play_and_report(home))


async def _play_and_report(home: Path) -> Result:
    import pandas as pd

    from helpers import kit
    from helpers.legacy_export import read_export

    session = await kit.open(home)
    try:
        await session.rehearsal.play(days=DAYS)
        figures = await session.progress.collect(await session.users.dimensions(session.export()))
        counts = await session.users.counts()
        totals = figures.counts
        if (totals["migrated"], totals["remaining"]) != (counts.migrated, counts.to_migrate):
            raise KitError(
                f"The report counts {totals['migrated']} migrated and {totals['remaining']} remaining users; the tenant"
                f" {counts.migrated} and {counts.to_migrate}.",
                next_step=f"Keep {home} as it is and report this: the figures have to agree.",
            )
        problems = Counter((each.cause, each.result) for each in read_export(session.export()).problems)
        rows = [(cause, result, count) for (cause, result), count in problems.most_common()]
        judged = pd.DataFrame(rows, columns=["cause", "result", "rows"])
        report = figures.report(home / "report", export_problems=judged)
        return Result(counts.migrated, counts.to_migrate, figures.blocked, report, home)
    finally:
        await session.close()


def _require_folder(html: Path) -> None:
    try:
        html.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=html):
            pass
    except OSError as problem:
        raise KitError(
            f"Pages cannot be written to {html}.",
            service=str(problem),
            next_step="Give --html a folder that you may write to.",
        ) from problem


def _fresh(home: Path, export: Path | None) -> None:
    try:
        if home.exists():
            shutil.rmtree(home)
    except OSError as problem:
        raise KitError(
            f"The earlier rehearsal in {home} cannot be removed.",
            service=str(problem),
            next_step="Close notebooks and servers that use it and see that you may write there, then run this again.",
        ) from problem
    # Any free port, so that a rehearsal never meets an endpoint that runs already.
    settings.save(home, settings.Profile(endpoint_port=0, export=str(export or "")))
