"""The encryption key: Entra encrypts passwords with its public half; the private half stays in a file on this machine.

Source: how-to 3.2.2: one PATCH of the endpoint's registration with `keyCredentials` and `tokenEncryptionKeyId`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate
from msgraph.generated.models.application import Application
from msgraph.generated.models.key_credential import KeyCredential

from helpers.tenant import step
from helpers.tenant.apps import ExtensionApp
from helpers.tenant.step import ObjectStep, missing, query, recording_errors
from jitkit.certificates import make_certificate, thumbprint, x5t
from jitkit.display import Card
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


class _Pair(NamedTuple):
    certificate: Certificate  # of the key file
    app: Application  # the registration as it was read last


class EncryptionKey(ObjectStep[Application, _Pair, Key]):
    """Create, upload, read, rotate or remove the encryption key. Other keys of the registration stay."""

    _notebook = "04-key-pair"
    _title = "Encryption key"
    _what = "the encryption key"

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

        Args:
            replace: create a new pair and switch to it although the tenant encrypts with a key that is not here.

        Raises:
            NotReady: the registration is missing, the tenant uses a key that is not here, or the key has expired.
            SettingsError: the key file cannot be read or written.
        """
        if replace:
            with recording_errors("set up the encryption key") as sent:
                app, found = await self._find()
                if found is None or not _in_use(app, found.certificate):
                    card = self._card(app, await self._switch(app, await self._new_pair()))
                    return dataclasses.replace(card, status="created", sent=tuple(sent))
        return await super().ensure()

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
            app, found = await self._find()
            self._require_ours(app)
            begun = found is not None and _active(app) is not None and not _in_use(app, found.certificate)
            pair = found.certificate if found is not None and begun else await self._new_pair()
            card = self._card(app, await self._switch(app, pair))
            return dataclasses.replace(card, status="updated", sent=tuple(sent))

    async def _find(self) -> tuple[Application, _Pair | None]:
        app = await self._read((await self._other(ExtensionApp).show()).object_id)
        certificate = read_pair(self.private_key_path)
        return app, None if certificate is None else _Pair(certificate, app)

    async def _create(self, around: Application) -> _Pair:
        self._require_ours(around)
        pair = await self._new_pair()
        _require_valid(pair)
        return await self._switch(around, pair)

    async def _update(self, around: Application, found: _Pair) -> _Pair | None:
        in_use = _in_use(around, found.certificate)
        if not in_use:
            self._require_ours(around)
        _require_valid(found.certificate)
        return None if in_use else await self._switch(around, found.certificate)

    def _complete(self, around: Application, found: _Pair | None) -> _Pair:
        active = _active(around)
        if active is None:
            raise missing("an encryption key", self._notebook)
        if found is None or not _in_use(around, found.certificate):
            raise _elsewhere(active, self.private_key_path)
        return found

    async def _remove(self) -> tuple[str, dict[str, str]]:
        here = self._pairs_here()
        try:
            app = await self._read((await self._other(ExtensionApp).show()).object_id)
        except (NotReady, Taken):
            app = Application()
        stored = app.key_credentials or []
        rest = [_copy(each) for each in stored if _thumbprint(each) not in here.values()]
        if len(rest) < len(stored):
            item = self._client.applications.by_application_id(app.id or "")
            if _thumbprint(_active(app)) in here.values():
                await item.patch(Application(additional_data={"tokenEncryptionKeyId": None}))
            await item.patch(Application(key_credentials=rest))
        for path in here:
            path.unlink()
        if not here:
            return "missing", {}
        return "removed", {
            "Thumbprints": ", ".join(sorted(here.values())),
            "Files deleted": ", ".join(map(str, here)),
        }

    def _pairs_here(self) -> dict[Path, str]:
        """Return the key files on this machine, each with its certificate's thumbprint."""
        files = (self.private_key_path, self.previous_key_path)
        return {path: thumbprint(pair) for path in files if (pair := read_pair(path))}

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

    async def _switch(self, app: Application, local: Certificate) -> _Pair:
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
        await self._client.applications.by_application_id(app.id or "").patch(
            Application(key_credentials=entries, token_encryption_key_id=key_id)
        )
        for wait in (0.0, *step.LAG_WAITS):
            await asyncio.sleep(wait)
            after = await self._read(app.id or "")
            all_there = len(after.key_credentials or []) >= len(entries)
            if all_there and _in_use(after, local):
                return _Pair(local, after)
        raise NotReady(
            "The tenant took the certificate, but does not show it as the key in use yet.",
            next_step="Wait a minute and run this cell again; nothing is made twice.",
        )

    def _require_ours(self, app: Application) -> None:
        active = _active(app)
        if active is not None and _thumbprint(active) not in self._pairs_here().values():
            raise _elsewhere(active, self.private_key_path)

    def _card(self, around: Application, found: _Pair) -> Key:
        local, app = found
        key_id = str(app.token_encryption_key_id or "")
        others = [each for each in app.key_credentials or [] if str(each.key_id) != key_id]
        previous = self.previous_key_path if self.previous_key_path.exists() else None
        starts, ends = local.not_valid_before_utc, local.not_valid_after_utc
        days_left = (ends - datetime.now(UTC)).days
        facts = {
            "Thumbprint (SHA-1)": thumbprint(local),
            "x5t": x5t(local),
            "Key id": key_id,
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
            status="read",
            facts=facts,
            key_id=key_id,
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
        return "not checked on Windows: keep the state folder inside your user folder"
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return "readable by you alone"
    path.chmod(0o600)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return "other accounts can read it, because this drive keeps no permissions: move the state folder, then rotate"
    return f"readable by you alone (they were {mode:03o}: others on this machine could read it, so rotate the key)"


def _active(app: Application) -> KeyCredential | None:
    """Return the entry that Entra encrypts with."""
    wanted = app.token_encryption_key_id
    return next((each for each in app.key_credentials or [] if wanted and each.key_id == wanted), None)


def _thumbprint(entry: KeyCredential | None) -> str | None:
    """Compute the thumbprint of an entry; None when the tenant does not show its certificate."""
    return thumbprint(entry.key) if entry is not None and entry.key else None


def _in_use(app: Application, local: Certificate) -> bool:
    """Return whether the registration encrypts with the key of this certificate."""
    return _thumbprint(_active(app)) == thumbprint(local)


def _elsewhere(active: KeyCredential, path: Path) -> NotReady:
    ends = active.end_date_time.date().isoformat() if active.end_date_time else "an unknown day"
    return NotReady(
        "The tenant encrypts with a key whose private half is not on this machine.",
        service=f"key {active.key_id}, thumbprint {_thumbprint(active) or 'not shown'}, valid until {ends}",
        next_step=f"Copy the key file from the machine that made it to {path}. Or run"
        " `await s.key.ensure(replace=True)`: it makes a new key next to that one and switches to it; an endpoint"
        " that has only the old key then fails.",
    )


def _require_valid(local: Certificate) -> None:
    if local.not_valid_after_utc <= datetime.now(UTC):
        raise NotReady(
            f"The key's certificate expired on {local.not_valid_after_utc.date().isoformat()}.",
            next_step="Run `await s.key.rotate()`; it makes a new one and keeps the old one for what is under way.",
        )


def _copy(entry: KeyCredential) -> KeyCredential:
    """Copy an entry to send it back: the SDK may leave out what did not change in an object that it has read."""
    kept = (
        "custom_key_identifier",
        "display_name",
        "end_date_time",
        "key",
        "key_id",
        "start_date_time",
        "type",
        "usage",
    )
    return KeyCredential(**{name: getattr(entry, name) for name in kept})


def _described(entry: KeyCredential) -> str:
    ends = entry.end_date_time
    words = "no end" if ends is None else f"until {ends.date().isoformat()}"
    if ends is not None and ends <= datetime.now(UTC):
        words = f"expired on {ends.date().isoformat()}, kept"
    return f"{entry.display_name or entry.key_id} ({entry.usage}, {words})"
