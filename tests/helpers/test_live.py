"""The way into a real tenant: nothing is written before the domain was typed, and failures say what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from helpers import live
from helpers.graph import Change, Graph, explained
from helpers.settings import CREDENTIALS, Profile
from jitkit.errors import KitError, SettingsError, WriteNotConfirmed

TENANT = "contoso.onmicrosoft.com"


class Answers(httpx.AsyncBaseTransport):
    """Stands where the network would be, and counts what gets there."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.method)
        return httpx.Response(200, json={"value": [], "responses": [{"id": "0", "status": 200}]}, request=request)


class Token:
    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token", 2**31)

    async def close(self) -> None: ...


def graph(network: Answers, typed: list[str], asked: list[str]) -> Graph:
    def ask(question: str) -> str:
        asked.append(question)
        return typed.pop(0)

    return Graph(Token(), network, before_write=live.Confirmation(TENANT, ask))


async def test_reads_need_no_confirmation() -> None:
    network, asked = Answers(), []
    client = graph(network, [], asked)
    await client.send("GET", "/users")
    await client.send("POST", "/$batch", body={"requests": [{"id": "0", "method": "GET", "url": "/users"}]})
    assert network.seen == ["GET", "POST"]
    assert asked == []


async def test_the_first_creation_asks_for_the_domain_and_the_second_does_not() -> None:
    network, asked = Answers(), []
    client = graph(network, [f" {TENANT.upper()} "], asked)
    await client.send("POST", "/applications", body={})
    await client.send("POST", "/servicePrincipals", body={})
    assert network.seen == ["POST", "POST"]
    assert len(asked) == 1


async def test_no_question_prints_what_has_to_be_typed() -> None:
    network, asked = Answers(), []
    client = graph(network, [TENANT, "4f2a"], asked)
    await client.send("POST", "/applications", body={})
    await client.send("DELETE", "/applications/4f2a")
    assert len(asked) == 2
    assert TENANT not in asked[0]
    assert "4f2a" not in asked[1]


async def test_what_can_hurt_is_asked_each_time_and_shown_first() -> None:
    network, seen = Answers(), []
    change = Change("Move it", [("Address", "https://old.example", "https://new.example")], "Shop", "Shop", "the app")
    typed = ["Shop", "shop", "Shop", "no"]

    def ask(question: str) -> str:
        seen.append("asked")
        return typed.pop(0)

    client = Graph(Token(), network, before_write=live.Confirmation(TENANT, ask, seen.append))
    for _ in range(3):
        async with client.changing(change):
            await client.send("PATCH", "/identity/customAuthenticationExtensions/1", body={})
            await client.send("PATCH", "/identity/customAuthenticationExtensions/1", body={})
    assert seen == [change, "asked"] * 3
    with pytest.raises(WriteNotConfirmed):
        async with client.changing(change):
            await client.send("PATCH", "/identity/customAuthenticationExtensions/1", body={})
    assert network.seen == ["PATCH"] * 6


async def test_a_deletion_is_asked_about_however_its_address_ends() -> None:
    """H2: a slash at the end made it an ordinary creation, which is not asked about twice."""
    network, asked = Answers(), []
    client = graph(network, [TENANT, "no", "4f2a"], asked)
    await client.send("POST", "/applications", body={})
    with pytest.raises(WriteNotConfirmed):
        await client.send("DELETE", "/applications/4f2a/")
    await client.send("DELETE", "/applications/4f2a/")
    assert network.seen == ["POST", "DELETE"]


async def test_a_name_with_blanks_around_it_can_be_typed_and_nothing_is_no_answer() -> None:
    allow = live.Confirmation(TENANT, lambda _: " Shop", lambda _: None)
    await allow(Change("Move it", answer="Shop ", asks="the app"))
    for domain, change in (("", Change("Create it")), (TENANT, Change("Move it", answer=" ", asks="the app"))):
        with pytest.raises(WriteNotConfirmed):
            await live.Confirmation(domain, lambda _: "", lambda _: None)(change)


async def test_a_change_covers_the_requests_inside_it_alone() -> None:
    network, asked = Answers(), []
    client = graph(network, [TENANT, "no"], asked)
    async with client.changing(Change("Create it")):
        await asyncio.gather(*[client.send("PATCH", f"/applications/{n}", body={}) for n in range(3)])
    with pytest.raises(WriteNotConfirmed):
        await client.send("PATCH", "/applications/1", body={})
    assert network.seen == ["PATCH"] * 3


