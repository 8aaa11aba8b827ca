"""Starts a kernel by forking a process that has imported everything already. Only Linux forks so safely."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

__all__ = ["ForkedKernel"]

_IMPORTED: Final = ["ipykernel.kernelapp", "helpers.imported_early", "helpers.widgets", "jitkit.progress.report"]


class ForkedKernel(LocalProvisioner):
    """Provides a kernel as jupyter_client's own provisioner does, from the command that would start it anew."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Fork the kernel; the first one waits for the imports."""
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(_IMPORTED)
        # After `python -m ipykernel_launcher`.
        arguments = (cmd[3:], str(options["cwd"]), dict(options["env"]))
        process = server.Process(target=_run_kernel, args=arguments, daemon=True)
        await asyncio.to_thread(process.start)
        self.process, self.cwd = _Child(process), options["cwd"]  # type: ignore[assignment]
        return self.connection_info


class _Child:
    """A forked process with the methods of `subprocess.Popen` that a provisioner calls."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self) -> int | None:
        self._process.join()
        return self.poll()

    def send_signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it does not lead a group of its own yet, or it ended
            if self.poll() is None:
                os.kill(self.pid, number)


def _run_kernel(arguments: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    import numpy as np
    from ipykernel.kernelapp import IPKernelApp

    # Forked processes would share this state; Python's own generator starts anew by itself.
    np.random.seed()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    # The kernel ends when its parent does, which is the process that forks.
    os.environ.update({**environment, "JPY_PARENT_PID": str(os.getppid())})
    IPKernelApp.launch_instance(list(arguments))
