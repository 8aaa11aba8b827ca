"""Exceptions that report what happened, what the service said, and what to do next."""

from __future__ import annotations

import asyncio
import textwrap
from typing import Final

_WIDE: Final = 100  # characters: an output is cut anywhere, in the middle of a word too, where a line is longer


class KitError(Exception):
    """An error with what happened and what to do next.

    Args:
        happened: one sentence, ending in a full stop.
        service: what the service answered (code, request id), or None when no service was asked.
        next_step: what to do now, as an instruction.
    """

    def __init__(self, happened: str, *, service: str | None = None, next_step: str) -> None:
        super().__init__(happened)
        self.happened = happened
        self.service = service
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [self.happened]
        if self.service:
            lines.append(f"The service said: {self.service}")
        lines.append(f"Next: {self.next_step}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook; the full traceback stays in `sys.last_value`."""
        return _shown(self)


class Stopped(asyncio.CancelledError):
    """A cell was interrupted: a cancellation in the words of a `KitError`; `doing` follows "was about to"."""

    def __init__(self, doing: str) -> None:
        super().__init__(doing)
        self._doing = doing

    def __str__(self) -> str:
        return (
            f"Interrupted while the kit was about to {self._doing}.\n"
            "Next: run this cell again; it finds what was done and does the rest."
        )

    def _render_traceback_(self) -> list[str]:
        return _shown(self)


class SettingsError(KitError):
    """A setting, profile or environment variable is missing or cannot be used."""


class NotReady(KitError):
    """Something an earlier notebook makes is not there yet."""


class BadTable(KitError):
    """A table (CSV, JSON lines, Parquet) cannot be read as what it should be."""


class EndpointDown(KitError):
    """The endpoint does not start, or does not answer."""


class WriteNotConfirmed(KitError):
    """A real tenant was about to be changed, and the change was not confirmed."""


class GraphRefused(KitError):
    """Microsoft Graph refused a request: with this HTTP status, and this code in its error body."""

    def __init__(self, happened: str, *, status: int, code: str, service: str, next_step: str) -> None:
        super().__init__(happened, service=service, next_step=next_step)
        self.status = status
        self.code = code


class PermissionMissing(GraphRefused):
    """The signed-in identity lacks a directory role or a Graph permission."""


class Taken(GraphRefused):
    """A name or identifier is already used by another object."""


def _shown(error: BaseException) -> list[str]:
    lines = f"{type(error).__name__}: {error}".splitlines()
    wrap = textwrap.TextWrapper(_WIDE, break_long_words=False, break_on_hyphens=False).wrap
    return [part for line in lines for part in wrap(line)]