def test_a_change_shows_what_it_does_and_never_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    change = Change("Move it", [("Address", "old", "new")], "Shop, Portal", answer="CANARY", asks="its name")
    live._display(change)
    shown = f"{change} {change!r} {change._repr_html_()} {capsys.readouterr().out}"
    assert "CANARY" not in shown
    for word in ("Move it", "old", "new", "Shop, Portal"):
        assert shown.count(word) >= 3


@pytest.mark.parametrize("typed", ["", "yes", "fabrikam.onmicrosoft.com"])
async def test_another_answer_leaves_the_tenant_unchanged(typed: str) -> None:
    network, asked = Answers(), []
    client = graph(network, [typed], asked)
    with pytest.raises(WriteNotConfirmed, match="Nothing was changed"):
        await client.send("DELETE", "/applications/1")
    batch = {"requests": [{"id": "0", "method": "POST", "url": "/users", "body": {}}]}
    asked_again = graph(network, [typed], asked)
    with pytest.raises(WriteNotConfirmed):
        await asked_again.send("POST", "/$batch", body=batch)
    assert network.seen == []


async def test_nobody_to_ask_leaves_the_tenant_unchanged() -> None:
    def nobody(question: str) -> str:
        raise EOFError

    network = Answers()
    client = Graph(Token(), network, before_write=live.Confirmation(TENANT, nobody))
    with pytest.raises(WriteNotConfirmed, match="nothing can be typed"):
        await client.send("POST", "/applications", body={})
    assert network.seen == []


async def test_a_person_signs_in_once_for_the_sdk_and_for_plain_requests() -> None:
    seen: list[dict[str, Any]] = []

    class Noting(Token):
        async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            seen.append({"scopes": scopes, "enable_cae": options.get("enable_cae", False)})
            return await super().get_token(*scopes, **options)

    client = Graph(Noting(), Answers())
    await client.send("GET", "/users")
    await client.client.users.get()
    # azure-identity keeps the tokens of each of these apart.
    assert seen[0] == seen[1]


async def test_one_at_a_time_is_asked_to_sign_in(tmp_path: Path) -> None:
    under_way, most = 0, 0

    class Asking:
        def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            time.sleep(0.02)
            under_way -= 1
            return AccessToken("token", 2**31)

    credential = live.LiveCredential(Profile(mode="live", tenant=TENANT))
    credential._inner = Asking()
    await asyncio.gather(*[credential.get_token("scope") for _ in range(4)])
    assert most == 1


