"""C: what is inside the password context, and what comes twice."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from jitkit.conformance.cases import HOWTO, SAFEST, case, table
from jitkit.conformance.endpoint import Endpoint, decided
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.entra_tokens import b64, b64json, encrypted, unsigned
from jitkit.protocol import MIGRATE, RETRY

_JWT = "RFC 7519"
_OTHER = "4c7e2a90-1f3b-4d68-9e05-7b8a6c5d4e88"


def _times(seconds: int, **others: int) -> dict[str, int]:
    """Return the times of a context of ten minutes that begins so many seconds from now."""
    start = int(time.time()) + seconds
    return {"iat": start, "nbf": start, "exp": start + 600} | others


@pytest.mark.area("Claims, nonce and replay")
class TestClaims:
    @case("C1", "the token inside is unsigned; that is how Entra makes it", HOWTO)
    async def test_unsigned(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call(), MIGRATE)

    @case("C2", "a token inside that claims a signature, or is no token, is refused", f"{_JWT} section 7.2")
    async def test_other_tokens(self, endpoint: Endpoint) -> None:
        inside: dict[str, Any] = {
            "none with a signature": lambda claims: unsigned(claims, "AAAA"),
            "HS256": lambda claims: unsigned(claims, b64(b"0" * 32), alg="HS256"),
            "claims as a list": lambda claims: unsigned([claims]),
            "two parts": lambda claims: unsigned(claims).rpartition(".")[0],
            "a text": lambda _: "hello",
            "nothing": lambda _: "",
            "another JWE": lambda claims: encrypted(unsigned(claims), endpoint.config.certificate),
            "not UTF-8": lambda _: f"{b64json({'alg': 'none'})}.{b64(bytes([0xFF, 0xFE]))}.",
        }
        await endpoint.refuses_each({name: endpoint.call(inside=write) for name, write in inside.items()}, 400)

    @case("C3", "flat JSON, as early samples had it, only where the configuration says so", SAFEST, required=False)
    async def test_flat(self, endpoint: Endpoint) -> None:
        call = endpoint.call(inside=json.dumps)
        if endpoint.config.features.flat_context:
            await endpoint.decides(call, MIGRATE)
        else:
            await endpoint.refuses(call, 400)

    @case("C4", "an expired context is refused", f"{_JWT} section 4.1.4")
    async def test_expired(self, endpoint: Endpoint) -> None:
        text = str(int(time.time()) + 600)
        old = endpoint.call(claims=_times(-7200, exp=int(time.time()) - 900))
        await endpoint.refuses_each({"expired": old, "exp as text": endpoint.call(claims={"exp": text})}, 400)

    @case(
        "C5",
        "a context without an end is refused: it could be sent again for ever",
        f"{_JWT} section 4.1.4",
        required=False,
    )
    async def test_endless(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(claims={"exp": None}), 400)

    @case("C6", "a context from the future is refused", f"{_JWT} section 4.1.5")
    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    async def test_future(self, endpoint: Endpoint, claim: str) -> None:
        later = int(time.time()) + 1800
        await endpoint.refuses(endpoint.call(claims={claim: later, "exp": later + 600}), 400)

    @case("C7", "the audience is this app, alone or in a list", "RFC 8725 section 3.9")
    async def test_audience(self, endpoint: Endpoint) -> None:
        wrong = {"another app": endpoint.call(claims={"aud": _OTHER}), "missing": endpoint.call(claims={"aud": None})}
        await endpoint.refuses_each(wrong, 400)
        await endpoint.decides(endpoint.call(claims={"aud": [_OTHER, endpoint.config.app_id]}), MIGRATE)

    @case("C8", "the context's issuer is the identifier URI", "RFC 8725 section 3.8", required=False)
    @pytest.mark.needs("context_issuer")
    async def test_issuer(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(claims={"iss": "api://elsewhere.example/app"}), 400)

    @case(
        "C9", "a password that is missing, empty or no text is refused before anybody is asked", "original sample: 400"
    )
    @table("value", {"missing": None, "a number": 12345678, "empty": "", "a list": ["a"], "an object": {}})
    async def test_no_password(self, endpoint: Endpoint, value: Any) -> None:
        await endpoint.refuses(endpoint.call(typed=value), 400)

    @case("C11", "without a username there is nobody to ask about; the principal name is no substitute", SAFEST)
    @table("value", {"missing": None, "a number": 7, "empty": "", "blanks": "   "})
    async def test_no_username(self, endpoint: Endpoint, value: Any) -> None:
        before = len(endpoint.legacy.unknown) if endpoint.legacy else 0
        await endpoint.refuses(endpoint.call(claims={"username": value}), 400)
        asked = endpoint.legacy and len(endpoint.legacy.unknown) > before
        assert not asked, "the legacy store was asked about another name than the one that was typed"

    @case("C12", "capitals and outer blanks are no other person; a plus tag may be", SAFEST)
    async def test_normalised_names(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        for change in (str.upper, " {} ".format):
            person = endpoint.account()
            await endpoint.decides(endpoint.call(person, claims={"username": change(person.username)}), MIGRATE)
        tagged = endpoint.account(username=f"case+tag-{_OTHER[:4]}-{time.time_ns()}@conformance.example")
        await endpoint.decides(endpoint.call(tagged), MIGRATE)

    @case("C13", "without a usable nonce no answer could be accepted", HOWTO)
    @table("value", {"missing": None, "empty": "", "no GUID": "abc", "a number": 7})
    async def test_no_nonce(self, endpoint: Endpoint, value: Any) -> None:
        await endpoint.refuses(endpoint.call(claims={"nonce": value}), 400)

    @case(
        "C14",
        "the second attempt gets the first one's answer, and the legacy store is asked once",
        "service limits: one retry",
    )
    async def test_second_attempt(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        for kind, action in (("right", MIGRATE), ("wrong", RETRY)):
            call = endpoint.call(kind)
            for _ in range(2):
                await endpoint.decides(call, action)
            call.asked(1)
        both = endpoint.call(endpoint.account(delay=0.3))
        for reply in await asyncio.gather(endpoint.send(both), endpoint.send(both)):
            decided(reply, both, MIGRATE)
        both.asked(1)

    @case("C15", "a nonce that comes back with another password or person is an attack", SAFEST)
    @pytest.mark.needs("replay")
    async def test_reused_nonce(self, endpoint: Endpoint) -> None:
        first = endpoint.call()
        await endpoint.decides(first, MIGRATE)
        same = {"nonce": first.nonce}
        await endpoint.refuses(endpoint.call(first.account, typed="Another-Canary-Pa55!", claims=same), 400)
        await endpoint.refuses(endpoint.call(claims=same), 400)

    @case("C16", "a context that was answered is refused once it has expired", SAFEST)
    async def test_after_its_end(self, endpoint: Endpoint) -> None:
        first = endpoint.call()
        await endpoint.decides(first, MIGRATE)
        old = _times(-7200, exp=int(time.time()) - 900)
        await endpoint.refuses(endpoint.call(first.account, claims={"nonce": first.nonce, **old}), 400)

    @case("C18", "the password reaches the legacy store as it was typed", SAFEST)
    async def test_exact_password(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        passwords = (" Blanks around 1! ", "Zwölf-Gänse-1!", "Päss\u0301word-1!", "日本語-Pass-1!", 'Q"uo\\te-\t1!')
        for number, password in enumerate(passwords, 1):
            person = endpoint.account(password=password)
            name = f"password {number} of 5 (blanks, umlauts, accents, kanji, quotes)"
            reply = await endpoint.send(endpoint.call(person))
            assert reply.action, f"{name} was not decided"
            assert person.asked == [password], f"{name} reached it changed"

    @case("C19", "passwords that no keyboard types end in an answer, not in an error", SAFEST)
    async def test_odd_passwords(self, endpoint: Endpoint) -> None:
        odd = {
            "a null character": "Null\x00-Canary-1!",
            "4,000 letters": "Aa1!" * 1000,
            "half a character": "\ud800-Canary-1!",
        }
        for name, password in odd.items():
            call = endpoint.call(typed=password)
            endpoint.passwords.discard(password)
            reply = await endpoint.send(call)
            answered = reply.status == 400 or reply.action
            assert answered, f"{name}: neither decided nor refused, status {reply.status}"
