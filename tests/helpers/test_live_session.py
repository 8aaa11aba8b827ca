"""A session in live mode, over a rehearsal tenant: only the credential, the transport and the typing are replaced."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from sessions import Opening

from helpers import kit, live, settings
from helpers.graph import Change, Graph, recording
from helpers.kit import Session
from helpers.widgets import SignInBox
from helpers.worlds import LiveWorld
from jitkit import protocol
from jitkit.errors import KitError, SettingsError, WriteNotConfirmed
from jitkit.rehearsal import identity, switches
from jitkit.rehearsal.tenant import RehearsalTenant

ROLES_PATH = "/v1.0/me/transitiveMemberOf/microsoft.graph.directoryRole"
ADMIN = "kim@"
PERSON = "mary.o'brien@customer.example"


@dataclass
class Service:
    """A tenant behind the network: what it was asked, which scopes it issued tokens for, and what people typed."""

    tenant: RehearsalTenant
    home: Path
    user_id: str = ""
    hides_roles: bool = False
    scopes: list[tuple[str, ...]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, scopes of the token

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes.append(scopes)
        names = [each.rsplit("/", 1)[-1] for each in scopes]
        person: dict[str, Any] = {"scopes": names, "subject": self.user_id}
        granted = {"roles": protocol.DELEGATED_PERMISSIONS} if names == [".default"] else person
        client = self.tenant.directory.meta("admin_client_id") or ""
        text = identity.issue_token(self.tenant.directory, audience=identity.GRAPH, client_app_id=client, **granted)
        return AccessToken(text, 2**31)

    def close(self) -> None: ...

    def hold(self, *roles: str) -> None:
        """Give the administrator these directory roles and no others."""
        self.tenant.credential(roles=roles, account="kim")
        user = self.tenant.directory.user(f"{ADMIN}{self.tenant.domain}")
        assert user is not None
        self.user_id = user.id

    def ask(self, question: str) -> str:
        self.asked.append(question)
        return self.typed.pop(0)


class Network(httpx.AsyncBaseTransport):
    """Hands requests to the tenant and notes them; a test can let it hide the account's roles."""

    def __init__(self, service: Service) -> None:
        self._service, self._inner = service, service.tenant.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        token = identity.read_access_token(self._service.tenant.directory, request.headers["Authorization"][7:])
        assert token is not None
        self._service.seen.append((request.method, request.url.path, str(token.get("scp", ""))))
        if self._service.hides_roles and request.url.path == ROLES_PATH:
            error = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}
            return httpx.Response(403, json=error, request=request)
        return await self._inner.handle_async_request(request)


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A new tenant, chosen as the real one, with an administrator who signs in with the browser."""
    tenant = RehearsalTenant.open(tmp_path / "real.sqlite3")
    service = Service(tenant, tmp_path / "home")
    service.hold("Global Administrator")
    monkeypatch.setenv("JIT_KIT_HOME", str(service.home))
    monkeypatch.setattr(live.LiveCredential, "_make", lambda _: service)
    monkeypatch.setattr(live, "transport", lambda: Network(service))
    monkeypatch.setattr(live, "_display", lambda change: None)
    asking = live.Confirmation
    monkeypatch.setattr(live, "Confirmation", lambda domain: asking(domain, service.ask))
    choose(service)
    yield service
    tenant.close()


def choose(service: Service, **values: Any) -> None:
    kit.choose("live", **{"tenant": service.tenant.domain, "endpoint_host": "jit.contoso.com", **values})


async def test_the_banner_says_which_tenant_which_account_and_which_roles(service: Service, opening: Opening) -> None:
    """M8, H3: an administrator has several accounts, and a company several kinds of tenant."""
    service.hold("User Administrator", "Application Administrator")
    s = await opening(service.home)
    banner = s._repr_html_()
    for words in ("external (CIAM)", f"{ADMIN}{service.tenant.domain} (browser)", service.tenant.tenant_id):
        assert words in banner
    assert "Application Administrator, User Administrator" in banner
    assert s.account.lacking == ()
    assert "not in the token" not in banner
    assert service.asked == []


async def test_roles_that_cannot_be_read_do_not_stop_a_session(service: Service, opening: Opening) -> None:
    service.hides_roles = True
    account = (await opening(service.home)).account
    assert account.name.startswith(ADMIN)
    assert account.roles == "cannot be read"


async def test_no_role_is_not_the_same_as_unknown_roles(service: Service, opening: Opening) -> None:
    service.hold()
    assert (await opening(service.home)).account.roles == "none that covers the tenant"


async def test_an_application_has_no_account_and_says_so(service: Service, opening: Opening) -> None:
    """M8: with a client secret there is no person whose roles could be meant."""
    graph = Graph(service.tenant.credential(), service.tenant.transport())
    app = await graph.send("POST", "/applications", body={"displayName": "Contoso operator"})
    await graph.send("POST", "/servicePrincipals", body={"appId": app["appId"]})
    choose(service, credential="client-secret", client_id=app["appId"])
    account = (await opening(service.home)).account
    assert account.name == f"the application Contoso operator, {app['appId']} (client-secret)"
    assert "those of the application" in account.roles
    choose(service, client_id="7f1ab6bd-0000-4000-8000-000000000000")
    assert "7f1ab6bd" in (await opening(service.home)).account.name


async def test_scopes_that_a_cli_token_lacks_are_named(
    service: Service, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M1: an Azure CLI token has scopes of its own, whatever roles the account has."""
    choose(service, credential="azure-cli")
    cli = ("Application.ReadWrite.All", "AuditLog.Read.All", "Directory.AccessAsUser.All", "User.ReadWrite.All")
    issue = service.get_token
    monkeypatch.setattr(service, "get_token", lambda *_, **__: issue(*cli, "Directory.Read.All"))
    s = await opening(service.home)
    assert "CustomAuthenticationExtension.ReadWrite.All" in s.account.lacking
    assert "EventListener.ReadWrite.All" in s.account.lacking
    assert not set(cli) & set(s.account.lacking)
    assert "Directory.Read.All" not in s.account.lacking
    assert "EventListener.ReadWrite.All" in s._repr_html_()


