"""The two worlds a session can work in, rehearsal and live. Above this module nothing asks which one it is."""

from __future__ import annotations

import contextvars
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn
from urllib.parse import urlencode

import httpx

from helpers import live
from helpers.graph import Change, Graph, explained
from helpers.legacy_export import read_export, read_rows
from helpers.settings import Profile, state
from helpers.tenant.vault import VaultDoor
from jitkit import protocol
from jitkit.display import Card, Table
from jitkit.errors import BadTable, KitError, NotReady, SettingsError, WriteNotConfirmed
from jitkit.sign_in_names import normalise

if TYPE_CHECKING:
    from jitkit.rehearsal.callout import Callout
    from jitkit.rehearsal.drills import Drills

__all__ = ["SKIPPED", "Account", "LiveWorld", "NoDrills", "RehearsalWorld", "Skipped", "TenantFacts", "World", "enter"]

Step = Callable[[], Awaitable[Card]]
SAMPLE_DATA = Path(__file__).resolve().parents[1] / "sample_data"

_EXTERNAL: Final = "CIAM"
_OTHER_KINDS: Final = {"AAD": "a workforce tenant, for employees", "AAD B2C": "an Azure AD B2C tenant"}
_UNREAD: Final = "cannot be read"
SKIPPED: Final = "skipped: a real tenant is not broken on purpose"
_DO_IT: Final = "To make the change, run the step that this cell names in a cell of its own: it asks you first."
_proposing: contextvars.ContextVar[bool] = contextvars.ContextVar("proposing", default=False)


@dataclass(frozen=True)
class TenantFacts:
    """What a tenant says of itself."""

    id: str
    domain: str  # the initial one
    name: str
    kind: str = ""  # `CIAM` for an external tenant
    domains: tuple[str, ...] = ()  # all that are verified


@dataclass(frozen=True)
class Account:
    """Who is signed in, in words."""

    name: str
    roles: str = ""  # the directory roles; empty where roles play no part
    lacking: tuple[str, ...] = ()  # Graph permissions of notebook 00 that the token does not hold


class World(ABC):
    """What a session needs from where it works."""

    words: ClassVar[str]
    administrator: str
    graph: Graph
    drills: Drills | NoDrills
    """`s.rehearsal`: breaks things on purpose, or says that it is skipped."""

    async def tenant(self) -> TenantFacts:
        """Ask the tenant for its id, kind and names."""
        with explained("read which tenant this is"):
            answer = await self.graph.send("GET", "/organization?$select=id,displayName,tenantType,verifiedDomains")
        found = answer["value"][0]
        domains = found["verifiedDomains"]
        initial = next(each["name"] for each in domains if each.get("isInitial"))
        names = tuple(each["name"] for each in domains)
        return TenantFacts(found["id"], initial, found["displayName"], found.get("tenantType") or "", names)

    async def account(self) -> Account:
        """Say who is signed in."""
        return Account(self.administrator)

    @property
    def people(self) -> Mapping[str, str]:
        """The passwords of invented people by sign-in name; empty where the people are real."""
        return {}

    def password_of(self, username: str) -> str | None:
        """Return what an invented person types, by the name in any case; None for all other names."""
        return self._passwords.get(normalise(username))

    @cached_property
    def _passwords(self) -> dict[str, str]:
        return {normalise(name): password for name, password in self.people.items()}

    @abstractmethod
    def export(self) -> Path:
        """Return the path of the legacy system's user export."""

    def documents(self) -> str:
        """Return the endpoint's JIT_OPENID_CONFIGURATION; empty for the tenant's own public documents."""
        return ""

    @abstractmethod
    def publish(self, host: str, url: str) -> str:
        """Make a public host name lead to a loopback address, or say how to; returns it in words."""

    def published(self, host: str) -> str | None:
        """Return where a public host name leads, if that can be known; empty for nowhere."""
        return None

    @abstractmethod
    async def reach(self, url: str, method: str = "GET") -> httpx.Response:
        """Send a request without a body to a public address; raises httpx.TransportError when nothing answers there."""

    @abstractmethod
    def vault(self) -> VaultDoor:
        """Open the vault that the profile names."""

    def now(self) -> datetime:
        """Return the time that the tenant's logs go by."""
        return datetime.now(UTC)

    def provision(self, step: str) -> str:
        """Carry a step of Azure's set-up out at rehearsal services and say what was done; empty where Azure is real.

        Args:
            step: `grant` the two roles, `restrict` the vault's network, `let_in` this machine, `open` it to all,
                `vault-away`, `vault-back`.
        """
        return ""

    async def compose(self, username: str, password: str | None) -> Callout | None:
        """Compose a callout as Entra would send it; None where only Entra can sign one."""
        return None

    @abstractmethod
    async def sign_in(self, username: str, password: str | None, new_password: str | None, client_app_id: str) -> Any:
        """Sign a customer in, or say how to do it by hand."""

    def connect(self, **of_the_session: Callable[[], Awaitable[Any]]) -> None:
        """Give the drills what they need of the session; a real tenant needs nothing."""
        return

    def look(self, what: str) -> None:
        """Count, in a game of the rehearsal, that something was read."""
        return

    async def close(self) -> None:
        """Close all connections."""
        await self.graph.close()


