"""Who may call: bearer tokens, good and bad, bare and encrypted."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from jitkit.endpoint.app import Clock
from jitkit.endpoint.caller import Callers, SigningKeys
from jitkit.endpoint.crypto import decrypt
from jitkit.endpoint.decision import Refused
from jitkit.endpoint.keys import HeldKeys
from jitkit.entra_tokens import hs256

from . import entra
from .conftest import Endpoint, Opener
from .entra import Documents

NOW = int(time.time())  # when the tokens of the table below were made, which may be long before they are sent


def none_token() -> str:
    return entra.unsigned(entra.token_claims())


def hmac_token() -> str:
    return hs256(entra.token_claims(), entra.signing_key("signing"))


def bad_signature() -> str:
    head, body, signature = entra.bearer().split(".")
    broken = bytearray(base64.urlsafe_b64decode(signature + "=="))
    broken[40] ^= 1
    return f"{head}.{body}.{entra.b64(bytes(broken))}"


def changed_claims() -> str:
    head, _, signature = entra.bearer(azp=entra.CLIENT).split(".")
    return f"{head}.{entra.b64json(entra.token_claims())}.{signature}"


REFUSED: list[tuple[str, str, int]] = [
    ("token_algorithm", none_token(), 401),
    ("token_algorithm", hmac_token(), 401),
    ("token_algorithm", entra.jws(entra.token_claims(), header={"alg": "RS512"}), 401),
    ("token_signature", bad_signature(), 401),
    ("token_signature", changed_claims(), 401),
    ("token_signature", entra.jws(entra.token_claims(), "stranger", {"kid": "signing"}), 401),
    ("token_key", entra.jws(entra.token_claims(), "stranger"), 401),
    ("token_key", entra.jws(entra.token_claims(), header={"kid": None}), 401),
    ("token_form", entra.jws(entra.token_claims(), header={"crit": ["exp"]}), 401),
    ("token_form", entra.jws([1, 2]), 401),
    ("token_form", "a.b.c", 401),
    ("token_form", entra.bearer(exp=None), 401),
    ("token_form", entra.bearer(exp="tomorrow"), 401),
    ("token_form", entra.bearer(exp=True), 401),
    ("token_form", entra.bearer(exp=float("inf")), 401),
    ("token_form", entra.bearer(exp=10**400), 401),
    ("token_expired", entra.bearer(exp=NOW - 301), 401),
    ("clock_skew", entra.bearer(nbf=NOW + 600), 401),
    ("token_audience", entra.bearer(aud=entra.CLIENT), 401),
    ("token_audience", entra.bearer(aud=None), 401),
    ("token_audience", entra.bearer(aud=[entra.CLIENT, 7, None]), 401),
    ("token_issuer", entra.bearer(iss=entra.CIAM.replace("1111", "2222")), 401),
    ("token_issuer", entra.bearer(iss=None), 401),
    ("token_issuer", entra.bearer(iss=[entra.CIAM]), 401),
    ("token_tenant", entra.bearer(tid=entra.USER), 401),
    ("token_tenant", entra.bearer(tid=None), 401),
    ("token_caller", entra.bearer(azp=None), 403),
    ("token_caller", entra.bearer(azp=entra.CLIENT), 403),
    ("token_caller", entra.bearer(azp=[entra.CALLER_APP_ID]), 403),
    ("token_caller", entra.bearer(appid=entra.CLIENT), 403),
    ("token_caller", entra.bearer(scp="access_as_user"), 403),
]


@pytest.mark.parametrize(("cause", "token", "status"), REFUSED, ids=[f"{n}-{row[0]}" for n, row in enumerate(REFUSED)])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "encrypted"])
async def test_refused(open_endpoint: Opener, cause: str, token: str, status: int, wrapped: bool) -> None:
    endpoint = await open_endpoint(clock=Clock(now=lambda: NOW))
    response = await endpoint.post(token=entra.encrypted_bearer(token) if wrapped else token)
    assert (response.status_code, response.content) == (status, b"{}")
    assert endpoint.lines()[0]["cause"] == cause
    assert not endpoint.store.asked


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token {token}"])
async def test_a_perfect_body_without_a_token_proves_nothing(endpoint: Endpoint, value: str | None) -> None:
    headers = {} if value is None else {"authorization": value.replace("{token}", entra.bearer())}
    response = await endpoint.post(token=None, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert not endpoint.store.asked


async def test_two_authorization_headers_are_refused(endpoint: Endpoint) -> None:
    headers = [("content-type", "application/json"), ("authorization", f"Bearer {entra.bearer()}")]
    body = json.dumps(entra.envelope(entra.context()))
    response = await endpoint.http.post(entra.ROUTE, content=body, headers=[*headers, headers[1]])
    assert response.status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": entra.URI},
        {"aud": [entra.CLIENT, entra.APP]},
        {"iss": entra.LOGIN},
        {"iss": f"https://sts.windows.net/{entra.TENANT}/", "azp": None, "appid": entra.CALLER_APP_ID},
        {"exp": -200, "nbf": -4000},
        {"nbf": 200},
        {"nbf": None},
    ],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "encrypted"])
async def test_accepted(endpoint: Endpoint, changes: dict[str, Any], wrapped: bool) -> None:
    now = int(time.time())
    changes = {name: now + value if isinstance(value, int) else value for name, value in changes.items()}
    token = entra.bearer(**changes)
    response = await endpoint.post(token=entra.encrypted_bearer(token) if wrapped else token)
    assert response.status_code == 200


@pytest.mark.parametrize("key", ["signing", "other-signing"])
async def test_the_keys_of_both_documents_are_accepted(endpoint: Endpoint, key: str) -> None:
    assert (await endpoint.post(token=entra.bearer(key))).status_code == 200


async def test_an_issuer_of_the_documents_is_accepted_with_the_tenant_filled_in(open_endpoint: Opener) -> None:
    form = "https://contoso.ciamlogin.com/{tenantid}/v2.0"
    documents = Documents(keys={form.replace("{tenantid}", entra.TENANT): ["signing"]})
    url = f"https://contoso.ciamlogin.com/{entra.TENANT}/v2.0/.well-known/openid-configuration"
    endpoint = await open_endpoint(documents=documents, JIT_OPENID_CONFIGURATION=url)
    token = entra.bearer(iss=form.replace("{tenantid}", entra.TENANT))
    assert (await endpoint.post(token=token)).status_code == 200
    assert (await endpoint.post(token=entra.bearer(iss=form))).status_code == 401


async def test_an_encrypted_token_for_the_previous_key_is_accepted(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(DecryptionPrivateKeyPrevious=entra.pair_pem("previous"))
    for key in ("encryption", "previous"):
        assert (await endpoint.post(token=entra.encrypted_bearer(key=key))).status_code == 200
    assert (await endpoint.post(token=entra.encrypted_bearer(key="retired"))).status_code == 401
    assert endpoint.lines()[-1]["cause"] == "unknown_key"


async def test_the_keys_are_there_before_the_first_request(endpoint: Endpoint) -> None:
    asked = len(endpoint.documents.asked)
    assert asked == 4
    assert (await endpoint.post()).status_code == 200
    assert len(endpoint.documents.asked) == asked


async def test_served_while_a_document_or_all_of_them_are_away(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(documents=Documents(away={entra.LOGIN}))
    assert (await endpoint.post()).status_code == 200
    endpoint.documents.away = {entra.CIAM, entra.LOGIN}
    assert (await endpoint.post(token=entra.bearer(jti="another"))).status_code == 200


async def test_without_any_key_nobody_is_let_in_and_nobody_is_called_bad(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(documents=Documents(away={entra.CIAM, entra.LOGIN}))
    assert (await endpoint.post()).status_code == 503
    assert not endpoint.store.asked


async def test_a_new_signing_key_is_found_and_strangers_cost_one_look() -> None:
    documents, now = Documents(), [1000.0]
    async with documents.client() as http:
        keys = SigningKeys(entra.METADATA, http, monotonic=lambda: now[0])
        await keys.load()
        for _ in range(3):
            assert not await keys.find("stranger")
        assert len(documents.asked) == 4
        documents.keys[entra.CIAM].append("new-signing")
        documents.away.add(entra.LOGIN)
        now[0] += 31
        found = await asyncio.gather(*(keys.find("new-signing") for _ in range(5)))
        assert all(found)
        assert await keys.find("other-signing")
        assert not await keys.find("stranger")
    assert len(documents.asked) == 7


async def test_documents_are_read_again_after_a_day_without_anybody_waiting() -> None:
    documents, now = Documents(), [1000.0]
    async with documents.client() as http:
        keys = SigningKeys(entra.METADATA, http, monotonic=lambda: now[0])
        await keys.load()
        now[0] += 25 * 3600
        documents.keys[entra.CIAM] = ["new-signing"]
        assert await keys.find("signing")
        async with asyncio.timeout(60):
            while await keys.find("signing"):  # noqa: ASYNC110 - nothing says that it is done
                await asyncio.sleep(0)
        assert await keys.find("new-signing")
    assert len(documents.asked) == 8


@dataclass
class Admitting:
    """Callers with a clock of their own, and the number of encrypted tokens that were opened."""

    callers: Callers
    now: float
    opened: int = 0

    async def admit(self, token: str) -> None:
        await self.callers.admit([f"Bearer {token}"])


@pytest.fixture
async def known(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Admitting]:
    def counted(*arguments: Any, **options: Any) -> bytes:
        known.opened += 1
        return decrypt(*arguments, **options)

    monkeypatch.setattr("jitkit.endpoint.caller.decrypt", counted)
    async with Documents().client() as http:
        keys, settings = SigningKeys(entra.METADATA, http), entra.settings()
        known = Admitting(Callers(settings, keys, HeldKeys(settings.keys, None), lambda: known.now), time.time())
        yield known


async def test_a_good_token_is_verified_once_and_a_changed_byte_is_noticed(known: Admitting) -> None:
    token = entra.encrypted_bearer()
    for _ in range(1000):
        await known.admit(token)
    assert known.opened == 1
    for place in range(0, len(token), 97):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(Refused):
            await known.admit(changed)


async def test_a_remembered_token_is_forgotten_when_it_expires(known: Admitting) -> None:
    ends = int(time.time()) + 600
    token = entra.bearer(exp=ends)
    await known.admit(token)
    known.now = ends + 290
    await known.admit(token)
    known.now = ends + 301
    with pytest.raises(Refused, match="token_expired"):
        await known.admit(token)


async def test_memory_of_tokens_is_bounded(known: Admitting) -> None:
    first = entra.encrypted_bearer()
    await known.admit(first)
    for number in range(1024):
        await known.admit(entra.bearer(jti=str(number)))
    await known.admit(first)
    assert known.opened == 2


@pytest.mark.parametrize("keys_url", ["http://keys.example/keys", "ftp://127.0.0.1/keys", 7])
async def test_a_document_that_points_to_plain_http_gives_no_keys(keys_url: object) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"issuer": entra.CIAM, "jwks_uri": keys_url})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        keys = SigningKeys(entra.METADATA[:1], http)
        await keys.load()
        assert not keys.issuers
    assert asked == [entra.METADATA[0]]


async def test_keys_that_cannot_be_trusted_are_left_out() -> None:
    good = entra.public_jwk("signing")
    short = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    weak = good | {"kid": "weak", "n": entra.b64(short.n.to_bytes(128))}
    entries = [weak, good | {"kid": "enc", "use": "enc"}, {"kty": "oct", "kid": "oct", "k": "AAAA"}]
    entries += [{"kty": "RSA", "kid": "half", "n": "AQAB"}, good | {"kid": "text", "n": "@"}, good]
    documents = {"issuer": entra.CIAM, "jwks_uri": f"{entra.CIAM}/keys", "keys": [*entries, 7, None]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=documents))
    async with httpx.AsyncClient(transport=transport) as http:
        keys = SigningKeys(entra.METADATA[:1], http)
        await keys.load()
        found = [bool(await keys.find(kid)) for kid in ("weak", "enc", "oct", "half", "text", "signing")]
    assert found == [False, False, False, False, False, True]