@pytest.mark.parametrize(("kind", "word"), [("AAD", "workforce"), ("AAD B2C", "Azure AD B2C")])
async def test_only_an_external_tenant_is_entered(service: Service, opening: Opening, kind: str, word: str) -> None:
    """H3: an Azure AD B2C tenant has the same application for attributes, and customers who look the same."""
    switches.write(service.tenant.directory, "tenant_type", kind)
    with pytest.raises(SettingsError, match=word) as caught:
        await opening(service.home)
    assert "external tenant" in caught.value.happened
    assert service.asked == []
    assert {method for method, _, _ in service.seen} == {"GET"}


@pytest.mark.parametrize("kind", ["", "CIAM2"])
async def test_a_tenant_of_an_unknown_kind_is_entered_by_its_domain(
    service: Service, opening: Opening, kind: str
) -> None:
    """H3: a value that Microsoft adds later is asked about, and the question does not print the answer."""
    switches.write(service.tenant.directory, "tenant_type", kind)
    service.typed = ["yes", service.tenant.domain]
    with pytest.raises(WriteNotConfirmed):
        await opening(service.home)
    s = await opening(service.home)
    assert s.tenant.kind == kind
    assert len(service.asked) == 2
    assert service.tenant.domain not in "".join(service.asked)


async def test_one_state_folder_however_the_tenant_is_named(service: Service, opening: Opening) -> None:
    """M4: the same tenant by its id finds the key, the journal and the ledger of before."""
    by_domain = settings.state(service.home, settings.load(service.home))
    by_domain.mkdir(parents=True)
    (by_domain / "jit-key.pem").write_text("key")
    own = service.home / service.tenant.tenant_id
    for name in (service.tenant.domain, service.tenant.tenant_id, f"{service.tenant.subdomain}.ciamlogin.com"):
        choose(service, tenant=name)
        s = await opening(service.home)
        assert s.endpoint.ledger_path.parent == s.key.private_key_path.parent == own
        assert s.key.private_key_path.read_text() == "key"
    assert not by_domain.exists()