class RehearsalWorld(World):
    """The rehearsal tenant in this process; its state is in the folder."""

    words = "rehearsal (a simulated tenant on this machine)"
    administrator = "the rehearsal tenant's administrator"

    def __init__(self, profile: Profile, folder: Path) -> None:
        from jitkit.rehearsal.drills import Drills
        from jitkit.rehearsal.tenant import RehearsalTenant

        self._profile = profile
        self.rehearsal_tenant = tenant = RehearsalTenant.open(folder / "rehearsal.sqlite3")
        # Its drills last some seconds.
        self.graph = Graph(tenant.credential(), tenant.transport(), patience=0.0, on_look=self.look)
        keys = ("jit-key.pem", "jit-key-previous.pem", "vault.json")
        users = ("made.json", "users.jsonl", "users-under-way", "user-ids.csv")
        own = state(folder, profile)
        files = [own / name for name in (*keys, *users, f"ledger-{tenant.tenant_id}.jsonl", "history")]
        self.drills = self._drills = Drills(tenant, folder / "snapshots", files, self._volunteers)
        self._documents: Any = None
        self._vault_file = own / "vault.json"
        self._vault: Any = None

    def export(self) -> Path:
        return Path(self._profile.export).expanduser() if self._profile.export else SAMPLE_DATA / "legacy_users.csv"

    def documents(self) -> str:
        from jitkit.rehearsal.serve import DocumentServer

        if self._documents is None:
            self._documents = DocumentServer(self.rehearsal_tenant)
            self._documents.start()
        return ",".join(self._documents.urls)

    def publish(self, host: str, url: str) -> str:
        self.rehearsal_tenant.publish(host, url)
        return f"the rehearsal tenant reaches {host} at {url}, as a tunnel would"

    def published(self, host: str) -> str | None:
        return self.rehearsal_tenant.directory.publications().get(host.lower(), "")

    async def reach(self, url: str, method: str = "GET") -> httpx.Response:
        return await self.rehearsal_tenant.reach(url, method)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.rehearsal_tenant.directory.clock.now(), UTC)

    def _vault_server(self) -> Any:
        from jitkit.hosting.rehearsal_vault import RehearsalVault, VaultServer

        if self._vault is None:
            authority = self._vault_file.with_name("vault-ca.pem")
            self._vault = VaultServer(RehearsalVault(self._vault_file), authority)
        return self._vault

    def vault(self) -> VaultDoor:
        from azure.core.credentials import AccessToken
        from azure.core.pipeline.transport import RequestsTransport
        from azure.keyvault.certificates import CertificateClient

        server = self._vault_server()

        class _Administrator:
            def get_token(self, *_: str, **__: Any) -> AccessToken:
                return AccessToken(server.token, int(time.time()) + 3600)

        transport = RequestsTransport(connection_verify=str(server.authority), use_env_settings=False)
        client = CertificateClient(server.vault.url, _Administrator(), transport=transport, retry_total=0)
        return VaultDoor(server.vault.url, client, server.environment())

    def provision(self, step: str) -> str:
        from jitkit.hosting.rehearsal_vault import ADMINISTRATOR, ENDPOINT, OFFICER, SECRETS_USER

        vault = self._vault_server().vault
        if step == "grant":
            vault.assign(ADMINISTRATOR, OFFICER)
            vault.assign(ENDPOINT, SECRETS_USER)
            return f"rehearsal vault: you are {OFFICER}, the endpoint's identity is {SECRETS_USER}"
        if step in _LET_IN:
            vault.let_in(*_LET_IN[step])
            return f"rehearsal vault: lets in {' and '.join(_LET_IN[step]) or 'everybody'}"
        if step in ("vault-away", "vault-back"):
            vault.away = step == "vault-away"
            return "rehearsal vault: " + ("away" if vault.away else "back")
        return "rehearsal: a vault and a host on this machine take the place of Azure's"

    async def compose(self, username: str, password: str | None) -> Callout | None:
        return await self.rehearsal_tenant.compose_callout(username, self._password(username, password))

    async def sign_in(self, username: str, password: str | None, new_password: str | None, client_app_id: str) -> Any:
        return await self.rehearsal_tenant.sign_in(
            username, self._password(username, password), client_app_id=client_app_id, new_password=new_password
        )

    def connect(self, **of_the_session: Callable[[], Awaitable[Any]]) -> None:
        from helpers.play import Player
        from jitkit.rehearsal.mystery import Game

        tenant, needed = self.rehearsal_tenant, ("client_app_id", "endpoint_settings", "collect")
        self._drills.endpoint_stopper = of_the_session["stop_endpoint"]
        self._drills.game = Game(tenant, self._drills.snapshots, of_the_session)
        self._drills.player = Player(
            tenant,
            people=lambda: self.people,
            export=self.export,
            host=self._profile.endpoint_host,
            **{name: of_the_session[name] for name in needed},
        )

    def look(self, what: str) -> None:
        if self._drills.game is not None:
            self._drills.game.looked(what)

    @cached_property
    def people(self) -> Mapping[str, str]:
        """The passwords of the invented people by sign-in name, from the `people.csv` next to the export."""
        path = self.export().with_name("people.csv")
        try:
            rows = read_rows(path, required=("username", "password")).rows
        except BadTable:
            raise BadTable(
                f"{path} does not say what the invented people type.",
                next_step="Give a UTF-8 file with the columns username and password; sample_data has one.",
            ) from None
        return {row.cells["username"]: row.cells["password"] for row in rows}

    async def close(self) -> None:
        if self._documents is not None:
            self._documents.stop()
        if self._vault is not None:
            self._vault.stop()
        await super().close()
        self.rehearsal_tenant.close()

    def _password(self, username: str, password: str | None) -> str:
        typed = self.password_of(username) if password is None else password
        if typed is None:
            raise NotReady(
                f"{username} is not among the invented people of people.csv.",
                next_step="Give password=… as well; in the rehearsal all people are invented.",
            )
        return typed

    def _volunteers(self) -> dict[str, str]:
        """Choose the invented users whose old account is in order and whose password External ID accepts."""
        from jitkit.rehearsal.accounts import password_problem

        export, people = read_export(self.export()), self.people
        unusual = {each.username for each in export.problems}
        return {
            each.username: people[each.username]
            for each in export.users
            if each.status == "active" and not each.must_change and each.username not in unusual
            if each.username in people and not password_problem(people[each.username])
        }


