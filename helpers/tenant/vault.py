"""The vault: it makes the encryption key, hands out the public half, and keeps the private half.

Source: how-to 2.1.3 for the certificate; Key Vault's REST reference. What Azure refuses is explained in words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import NoEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import Certificate, load_der_x509_certificate, load_pem_x509_certificate
from msgraph.generated.models.application import Application

from helpers.graph import Change, Graph
from helpers.settings import Profile
from helpers.tenant.encryption_key import SUBJECT, EncryptionKey, read_pair
from helpers.tenant.step import Step
from jitkit.certificates import thumbprint
from jitkit.display import Table
from jitkit.errors import NotReady, SettingsError

if TYPE_CHECKING:
    from azure.keyvault.certificates import CertificateClient, CertificatePolicy

__all__ = ["Vault", "VaultDoor", "VaultKey", "VaultVersion"]

T = TypeVar("T")

_MONTHS: Final = 12
_REMIND_DAYS: Final = 30


@dataclass(frozen=True)
class VaultDoor:
    """How to reach the vault: its certificates for the kit, and what the endpoint needs to reach it."""

    url: str
    certificates: CertificateClient
    environment: dict[str, str]  # the endpoint's; in the rehearsal, the managed identity's token service among it


class VaultVersion(NamedTuple):
    """One version of the certificate in the vault."""

    id: str
    certificate: Certificate
    enabled: bool


class Vault(Step):
    """Make, read or renew the encryption certificate in the vault that the profile names. It reads no private half."""

    def __init__(self, graph: Graph, profile: Profile, folder: Path, connect: Callable[[], VaultDoor]) -> None:
        super().__init__(graph, profile, folder)
        self._connect = connect

    @property
    def door(self) -> VaultDoor:
        """How to reach it; raises SettingsError when no vault is chosen."""
        if not self._profile.hosting.vault:
            raise SettingsError(
                "No vault is chosen.",
                next_step="Give its name, such as kit.choose('live', hosting={'vault': 'kv-jit-contoso'}).",
            )
        return self._connect()

    async def ensure(self) -> Table:
        """Make the certificate in the vault, or find it.

        A key that this machine made, which the tenant may encrypt with now, becomes the first version: so the hosted
        endpoint opens what is under way. The version after it is made by the vault, and its private half was never
        elsewhere.

        Returns:
            The versions.

        Raises:
            NotReady: the vault refuses; the message says which role or network is missing.
        """
        if not await self.versions():
            await self.new_version()
        return await self.show()

    async def show(self) -> Table:
        """Read the versions of the certificate and its policy; raises NotReady when there is none."""
        name = self._profile.hosting.certificate
        found = await self.versions()
        if not found:
            raise NotReady(f"The vault has no certificate {name}.", next_step="Run `await s.vault.ensure()`.")
        with _explained(f"read the policy of {name}", self._profile.hosting.vault):
            policy = await asyncio.to_thread(self.door.certificates.get_certificate_policy, name)
        rows = [
            (
                each.id[:8],
                thumbprint(each.certificate),
                each.certificate.not_valid_after_utc.date().isoformat(),
                "yes" if each.enabled else "no",
            )
            for each in found
        ]
        return Table(
            caption=f"The certificate {name} in the vault {self._profile.hosting.vault}, newest version first",
            columns=("Version", "Thumbprint (SHA-1)", "Ends", "Enabled"),
            rows=rows,
            note=f"Policy: {_in_words(policy)}. The private halves stay in the vault; only the endpoint's identity may"
            " read them.",
        )

    async def versions(self) -> list[VaultVersion]:
        """Read all versions, newest first; none when the vault has no such certificate."""
        name = self._profile.hosting.certificate

        def read(client: CertificateClient) -> list[VaultVersion]:
            found = []
            for each in client.list_properties_of_certificate_versions(name):
                id, since = str(each.version), each.created_on or datetime.min.replace(tzinfo=UTC)
                cer = client.get_certificate_version(name, id).cer or b""
                found.append((since, VaultVersion(id, load_der_x509_certificate(bytes(cer)), bool(each.enabled))))
            return [version for _, version in sorted(found, key=lambda pair: pair[0], reverse=True)]

        from azure.core.exceptions import ResourceNotFoundError

        with _explained("read the certificate", self._profile.hosting.vault):
            try:
                return await asyncio.to_thread(read, self.door.certificates)
            except ResourceNotFoundError:
                return []

    async def new_version(self) -> Certificate:
        """Have the vault make a new version, and return its certificate. The versions before it stay enabled."""
        hosting, local = self._profile.hosting, self._state / "jit-key.pem"
        moved = bool(read_pair(local)) and not await self.versions()
        values = [("Policy", "", _in_words(_policy()))]
        if moved:
            values.append(("First version", "", f"the key of {local.name}, which this machine made"))
        what = f"Make a version of the certificate {hosting.certificate} in the vault {hosting.vault}"
        async with self._graph.changing(Change(what, values)):
            with _explained("make the certificate", hosting.vault):
                return await asyncio.to_thread(self._make, local if moved else None)

    def _make(self, local: Path | None) -> Certificate:
        client, name = self.door.certificates, self._profile.hosting.certificate
        if local is not None:
            client.import_certificate(name, _packed(local.read_bytes()), policy=_policy())
        made: Any = client.begin_create_certificate(name, _policy(), _polling_interval=1).result()
        if getattr(made, "cer", None) is None:
            raise NotReady(
                "The vault has not made the certificate.",
                service=str(getattr(made, "status_details", None) or getattr(made, "status", "no answer")),
                next_step="Read it in the portal under Certificates, and run this cell again.",
            )
        return load_der_x509_certificate(bytes(made.cer))

    async def retire(self, thumbprints: Collection[str]) -> str:
        """Disable versions: the endpoint drops them within an hour. They can be enabled again."""
        name = self._profile.hosting.certificate
        old = [each.id for each in await self.versions() if thumbprint(each.certificate) in thumbprints]
        with _explained("disable a version", self._profile.hosting.vault):
            for version in old:
                update = self.door.certificates.update_certificate_properties
                await asyncio.to_thread(update, name, version, enabled=False)
        return ", ".join(each[:8] for each in old)


class VaultKey(EncryptionKey):
    """The encryption key where the vault keeps it; a rotation makes a version there and retires the one before."""

    _place, _forgets = "in the vault", "disable its version in the vault"
    _read_last: tuple[VaultVersion, ...] = ()  # the enabled versions, newest first, as `_find` read them

    def __init__(self, graph: Graph, profile: Profile, folder: Path, vault: Vault) -> None:
        super().__init__(graph, profile, folder)
        self._vault = vault

    async def _find(self) -> tuple[Application, Any]:
        await self._look()
        return await super()._find()

    async def _remove(self) -> tuple[str, dict[str, str]]:
        await self._look()
        return await super()._remove()

    async def _look(self) -> None:
        self._read_last = tuple(each for each in await self._vault.versions() if each.enabled)

    def _newest(self) -> Certificate | None:
        return self._read_last[0].certificate if self._read_last else None

    def _older(self) -> list[Certificate]:
        return [each.certificate for each in self._read_last[1:]]

    def _here(self) -> dict[str, str]:
        where = f"vault {self._profile.hosting.vault}, version"
        return {thumbprint(each.certificate): f"{where} {each.id[:8]}" for each in self._read_last}

    async def _new_pair(self) -> Certificate:
        made = await self._vault.new_version()
        await self._look()
        return made

    async def _forget(self, thumbprints: Collection[str]) -> dict[str, str]:
        return {"Versions disabled": await self._vault.retire(thumbprints)}

    def _places(self, local: Certificate, *, newest: bool) -> tuple[None, None, dict[str, str]]:
        here = self._here()
        facts = {"Private half": here.pop(thumbprint(local))}
        if newest and here:
            facts["Private halves before"] = ", ".join(here.values())
        return None, None, facts

    @property
    def _hand_over(self) -> str:
        return (
            "It reads the vault's versions by itself, at most every half minute. If it still has not: is its setting"
            " KeyVaultUrl this vault, and may its identity list and read secrets there?"
        )

    @property
    def _get_it_here(self) -> str:
        return (
            "Choose the vault that has it in notebook 09, or enable that version again. Or run"
            " `await s.key.ensure(replace=True)`: it makes a new version, and switches to it once the endpoint has"
            " it."
        )


def _packed(pem: bytes) -> bytes:
    """Pack a key file, a PEM private key with its certificate, as PKCS#12, which the vault imports."""
    private, certificate = load_pem_private_key(pem, None), load_pem_x509_certificate(pem)
    assert isinstance(private, RSAPrivateKey)
    return pkcs12.serialize_key_and_certificates(None, private, certificate, None, NoEncryption())