async def test_reading_asks_for_consent_to_reading_alone(service: Service, opening: Opening) -> None:
    """M9: somebody who only reads figures or checks is not asked to consent to writing."""
    s = await opening(service.home)
    await s.check()
    with pytest.raises(KitError):
        await s.users.counts()
    reading = {tuple(f"{identity.GRAPH}/{name}" for name in protocol.READ_PERMISSIONS)}
    assert set(service.scopes) == reading
    assert not any("ReadWrite" in name for name in protocol.READ_PERMISSIONS)
    service.typed = [service.tenant.domain]
    await s.attribute.ensure()
    assert len(service.asked) == 1
    writing = tuple(f"{identity.GRAPH}/{name}" for name in protocol.DELEGATED_PERMISSIONS)
    assert set(service.scopes) == reading | {writing}
    for method, path, scopes in service.seen:
        reads = method == "GET" or path.endswith("/validateAuthenticationConfiguration")
        assert ("ReadWrite" in scopes) != reads, (method, path)


async def test_what_reading_takes_is_enough_for_every_check(
    service: Service, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M9: the read-only scopes read all that the steps made."""

    async def allow(change: Change) -> None: ...

    monkeypatch.setattr(live, "Confirmation", lambda domain: allow)
    s = await opening(service.home)
    for step in (s.attribute, s.apps.extension, s.apps.extension_consent, s.apps.client, s.apps.client_consent):
        await step.ensure()
    for step in (s.apps.user_flow, s.policies.extension, s.policies.listener, s.key):
        await step.ensure()
    await s.close()
    service.scopes.clear()
    s = await opening(service.home)
    found = {row[0]: row for row in (await s.check()).rows}
    # As a word of its own: a random id may hold these digits.
    denied = [row for row in found.values() if re.search(r"\b403\b", str(row))]
    assert denied == []
    await s.users.counts()
    assert {scope for scopes in service.scopes for scope in scopes if "ReadWrite" in scope} == set()


async def test_a_refused_question_asks_for_no_write_scopes(service: Service, opening: Opening) -> None:
    """M9: the consent page comes after the question, not before it."""
    s = await opening(service.home)
    service.typed = ["no"]
    with pytest.raises(WriteNotConfirmed):
        await s.attribute.ensure()
    assert not any("ReadWrite" in scope for scopes in service.scopes for scope in scopes)


def body() -> dict[str, Any]:
    return {
        "accountEnabled": True,
        "creationType": "LocalAccount",
        "displayName": "Mary O'Brien",
        "givenName": "Mary",
        "mail": PERSON,
        "otherMails": ["mary@home.example"],
        "city": "Galway",
        "userPrincipalName": "mary.obrien@contoso.onmicrosoft.com",
        "identities": [
            {"signInType": "emailAddress", "issuer": "contoso.onmicrosoft.com", "issuerAssignedId": PERSON},
            {"signInType": "userName", "issuer": "contoso.onmicrosoft.com", "issuerAssignedId": "mobrien"},
        ],
        "passwordProfile": {"password": "CANARY-1", "forceChangePasswordNextSignIn": False},
        "extension_0_toBeMigrated": True,
    }


async def send_all(graph: Graph, ways: Callable[[Graph], Any]) -> str:
    with recording() as sent:
        await ways(graph)
    return "\n\n".join(map(str, sent))


async def ways(graph: Graph) -> None:
    """Send a person's name in every place where a request has one."""
    name = PERSON.replace("'", "''")
    batch = [{"id": "0", "method": "POST", "url": "/users", "body": body()}]
    batch.append({"id": "1", "method": "GET", "url": f"/users?$filter=mail eq '{name}'"})
    for method, path, content in (
        ("POST", "/users", body()),
        ("PATCH", "/users/mary.obrien@contoso.onmicrosoft.com", {"displayName": "Mary O'Brien"}),
        ("POST", "/$batch", {"requests": batch}),
        ("GET", f"/users?$filter=identities/any(c:c/issuerAssignedId eq '{name}' and c/issuer eq 'x')", None),
        ("GET", "/users?$filter=startswith(displayName,'Mary')", None),
        ("GET", '/users?$search="displayName:Mary"', None),
        ("GET", f"/auditLogs/signIns?$filter=userPrincipalName eq '{name}'", None),
    ):
        await graph.send(method, path, body=content)


class Anything(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"value": []}, request=request)


