"""The encryption key: Entra encrypts passwords with its public half; the private half stays in a file on this machine.

Source: how-to 3.2.2: one PATCH of the endpoint's registration with `keyCredentials` and `tokenEncryptionKeyId`.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import re
import stat
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate
from msgraph.generated.models.application import Application
from msgraph.generated.models.key_credential import KeyCredential

from helpers.tenant import step
from helpers.tenant.apps import ExtensionApp
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import ObjectStep, missing, query, recording_errors, true_or_false
from jitkit.certificates import make_certificate, thumbprint, x5t
from jitkit.display import Card
from jitkit.errors import NotReady, SettingsError, Taken
from jitkit.files import write_private
from jitkit.hosting.doctor import TenantKey

__all__ = ["WAITS", "EncryptionKey", "Key", "make_pair", "read_pair"]

# Source: how-to 2.1.3: self-signed, CN=JitMigration, RSA 2048 or 4096.
SUBJECT: Final = "JitMigration"
VALID_DAYS = 365
WAITS: Final = "Waits for the endpoint"  # on the card of a key while a newer one is there


@dataclass(frozen=True, kw_only=True)
class Key(Card):
    """The public side of the key in use."""

    key_id: str  # its id among the registration's key credentials
    thumbprint: str  # SHA-1 of the certificate, hexadecimal
    x5t: str  # the same in the form that the header of an encrypted token carries
    ends: datetime  # when the certificate expires, UTC
    days_left: int  # whole days until then
    path: Path | None  # the owner-only file with the private half and the certificate; None for a key in a vault
    previous_path: Path | None  # the file of the key before, or None


class _Pair(NamedTuple):
    certificate: Certificate
    app: Application  # the registration as it was read last
    newest: bool = True  # whether it is the newest here, and not one before it that the tenant goes on using


class EncryptionKey(ObjectStep[Application, _Pair, Key]):
    """Create, upload, read, rotate or remove the encryption key. Other keys of the registration stay."""

    _named = "extension_app"  # the registration that holds it
    _notebook = "04-key-pair"
    _title = "Encryption key"
    _what = "the encryption key"
    _asks = "the name of the app registration"

    @property
    def private_key_path(self) -> Path:
        """The file with the private half: what the endpoint's `DecryptionPrivateKey` holds."""
        return self._state / "jit-key.pem"

    @property
    def previous_key_path(self) -> Path:
        """The file with the private half before the last rotation: `DecryptionPrivateKeyPrevious`."""
        return self._state / "jit-key-previous.pem"

    reach: Callable[[str], Awaitable[httpx.Response]] | None = None  # sends a GET to the endpoint's public address

    async def ensure(self, *, replace: bool = False, endpoint_has_key: bool = False) -> Key:
        """Create the pair and upload its certificate, or find both as they should be, or finish what was begun.

        Args:
            replace: create a new pair and switch to it although the tenant encrypts with a key that is not here.
            endpoint_has_key: see `rotate`.

        Raises:
            NotReady: the registration is missing, the tenant uses a key that is not here, the key has expired, or the
                endpoint does not have the new one yet.
            SettingsError: the key file cannot be read or written, or an argument is neither True nor False.
        """
        vouched = true_or_false("endpoint_has_key", endpoint_has_key)
        if true_or_false("replace", replace):
            with recording_errors("set up the encryption key") as sent:
                app, found = await self._find()
                if found is None or not _in_use(app, found.certificate):
                    begun = found if found and (_entry(app, found.certificate) or self._holds_active(app)) else None
                    call = "ensure(replace=True)"
                    card = self._card(app, await self._change_to(app, begun, vouched=vouched, call=call))
                    return dataclasses.replace(card, status="created", sent=tuple(sent))
        return await super().ensure()

    async def rotate(self, *, endpoint_has_key: bool = False) -> Key:
        """Add a new pair, ask the endpoint whether it has it, and then switch the tenant to it.

        The old pair stays, here and in the tenant: what Entra encrypted with it still has to be opened. A rotation
        that was interrupted, or that waits for the endpoint, is finished and not repeated.

        Args:
            endpoint_has_key: give True if the endpoint has the new key and cannot say so, as one that is not the kit's.

        Returns:
            The new key; status `updated`.

        Raises:
            NotReady: the tenant uses a key that is not here, or the endpoint does not have the new one yet.
        """
        vouched = true_or_false("endpoint_has_key", endpoint_has_key)
        with recording_errors("rotate the encryption key") as sent:
            app, found = await self._find()
            self._require_ours(app)
            begun = found if found and _active(app) and not _in_use(app, found.certificate) else None
            card = self._card(app, await self._change_to(app, begun, vouched=vouched))
            return dataclasses.replace(card, status="updated", sent=tuple(sent))

    async def uploaded(self) -> list[TenantKey]:
        """Read every certificate on the registration that passwords can be encrypted with, wherever its key is."""
        with recording_errors("read the encryption keys"):
            app = await self._read((await self._other(ExtensionApp).show()).object_id)
        return [
            TenantKey(_thumbprint(each) or "", each.start_date_time, each.end_date_time, each is _active(app))
            for each in app.key_credentials or []
            if each.usage == "Encrypt" and _thumbprint(each) and each.start_date_time and each.end_date_time
        ]

    async def drop_previous(self) -> Card:
        """Take the pair before the last rotation off the registration, and delete its file.

        Returns:
            A card; status `removed`, or `missing` when there is none.

        Raises:
            NotReady: the rotation is not finished.
        """
        with recording_errors("drop the previous encryption key") as sent:
            app, found = await self._find()
            old = [thumbprint(each) for each in self._older()]
            if not old:
                return Card(title="Previous encryption key", status="missing", sent=tuple(sent))
            if not self._complete(app, found).newest:
                raise NotReady(
                    "The tenant still encrypts with the previous key.",
                    next_step="Finish the rotation first: `await s.key.rotate()`.",
                )
            facts = {"Thumbprint": ", ".join(old)} | await self._withdraw(app, "previous encryption key", old)
            return Card(title="Previous encryption key", status="removed", facts=facts, sent=tuple(sent))

    async def _find(self) -> tuple[Application, _Pair | None]:
        app = await self._read((await self._other(ExtensionApp).show()).object_id)
        certificate = self._newest()
        return app, _Pair(certificate, app) if certificate else None

    async def _make(self, around: Application) -> _Pair | None:
        self._require_ours(around)
        if _active(around) is not None:  # it is the previous one that is in use
            return await self._change_to(around, None)
        return await super()._make(around)

    async def _create(self, around: Application) -> _Pair:
        pair = await self._new_pair()
        self._require_valid(pair)
        return await self._write(around, pair, switch=True)

    async def _update(self, around: Application, found: _Pair) -> _Pair | None:
        in_use = _in_use(around, found.certificate)
        if not in_use:
            self._require_ours(around)
        self._require_valid(found.certificate)
        return None if in_use else await self._change_to(around, found)

    async def _change_to(
        self, app: Application, begun: _Pair | None, *, vouched: bool = False, call: str = "rotate()"
    ) -> _Pair:
        """Add a certificate, have the endpoint prove that it has the private half, and only then switch to it."""
        active, local = _active(app), begun.certificate if begun else None
        of_app = f"the app registration {self._name!r}"
        if local is None or not _entry(app, local):
            async with self._changing(f"Add a certificate to {of_app}", [("Encrypts with it", "", "not yet")]):
                local = local or await self._new_pair()
                app = (await self._write(app, local, switch=False)).app
        if not vouched and active is not None:
            await self._require_held(app, local, call)
        values = [("Thumbprint", _thumbprint(active) or "", thumbprint(local))]
        people = await self._other(MigrationFlag).people()
        answer = self._name if active else ""
        async with self._changing(f"Switch the encryption key of {of_app}", values, people, answer):
            return await self._write(app, local, switch=True)

    async def _require_held(self, app: Application, local: Certificate, call: str) -> None:
        """Ask at each address that Entra calls with this key's tokens whether the key is there."""
        for address in await self._other(ExtensionApp).addresses(app.app_id or ""):
            try:
                url = httpx.URL(address).copy_merge_params({"x5t": x5t(local)})
                has_key = self.reach is not None and (await self.reach(str(url))).json()["has_key"] is True
                says = "" if has_key else "does not have the new key"
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
                says = "does not say which keys it has"
            if says:
                raise NotReady(
                    f"The endpoint at {address} {says}, so the tenant goes on encrypting with the old one.",
                    next_step=f"{self._hand_over} Then run `await s.key.{call}` again: it finishes what was begun."
                    " If your endpoint has the key and cannot say so, add endpoint_has_key=True.",
                )

    def _complete(self, around: Application, found: _Pair | None) -> _Pair:
        active = _active(around)
        if active is None:
            raise missing("an encryption key", self._notebook)
        if found is not None and _in_use(around, found.certificate):
            return found
        before = next((each for each in self._older() if _in_use(around, each)), None)
        if before is None:
            raise self._elsewhere(active)
        return _Pair(before, around, newest=False)

    async def _removable(self) -> list[tuple[Application, _Pair]]:
        # What is here, whether the tenant uses it or not.
        app, found = await self._find()
        if not self._here():
            raise missing("an encryption key", self._notebook)
        return [(app, found or _Pair(self._older()[0], app, newest=False))]

    async def _require_removable(self, around: Application, found: _Pair, *, ours_gone: bool = False) -> None:
        if (active := _active(around)) and not _thumbprint(active):
            raise step.taken(
                f"The tenant does not show the certificate of the key in use, {active.key_id}; the one here stays.",
                found="neither that certificate nor its thumbprint",
                next_step="Look at the registration under Certificates & secrets; the key may be in use.",
            )
        await self._other(ExtensionApp).require_unused(around.app_id or "")

    async def _remove(self) -> tuple[str, dict[str, str]]:
        if not (here := self._here()):
            return "missing", {}
        try:
            [(app, found)] = await self._removable()
        except (NotReady, Taken) as unread:
            why = f"{unread.happened} So nothing says that the tenant encrypts with this key no more; it stays."
            return "left alone", {"Why": why, "Where the private halves are": ", ".join(here.values())}
        await self._require_removable(app, found)
        facts = {"Thumbprints": ", ".join(sorted(here))}
        return "removed", facts | await self._withdraw(app, "encryption key", here)

    async def _withdraw(self, app: Application, what: str, thumbprints: Collection[str]) -> dict[str, str]:
        """Take certificates off the registration, and their private halves from here once it shows that; say which."""
        change = f"Delete the {what} of {self._name!r}, and {self._forgets}"
        values = [("Thumbprint", each, "") for each in sorted(thumbprints)]
        async with self._changing(change, values, await self._other(MigrationFlag).people(), self._name):
            rest = [_copy(each) for each in app.key_credentials or [] if _thumbprint(each) not in thumbprints]
            item = self._client.applications.by_application_id(app.id or "")
            if _thumbprint(_active(app)) in thumbprints:
                await item.patch(Application(additional_data={"tokenEncryptionKeyId": None}))
            if len(rest) < len(app.key_credentials or []):
                await item.patch(Application(key_credentials=rest))
            for wait in (0.0, *step.LAG_WAITS):
                await asyncio.sleep(wait)
                after = await self._read(app.id or "")
                if not any(_thumbprint(each) in thumbprints for each in after.key_credentials or []):
                    return await self._forget(thumbprints)
        raise NotReady(
            "The tenant still shows the key, so its private half stays.",
            next_step="Wait a minute and run this cell again.",
        )

    # Where private halves are: files on this machine. `VaultKey` keeps them in a vault.

    _place, _forgets = "on this machine", "its file on this machine"

    @property
    def _hand_over(self) -> str:
        return (
            "Give the endpoint both key files. On this machine `await s.endpoint.ensure()` does so; a hosted one takes"
            f" {self.private_key_path} as DecryptionPrivateKey and {self.previous_key_path} as"
            " DecryptionPrivateKeyPrevious."
        )

    def _newest(self) -> Certificate | None:
        return read_pair(self.private_key_path)

    def _older(self) -> list[Certificate]:
        previous = read_pair(self.previous_key_path)
        return [] if previous is None else [previous]

    def _here(self) -> dict[str, str]:
        """Return the thumbprints of the certificates whose private halves are here, and where each is."""
        paths = {self.private_key_path: self._newest(), self.previous_key_path: next(iter(self._older()), None)}
        return {thumbprint(each): str(path) for path, each in paths.items() if each is not None}

    async def _forget(self, thumbprints: Collection[str]) -> dict[str, str]:
        """Delete private halves; say which."""
        paths = [path for each, path in self._here().items() if each in thumbprints]
        _unlink(paths)
        return {"Files deleted": ", ".join(paths)}

    async def _read(self, object_id: str) -> Application:
        # `key` is null everywhere but in a GET of one application that selects it.
        selected = query(select=["id", "appId", "keyCredentials", "tokenEncryptionKeyId"])
        app = await self._client.applications.by_application_id(object_id).get(selected)
        assert app is not None
        return app

    async def _new_pair(self) -> Certificate:
        if self.private_key_path.exists():
            write_private(self.previous_key_path, self.private_key_path.read_bytes())
        return await asyncio.to_thread(make_pair, self.private_key_path)

    async def _write(self, app: Application, local: Certificate, *, switch: bool) -> _Pair:
        """Add the certificate to what the registration has, or make it the one in use, and read back that it is so."""
        there = _entry(app, local)
        key_id = (there and there.key_id) or uuid4()
        entries = [_copy(each) for each in app.key_credentials or []]
        if there is None:
            new = KeyCredential(key_id=key_id, type="AsymmetricX509Cert", usage="Encrypt", display_name=f"CN={SUBJECT}")
            new.start_date_time, new.end_date_time = local.not_valid_before_utc, local.not_valid_after_utc
            new.key = local.public_bytes(Encoding.DER)
            entries.append(new)
        # A PATCH replaces the whole list, so everything that is there goes back with it.
        change = Application(key_credentials=entries, token_encryption_key_id=key_id if switch else None)
        await self._client.applications.by_application_id(app.id or "").patch(change)
        for wait in (0.0, *step.LAG_WAITS):
            await asyncio.sleep(wait)
            after = await self._read(app.id or "")
            shown = key_id in [each.key_id for each in after.key_credentials or []]
            if shown and (not switch or after.token_encryption_key_id == key_id):
                return _Pair(local, after)
        raise NotReady(
            "The tenant took the certificate, but does not show it as it should be yet.",
            next_step="Wait a minute and run this cell again; nothing is made twice.",
        )

    def _holds_active(self, app: Application) -> bool:
        return _thumbprint(_active(app)) in self._here()

    def _require_ours(self, app: Application) -> None:
        active = _active(app)
        if active is not None and not self._holds_active(app):
            raise self._elsewhere(active)

    def _card(self, around: Application, found: _Pair) -> Key:
        local, app, newest = found
        key_id = str(app.token_encryption_key_id or "")
        others = [each for each in app.key_credentials or [] if str(each.key_id) != key_id]
        starts, ends = local.not_valid_before_utc, local.not_valid_after_utc
        days_left = (ends - datetime.now(UTC)).days
        path, previous, places = self._places(local, newest=newest)
        facts = {
            "Thumbprint (SHA-1)": thumbprint(local),
            "x5t": x5t(local),
            "Key id": key_id,
            "Valid": f"{starts.date().isoformat()} to {ends.date().isoformat()}",
            "Days left": str(days_left),
            **places,
        }
        if not newest:
            facts[WAITS] = "a new key: give it to the endpoint, then run `await s.key.rotate()`"
        if others:
            facts["Other keys of the registration"] = "; ".join(_described(each) for each in others)
        return Key(
            title=f"Encryption key CN={SUBJECT}",
            facts=facts,
            key_id=key_id,
            thumbprint=thumbprint(local),
            x5t=x5t(local),
            ends=ends,
            days_left=days_left,
            path=path,
            previous_path=previous,
        )

    def _places(self, local: Certificate, *, newest: bool) -> tuple[Path | None, Path | None, dict[str, str]]:
        """Return the file of the key in use, that of the one before it, and what the card shows of both."""
        path = self.private_key_path if newest else self.previous_key_path
        previous = self.previous_key_path if newest and self.previous_key_path.exists() else None
        facts = {"Private half": str(path), "Permissions": restrict_permissions(path)}
        if previous:
            facts["Private half before"] = f"{previous} ({restrict_permissions(previous)})"
        return path, previous, facts

    def _elsewhere(self, active: KeyCredential) -> NotReady:
        ends = active.end_date_time.date().isoformat() if active.end_date_time else "an unknown day"
        return NotReady(
            f"The tenant encrypts with a key whose private half is not {self._place}.",
            service=f"key {active.key_id}, thumbprint {_thumbprint(active) or 'not shown'}, valid until {ends}",
            next_step=self._get_it_here,
        )

    @property
    def _get_it_here(self) -> str:
        return (
            f"Copy the key file from the machine that made it to {self.private_key_path}. Or run"
            " `await s.key.ensure(replace=True)`: it adds a new key next to that one, and switches to it once"
            " the endpoint has it."
        )

    def _require_valid(self, local: Certificate) -> None:
        if local.not_valid_after_utc <= datetime.now(UTC):
            raise NotReady(
                f"The key's certificate expired on {local.not_valid_after_utc.date().isoformat()}.",
                next_step="Run `await s.key.rotate()`; it makes a new one and keeps the old one for what is under way.",
            )


