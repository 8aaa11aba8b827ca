"""Files that only their owner can read."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jitkit.errors import SettingsError

__all__ = ["append_private", "in_own_folder", "make_private", "others_may_read", "write_private"]


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises SettingsError."""
    with in_own_folder(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def append_private(path: Path, lines: Sequence[str]) -> None:
    """Append lines to a file that only its owner can read; they are on the disk then. Raises SettingsError."""
    if not lines:
        return
    text = "".join(f"{line}\n" for line in lines)
    with in_own_folder(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            # A line that a crash tore must not swallow the next one.
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                text = f"\n{text}"
            file.write(text.encode())
            os.fsync(handle)


def make_private(path: Path) -> None:
    """Make an empty file that only its owner can read; one that is there stays as it is. Raises SettingsError."""
    with in_own_folder(path):
        path.touch(mode=0o600)


@contextmanager
def in_own_folder(path: Path) -> Iterator[None]:
    """Make a file's folder for its owner alone, and explain in a SettingsError why the file cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as problem:
        raise SettingsError(
            f"{path} cannot be written.",
            service=str(problem),
            next_step="Give yourself write permission there, or set JIT_KIT_HOME to a folder of your own.",
        ) from problem


def others_may_read(folder: Path, file: Path) -> str:
    """Say who can read a folder and a file that was written into it, as far as their permissions show it."""
    if os.name == "nt":
        return "who else can read it is not checked on Windows: keep it inside your user folder, and off shared drives"
    modes = [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (folder, file)]
    if modes[1]:
        return "other accounts can read its files, because this drive keeps no permissions: choose a local folder"
    return "other accounts see its file names, not what is in them" if modes[0] else "for your account only"
