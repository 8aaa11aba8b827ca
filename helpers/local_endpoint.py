"""The endpoint on this machine: `jitkit endpoint` as a child process that ends with its notebook."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from jitkit.errors import EndpointDown, SettingsError
from jitkit.files import write_private

__all__ = ["LocalEndpoint"]

_START_SECONDS = 20
_STOP_SECONDS = 5


class LocalEndpoint:
    """Start, watch and stop the one endpoint of a tenant on this machine.

    Args:
        folder: gets `endpoint.log`, which is what the process says on standard error, and `endpoint.json`, which says
            which process it is, so that another notebook finds it.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "endpoint.log"
        self._note = folder / "endpoint.json"
        self._process: subprocess.Popen[str] | None = None
        self._settings = ""
        self.url: str | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    async def start(self, settings: Mapping[str, str], *, port: int) -> str:
        """Start the endpoint and wait until it accepts requests; one that runs with these settings is kept.

        Args:
            settings: the endpoint's environment settings.
            port: the loopback port; 0 takes any free one.

        Returns:
            Its URL on this machine.

        Raises:
            EndpointDown: it did not start; the reason it gave is in the message.
            SettingsError: the folder cannot be written.
        """
        asked = hashlib.sha256(json.dumps([sorted(settings.items()), port]).encode()).hexdigest()
        if self.running and self.url and asked == self._settings:
            return self.url
        await self.stop()
        await asyncio.to_thread(self._stop_another)
        try:
            self._spawn(settings, port)
            line = await asyncio.wait_for(asyncio.to_thread(self._first_line), _START_SECONDS)
            self.url, self._settings = str(json.loads(line)["url"]), asked
        except (TimeoutError, ValueError, KeyError) as problem:
            await self.stop()
            raise self._down() from problem
        except BaseException:
            # An interrupted start must not leave a process that holds the port and that nobody knows.
            await self.stop()
            raise
        return self.url

    async def health(self) -> httpx.Response:
        """Ask the endpoint how it is, with a GET as a monitor would.

        Raises:
            EndpointDown: it does not answer.
        """
        if not (self.running and self.url):
            raise EndpointDown(
                "The endpoint is not running in this notebook.", next_step="Run `await s.endpoint.ensure()` first."
            )
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            try:
                return await client.get(self.url)
            except httpx.TransportError as problem:
                raise EndpointDown(
                    "The endpoint does not answer.",
                    service=type(problem).__name__,
                    next_step="Run `await s.endpoint.stop()` and `await s.endpoint.ensure()`.",
                ) from problem

    async def stop(self) -> None:
        """Ask the process to finish what it is doing and end; insist after five seconds."""
        process, self._process, self.url = self._process, None, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.terminate()
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _stop_another(self) -> None:
        """Stop the endpoint that an earlier session or another notebook left running for this tenant."""
        try:
            kept = json.loads(self._note.read_text(encoding="utf-8"))
            other = psutil.Process(kept["pid"])
            if other.create_time() != kept["born"]:
                return  # the number belongs to some other program by now
            other.terminate()
            other.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            other.kill()
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return  # no note, or nobody there any more

    def _spawn(self, settings: Mapping[str, str], port: int) -> None:
        try:
            self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as problem:
            raise SettingsError(
                f"{self._log} cannot be written.",
                service=str(problem),
                next_step="Give yourself write permission there, or set JIT_KIT_HOME to a folder of your own.",
            ) from problem
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "helpers", "endpoint", "--host", "127.0.0.1", "--port", str(port)],
                env={**os.environ, **settings, "JIT_STOP_WITH_STDIN": "1"},
                cwd=Path(__file__).resolve().parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Interrupting a cell reaches everything in the kernel's own session: the endpoint has another.
                start_new_session=True,
            )
        finally:
            os.close(log)
        with contextlib.suppress(psutil.NoSuchProcess):
            born = psutil.Process(self._process.pid).create_time()
            write_private(self._note, json.dumps({"pid": self._process.pid, "born": born}).encode())

    def _first_line(self) -> str:
        if self._process is None or self._process.stdout is None:
            return ""
        return self._process.stdout.readline()

    def _down(self) -> EndpointDown:
        """Tell what the process said last, its advice as advice."""
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        words, found, advice = "\n".join(text.splitlines()[-6:]).rpartition("Next: ")
        if not found:
            words, advice = advice, "Mend what it says."
        words = words.strip().replace("\nThe service said: ", " ")
        advice = (advice.splitlines() or [""])[0]
        if "cannot listen" in words:
            advice += " The port is `endpoint_port` of kit.choose in notebook 00."
        return EndpointDown(
            "The endpoint did not start.",
            service=words or "nothing",
            next_step=f"{advice} Then run this cell again; the whole log is {self._log}.",
        )
