"""`jitkit report`: reads tables from files and writes the page with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.assemble import from_files
from jitkit.progress.figures import time_of
from jitkit.progress.history import Changes
from jitkit.progress.mail import as_mail
from jitkit.progress.output_files import noted, write_all
from jitkit.progress.report import Figures
from jitkit.progress.table_files import Found, gather
from jitkit.progress.tables import Spelling, Tables, remark, without_names

__all__ = ["DATES", "read", "report"]

DATES = ("day-first", "month-first", "excel")
"""How dates may be written that could be read in two ways."""


def report(
    files: Mapping[str, Path],
    out: Path,
    *,
    inputs: Sequence[Path] = (),
    dates: str = "",
    zone: str = "UTC",
    flag: str = "",
    as_of: str | None = None,
    target: float | str = 0.95,
    certificate_ends: str | None = None,
    mails: Sequence[str] = (),
    deadline: str | None = None,
    mail_out: Path | None = None,
) -> tuple[str, Changes]:
    """Read the tables, write the report and return what it says, with what changed since the last one.

    Args:
        files: tables whose kind is known: users, sign_ins, ledger.
        out: the folder for the page and the numbers.
        inputs: further files, and folders of files: what each is, its columns say.
        dates: how dates are written that could be read in two ways: day-first, month-first or excel.
        zone: the time zone of times that name none.
        flag: the migration flag's full name, where the files tell of several.
        as_of: the report's last moment, ISO 8601, UTC if it names no zone; the last one in the files if left out.
        target: which share of the users is to be moved before the old system is switched off.
        certificate_ends: until when the certificate is valid, in the same form.
        mails: days of reminders to everybody who waits, past and planned.
        deadline: the last day that people were told.
        mail_out: a file for a short mail with the same figures.

    Raises:
        BadTable: a file, a time or the target does not fit, or no user was in scope by then.
    """
    moment = time_of(as_of, "--as-of") if as_of else None
    alone = inputs[0] if len(inputs) == 1 and not files else None
    tables = _tables(gather(files, inputs, _spelling(dates, zone), without=out), moment, flag, alone)
    figures = Figures(tables).aim(target, certificate_ends or "", mails, deadline or "")
    page, changes = figures.report(out), figures.changes(out)
    said = f"What changed\n  {changes}\n{figures.in_words()}\n\nReport     {page}"
    if mail_out is not None:
        write_all(mail_out.parent, {mail_out.name: as_mail(figures, changes)})
        said += f"\nMail       {mail_out}"
    return said, changes


def read(inputs: Path | str | Sequence[Path | str], *, dates: str = "", zone: str = "UTC", flag: str = "") -> Tables:
    """Read the tables of files and folders: what each file is, its columns say.

    Args:
        inputs: a file or a folder, or several.
        dates: how dates are written that could be read in two ways: day-first, month-first or excel.
        zone: the time zone of times that name none.
        flag: the migration flag's full name, where the files tell of several.

    Raises:
        BadTable: no file says who is in scope, or a file does not fit.
    """
    paths = [inputs] if isinstance(inputs, (str, Path)) else inputs
    alone = Path(paths[0]) if len(paths) == 1 else None
    return _tables(gather({}, [Path(each) for each in paths], _spelling(dates, zone)), flag=flag, alone=alone)


def _spelling(dates: str, zone: str) -> Spelling:
    if dates not in ("", *DATES):
        raise BadTable(f"Dates cannot be {dates}.", next_step=f"Say {', '.join(DATES)}.")
    try:
        ZoneInfo(zone)
    except (ValueError, KeyError, OSError):
        raise BadTable(f"There is no time zone {zone}.", next_step="Name it as Europe/Berlin, or UTC.") from None
    return Spelling(dates, zone)


def _tables(found: Found, moment: pd.Timestamp | None = None, flag: str = "", alone: Path | None = None) -> Tables:
    """Go back to a moment, or to the last one written; users flagged later are not in scope yet.

    A folder that is read alone may hold a note of its collection.
    """
    tables = without_names(from_files(found, flag))
    tables = noted(tables, alone) if alone else tables
    if not len(tables.users) or (moment is None and tables.users["flagged_at"].isna().all()):
        return tables
    earlier = tables.until(moment or tables.as_of or pd.Timestamp.now("UTC"))
    if not len(earlier.users):
        first = tables.users["flagged_at"].min()
        raise BadTable(
            f"By {earlier.as_of:%Y-%m-%d} no user was in scope: the first flag was set on {first:%Y-%m-%d}.",
            next_step="Give a later --as-of, or leave it out."
            if moment
            else "Correct flagged_at, or wait for that day.",
        )
    later = len(tables.users) - len(earlier.users)
    return replace(earlier, remarks=(*earlier.remarks, remark("planned", later))) if later else earlier
