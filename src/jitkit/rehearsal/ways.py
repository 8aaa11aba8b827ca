"""What stands between Entra and a public host: nothing, unless somebody put it there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from jitkit.rehearsal.directory import Directory

__all__ = ["Way", "read", "write"]


@dataclass(frozen=True)
class Way:
    """How requests get to a host.

    Args:
        guarded: a gateway wants a token that it can read, and answers 401. It cannot read an encrypted one [observed:
            the built-in authentication of a web app, once tokenEncryptionKeyId is set].
        seconds: how much longer every request takes.
    """

    guarded: bool = False
    seconds: float = 0.0


def read(directory: Directory, host: str) -> Way:
    """Find how requests get to a host."""
    kept = directory.meta(_name(host))
    return Way(**json.loads(kept)) if kept else Way()


def write(directory: Directory, host: str, way: Way) -> None:
    """Change how requests get to a host."""
    directory.set_meta(_name(host), json.dumps(asdict(way)))


def _name(host: str) -> str:
    return f"way:{host.lower()}"
