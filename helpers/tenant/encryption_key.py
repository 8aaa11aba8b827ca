"""The encryption key: Entra encrypts passwords with its public half; the private half never leaves this machine's file.

Source: how-to 3.2.2: one PATCH of the endpoint's registration with `keyCredentials` and `tokenEncryptionKeyId`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from helpers.tenant.extension_app import ExtensionApp
from helpers.tenant.key_entries import active_of, again, described, shown_thumbprint
from helpers.tenant.key_pair import SUBJECT, PublicHalf, make_pair, mend_permissions, read_pair
from helpers.tenant.step import LAG_WAITS, Step, missing, told
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, Taken
from jitkit.files import write_private

if TYPE_CHECKING:
    from msgraph.generated.models.application import Application
    from msgraph.generated.models.key_credential import KeyCredential

__all__ = ["EncryptionKey", "Key"]

NOTEBOOK = "04-key-pair"


@dataclass(frozen=True, kw_only=True)
class Key(Card):
    """The public side of the key in use.

    Args:
        key_id: its id among the registration's key credentials.
        thumbprint: SHA-1 of the certificate, hexadecimal.
        x5t: the same in the form that the header of an encrypted token carries.
        ends: when the certificate runs out, UTC.
        days_left: whole days until then.
        path: the owner-only file with the private half and the certificate.
        previous_path: the file of the key before, or None.
    """

    key_id: str
    thumbprint: str
    x5t: str
    ends: datetime
    days_left: int
    path: Path
    previous_path: Path | None


class EncryptionKey(Step):
    """Make, upload, read, rotate or remove the encryption key."""

    @property
    def private_key_path(self) -> Path:
        """The file with the private half: what the endpoint's `DecryptionPrivateKey` holds."""
        return self._state / "jit-key.pem"

    @property
    def previous_key_path(self) -> Path:
        """The file with the private half before the last rotation: `DecryptionPrivateKeyPrevious`."""
        return self._state / "jit-key-previous.pem"

    async def ensure(self, *, replace: bool = False) -> Key:
        """Make the pair and upload its certificate, or find both as they should be, or finish what was begun.

        Keys that the registration has already stay. A key whose private half is elsewhere is never replaced unasked.

        Args:
            replace: make a new pair and switch to it although the tenant encrypts with a key that is not here.

        Returns:
            The key; status `created`, `reused` or `updated`.

        Raises:
            NotReady: the registration is missing, the tenant uses a key that is not here, or the key has run out.
            SettingsError: the key file cannot be read or written.
        """
        with told("set the encryption key up") as sent:
            app_id, app = await self._registration()
            local = read_pair(self.private_key_path)
            if local and shown_thumbprint(active_of(app)) == local.thumbprint:
                self._require_valid(local)
                return self._card("reused", local, app, sent)
            if replace:
                local = await self._new_pair()
                return self._card("created", local, await self._switch(app_id, app, local), sent)
            self._require_ours(app)
            pair = local if local else await asyncio.to_thread(make_pair, self.private_key_path)
            self._require_valid(pair)
            return self._card("updated" if local else "created", pair, await self._switch(app_id, app, pair), sent)

    async def rotate(self) -> Key:
        """Make a new pair and switch the tenant to it. The old one stays, here and in the tenant.

        Callouts that Entra encrypted with the old key still have to be opened, so give the endpoint both files. A
        rotation that broke off half-way is finished, not repeated.

        Returns:
            The new key; status `updated`.

        Raises:
            NotReady: the tenant uses a key that is not here.
        """
        with told("rotate the encryption key") as sent:
            app_id, app = await self._registration()
            local = read_pair(self.private_key_path)
            self._require_ours(app)
            active = active_of(app)
            if local is None or active is None or shown_thumbprint(active) == local.thumbprint:
                local = await self._new_pair()
            return self._card("updated", local, await self._switch(app_id, app, local), sent)

    async def show(self) -> Key:
        """Read the key from the tenant and compare it with the file.

        Raises:
            NotReady: the tenant has no encryption key, or one whose private half is not here.
        """
        with told("read the encryption key") as sent:
            _, app = await self._registration()
            active = active_of(app)
            if active is None:
                raise missing("An encryption key", NOTEBOOK)
            local = read_pair(self.private_key_path)
            if local is None or shown_thumbprint(active) != local.thumbprint:
                raise self._elsewhere(active)
            return self._card("read", local, app, sent)

    async def remove(self) -> Card:
        """Take the kit's keys out of the registration and delete their files. Other keys stay.

        Returns:
            A card; status `removed` or `missing`.
        """
        title = "Encryption key"
        files = [path for path in (self.private_key_path, self.previous_key_path) if path.exists()]
        with told("remove the encryption key") as sent:
            ours = {half.thumbprint for path in files if (half := read_pair(path))}
            try:
                app_id, app = await self._registration()
            except (NotReady, Taken):
                app_id, app = "", None
            if app is not None and any(shown_thumbprint(each) in ours for each in app.key_credentials or []):
                await self._withdraw(app_id, app, ours)
            for path in files:
                path.unlink()
            facts = {"Thumbprints": ", ".join(sorted(ours)), "Files deleted": ", ".join(map(str, files))}
            return Card(
                title=title,
                status="removed" if files else "missing",
                facts=facts if files else {},
                sent=tuple(sent),
            )

    async def _registration(self) -> tuple[str, Application]:
        object_id = (await ExtensionApp(*self._place).show()).object_id
        return object_id, await self._read(object_id)

    async def _read(self, object_id: str) -> Application:
        from msgraph.generated.applications.item.application_item_request_builder import (
            ApplicationItemRequestBuilder as Builder,
        )

        # `key` is null everywhere but in a GET of one application that selects it.
        query = Builder.ApplicationItemRequestBuilderGetQueryParameters(
            select=["id", "keyCredentials", "tokenEncryptionKeyId"]
        )
        app = await self._client.applications.by_application_id(object_id).get(
            Builder.ApplicationItemRequestBuilderGetRequestConfiguration(query_parameters=query)
        )
        assert app is not None
        return app

    async def _new_pair(self) -> PublicHalf:
        if self.private_key_path.exists():
            write_private(self.previous_key_path, self.private_key_path.read_bytes())
        return await asyncio.to_thread(make_pair, self.private_key_path)

    async def _switch(self, object_id: str, app: Application, local: PublicHalf) -> Application:
        """Add the certificate to what the registration has, make it the one in use, and read back that it is."""
        from msgraph.generated.models.application import Application
        from msgraph.generated.models.key_credential import KeyCredential

        stored = app.key_credentials or []
        there = [each for each in stored if shown_thumbprint(each) == local.thumbprint and each.usage == "Encrypt"]
        key_id = (there[0].key_id if there else None) or uuid4()
        entries = [again(each) for each in stored]
        if not there:
            entries.append(
                KeyCredential(
                    key_id=key_id,
                    type="AsymmetricX509Cert",
                    usage="Encrypt",
                    key=local.der,
                    start_date_time=local.starts,
                    end_date_time=local.ends,
                    display_name=f"CN={SUBJECT}",
                )
            )
        # A PATCH replaces the whole list, so everything that is there goes back with it.
        await self._client.applications.by_application_id(object_id).patch(
            Application(key_credentials=entries, token_encryption_key_id=key_id)
        )
        for wait in (0.0, *LAG_WAITS):
            await asyncio.sleep(wait)
            after = await self._read(object_id)
            all_there = len(after.key_credentials or []) >= len(entries)
            if all_there and shown_thumbprint(active_of(after)) == local.thumbprint:
                return after
        raise NotReady(
            "The tenant took the certificate, but does not show it as the key in use yet.",
            next_step="Wait a minute and run this cell again; nothing is made twice.",
        )

    async def _withdraw(self, object_id: str, app: Application, ours: set[str]) -> None:
        from msgraph.generated.models.application import Application

        item = self._client.applications.by_application_id(object_id)
        if shown_thumbprint(active_of(app)) in ours:
            await item.patch(Application(additional_data={"tokenEncryptionKeyId": None}))
        rest = [again(each) for each in app.key_credentials or [] if shown_thumbprint(each) not in ours]
        await item.patch(Application(key_credentials=rest))

    def _require_ours(self, app: Application) -> None:
        active = active_of(app)
        here = {half.thumbprint for half in map(read_pair, (self.private_key_path, self.previous_key_path)) if half}
        if active is not None and shown_thumbprint(active) not in here:
            raise self._elsewhere(active)

    def _elsewhere(self, active: KeyCredential) -> NotReady:
        ends = active.end_date_time.date().isoformat() if active.end_date_time else "an unknown day"
        return NotReady(
            "The tenant encrypts with a key whose private half is not on this machine.",
            service=f"key {active.key_id}, thumbprint {shown_thumbprint(active) or 'not shown'}, valid until {ends}",
            next_step=f"Copy the key file from the machine that made it to {self.private_key_path}. Or run"
            " `await s.key.ensure(replace=True)`: it makes a new key next to that one and switches to it; whatever"
            " endpoint has the old key alone then fails.",
        )

    def _require_valid(self, local: PublicHalf) -> None:
        if local.ends <= datetime.now(UTC):
            raise NotReady(
                f"The key's certificate ran out on {local.ends.date().isoformat()}.",
                next_step="Run `await s.key.rotate()`; it makes a new one and keeps the old one for what is under way.",
            )

    def _card(self, status: str, local: PublicHalf, app: Application, sent: list[Sent]) -> Key:
        active = active_of(app)
        others = [each for each in app.key_credentials or [] if active is None or each.key_id != active.key_id]
        previous = self.previous_key_path if self.previous_key_path.exists() else None
        facts = {
            "Thumbprint (SHA-1)": local.thumbprint,
            "x5t": local.x5t,
            "Key id": str(active.key_id if active else ""),
            "Valid": f"{local.starts.date().isoformat()} to {local.ends.date().isoformat()}",
            "Days left": str(local.days_left),
            "Private half": str(self.private_key_path),
            "Permissions": mend_permissions(self.private_key_path),
        }
        if previous:
            facts["Private half before"] = f"{previous} ({mend_permissions(previous)})"
        if others:
            facts["Other keys of the registration"] = "; ".join(described(each) for each in others)
        return Key(
            title=f"Encryption key CN={SUBJECT}",
            status=status,
            facts=facts,
            sent=tuple(sent),
            key_id=str(active.key_id if active else ""),
            thumbprint=local.thumbprint,
            x5t=local.x5t,
            ends=local.ends,
            days_left=local.days_left,
            path=self.private_key_path,
            previous_path=previous,
        )
