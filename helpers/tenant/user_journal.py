"""The journal of users that the kit wrote: object ids and nothing else about anybody."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from jitkit.errors import SettingsError

__all__ = ["Did", "Journal"]

Did = Literal["created", "marked", "removed"]


class Journal:
    """Append what was done, one JSON line a user, to an owner-only file.

    Args:
        path: the file; it is made at the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, did: Did, user_ids: Iterable[str]) -> None:
        """Write down what was done; it is on the disk when this returns.

        Args:
            did: what.
            user_ids: to whom.

        Raises:
            SettingsError: the file cannot be written.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        lines = "".join(json.dumps({"id": each, "did": did, "at": at}) + "\n" for each in user_ids)
        if not lines:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                # A line that a crash tore must not swallow the next one.
                if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                    lines = "\n" + lines
                file.write(lines.encode())
                os.fsync(handle)
        except OSError as problem:
            raise SettingsError(
                f"{self._path} cannot be written.",
                service=str(problem),
                next_step="Give yourself write permission there and run again; the next plan finds who was written.",
            ) from problem

    def read(self) -> dict[str, Did]:
        """Read what was done last to each user.

        Returns:
            Object id to what was done.

        Raises:
            SettingsError: the file cannot be read.
        """
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise SettingsError(
                f"{self._path} cannot be read.",
                service=str(problem),
                next_step="Give yourself permission to read it. It says whom the kit created: do not delete it.",
            ) from problem
        done: dict[str, Did] = {}
        for line in lines:
            try:
                entry = json.loads(line)
                done[str(entry["id"])] = entry["did"]
            except (ValueError, TypeError, KeyError):
                continue  # torn by a crash: whoever it named is found by the next plan, in the tenant
        return done
