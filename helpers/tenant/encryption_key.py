"""The encryption key: Entra encrypts passwords with its public half; the private half stays in a file on this machine.

Source: how-to 3.2.2: one PATCH of the endpoint's registration with `keyCredentials` and `tokenEncryptionKeyId`.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate
from msgraph.generated.models.application import Application
from msgraph.generated.models.key_credential import KeyCredential

from helpers.tenant import step
from helpers.tenant.apps import ExtensionApp
from helpers.tenant.step import Step, missing, query, recording_errors
from jitkit.certificates import make_certificate, thumbprint, x5t
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, SettingsError, Taken
from jitkit.files import write_private

__all__ = ["EncryptionKey", "Key", "make_pair", "read_pair"]

# Source: how-to 2.1.3: self-signed, CN=JitMigration, RSA 2048 or 4096.
SUBJECT: Final = "JitMigration"
VALID_DAYS = 365


@dataclass(frozen=True, kw_only=True)
class Key(Card):
    """The public side of the key in use."""

    key_id: str  # its id among the registration's key credentials
    thumbprint: str  # SHA-1 of the certificate, hexadecimal
    x5t: str  # the same in the form that the header of an encrypted token carries
    ends: datetime  # when the certificate expires, UTC
    days_left: int  # whole days until then
    path: Path  # the owner-only file with the private half and the certificate
    previous_path: Path | None  # the file of the key before, or None


class EncryptionKey(Step):
    """Create, upload, read, rotate or remove the encryption key."""

    @property
    def private_key_path(self) -> Path:
        """The file with the private half: what the endpoint's `DecryptionPrivateKey` holds."""
        return self._state / "jit-key.pem"

    @property
    def previous_key_path(self) -> Path:
        """The file with the private half before the last rotation: `DecryptionPrivateKeyPrevious`."""
        return self._state / "jit-key-previous.pem"

    async def ensure(self, *, replace: bool = False) -> Key:
        """Create the pair and upload its certificate, or find both as they should be, or finish what was begun.

        Keys that the registration has already stay. A key whose private half is elsewhere is replaced only on request.

        Args:
            replace: create a new pair and switch to it although the tenant encrypts with a key that is not here.

        Returns:
            The key; status `created`, `reused` or `updated`.

        Raises:
            NotReady: the registration is missing, the tenant uses a key that is not here, or the key has expired.
            SettingsError: the key file cannot be read or written.
        """
        with recording_errors("set up the encryption key") as sent:
            app_id, app = await self._registration()
            local = read_pair(self.private_key_path)
            if local and _thumbprint(_active(app)) == thumbprint(local):
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
        """Create a new pair and switch the tenant to it. The old one stays, here and in the tenant.

        Callouts that Entra encrypted with the old key still have to be opened, so give the endpoint both files. A
        rotation that was interrupted is finished, not repeated.

        Returns:
            The new key; status `updated`.

        Raises:
            NotReady: the tenant uses a key that is not here.
        """
        with recording_errors("rotate the encryption key") as sent:
            app_id, app = await self._registration()
            local = read_pair(self.private_key_path)
            self._require_ours(app)
            active = _active(app)
            if local is None or active is None or _thumbprint(active) == thumbprint(local):
                local = await self._new_pair()
            return self._card("updated", local, await self._switch(app_id, app, local), sent)

    async def show(self) -> Key:
        """Read the key from the tenant and compare it with the file.

        Raises:
            NotReady: the tenant has no encryption key, or one whose private half is not here.
        """
        with recording_errors("read the encryption key") as sent:
            _, app = await self._registration()
            active = _active(app)
            if active is None:
                raise missing("an encryption key", "04-key-pair")
            local = read_pair(self.private_key_path)
            if local is None or _thumbprint(active) != thumbprint(local):
                raise self._elsewhere(active)
            return self._card("read", local, app, sent)

    async def remove(self) -> Card:
        """Take the kit's keys out of the registration and delete their files. Other keys stay.

        Returns:
            A card; status `removed` or `missing`.
        """
        files = [path for path in (self.private_key_path, self.previous_key_path) if path.exists()]
        with recording_errors("remove the encryption key") as sent:
            ours = {thumbprint(pair) for path in files if (pair := read_pair(path))}
            try:
                app_id, app = await self._registration()
            except (NotReady, Taken):
                app_id, app = "", Application()
            if any(_thumbprint(each) in ours for each in app.key_credentials or []):
                await self._withdraw(app_id, app, ours)
            for path in files:
                path.unlink()
            facts = {"Thumbprints": ", ".join(sorted(ours)), "Files deleted": ", ".join(map(str, files))}
            return Card(
                title="Encryption key",
                status="removed" if files else "missing",
                facts=facts if files else {},
                sent=tuple(sent),
            )

    async def _registration(self) -> tuple[str, Application]:
        object_id = (await self._other(ExtensionApp).show()).object_id
        return object_id, await self._read(object_id)

    async def _read(self, object_id: str) -> Application:
        # `key` is null everywhere but in a GET of one application that selects it.
        selected = query(select=["id", "keyCredentials", "tokenEncryptionKeyId"])
        app = await self._client.applications.by_application_id(object_id).get(selected)
        assert app is not None
        return app

    async def _new_pair(self) -> Certificate:
        if self.private_key_path.exists():
            write_private(self.previous_key_path, self.private_key_path.read_bytes())
        return await asyncio.to_thread(make_pair, self.private_key_path)

    async def _switch(self, object_id: str, app: Application, local: Certificate) -> Application:
        """Add the certificate to what the registration has, make it the one in use, and read back that it is."""
        stored = app.key_credentials or []
        there = [each for each in stored if _thumbprint(each) == thumbprint(local) and each.usage == "Encrypt"]
        key_id = (there[0].key_id if there else None) or uuid4()
        entries = [_copy(each) for each in stored]
        if not there:
            entries.append(
                KeyCredential(
                    key_id=key_id,
                    type="AsymmetricX509Cert",
                    usage="Encrypt",
                    key=local.public_bytes(Encoding.DER),
                    start_date_time=local.not_valid_before_utc,
                    end_date_time=local.not_valid_after_utc,
                    display_name=f"CN={SUBJECT}",
                )
            )
        # A PATCH replaces the whole list, so everything that is there goes back with it.
        await self._client.applications.by_application_id(object_id).patch(
            Application(key_credentials=entries, token_encryption_key_id=key_id)
        )
        for wait in (0.0, *step.LAG_WAITS):
            await asyncio.sleep(wait)
            after = await self._read(object_id)
            all_there = len(after.key_credentials or []) >= len(entries)
            if all_there and _thumbprint(_active(after)) == thumbprint(local):
                return after
        raise NotReady(
            "The tenant took the certificate, but does not show it as the key in use yet.",
            next_step="Wait a minute and run this cell again; nothing is made twice.",
        )

    async def _withdraw(self, object_id: str, app: Application, ours: set[str]) -> None:
        item = self._client.applications.by_application_id(object_id)
        if _thumbprint(_active(app)) in ours:
            await item.patch(Application(additional_data={"tokenEncryptionKeyId": None}))
        rest = [_copy(each) for each in app.key_credentials or [] if _thumbprint(each) not in ours]
        await item.patch(Application(key_credentials=rest))

    def _require_ours(self, app: Application) -> None:
        active = _active(app)
        files = (self.private_key_path, self.previous_key_path)
        here = {thumbprint(pair) for path in files if (pair := read_pair(path))}
        if active is not None and _thumbprint(active) not in here:
            raise self._elsewhere(active)

    def _elsewhere(self, active: KeyCredential) -> NotReady:
        ends = active.end_date_time.date().isoformat() if active.end_date_time else "an unknown day"
        return NotReady(
            "The tenant encrypts with a key whose private half is not on this machine.",
            service=f"key {active.key_id}, thumbprint {_thumbprint(active) or 'not shown'}, valid until {ends}",
            next_step=f"Copy the key file from the machine that made it to {self.private_key_path}. Or run"
            " `await s.key.ensure(replace=True)`: it makes a new key next to that one and switches to it; an endpoint"
            " that has only the old key then fails.",
        )

    def _require_valid(self, local: Certificate) -> None:
        if local.not_valid_after_utc <= datetime.now(UTC):
            raise NotReady(
                f"The key's certificate expired on {local.not_valid_after_utc.date().isoformat()}.",
                next_step="Run `await s.key.rotate()`; it makes a new one and keeps the old one for what is under way.",
            )

    def _card(self, status: str, local: Certificate, app: Application, sent: list[Sent]) -> Key:
        active = _active(app)
        others = [each for each in app.key_credentials or [] if active is None or each.key_id != active.key_id]
        previous = self.previous_key_path if self.previous_key_path.exists() else None
        starts, ends = local.not_valid_before_utc, local.not_valid_after_utc
        days_left = (ends - datetime.now(UTC)).days
        facts = {
            "Thumbprint (SHA-1)": thumbprint(local),
            "x5t": x5t(local),
            "Key id": str(active.key_id if active else ""),
            "Valid": f"{starts.date().isoformat()} to {ends.date().isoformat()}",
            "Days left": str(days_left),
            "Private half": str(self.private_key_path),
            "Permissions": restrict_permissions(self.private_key_path),
        }
        if previous:
            facts["Private half before"] = f"{previous} ({restrict_permissions(previous)})"
        if others:
            facts["Other keys of the registration"] = "; ".join(_described(each) for each in others)
        return Key(
            title=f"Encryption key CN={SUBJECT}",
            status=status,
            facts=facts,
            sent=tuple(sent),
            key_id=str(active.key_id if active else ""),
            thumbprint=thumbprint(local),
            x5t=x5t(local),
            ends=ends,
            days_left=days_left,
            path=self.private_key_path,
            previous_path=previous,
        )