# Who gets through the rehearsal vault's firewall after each step.
_LET_IN: Final[dict[str, tuple[str, ...]]] = {
    "restrict": ("endpoint",),
    "let_in": ("endpoint", "administrator"),
    "open": (),
}


class LiveWorld(World):
    """A real tenant; the profile names it and the credential."""

    words = "live (a real tenant)"

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.drills = NoDrills(self._propose)
        self.administrator = profile.credential
        self._facts: TenantFacts | None = None
        self._confirmation: live.Confirmation | None = None
        self._credential = credential = live.LiveCredential(profile)
        self.graph = Graph(
            credential,
            live.transport(),
            before_write=self._before_write,
            scopes=credential.scopes,
            read_scopes=credential.read_scopes,
            hide_people=profile.hides_people,
        )

    async def tenant(self) -> TenantFacts:
        """Ask the tenant for its id, kind and names, once; raise SettingsError when it is not an external tenant."""
        if self._facts is None:
            facts = await super().tenant()
            if facts.kind in _OTHER_KINDS:
                raise SettingsError(
                    f"{facts.name} is {_OTHER_KINDS[facts.kind]}. Just-in-time migration works in an external tenant"
                    " only, and nothing here was changed.",
                    service=f"tenantType {facts.kind}",
                    next_step="Choose the external tenant that people are to move to, in notebook 00.",
                )
            if facts.kind != _EXTERNAL:
                words = f"{facts.name} is of a kind that the kit does not know; it is made for external tenants"
                kinds = [("Kind of tenant", facts.kind or "not given", f"taken for {_EXTERNAL}, an external one")]
                await self._ask(facts, Change(words, kinds, answer=facts.domain, asks="the tenant's initial domain"))
            self._facts = facts
        return self._facts

    async def account(self) -> Account:
        name, roles = _UNREAD, _UNREAD
        try:
            name = (await self.graph.send("GET", "/me?$select=userPrincipalName"))["userPrincipalName"]
            held = self.graph.pages("/me/transitiveMemberOf/microsoft.graph.directoryRole?$select=displayName")
            roles = ", ".join(sorted([each["displayName"] async for each in held])) or "none that covers the tenant"
        except httpx.HTTPStatusError as refused:
            # An application is nobody's account.
            if refused.response.status_code == 400 and name == _UNREAD:
                name = await self._application()
                roles = "those of the application; what it may do also comes from its own Graph permissions"
        except (httpx.TransportError, KeyError):
            pass
        return Account(f"{name} ({self.administrator})", roles, self._credential.lacking)

    async def _application(self) -> str:
        app_id = self._profile.client_id
        if not app_id:
            return "an application"
        try:
            found = await self.graph.send("GET", f"/servicePrincipals(appId='{app_id}')?$select=displayName")
        except (httpx.HTTPStatusError, httpx.TransportError):
            return f"the application {app_id}"
        return f"the application {found['displayName']}, {app_id}"

    def export(self) -> Path:
        if self._profile.export:
            return Path(self._profile.export).expanduser()
        # Sample data never goes into a real tenant by default.
        raise SettingsError(
            "No user export is chosen for this tenant.",
            next_step="Give export='path/to/users.csv' to kit.choose in notebook 00.",
        )

    def publish(self, host: str, url: str) -> str:
        port = url.rsplit(":", 1)[-1].split("/")[0]
        return f"open a tunnel that leads https://{host} to port {port} of this machine"

    def vault(self) -> VaultDoor:
        from azure.identity import AzureCliCredential
        from azure.keyvault.certificates import CertificateClient

        # The vault is in a subscription, which an external tenant has none of: so it takes an account of its own.
        url = f"https://{self._profile.hosting.vault}.vault.azure.net"
        return VaultDoor(url, CertificateClient(url, AzureCliCredential()), {"KeyVaultUrl": url})

    async def reach(self, url: str, method: str = "GET") -> httpx.Response:
        # Over the internet, as Entra does; from this machine, though, and not from where Entra is.
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.request(method, url)

    async def sign_in(self, username: str, password: str | None, new_password: str | None, client_app_id: str) -> Card:
        # A cell never takes a real password: the person types it on the tenant's own page.
        facts = await self.tenant()
        who = "the user whom this cell names" if self._profile.hides_people else username
        if self._profile.skips(username):
            who = f"a user of your export whose old password you know; {username} is invented"
        back = urlencode({"client_id": client_app_id, "redirect_uri": protocol.TEST_CLIENT_REDIRECT})
        query = f"{back}&response_type=id_token&scope=openid&state=jit&nonce=jit-test"
        address = f"https://{facts.domain.split('.')[0]}.ciamlogin.com/{facts.id}/oauth2/v2.0/authorize?{query}"
        return Card(
            title="Sign-in page",
            status="to do by hand",
            facts={
                "Sign in as": who,
                "Open in a private window": address,
                "Then": "type the password there, and read the sign-in log in notebook 08",
                "Unverified here": "this kit has only been run against its rehearsal tenant",
            },
        )

    async def _before_write(self, change: Change) -> None:
        if _proposing.get():
            raise _Proposed(change)
        await self._ask(await self.tenant(), change)

    async def _ask(self, facts: TenantFacts, change: Change) -> None:
        self._confirmation = self._confirmation or live.Confirmation(facts.domain)
        await self._confirmation(change)

    async def _propose(self, step: Step) -> Card | Table:
        """Run a step up to its first change, and show that change instead of making it."""
        token = _proposing.set(True)
        try:
            return await step()
        except _Proposed as proposed:
            change = proposed.change
            return Table(
                caption=f"Nothing was changed. The fix would: {change.what}",
                columns=("What", "Now", "Then"),
                rows=change.values,
                note=(f"Affected: {change.affected}. " if change.affected else "") + _DO_IT,
            )
        except KitError as problem:
            return Card(title="Fix", status="nothing was changed", facts={"What happened": str(problem)})
        finally:
            _proposing.reset(token)