def _policy() -> CertificatePolicy:
    """Return the policy: exportable for the endpoint, a new key each time, a reminder and no renewal by itself.

    A renewal that nobody ordered would change nothing in the tenant: it goes on encrypting with the old certificate.
    """
    from azure.keyvault.certificates import CertificatePolicy, LifetimeAction, WellKnownIssuerNames

    remind = LifetimeAction("EmailContacts", days_before_expiry=_REMIND_DAYS)
    return CertificatePolicy(
        WellKnownIssuerNames.self,
        subject=f"CN={SUBJECT}",
        exportable=True,
        key_type="RSA",
        key_size=2048,
        reuse_key=False,
        content_type="application/x-pkcs12",
        validity_in_months=_MONTHS,
        lifetime_actions=[remind],
    )


def _in_words(policy: CertificatePolicy) -> str:
    def word(value: object) -> str:
        return str(getattr(value, "value", value))

    actions = {word(each.action): each for each in policy.lifetime_actions or []}
    parts = [str(policy.subject), f"{word(policy.key_type)} {policy.key_size}", word(policy.content_type)]
    parts.append(f"valid {policy.validity_in_months} months")
    if remind := actions.get("EmailContacts"):
        parts.append(f"a reminder by e-mail {remind.days_before_expiry} days before its end")
    if "AutoRenew" in actions:
        parts.append("renews by itself, and the tenant goes on encrypting with the old one until it is switched")
    return ", ".join(parts)