async def test_the_sdk_passes_the_same_gate() -> None:
    from msgraph.generated.models.application import Application

    network, asked = Answers(), []
    client = graph(network, ["no"], asked)
    with pytest.raises(WriteNotConfirmed):
        await client.client.applications.post(Application(display_name="x"))
    assert network.seen == []


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """A proxy of the environment that notes what it is asked, and refuses."""
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    for name in ("HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        # Without a scheme, as some environments have it.
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield asked


async def test_graph_is_reached_through_the_proxy_of_the_environment(proxy: list[bytes]) -> None:
    client = Graph(Token(), live.transport())
    with pytest.raises(httpx.TransportError):
        await client.send("GET", "/organization")
    assert proxy == [b"CONNECT graph.microsoft.com:443 HTTP/1.1\r\n"]
    await client.close()


async def test_a_host_that_needs_no_proxy_and_a_proxy_that_cannot_be_used(
    proxy: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpcore

    made: list[Any] = []
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda **options: made.append(options) or httpcore)
    monkeypatch.setenv("no_proxy", "graph.microsoft.com")
    live.transport()
    assert made[0]["proxy"] is None
    monkeypatch.undo()
    monkeypatch.setenv("https_proxy", "nonsense://ada:CANARY@proxy")
    with pytest.raises(SettingsError, match="proxy") as caught:
        live.transport()
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_every_kind_of_credential_can_be_made(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s" * 20)
    certificate = tmp_path / "c.pem"
    certificate.write_bytes(_pem())
    profile = Profile(
        mode="live",
        tenant=TENANT,
        credential=kind,
        client_id="1" * 8,
        certificate=str(certificate),  # type: ignore[arg-type]
    )
    made = live.LiveCredential(profile)._make()
    assert callable(made.get_token)


@pytest.mark.parametrize(("kind", "word"), [("client-secret", "client_id"), ("client-certificate", "client_id")])
def test_an_application_credential_asks_for_its_client_id(kind: str, word: str, tmp_path: Path) -> None:
    profile = Profile(mode="live", tenant=TENANT, credential=kind)  # type: ignore[arg-type]
    with pytest.raises(SettingsError) as caught:
        live.LiveCredential(profile)._make()
    assert word in caught.value.next_step


@pytest.mark.parametrize("kind", ["missing", "a folder", "not PEM", "without its key", "with a password"])
def test_a_certificate_that_cannot_be_used_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pem"
    if kind == "a folder":
        path.mkdir()
    elif kind != "missing":
        whole = _pem(b"CANARY" if kind == "with a password" else None)
        certificate = whole[whole.index(b"-----BEGIN CERTIFICATE") :]
        path.write_bytes({"not PEM": b"CANARY", "without its key": certificate}.get(kind, whole))
    profile = Profile(mode="live", tenant=TENANT, credential="client-certificate", client_id="1", certificate=str(path))
    with pytest.raises(SettingsError, match="certificate and its private key") as caught:
        live.LiveCredential(profile)._make()
    assert "certificate=" in caught.value.next_step and "password" in caught.value.next_step
    assert "CANARY" not in str(caught.value)


class Refusing:
    def __init__(self, message: str) -> None:
        self._message = message

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        raise ClientAuthenticationError(self._message)


@pytest.mark.parametrize(
    ("message", "kind"),
    [("AADSTS90002: Tenant 'contoso' not found.", SettingsError), ("AADSTS7000215: Invalid client secret.", KitError)],
)
async def test_a_failed_sign_in_says_what_to_do(message: str, kind: type[KitError], tmp_path: Path) -> None:
    credential = live.LiveCredential(Profile(mode="live", tenant=TENANT))
    credential._inner = Refusing(message)
    with pytest.raises(kind) as caught:
        await credential.get_token("scope")
    assert message.split(":")[0] in str(caught.value)
    assert "notebook 00" in caught.value.next_step


@pytest.mark.parametrize(
    "error",
    [
        ClientAuthenticationError(
            "Authentication failed: HTTPSConnection(host='login.microsoftonline.com', port=443): Failed to resolve"
        ),
        ServiceRequestError("<urlopen error [Errno 101] Network is unreachable>"),
    ],
)
async def test_no_network_is_not_called_a_wrong_credential(error: Exception, tmp_path: Path) -> None:
    credential = live.LiveCredential(Profile(mode="live", tenant=TENANT))
    credential._inner = Refusing("")
    credential._inner.get_token = lambda *_, **__: (_ for _ in ()).throw(error)
    with pytest.raises(KitError, match="cannot be reached") as caught:
        await credential.get_token("scope")
    assert "network" in caught.value.next_step


BROWSER, CODE, CLI, SECRET = "browser", "device-code", "azure-cli", "client-secret"
TLS = (
    "HTTPSConnectionPool(host='login.microsoftonline.com', port=443): Max retries exceeded with url: /x (Caused by"
    " SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed"
    " certificate in certificate chain (_ssl.c:1006)')))"
)
NO_TOKEN = "AADSTS53003: Access has been blocked by Conditional Access policies."


@pytest.mark.parametrize(
    ("kind", "error", "advised", "not_advised"),
    [
        (BROWSER, ClientAuthenticationError("Failed to open a browser"), ["'device-code'"], ["'browser'"]),
        (
            BROWSER,
            ClientAuthenticationError("Timed out after waiting 300 seconds for the user to authenticate"),
            ["'device-code'", "Codespaces"],
            ["'browser'"],
        ),
        (CODE, ClientAuthenticationError(f"Authentication failed: {NO_TOKEN}"), ["'browser'"], ["device-code"]),
        (
            CODE,
            ClientAuthenticationError("Timed out waiting for user to authenticate"),
            ["confirm", "Conditional Access", "'browser'"],
            ["'device-code'"],
        ),
        (CODE, ClientAuthenticationError("AADSTS50005: from a platform (Unknown)"), ["'browser'"], ["device-code"]),
        (BROWSER, ClientAuthenticationError(NO_TOKEN), ["which policy"], ["'browser'", "'device-code'"]),
        (SECRET, ClientAuthenticationError(NO_TOKEN), ["workload identities"], ["'browser'"]),
        (BROWSER, ServiceRequestError(TLS), ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"], ["network and"]),
        (CLI, ClientAuthenticationError(TLS), ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"], ["az login"]),
        (
            CLI,
            ClientAuthenticationError("Please run 'az login' to set up an account"),
            ["--allow-no-subscriptions"],
            [],
        ),
        (CLI, ClientAuthenticationError("AADSTS50076: you must use multi-factor"), ["az logout", "az login"], []),
        (BROWSER, ClientAuthenticationError("AADSTS65001: has not consented"), ["consent"], ["'browser'"]),
        (SECRET, ClientAuthenticationError("AADSTS7000222: keys are expired"), ["expired"], ["'browser'"]),
        (BROWSER, ClientAuthenticationError("AADSTS50053: locked"), ["Read what"], ["prefer", "'browser'"]),
    ],
)
async def test_the_advice_fits_what_failed(
    kind: str, error: Exception, advised: list[str], not_advised: list[str]
) -> None:
    """Public cases 10, M6, M14: the next step follows the cause, and never advises what has just failed."""
    credential = live.LiveCredential(Profile(mode="live", tenant=TENANT, credential=kind, client_id="1"))  # type: ignore[arg-type]
    credential._inner = Refusing("")
    credential._inner.get_token = lambda *_, **__: (_ for _ in ()).throw(error)
    with pytest.raises(KitError) as caught:
        await credential.get_token("scope")
    for words in advised:
        assert words in caught.value.next_step
    for words in not_advised:
        assert words not in caught.value.next_step
    assert (caught.value.service or "") in str(error)


async def test_tls_inspection_on_the_way_to_graph_names_both_variables() -> None:
    """M14, public cases 10: two libraries verify certificates, each by a variable of its own."""

    class Inspected(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")

    client = Graph(Token(), Inspected())
    with pytest.raises(KitError, match="certificate") as caught, explained("read the tenant"):
        await client.send("GET", "/organization")
    assert "REQUESTS_CA_BUNDLE" in caught.value.next_step
    assert "SSL_CERT_FILE" in caught.value.next_step


def test_a_missing_package_is_not_blamed_on_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """M14: the package is named, with how to install it."""

    def missing(**_: Any) -> None:
        raise ImportError("Using http2=True, but the 'h2' package is not installed.")

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", missing)
    with pytest.raises(SettingsError) as caught:
        live.transport()
    assert "h2" in str(caught.value) and "pip install" in caught.value.next_step
    assert "proxy" not in str(caught.value).lower()


def test_the_authority_is_that_of_the_graph_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """M14: a variable for a national cloud does not send the sign-in there while Graph stays here."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "login.microsoftonline.us")
    for kind in ("browser", "device-code"):
        made = live.LiveCredential(Profile(mode="live", tenant=TENANT, credential=kind))._make()  # type: ignore[arg-type]
        assert made._authority == "https://login.microsoftonline.com"


@pytest.mark.parametrize("typed", ["1234", "1,234", "1.234", "1 234", "1\u202f234", " 1'234 "])
async def test_a_number_may_be_typed_as_it_is_shown(typed: str) -> None:
    """H2: tables write 1,234 people."""
    asking = live.Confirmation(TENANT, lambda _: typed, lambda _: None)
    await asking(Change("Mark people", answer="1234", asks="the number of people"))


@pytest.mark.parametrize("typed", ["123", "12,34", "1234,", "1,2345", "12345", "yes", ""])
async def test_another_number_is_no_answer(typed: str) -> None:
    asking = live.Confirmation(TENANT, lambda _: typed, lambda _: None)
    with pytest.raises(WriteNotConfirmed):
        await asking(Change("Mark people", answer="1234", asks="the number of people"))


def _pem(password: bytes | None = None) -> bytes:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "operator")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return private + certificate
