"""`jitkit report`: reads tables from files and writes the page with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from jitkit.progress.assemble import from_files
from jitkit.progress.figures import time_of
from jitkit.progress.history import Changes
from jitkit.progress.mail import as_mail
from jitkit.progress.output_files import noted, write_all
from jitkit.progress.report import Figures
from jitkit.progress.table_files import gather
from jitkit.progress.tables import AHEAD, EARLIEST, Spelling, Tables, refusal, remark, without_names


def report(
    files: Mapping[str, Path],
    out: Path,
    *,
    inputs: Sequence[Path] = (),
    as_of: str | None = None,
    target: float | str = 0.95,
    certificate_ends: str | None = None,
    mails: Sequence[str] = (),
    deadline: str | None = None,
    mail_out: Path | None = None,
    **reading: str,
) -> tuple[str, Changes]:
    """Read the tables, write the report and return what it says, with what changed since the last one.

    Args:
        files: tables whose kind is known: users, sign_ins, ledger.
        out: the folder for the page and the numbers.
        inputs: further files, and folders of files: what each is, its columns say.
        as_of: the report's last moment, ISO 8601, UTC if it names no zone; the last one in the files if left out.
        target, certificate_ends, mails, deadline: as of `Figures.aim`.
        mail_out: a file for a short mail with the same figures.
        reading: `dates`, `zone` and `flag` as of `read`.

    Raises:
        BadTable: a file, a time or the target does not fit, or no user was in scope by then.
    """
    moment = time_of(as_of, "--as-of") if as_of else None
    if moment and not EARLIEST <= moment <= pd.Timestamp.now("UTC") + AHEAD:
        raise refusal("far", what="--as-of", text=as_of)
    tables = read(inputs, files=files, without=out, until=moment, **reading)
    figures = Figures(tables).aim(target, certificate_ends or "", mails, deadline or "")
    changes = figures.write(out)
    said = f"What changed\n  {changes}\n{figures.in_words()}\n\nReport     {out / 'report.html'}"
    if mail_out is not None:
        write_all(mail_out.parent, {mail_out.name: as_mail(figures, changes)})
        said += f"\nMail       {mail_out}"
    return said, changes


def read(
    inputs: Path | str | Sequence[Path | str],
    *,
    dates: str = "",
    zone: str = "UTC",
    flag: str = "",
    files: Mapping[str, Path] | None = None,
    without: Path | None = None,
    until: pd.Timestamp | None = None,
) -> Tables:
    """Read the tables of files and folders: what each file is, its columns say.

    Users who are flagged after the last moment are not in scope yet. A folder that is read alone may hold a note of its
    collection.

    Args:
        inputs: a file or a folder, or several.
        dates: how dates are written that could be read in two ways: day-first, month-first or excel.
        zone: the time zone of times that name none.
        flag: the migration flag's full name, where the files tell of several.
        files: tables whose kind is known: users, sign_ins, ledger.
        without: a folder that is left out, as a report was written there.
        until: the last moment; by default the last one in the files.

    Raises:
        BadTable: no file says who is in scope, a file does not fit, or no user was in scope by then.
    """
    if dates not in ("", "day-first", "month-first", "excel"):
        raise refusal("dates", dates=dates)
    try:
        ZoneInfo(zone)
    except (ValueError, KeyError, OSError):
        raise refusal("zone", zone=zone) from None
    paths = [Path(each) for each in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]
    tables = without_names(from_files(gather(files or {}, paths, Spelling(dates, zone), without=without), flag))
    tables = noted(tables, paths[0]) if len(paths) == 1 and not files else tables
    if not len(tables.users) or (until is None and tables.as_of is None and tables.users["flagged_at"].isna().all()):
        return tables
    earlier = tables.until(until or tables.as_of or pd.Timestamp.now("UTC"))
    if not len(earlier.users):
        first = tables.users["flagged_at"].min()
        raise refusal("nobody_by" if until else "nobody_yet", until=earlier.as_of, first=first)
    times = (tables.users["migrated_at"], tables.sign_ins["time"], tables.ledger["time"])
    ahead = 0 if until else sum(int((each > earlier.as_of).sum()) for each in times)
    planned = len(tables.users) - len(earlier.users)
    earlier.remarks = (*earlier.remarks, remark("planned", planned), remark("ahead", ahead))
    return earlier