class Token:
    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", 2**31)

    async def close(self) -> None: ...


async def test_what_was_sent_names_no_real_person() -> None:
    """H11: names, addresses and what else describes a person are hidden in live mode; what a step set is shown."""
    shown = await send_all(Graph(Token(), Anything(), hide_people=True), ways)
    for part in ("Mary", "mary", "Brien", "brien", "customer.example", "Galway", "CANARY"):
        assert part not in shown, part
    for part in ("displayName", "issuerAssignedId", '"signInType": "userName"', "LocalAccount", 'toBeMigrated": true'):
        assert part in shown, part
    invented = await send_all(Graph(Token(), Anything()), ways)
    assert PERSON in invented and "Galway" in invented and "CANARY" not in invented


async def test_objects_that_are_no_people_are_shown_as_sent() -> None:
    """H11: a reader can still repeat what was sent for the applications and policies."""

    async def apps(graph: Graph) -> None:
        await graph.send("POST", "/applications", body={"displayName": "JIT test client"})
        await graph.send("GET", "/applications?$filter=displayName eq 'client'")

    shown = await send_all(Graph(Token(), Anything(), hide_people=True), apps)
    assert '"displayName": "JIT test client"' in shown
    assert "eq%20'client'" in shown


async def test_a_question_about_a_user_names_nobody() -> None:
    """H11, H2: a write that no step named is shown before it is asked about, without the person's name."""
    seen: list[Change] = []

    async def allow(change: Change) -> None:
        seen.append(change)

    graph = Graph(Token(), Anything(), before_write=allow, hide_people=True)
    await graph.send("PATCH", "/users/mary.obrien@contoso.onmicrosoft.com", body={"displayName": "Mary O'Brien"})
    await graph.send("POST", "/users", body=body())
    assert "ary" not in " ".join(map(str, seen))


async def test_a_batch_that_changes_or_deletes_is_no_ordinary_creation() -> None:
    """H2: what is inside a batch decides how it is asked about."""
    seen: list[Change] = []

    async def allow(change: Change) -> None:
        seen.append(change)

    graph = Graph(Token(), Anything(), before_write=allow)
    creation = {"id": "0", "method": "POST", "url": "/users", "body": {}}
    deletion = {"id": "1", "method": "DELETE", "url": "/users/1"}
    await graph.send("POST", "/$batch", body={"requests": [creation, creation]})
    await graph.send("POST", "/$batch", body={"requests": [creation, deletion, {**deletion, "method": "GET"}]})
    assert [each.answer for each in seen] == ["", "2"]
    assert seen[1].asks


async def test_the_switch_shows_people_in_what_was_sent(service: Service, opening: Opening) -> None:
    """H11: show_people=True shows names in outputs; without it there are none."""
    person = {
        "accountEnabled": True,
        "displayName": "Mary O'Brien",
        "mailNickname": "mary",
        "userPrincipalName": f"mary@{service.tenant.domain}",
        "passwordProfile": {"password": "Not-Used-1234"},
    }
    for shows in (False, True):
        choose(service, show_people=shows)
        s = await opening(service.home)
        service.typed = [service.tenant.domain]
        with recording() as sent:
            await s.graph.send("POST", "/users", body={**person, "userPrincipalName": f"m{shows}@{s.tenant.domain}"})
        assert ("Mary" in str(sent)) is shows
        card = await s.world.sign_in("mary@customer.example", None, None, "app")
        assert ("mary@customer.example" in card._repr_html_()) is shows
        assert ("ids only" in s._repr_html_()) is not shows