def make_pair(path: Path) -> Certificate:
    """Make an RSA key with a self-signed certificate and write both to one owner-only file, whole or not at all."""
    private, certificate = make_certificate(SUBJECT, days=VALID_DAYS)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, pem + certificate.public_bytes(Encoding.PEM))
    return certificate


def read_pair(path: Path) -> Certificate | None:
    """Read the certificate of a key file and check that the private key in it belongs to it."""
    try:
        content = path.read_bytes()
        private = load_pem_private_key(content, password=None)
        certificate = load_pem_x509_certificate(content)
        if private.public_key() != certificate.public_key():
            raise ValueError("the certificate belongs to another private key")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as problem:
        # The parser's words may quote the file, so only the kind of problem is passed on.
        words = problem.strerror if isinstance(problem, OSError) else "no private key with its certificate"
        raise SettingsError(
            f"The key file {path} cannot be used: {words}.",
            next_step="Put a good copy back, or move the file away and run `await s.key.ensure(replace=True)`, which"
            " makes a new key and switches the tenant to it.",
        ) from None
    return certificate


def restrict_permissions(path: Path) -> str:
    """Let only the owner read a key file; return its permissions in words."""
    if os.name == "nt":
        return "those of your user folder"
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return "readable by you alone"
    path.chmod(0o600)
    return f"readable by you alone (they were {mode:03o}: others on this machine could read it, so rotate the key)"


def _active(app: Application) -> KeyCredential | None:
    """Return the entry that Entra encrypts with."""
    wanted = app.token_encryption_key_id
    return next((each for each in app.key_credentials or [] if wanted and each.key_id == wanted), None)


def _thumbprint(entry: KeyCredential | None) -> str | None:
    """Compute the thumbprint of an entry; None when the tenant does not show its certificate."""
    return thumbprint(entry.key) if entry is not None and entry.key else None


def _copy(entry: KeyCredential) -> KeyCredential:
    """Copy an entry to send it back: the SDK may leave out what did not change in an object that it has read."""
    return KeyCredential(
        custom_key_identifier=entry.custom_key_identifier,
        display_name=entry.display_name,
        end_date_time=entry.end_date_time,
        key=entry.key,
        key_id=entry.key_id,
        start_date_time=entry.start_date_time,
        type=entry.type,
        usage=entry.usage,
    )


def _described(entry: KeyCredential) -> str:
    ends = entry.end_date_time
    words = "no end" if ends is None else f"until {ends.date().isoformat()}"
    if ends is not None and ends <= datetime.now(UTC):
        words = f"expired on {ends.date().isoformat()}, kept"
    return f"{entry.display_name or entry.key_id} ({entry.usage}, {words})"
