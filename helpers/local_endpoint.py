"""The endpoint on this machine: `jitkit endpoint` as a child process that ends with its notebook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from helpers.errors import EndpointDown

__all__ = ["LocalEndpoint"]

_START_SECONDS = 20


class LocalEndpoint:
    """Start, watch and stop one endpoint process.

    Args:
        log: the file that gets what the process says on standard error.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.url: str | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    async def start(self, settings: Mapping[str, str], *, port: int) -> str:
        """Start the endpoint and wait until it accepts requests; a running one is kept.

        Args:
            settings: the endpoint's environment settings.
            port: the loopback port; 0 takes any free one.

        Returns:
            Its URL on this machine.

        Raises:
            EndpointDown: it did not start; the reason it gave is in the message.
        """
        if self.running and self.url:
            return self.url
        await asyncio.to_thread(self._spawn, settings, port)
        try:
            line = await asyncio.wait_for(asyncio.to_thread(self._first_line), _START_SECONDS)
            self.url = str(json.loads(line)["url"])
        except (TimeoutError, ValueError, KeyError) as problem:
            await self.stop()
            raise EndpointDown(
                "The endpoint did not start.",
                service=self._last_words(),
                next_step=f"Mend what it says (the whole log is {self._log}), then run this cell again.",
            ) from problem
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
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _spawn(self, settings: Mapping[str, str], port: int) -> None:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "helpers", "endpoint", "--host", "127.0.0.1", "--port", str(port)],
                env={**os.environ, **settings, "JIT_STOP_WITH_STDIN": "1"},
                cwd=Path(__file__).resolve().parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def _first_line(self) -> str:
        if self._process is None or self._process.stdout is None:
            return ""
        return self._process.stdout.readline()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "\n".join(lines[-6:]) or "nothing"