async def test_a_token_goes_to_graph_alone() -> None:
    seen: list[str] = []

    class Noting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.headers.get("Authorization", "none"))
            return httpx.Response(200, json={"value": []}, request=request)

    graph = Graph(Token(), Noting())
    await graph.send("GET", "/users")
    for url in ("https://elsewhere.example/v1.0/users", "http://graph.microsoft.com/v1.0/users"):
        await graph._transport.handle_async_request(httpx.Request("GET", url))
    assert seen == ["Bearer token", "none", "none"]


async def test_rehearsal_asks_nothing_and_names_its_administrator(tmp_path: Path, opening: Opening) -> None:
    s = await opening(tmp_path)
    banner = s._repr_html_()
    assert "the rehearsal tenant" in banner and "external (CIAM)" in banner
    assert "Directory roles" not in banner
    assert not isinstance(s.world, LiveWorld)
    await s.attribute.ensure()
    s.rehearsal.switch("tenant_type", "AAD")
    again = await opening(tmp_path)
    assert again.tenant.kind == "AAD", "the switch can be set back: a rehearsal opens in any case"


EXPORT = """username,display_name,status
mary@customer.example,Mary Quiteunique,active
bo at customer,Bo Quiteunique,active
eve@customer.example,Eve Quiteunique,active
"""


async def test_people_of_a_real_tenant_are_shown_by_their_ids(
    service: Service, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H11: plan, result, a user that was found and one that was not: no name, and object ids in their place."""

    async def allow(change: Change) -> None: ...

    monkeypatch.setattr(live, "Confirmation", lambda domain: allow)
    (service.home / "users.csv").write_text(EXPORT, encoding="utf-8")
    choose(service, export=str(service.home / "users.csv"))
    first = await opening(service.home)
    await first.attribute.ensure()
    eve = {
        "accountEnabled": True,
        "creationType": "LocalAccount",
        "displayName": "Eve Quiteunique",
        "identities": [
            {"signInType": "emailAddress", "issuer": first.tenant.domain, "issuerAssignedId": "eve@customer.example"}
        ],
        "passwordProfile": {"password": "Not-Used-1234", "forceChangePasswordNextSignIn": False},
    }
    her_id = (await first.graph.send("POST", "/users", body=eve))["id"]

    async def shown(s: Session) -> str:
        plan = await s.users.plan(s.export())
        refused = replace(await s.users.apply(plan), refused=(("mary@customer.example", "400"),))
        missing = ""
        try:
            await s.users.find("nobody@customer.example")
        except KitError as error:
            missing = str(error)
        results = (plan, refused, await s.users.find("mary@customer.example"))
        return "".join(repr(each) + each._repr_html_() for each in results) + missing

    hidden = await shown(first)
    assert "Quiteunique" not in hidden and "customer" not in hidden
    assert her_id in hidden and ">3<" in hidden, "the object id, and the line of the export"
    choose(service, show_people=True)
    named = await shown(await opening(service.home))
    for words in ("Mary Quiteunique", "eve@customer.example", "bo at customer", "nobody@customer.example"):
        assert words in named


async def test_the_sign_in_box_names_nobody_in_a_real_tenant(service: Service, opening: Opening) -> None:
    """H11: what was typed is not repeated on the page."""
    s = await opening(service.home)
    box = SignInBox(s)
    box.name.value = "mary@customer.example"
    box.button.click()
    assert box._running is not None
    said = [box.status.value]
    await box._running
    assert "mary" not in "".join([*said, box.status.value, box.result.value])
    assert "The user" in said[0]
