"""Which public hosts reach which loopback address: the stand-in for a tunnel or for hosting."""

from __future__ import annotations

import json

from jitkit.rehearsal.directory import Directory

_META = "publications"


def publish(directory: Directory, host: str, base_url: str) -> None:
    """Let `https://{host}` reach a loopback address from now on.

    Args:
        directory: the tenant's directory, so that every process that opens the tenant sees it.
        host: the public host name, without scheme or port.
        base_url: where it leads, such as `http://127.0.0.1:7071`.
    """
    with directory.transaction():
        directory.set_meta(_META, json.dumps({**_all(directory), host.lower(): base_url.rstrip("/")}))


def unpublish(directory: Directory, host: str) -> None:
    """Let a public host lead nowhere again."""
    with directory.transaction():
        directory.set_meta(_META, json.dumps({k: v for k, v in _all(directory).items() if k != host.lower()}))


def publication(directory: Directory, host: str) -> str | None:
    """Find where a public host leads; None when nothing answers there."""
    return _all(directory).get(host.lower())


def _all(directory: Directory) -> dict[str, str]:
    found: dict[str, str] = json.loads(directory.meta(_META) or "{}")
    return found