@contextlib.contextmanager
def _explained(doing: str, vault: str) -> Iterator[None]:
    """Turn what Azure raises into words; its messages may name addresses of this network, so codes alone are shown."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except ClientAuthenticationError as problem:
        raise NotReady(
            f"Nobody is signed in to Azure who could {doing} in the vault {vault}.",
            service=type(problem).__name__,
            next_step="Run `az login` for the subscription that the vault is in, then this cell again.",
        ) from None
    except HttpResponseError as problem:
        inner = getattr(problem.error, "innererror", None) or {}
        code = str(inner.get("code") or getattr(problem.error, "code", "") or "")
        next_step = _ADVICE.get(code, "Read the vault in the portal, fix what it says, and run this cell again.")
        raise NotReady(
            f"The vault {vault} does not let you {doing}.",
            service=f"{problem.status_code} {code}".strip(),
            next_step=next_step,
        ) from None
    except AzureError as problem:
        raise NotReady(
            f"The vault {vault} does not answer.",
            service=type(problem).__name__,
            next_step="Check its name, and whether this machine is inside the network that its firewall lets in.",
        ) from None


_ADVICE: Final = {
    "ForbiddenByRbac": "You lack the role Key Vault Certificates Officer at this vault: `await s.host.grant()` shows"
    " how to assign it. A new assignment takes up to ten minutes.",
    "ForbiddenByFirewall": "The vault's firewall does not let this machine in. Work from inside its network, or add"
    " your address under Networking for as long as this takes.",
    "ObjectIsDeletedButRecoverable": "A deleted certificate still has this name: recover it in the portal under Manage"
    " deleted certificates, and run this cell again.",
}
