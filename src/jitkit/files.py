"""Files that only their owner can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jitkit.errors import SettingsError

__all__ = ["make_private", "write_private"]


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Args:
        path: where; its folder is made, for its owner alone, when absent.
        content: what.

    Raises:
        SettingsError: the folder or file cannot be written.
    """
    with _in_own_folder(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def make_private(path: Path) -> None:
    """Make an empty file that only its owner can read; leave one that is there as it is.

    Args:
        path: where; its folder is made, for its owner alone, when absent.

    Raises:
        SettingsError: the folder or file cannot be written.
    """
    with _in_own_folder(path):
        path.touch(mode=0o600)


@contextmanager
def _in_own_folder(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as problem:
        raise SettingsError(
            f"{path} cannot be written.",
            service=str(problem),
            next_step="Give yourself write permission there, or set JIT_KIT_HOME to a folder of your own.",
        ) from problem
