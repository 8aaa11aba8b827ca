"""What a sign-in finds set up in the directory, read again only after something changed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from jitkit.rehearsal import client_app, prerequisites, publications, replication, switches, ways
from jitkit.rehearsal.banned_passwords import BannedPasswords, terms
from jitkit.rehearsal.client_app import ClientApp, Coverage, Refused
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.prerequisites import CalloutImpossible, Target
from jitkit.rehearsal.ways import Way

__all__ = ["Setup"]


class Setup:
    """Remember the directory's answers until the directory, or a switch, changes.

    Args:
        directory: the tenant's directory.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._version: tuple[int, int] | None = None
        self._known: dict[tuple[str, str], Any] = {}
        self._switches: dict[str, switches.Value] = {}

    def refresh(self) -> None:
        """Forget what may have changed. A sign-in does it once, when it begins."""
        version = self._directory.version()
        if version != self._version:
            self._version = version
            self._known.clear()
            self._switches.clear()
            self._directory.clock.follow()

    def switch(self, name: str) -> switches.Value:
        """Read a switch."""
        value = self._switches.get(name)
        if value is None:
            value = self._switches[name] = switches.read(self._directory, name)
        return value

    def client(self, app_id: str) -> ClientApp:
        """Look an app up as `client_app.client_app` does. Raises `client_app.Refused`."""
        return cast(ClientApp, self._once("client", app_id, lambda: client_app.client_app(self._directory, app_id)))

    def coverage(self, app_id: str) -> Coverage:
        """Choose the listener that covers an app as `client_app.coverage` does."""
        return cast(Coverage, self._once("coverage", app_id, lambda: client_app.coverage(self._directory, app_id)))

    def target(self, listener: Mapping[str, Any]) -> Target:
        """Check what a listener's callout needs as `prerequisites.prepare` does. Raises `CalloutImpossible`."""
        return cast(
            Target, self._once("target", listener["id"], lambda: prerequisites.prepare(self._directory, listener))
        )

    def published(self, host: str) -> str | None:
        """Find where a public host leads; None when nothing answers there."""
        return cast(
            "str | None", self._once("published", host, lambda: publications.publication(self._directory, host))
        )

    def way(self, host: str) -> Way:
        """Find what stands between Entra and a public host."""
        return cast(Way, self._once("way", host, lambda: ways.read(self._directory, host)))

    def is_attribute(self, name: str) -> bool:
        """Tell whether a directory extension is registered under this full name."""
        return bool(self._once("attribute", name, lambda: self._registered(name)))

    def banned(self) -> BannedPasswords | None:
        """The banned-password lists; None when they are switched off."""
        return cast("BannedPasswords | None", self._once("banned", "", self._banned))

    def names(self) -> tuple[str, ...]:
        """What a password must not contain in this tenant: its name."""
        return cast("tuple[str, ...]", self._once("names", "", self._tenant_names))

    def settle_late_flags(self) -> None:
        """Write the migration flags that have arrived by now, if any are on their way."""
        if self._once("late", "", lambda: replication.any_on_their_way(self._directory)):
            replication.settle(self._directory)

    def _banned(self) -> BannedPasswords | None:
        return BannedPasswords(terms(self._directory)) if self.switch("banned_passwords") else None

    def _tenant_names(self) -> tuple[str, ...]:
        return tuple(str(each.get("displayName") or "") for each in self._directory.all("organization"))

    def _registered(self, name: str) -> bool:
        return any(each.get("name") == name for each in self._directory.all("extensionProperty"))

    def _once(self, kind: str, name: str, find: Callable[[], Any]) -> Any:
        key = (kind, name)
        if key not in self._known:
            try:
                self._known[key] = find()
            except (Refused, CalloutImpossible) as refusal:
                self._known[key] = refusal
        found = self._known[key]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found
