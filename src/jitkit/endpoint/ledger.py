"""What the endpoint writes: a ledger line per call, log lines, and counters of what needs attention; never a secret."""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import stat
import sys
import time
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, TextIO

from jitkit.errors import SettingsError
from jitkit.protocol import MIGRATE

_log = logging.getLogger(__name__)

# A link fails instead of being followed, and a named pipe instead of waiting for its reader; Windows has neither.
_PLAIN_FILE: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Lines about callers who are not Entra: anybody may cause those, and a full disk would stop every line.
_STRANGERS_AT_ONCE, _STRANGERS_A_SECOND = 200.0, 1.0
_MIGRATED_USERS, _READ_AT_START = 20_000, 4 * 1024 * 1024
_SECONDS_BETWEEN_COUNTS: Final = 60.0
_SAME_MESSAGE_PER_MINUTE, _MESSAGES_PER_MINUTE = 20, 500


@dataclass
class Entry:
    """A ledger line: what is known about one call."""

    time: str  # when the call arrived (UTC, ISO 8601)
    correlation_id: str | None = None  # Entra's id of the sign-in
    user_id: str | None = None  # the user's object id
    app_id: str | None = None  # the application that the user signs in to
    action: str | None = None  # None when the call was refused
    cause: str = ""  # a short word
    legacy: str | None = None  # the kind of legacy store
    duration_ms: float = 0.0  # from arrival to answer
    key: str | None = None  # the thumbprint in the password context's header
    attempt: int | None = None  # 1, or more when the same nonce came again


class Ledger:
    """Append lines to a file that only its owner may read, to standard output (`-`), or nowhere (an empty path).

    The file is made when it is not there. Links are not followed, and what is no file is refused: it would be written
    to, and its permissions changed.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._credited, self._credit = clock(), _STRANGERS_AT_ONCE
        self._descriptor: int | None = None
        self._is_torn = False  # half a line was written, which would swallow the next one
        self._is_kept = bool(path)
        if path in ("-", ""):
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _PLAIN_FILE, 0o600)
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a file")
            Path(path).chmod(0o600)
            self._is_torn = _last_bytes(Path(path), 1) not in (b"", b"\n")
        except OSError as error:
            self.close()
            raise SettingsError(
                f"The ledger {path} cannot be written.",
                service="it is a link" if error.errno == errno.ELOOP else error.strerror,
                next_step="Set JIT_LEDGER to a file in a directory that you may write to, or to - for standard output.",
            ) from None

    def may_write_of_strangers(self) -> bool:
        """Return whether a line about a caller who is not Entra may be written now: 200 at once, then one a second."""
        now = self._clock()
        self._credit = min(_STRANGERS_AT_ONCE, self._credit + (now - self._credited) * _STRANGERS_A_SECOND)
        self._credited, may = now, self._credit >= 1
        self._credit -= may
        return may

    def write(self, entry: Entry) -> None:
        """Append one line. What cannot be written at once is lost, the sign-in goes on, and the log says so."""
        if not self._is_kept:
            return
        line = f"{json.dumps(vars(entry))}\n".encode()
        try:
            descriptor = _standard_output() if self._descriptor is None else self._descriptor
            if descriptor is None:
                print(line.decode(), end="", flush=True)  # noqa: T201 - what JIT_LEDGER=- asks for
                return
            if not takes_a_line(descriptor):
                raise BlockingIOError(errno.EAGAIN, "nobody reads it")
            if self._is_torn:
                line = b"\n" + line
            self._is_torn = True
            self._is_torn = os.write(descriptor, line) < len(line)
        except OSError as error:
            _log.error("a ledger line could not be written: %s", error.strerror)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _standard_output() -> int | None:
    """Return the descriptor of standard output; None where a host has put something else in its place."""
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def takes_a_line(descriptor: int) -> bool:
    """Return whether a line can be written without waiting: a pipe that nobody reads would stop every sign-in."""
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):  # Windows, where only sockets can be asked; a number too high for select
        return True


def _last_bytes(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read()


class MigratedUsers:
    """Remember, from the ledger's end on, who was answered MigratePassword: a second time, the flag did not change."""

    def __init__(self, ledger: str) -> None:
        self._users: OrderedDict[bytes, bool] = OrderedDict()
        try:
            end = b"" if ledger in ("-", "") else _last_bytes(Path(ledger), _READ_AT_START)
        except OSError:
            end = b""
        for line in end.splitlines():
            with suppress(ValueError, LookupError, TypeError, AttributeError):  # half a line, or no line of ours
                entry = json.loads(line)
                if entry["action"] == MIGRATE:
                    self.add(entry["user_id"])

    def add(self, user_id: str | None) -> bool:
        """Note a migration, and return whether the same user was migrated before."""
        if user_id is None:
            return False
        name = blake2b(user_id.lower().encode(), digest_size=16).digest()
        known = self._users.pop(name, False)
        self._users[name] = True
        if len(self._users) > _MIGRATED_USERS:
            self._users.popitem(last=False)
        return known


@dataclass
class Counters:
    """Count by name what needs attention: log the first of a kind at once, more of them at most once a minute."""

    clock: Callable[[], float] = time.monotonic
    _total: Counter[str] = field(default_factory=Counter)
    _unlogged: Counter[str] = field(default_factory=Counter)
    _logged_at: dict[str, float] = field(default_factory=dict)

    def count(self, name: str) -> None:
        """Count one of a fixed set of short words, never anything that came with a request."""
        self._total[name] += 1
        self._unlogged[name] += 1
        now = self.clock()
        if now - self._logged_at.get(name, float("-inf")) >= _SECONDS_BETWEEN_COUNTS:
            self._logged_at[name] = now
            self._write(name)

    def close(self) -> None:
        """Log what was counted since the last line."""
        for name in sorted(self._unlogged):
            self._write(name)

    def _write(self, name: str) -> None:
        said = "%s: %d since the last line, %d since the start"
        _log.warning(said, name, self._unlogged.pop(name), self._total[name])


def log_unexpected(error: BaseException) -> None:
    """Log that something broke, and where. The error's text stays out: it may hold what the user typed."""
    _log.error("unexpected %s", _location(error))


def configure_log(stream: TextIO | None = None) -> None:
    """Send every log record of the process, from warnings on, to standard error or a stream as JSON lines."""
    handler = _PatientHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(RateLimit())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)


def _location(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return type(error).__name__ + "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in frames)


class _PatientHandler(logging.StreamHandler[TextIO]):
    """Leaves a record out when the stream would have to be waited for."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # a stream of the tests may have no descriptor
            if not takes_a_line(self.stream.fileno()):
                return
        super().emit(record)


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
        self._passed: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._passed = minute, Counter()
        kind = (record.name, str(record.msg))
        if kind in self._passed or len(self._passed) < _MESSAGES_PER_MINUTE:
            self._passed[kind] += 1
        return 0 < self._passed.get(kind, 0) <= _SAME_MESSAGE_PER_MINUTE
