"""What the endpoint writes: a ledger line per call, log lines, and counters of what needs attention; never a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, TextIO

from jitkit.errors import SettingsError
from jitkit.protocol import MIGRATE

_log = logging.getLogger(__name__)

# Lines about callers who are not Entra: anybody may cause those, and a full disk would stop every line.
_STRANGERS_AT_ONCE: Final = 200.0
_STRANGERS_A_SECOND: Final = 1.0

_MIGRATED_USERS: Final = 20_000
_READ_AT_START: Final = 4 * 1024 * 1024

_SECONDS_BETWEEN_COUNTS: Final = 60.0
_SAME_MESSAGE_PER_MINUTE: Final = 20
_MESSAGES_PER_MINUTE: Final = 500


@dataclass
class Entry:
    """What the ledger says about one call, as far as it is known.

    Args:
        time: when the call arrived (UTC, ISO 8601).
        correlation_id: Entra's id of the sign-in.
        user_id: the user's object id.
        app_id: the application that the user signs in to.
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
            if _ends_in_half_a_line(Path(path)):
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise SettingsError(
                f"The ledger {path} cannot be written.",
                service=error.strerror,
                next_step="Set JIT_LEDGER to a file in a directory that you may write to, or to - for standard output.",
            ) from None

    def may_write_of_strangers(self) -> bool:
        """Return whether a line about a caller who is not Entra may be written now: 200 at once, then one a second."""
        now = self._clock()
        self._credit = min(_STRANGERS_AT_ONCE, self._credit + (now - self._credited) * _STRANGERS_A_SECOND)
        self._credited = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def write(self, entry: Entry) -> None:
        """Append one line. Where the disk is full the line is lost, the sign-in goes on, and the log says so."""
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


def _ends_in_half_a_line(path: Path) -> bool:
    """Return whether a crash left the last line without its end, which would swallow the next one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(file.seek(0, os.SEEK_END)) and bool(file.seek(-1, os.SEEK_END) + 1) and file.read(1) != b"\n"


class MigratedUsers:
    """Remember which users were answered MigratePassword: a second time means that their flag did not change.

    It begins with the end of the ledger. It is a hint for the operator and decides nothing.
    """

    def __init__(self, ledger: str) -> None:
        self._users: OrderedDict[bytes, None] = OrderedDict()
        if ledger != "-":
            self._read(Path(ledger))

    def add(self, user_id: str | None) -> bool:
        """Note a migration, and return whether the same user was migrated before."""
        if user_id is None:
            return False
        name = blake2b(user_id.lower().encode(), digest_size=16).digest()
        known = name in self._users
        self._users[name] = None
        self._users.move_to_end(name)
        if len(self._users) > _MIGRATED_USERS:
            self._users.popitem(last=False)
        return known

    def _read(self, ledger: Path) -> None:
        try:
            with ledger.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_AT_START))
                lines = file.read().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # the first line may be half of one
                continue
            if isinstance(entry, dict) and entry.get("action") == MIGRATE and isinstance(entry.get("user_id"), str):
                self.add(entry["user_id"])


class Counters:
    """Count by name what needs attention: log the first of a kind at once, more of them at most once a minute.

    Counts are not part of the health route: to a stranger they would tell unknown names from wrong passwords.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}

    def count(self, name: str) -> None:
        """Count one of a fixed set of short words, never anything that came with a request."""
        self._total[name] += 1
        self._unlogged[name] += 1
        now = self._clock()
        if now - self._logged_at.get(name, float("-inf")) >= _SECONDS_BETWEEN_COUNTS:
            self._logged_at[name] = now
            self._write(name)

    def close(self) -> None:
        """Log what was counted since the last line."""
        for name in sorted(self._unlogged):
            self._write(name)

    def _write(self, name: str) -> None:
        new, total = self._unlogged.pop(name), self._total[name]
        _log.warning("%s: %d since the last line, %d since the start", name, new, total)


def log_unexpected(error: BaseException) -> None:
    """Log that something broke, and where. The error's text stays out: it may hold what the user typed."""
    _log.error("unexpected %s", _location(error))


def configure_log(stream: TextIO | None = None) -> None:
    """Send every log record of the process, from warnings on, to standard error or a stream as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(RateLimit())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)


def _location(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


class _JsonLines(logging.Formatter):
    """Write a record as one JSON object; of an exception, its type and its location alone."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = record.getMessage().partition("\n")[0]  # libraries put tracebacks after it, as text
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": message}
        if record.exc_info and record.exc_info[1]:
            line["error"] = _location(record.exc_info[1])
        return json.dumps(line)


class RateLimit(logging.Filter):
    """Pass a bounded number of records of one message a minute: what strangers send must not fill a disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minute = 0
        self._passed: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._passed = minute, {}
        kind = (record.name, str(record.msg))
        if kind not in self._passed and len(self._passed) >= _MESSAGES_PER_MINUTE:
            return False
        self._passed[kind] = self._passed.get(kind, 0) + 1
        return self._passed[kind] <= _SAME_MESSAGE_PER_MINUTE
