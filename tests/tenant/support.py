"""What the tests of the tenant steps share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from helpers.graph import Allow, Change, Graph
from helpers.legacy_export import LegacyUser
from helpers.settings import Names, Profile
from helpers.tenant.apps import ClientApp, ExtensionApp
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.consents import ClientConsent, PayloadConsent
from helpers.tenant.encryption_key import EncryptionKey
from helpers.tenant.policies import Listener, PasswordExtension
from helpers.tenant.user_flow import UserFlow
from helpers.tenant.user_writer import Journal
from helpers.tenant.users import Users
from jitkit.display import Card
from jitkit.errors import WriteNotConfirmed
from jitkit.rehearsal.tenant import RehearsalTenant

Forward = Callable[[], Awaitable[httpx.Response]]
Interfere = Callable[[httpx.Request, Forward], Awaitable[httpx.Response | None]]


class Between(httpx.AsyncBaseTransport):
    """Hand requests on and keep them; interfere where a test says so."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.seen: list[httpx.Request] = []
        self.interfere: Interfere | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.seen.append(request)
        if self.interfere is not None:
            answer = await self.interfere(request, lambda: self._inner.handle_async_request(request))
            if answer is not None:
                return answer
        return await self._inner.handle_async_request(request)


@dataclass(frozen=True)
class Kit:
    """Every step of one tenant, and plain Graph beside them for tampering and looking."""

    tenant: RehearsalTenant
    graph: Graph
    profile: Profile
    folder: Path
    flag: MigrationFlag
    app: ExtensionApp
    consent: PayloadConsent
    client: ClientApp
    client_consent: ClientConsent
    flow: UserFlow
    extension: PasswordExtension
    listener: Listener
    key: EncryptionKey
    users: Users

    @classmethod
    def at(
        cls,
        tenant: RehearsalTenant,
        transport: httpx.AsyncBaseTransport,
        folder: Path,
        profile: Profile | None = None,
        *,
        before_write: Allow | None = None,
    ) -> Kit:
        graph = Graph(tenant.credential(), transport, before_write=before_write)
        return cls._of(tenant, graph, profile or Profile(), folder)

    @classmethod
    def _of(cls, tenant: RehearsalTenant, graph: Graph, profile: Profile, folder: Path) -> Kit:
        steps: tuple[Any, ...] = (
            MigrationFlag,
            ExtensionApp,
            PayloadConsent,
            ClientApp,
            ClientConsent,
            UserFlow,
            PasswordExtension,
            Listener,
            EncryptionKey,
            Users,
        )
        return cls(tenant, graph, profile, folder, *(each(graph, profile, folder) for each in steps))

    def named(self, **names: str) -> Kit:
        """The same tenant with other names."""
        return self._of(self.tenant, self.graph, self.profile.model_copy(update={"names": Names(**names)}), self.folder)

    def on(self, host: str) -> Kit:
        """The same tenant with the endpoint at another host."""
        return self._of(self.tenant, self.graph, self.profile.model_copy(update={"endpoint_host": host}), self.folder)

    async def send(self, method: str, path: str, body: Any = None) -> Any:
        """Change or look at the tenant without the step under test."""
        return await self.graph.send(method, path, body=body)


class Asked:
    """Keep the changes that are shown before they are made; if told to, refuse those with a question of their own."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.refuse = False

    async def __call__(self, change: Change) -> None:
        self.changes.append(change)
        if self.refuse and change.answer:
            raise WriteNotConfirmed("Nothing was changed.", next_step="Type what is asked for.")

    def taken(self) -> list[Change]:
        """Return what was shown since the last time."""
        shown, self.changes = self.changes, []
        return shown


def narrow(kit: Kit, permissions: Collection[str], tmp_path: Path) -> Kit:
    """The same tenant, entered with fewer permissions."""
    entered = RehearsalTenant.open(kit.tenant.path, permissions=permissions)
    return Kit.at(entered, entered.transport(), tmp_path / "state")


def writes(card: Card) -> list[str]:
    """The writes behind a card."""
    return [f"{each.method} {each.url}" for each in card.sent if each.method != "GET" and "/validate" not in each.url]


def person(username: str, **values: Any) -> LegacyUser:
    """One row of an export."""
    blank: dict[str, Any] = {
        "display_name": "Somebody",
        "country": "",
        "app": "",
        "status": "active",
        "must_change": False,
        "last_legacy_sign_in": None,
        "hash_scheme": "",
    }
    return LegacyUser(username=username, **{**blank, **values})


PEOPLE = [person(f"person{number}@shop.example") for number in range(130)]


async def flag_of(kit: Kit) -> str:
    """The flag's full name."""
    return (await kit.flag.show()).full_name


async def everybody(kit: Kit) -> list[dict[str, Any]]:
    """All users of the tenant."""
    flag = await flag_of(kit)
    select = f"id,displayName,mail,accountEnabled,creationType,identities,passwordPolicies,{flag}"
    return [row async for row in kit.graph.pages(f"/users?$select={select}&$top=999")]


def moves_once_listed(kit: Kit, between: Between, user_id: str) -> None:
    """Let a user migrate right after the next list of users is read."""

    async def move(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        if not request.url.path.endswith("/users"):
            return None
        answer = await forward()
        between.interfere = None
        await set_flag(kit, user_id, False)
        return answer

    between.interfere = move


async def set_flag(kit: Kit, user_id: str, value: bool | None) -> None:
    """Set the flag as a sign-in does."""
    await kit.send("PATCH", f"/users/{user_id}", {await flag_of(kit): value})


async def made_by_hand(kit: Kit, email: str, *, federated: bool = False) -> str:
    """Create a user without the kit; returns the object id."""
    sign_in = {"signInType": "emailAddress", "issuer": kit.tenant.domain, "issuerAssignedId": email}
    if federated:
        sign_in = {"signInType": "federated", "issuer": "google.com", "issuerAssignedId": "1234"}
    body = {
        "displayName": "By hand",
        "accountEnabled": True,
        "mail": email,
        "identities": [sign_in],
        "passwordProfile": {"password": "Juniper-Ladder-27"},
    }
    return str((await kit.send("POST", "/users", body))["id"])


def journal_of(kit: Kit) -> Journal:
    """What the kit wrote down."""
    return Journal(kit.folder / "rehearsal" / "users.jsonl")
