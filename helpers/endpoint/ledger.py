"""The ledger: one JSON line a call, and never a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import SettingsError

__all__ = ["Entry", "Ledger"]

_log = logging.getLogger(__name__)


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

    Raises:
        SettingsError: the file cannot be opened for writing.
    """

    def __init__(self, path: str) -> None:
        self._descriptor: int | None = None
        if path == "-":
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            Path(path).chmod(0o600)
        except OSError as error:
            raise SettingsError(
                f"The ledger {path} cannot be written.",
                service=error.strerror,
                next_step="Set JIT_LEDGER to a file in a directory that you may write to, or to - for standard output.",
            ) from None

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
