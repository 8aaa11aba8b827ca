"""The copy of an export that the local endpoint asks: made once, and again when the export is another one."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from helpers.legacy_export import read_export
from jitkit.errors import BadTable

__all__ = ["legacy_copy"]


def legacy_copy(export: Path, folder: Path) -> Path:
    """Find the database made from an export, or make it and remove the ones made from other exports.

    Args:
        export: the CSV file.
        folder: where the database is kept.

    Returns:
        The database. Its name says which state of which file it was made from.

    Raises:
        BadTable: the file cannot be read as an export, or the database cannot be written.
    """
    try:
        found = export.resolve().stat()
    except OSError as problem:
        raise BadTable(
            f"The export {export} cannot be read ({problem.strerror}).",
            next_step="Check the path that kit.choose got as `export` in notebook 00.",
        ) from None
    state = f"{export.resolve()}\n{found.st_mtime_ns}\n{found.st_size}"
    path = folder / f"legacy-{hashlib.sha256(state.encode(errors='surrogateescape')).hexdigest()[:12]}.sqlite3"
    if not path.exists():
        read_export(export).to_sqlite(path)
        for other in folder.glob("legacy-*.sqlite3"):
            if other != path:
                with contextlib.suppress(PermissionError):  # Windows keeps what an endpoint has open
                    other.unlink(missing_ok=True)
    return path
