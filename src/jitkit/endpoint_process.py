"""Starts an endpoint as a child process and stops it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from jitkit.files import in_own_folder

__all__ = ["EndpointProcess", "own_command"]

_ROOT: Final = Path(__file__).resolve().parents[2]


def own_command(port: int = 0) -> tuple[str, ...]:
    """Return the command that serves the kit's own endpoint on loopback; port 0 takes a free one."""
    return (sys.executable, "-m", "jitkit.endpoint", "--host", "127.0.0.1", "--port", str(port))


class EndpointProcess:
    """A child process that serves an endpoint and prints one JSON line with its URL.

    `environment` is all of the child's; `log` is an owner-only file for its standard error, replaced if it exists.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.url = ""
        self._output = log.with_suffix(".out")
        with contextlib.ExitStack() as stack:
            with in_own_folder(log):
                output, errors = (
                    stack.enter_context(os.fdopen(_owner_only(path), "wb")) for path in (self._output, log)
                )
            self.process = subprocess.Popen(  # noqa: S603
                command,
                # The child ends when this process does, however that happens.
                env={**environment, "JIT_STOP_WITH_STDIN": "1"},
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                # Interrupting a notebook cell signals the kernel's whole session; the endpoint gets another.
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process.poll() is None

    async def wait_until_listening(self, seconds: float = 30) -> bool:
        """Wait for the JSON line and keep its `url`; returns False when the process ended or took too long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            running = self.running
            line, end, _ = self._output.read_text(encoding="utf-8", errors="replace").partition("\n")
            if end:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self.url = str(json.loads(line)["url"])
                return bool(self.url)
            if not running:
                return False
            await asyncio.sleep(0.01)
        return False

    async def stop(self, seconds: float = 6) -> int:
        """Ask the process to finish its work and end, kill it after some seconds, and return its exit code."""
        with contextlib.suppress(OSError):
            self.process.terminate()
        try:
            return await asyncio.to_thread(self.process.wait, seconds)
        except subprocess.TimeoutExpired:
            return await self.kill()
        finally:
            self._close()

    async def kill(self) -> int:
        """End the process at once; returns its exit code."""
        with contextlib.suppress(OSError):
            self.process.kill()
        self._close()
        return await asyncio.to_thread(self.process.wait)

    def last_words(self, lines: int = 6) -> str:
        """Return the last lines of the log."""
        text = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:])

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        self._output.unlink(missing_ok=True)


def _owner_only(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