class _Proposed(WriteNotConfirmed):
    """A change was not made, because it was to be shown only."""

    def __init__(self, change: Change) -> None:
        super().__init__("Nothing was changed.", next_step=_DO_IT)
        self.change = change


class Skipped(KitError):
    """A block was not run, because it is a drill and this is a real tenant. A notebook shows one line."""

    def __init__(self) -> None:
        super().__init__(SKIPPED, next_step="Go on with the next cell.")

    def _render_traceback_(self) -> list[str]:
        return [SKIPPED]


class _SkippedDrill(Card):
    def __enter__(self) -> NoReturn:
        raise Skipped

    def __exit__(self, *_: object) -> None: ...


class NoDrills:
    """`s.rehearsal` in a real tenant, which is never broken on purpose: each drill says that it is skipped."""

    def __init__(self, propose: Callable[[Step], Awaitable[Card | Table]]) -> None:
        self._propose = propose

    async def fix(self, step: Step) -> Card | Table:
        """Show what a step would change, from which value to which; nothing is changed."""
        return await self._propose(step)

    def misconfigure(self, *_: Any, **__: Any) -> _SkippedDrill:
        """Skip; a `with` block is not run."""
        return _SkippedDrill(title="Drill", status=SKIPPED)

    async def case(self, *_: Any, **__: Any) -> Card:
        """Skip."""
        return self.misconfigure()

    def volunteers(self, *_: Any) -> list[str]:
        """Return nobody: the people are real."""
        return []

    async def mystery(self, *_: Any) -> NoReturn:
        """Refuse the game, whose whole point is a broken tenant."""
        raise KitError(
            "The hidden-fault game breaks a tenant on purpose, and this is a real one. Nothing was changed.",
            next_step="Choose the rehearsal with `kit.choose('rehearsal')`, and open a new session.",
        )

    play = retry = each_case = production = stop_endpoint = case
    fault = undo = switch = forward = snapshot = restore = reset = calls = listing = misconfigure


def enter(profile: Profile, folder: Path) -> World:
    """Open the world that the profile names; its state is in the folder."""
    return LiveWorld(profile) if profile.mode == "live" else RehearsalWorld(profile, folder)
