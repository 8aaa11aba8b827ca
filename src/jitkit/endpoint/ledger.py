"""The ledger: one JSON line a call, and never a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jitkit.errors import SettingsError

__all__ = ["Entry", "Ledger"]

_log = logging.getLogger(__name__)

# Lines about callers who are not Entra: anybody may send those, and a full disk would stop everybody's line.
_STRANGERS_AT_ONCE: Final = 200.0
_STRANGERS_A_SECOND: Final = 1.0


@dataclass
class Entry:
    """Hold what the ledger says about one call, as far as it is known.

    Args:
        time: when the call arrived (UTC, ISO 8601).
        correlation_id: Entra's id of the sign-in.
        user_id: the customer's object id.
        app_id: the application that the customer signs in to.
        action: the action answered, or None when the call was refused.
        cause: a short word.
        legacy: the kind of legacy store.
        duration_ms: from arrival to answer, milliseconds.
        key: the thumbprint in the password context's header.
        attempt: 1, or more when the same nonce came again.
    """

    time: str
    correlation_id: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    action: str | None = None
    cause: str = ""
    legacy: str | None = None
    duration_ms: float = 0.0
    key: str | None = None
    attempt: int | None = None


class Ledger:
    """Append lines to a file that only its owner may read, or to standard output.

    Args:
        path: a file, made when it is not there, or `-`.
        clock: seconds that only go forward.

    Raises:
        SettingsError: the file cannot be opened for writing.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._credited, self._credit = clock(), _STRANGERS_AT_ONCE
        self._descriptor: int | None = None
        if path == "-":
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            Path(path).chmod(0o600)
            if _torn(Path(path)):
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise SettingsError(
                f"The ledger {path} cannot be written.",
                service=error.strerror,
                next_step="Set JIT_LEDGER to a file in a directory that you may write to, or to - for standard output.",
            ) from None

    def may_write_of_strangers(self) -> bool:
        """Tell whether a line about a caller who is not Entra may be written now: some at once, few in the long run."""
        now = self._clock()
        self._credit = min(_STRANGERS_AT_ONCE, self._credit + (now - self._credited) * _STRANGERS_A_SECOND)
        self._credited = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def write(self, entry: Entry) -> None:
        """Append one line. A disk that is full costs the line, not the customer's sign-in; the log says so."""
        line = json.dumps(vars(entry)) + "\n"
        try:
            if self._descriptor is None:
                sys.stdout.write(line)
                sys.stdout.flush()
            else:
                os.write(self._descriptor, line.encode())
        except OSError as error:
            _log.error("a ledger line could not be written: %s", error.strerror)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _torn(path: Path) -> bool:
    """Tell whether a crash left the last line without its end: it must not swallow the next one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(file.seek(0, os.SEEK_END)) and bool(file.seek(-1, os.SEEK_END) + 1) and file.read(1) != b"\n"