def _unlink(paths: Collection[str]) -> None:
    for path in paths:
        Path(path).unlink()


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
            " adds a new key and switches the tenant to it once the endpoint has it.",
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
    """Return the thumbprint of an entry: of its certificate, or as it is noted where the tenant leaves that out."""
    if entry is None:
        return None
    if entry.key:
        return thumbprint(entry.key)
    noted = entry.custom_key_identifier or b""
    # Either the digits of the SHA-1, which the SDK read as base64, or its bytes, or the digits in base64.
    forms = (base64.b64encode(noted).decode(), noted.hex(), noted.decode("ascii", "ignore"))
    return next((each.upper() for each in forms if re.fullmatch(r"[0-9A-Fa-f]{40}", each)), None)


def _entry(app: Application, local: Certificate) -> KeyCredential | None:
    """Return the entry that holds this certificate to encrypt with."""
    entries = [each for each in app.key_credentials or [] if each.usage == "Encrypt"]
    return next((each for each in entries if _thumbprint(each) == thumbprint(local)), None)


def _in_use(app: Application, local: Certificate) -> bool:
    """Return whether the registration encrypts with the key of this certificate."""
    return _thumbprint(_active(app)) == thumbprint(local)


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
    words = "no end"
    if ends := entry.end_date_time:
        day = ends.date().isoformat()
        words = f"expired on {day}, kept" if ends <= datetime.now(UTC) else f"until {day}"
    return f"{entry.display_name or entry.key_id} ({entry.usage}, {words})"
