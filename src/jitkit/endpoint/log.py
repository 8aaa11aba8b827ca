"""Log lines that are safe to ship: one JSON object each, without any exception's text, and not more than are read."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

__all__ = ["configure", "unexpected"]

_log = logging.getLogger(__name__)

_PER_MINUTE: Final = 20
_MESSAGES: Final = 500


def unexpected(error: BaseException) -> None:
    """Log that something broke, and where. The error's text stays out: it may hold what the customer typed."""
    _log.error("unexpected %s", _place(error))


def configure(stream: TextIO | None = None) -> None:
    """Send every log record of the process, from warnings on, to a stream as JSON lines.

    Args:
        stream: standard error by default.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines())
    handler.addFilter(_Sparse())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


class _Lines(logging.Formatter):
    """Write a record as one JSON object; of an exception, its type and its place alone."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": _first_line(record)}
        if record.exc_info and record.exc_info[1]:
            line["error"] = _place(record.exc_info[1])
        return json.dumps(line)


def _first_line(record: logging.LogRecord) -> str:
    """Read a message without what follows its first line: libraries put tracebacks there, as text."""
    return record.getMessage().partition("\n")[0]


class _Sparse(logging.Filter):
    """Pass at most so many records of one message a minute: what strangers send must not fill a disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minute = 0
        self._passed: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._passed = minute, {}
        kind = (record.name, str(record.msg))
        if kind not in self._passed and len(self._passed) >= _MESSAGES:
            return False
        self._passed[kind] = self._passed.get(kind, 0) + 1
        return self._passed[kind] <= _PER_MINUTE
