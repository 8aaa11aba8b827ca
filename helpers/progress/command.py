"""`jitkit report`: files in, a page and its numbers out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.errors import BadTable
from helpers.progress import answers
from helpers.progress.figures import Figures
from helpers.progress.files import read_table
from helpers.progress.tables import Tables
from helpers.progress.words import time_of

__all__ = ["read", "report", "say"]

_KINDS = ("users", "sign_ins", "ledger")
_ENDINGS = (".parquet", ".csv", ".jsonl", ".ndjson", ".json")


def report(
    files: dict[str, Path],
    out: Path,
    *,
    as_of: str | None = None,
    target: float = 0.95,
    certificate_ends: str | None = None,
    tell: Callable[[str], None],
) -> None:
    """Read the tables, write the report and say what it says.

    Args:
        files: users, and where they are at hand sign_ins and ledger.
        out: the folder for the page and the numbers.
        as_of: until when to tell, ISO 8601, UTC if it names no zone; the last moment in the files if left out.
        target: which share of the users is to be moved before the old system is switched off.
        certificate_ends: until when the certificate is valid, in the same form.
        tell: takes the lines for the screen.

    Raises:
        BadTable: a file, a time or the target does not fit, or nobody was in scope by then.
    """
    moment = time_of(as_of, "--as-of") if as_of else None
    tables = _tables(files)
    if moment is not None:
        earlier = tables.until(moment)
        if len(tables.users) and not len(earlier.users):
            first = tables.users["flagged_at"].min()
            raise BadTable(
                f"By {as_of} nobody was in scope: the first flag was set on {first:%Y-%m-%d}.",
                next_step="Give a later --as-of, or leave it out.",
            )
        tables = earlier
    figures = Figures(tables).aim(target, certificate_ends or "")
    page = figures.report(out)
    tell(f"{say(figures)}\n\nReport     {page}")


def read(folder: Path | str) -> Tables:
    """Read the tables of a folder: `users`, `sign_ins` and `ledger`, each as Parquet, CSV or JSON lines.

    Args:
        folder: where they lie; users must be there, the logs may be missing.

    Raises:
        BadTable: there are no users, or a file does not fit.
    """
    found = {
        kind: path for kind in _KINDS for ending in _ENDINGS if (path := Path(folder) / f"{kind}{ending}").is_file()
    }
    if "users" not in found:
        raise BadTable(
            f"There is no table of users in {folder}.", next_step="Give a folder with users.parquet or .csv."
        )
    return _tables(found)


def _tables(files: dict[str, Path]) -> Tables:
    read: dict[str, Any] = {kind: read_table(path, kind) for kind, path in files.items()}
    return Tables(**read)


def say(figures: Figures) -> str:
    """Answer the five questions in lines for a screen, with what stands out below."""
    said = (
        answers.moved(figures.tables),
        answers.fast(figures.tables),
        answers.stuck(figures.tables),
        answers.never(figures.forecast),
        answers.when(figures.forecast, figures.cut_over()),
    )
    lines = [f"{asked}\n  {sentence}" for asked, sentence in zip(answers.QUESTIONS, said, strict=True)]
    found = [f"  {each.label}: {each.words}" for each in figures.findings]
    return "\n".join([*lines, "What stands out", *(found or ["  Nothing."])])
