"""A and B: who is calling, by a bearer token, bare or encrypted."""

from __future__ import annotations

import time

import pytest

from jitkit.conformance.cases import BCP, OBSERVED, OVERVIEW, SAFEST, case
from jitkit.conformance.endpoint import Endpoint, TooSlow
from jitkit.conformance.issuer import Issuer
from jitkit.entra_tokens import b64, b64json, hs256, signed, tampered, unsigned
from jitkit.protocol import MIGRATE

_ELSEWHERE = "8e0f3c1a-2b7d-4e5f-9a6c-1d2e3f4a5b6c"


async def _refuses(endpoint: Endpoint, status: int, **tokens: str) -> None:
    await endpoint.refuses_each({name: endpoint.call(token=token) for name, token in tokens.items()}, status)


async def _accepts(endpoint: Endpoint, *tokens: str) -> None:
    for token in tokens:
        await endpoint.decides(endpoint.call(token=token), MIGRATE)


@pytest.mark.area("Caller")
class TestBearer:
    @case("A1", "nobody without a token gets an answer", OVERVIEW)
    async def test_no_token(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(token=None), 401)

    @case("A2", "another scheme, an empty token and two Authorization headers are no token", "RFC 6750 section 2")
    async def test_no_bearer(self, endpoint: Endpoint) -> None:
        for value in ("Basic YTpi", "Bearer", "Bearer not-a-token"):
            await endpoint.refuses(endpoint.call(token=None, headers={"authorization": value}), 401)

    @case("A3", "an unsigned token proves nothing", f"{BCP} section 2.1")
    async def test_algorithm_none(self, endpoint: Endpoint, issuer: Issuer) -> None:
        claims = issuer.claims()
        capitals = unsigned(claims, alg="NONE", kid=issuer.ciam.kid)
        await _refuses(endpoint, 401, none=unsigned(claims), None_in_capitals=capitals)

    @case("A4", "a public key is no secret: HS256 signed with it is forged", f"{BCP} section 2.1")
    async def test_algorithm_confusion(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _refuses(endpoint, 401, HS256=hs256(issuer.claims(), issuer.ciam))

    @case("A5", "good claims under a stranger's or a changed signature are forged", "RFC 7515 section 5.2")
    async def test_signature(self, endpoint: Endpoint, issuer: Issuer) -> None:
        forged, good = signed(issuer.claims(), issuer.stranger, kid=issuer.ciam.kid), issuer.bearer()
        changed = {"a_changed_signature": tampered(good, 2), "changed_claims": tampered(good, 1)}
        await _refuses(endpoint, 401, a_stranger=forged, **changed)

    @case("A6", "a key that travels in the token's own header is the sender's", f"{BCP} section 3.10")
    async def test_embedded_key(self, endpoint: Endpoint, issuer: Issuer) -> None:
        claims, stranger, attacker = issuer.claims(), issuer.stranger, f"{issuer.url}/attacker"
        embedded = signed(claims, stranger, jwk=stranger.public_jwk())
        pointed = signed(claims, stranger, jku=f"{attacker}/keys", x5u=f"{attacker}/certificate")
        await _refuses(endpoint, 401, jwk=embedded, jku=pointed)
        fetched = any(path.startswith("/attacker") for path in issuer.fetched)
        assert not fetched, "the endpoint fetched a key from where the token told it to"

    @case("A7", "times are checked, with a few minutes of tolerance at most", "RFC 7519 section 4.1")
    async def test_times(self, endpoint: Endpoint, issuer: Issuer) -> None:
        now = int(time.time())
        await _refuses(
            endpoint,
            401,
            expired=issuer.bearer(iat=now - 7200, nbf=now - 7200, exp=now - 900),
            not_yet_valid=issuer.bearer(iat=now + 900, nbf=now + 900, exp=now + 4500),
            without_exp=issuer.bearer(exp=None),
            exp_as_text=issuer.bearer(exp=str(now + 3600)),
        )

    @case("A8", "a token for another app is not for this endpoint", f"{BCP} section 3.9")
    async def test_audience(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _refuses(endpoint, 401, other=issuer.bearer(aud=_ELSEWHERE), missing=issuer.bearer(aud=None))

    @case(
        "A9", "the app id and the identifier URI both name this endpoint", "Microsoft identity platform access tokens"
    )
    async def test_both_audiences(self, endpoint: Endpoint, issuer: Issuer) -> None:
        config = endpoint.config
        await _accepts(endpoint, issuer.bearer(aud=config.app_id), issuer.bearer(aud=config.identifier_uri))

    @case("A10", "another tenant's token is a stranger's", f"{BCP} section 3.8")
    async def test_tenant(self, endpoint: Endpoint, issuer: Issuer) -> None:
        foreign = issuer.entra.issuer().replace(endpoint.config.tenant_id, _ELSEWHERE)
        await _refuses(
            endpoint,
            401,
            issuer_of_another_tenant=issuer.bearer(iss=foreign),
            tid_of_another_tenant=issuer.bearer(tid=_ELSEWHERE),
            without_issuer=issuer.bearer(iss=None),
            issuer_elsewhere=issuer.bearer(iss="https://evil.example/"),
        )

    @case("A11", "both hosts' issuer names of the own tenant are accepted", OBSERVED)
    async def test_both_issuers(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _accepts(endpoint, issuer.bearer(), issuer.bearer(issuer.login, iss=issuer.entra.issuer("login")))

    @case("A12", "keys that only the ciamlogin.com document names are known", OBSERVED)
    async def test_ciam_key(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _accepts(endpoint, issuer.bearer(issuer.ciam))

    @case("A13", "only Entra's authentication extensions service may call", OVERVIEW)
    async def test_other_callers(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _refuses(endpoint, 403, other_app=issuer.bearer(azp=_ELSEWHERE), no_app=issuer.bearer(azp=None))
        await _refuses(endpoint, 403, other_app_in_version_1=issuer.first_version(appid=_ELSEWHERE))

    @case("A14", "a version 1 token names its caller in appid", OVERVIEW)
    async def test_first_version(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _accepts(endpoint, issuer.first_version())

    @case("A15", "a person's own token for the same audience is not Entra's", f"{BCP} section 3.12")
    async def test_token_of_a_user(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _refuses(endpoint, 403, user=issuer.bearer(scp="access_as_user", name="Somebody"))

    @case(
        "A16", "other signature algorithms are not what Entra signs with, even with its own key", f"{BCP} section 3.1"
    )
    async def test_other_algorithms(self, endpoint: Endpoint, issuer: Issuer) -> None:
        claims, key = issuer.claims(), issuer.ciam
        await _refuses(endpoint, 401, RS512=signed(claims, key, alg="RS512"), PS256=signed(claims, key, alg="PS256"))

    @case("A17", "while the key documents are away, known keys still serve", SAFEST)
    async def test_documents_away(self, endpoint: Endpoint, issuer: Issuer) -> None:
        issuer.away = True
        try:
            await _accepts(endpoint, issuer.bearer())
        finally:
            issuer.away = False

    @case("A20", "unknown key ids do not make the endpoint fetch the documents again and again", SAFEST)
    async def test_unknown_keys(self, endpoint: Endpoint, issuer: Issuer) -> None:
        before, started = len(issuer.fetched), time.monotonic()
        for number in range(20):
            await _refuses(endpoint, 401, unknown=signed(issuer.claims(), issuer.stranger, kid=f"nobody-{number}"))
        fetched, seconds = len(issuer.fetched) - before, time.monotonic() - started
        if fetched > 8:
            problem = TooSlow if seconds > 2 else AssertionError  # one look a second is a bound too
            raise problem(f"20 tokens with made-up key ids caused {fetched} fetches in {seconds:.1f} s")

    @case(
        "A22", "whoever has the public certificate can make a password context; it proves nothing", "RFC 7516 section 1"
    )
    async def test_certificate_alone(self, endpoint: Endpoint) -> None:
        call = endpoint.call(token=None)
        call.headers["authorization"] = f"Bearer {call.body['data']['encryptedPasswordContext']}"
        await endpoint.refuses(call, 401)

    @case("A23", "an unknown crit member must be understood, and is not", "RFC 7515 section 4.1.11")
    async def test_critical(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _refuses(endpoint, 401, crit=signed(issuer.claims(), issuer.ciam, crit=["x"], x=1))

    @case("A25", "claims that are no JSON object, and headers that are none, are refused, not stumbled over", SAFEST)
    async def test_nonsense(self, endpoint: Endpoint, issuer: Issuer) -> None:
        kid = b64json({"alg": "RS256", "kid": issuer.ciam.kid})
        await _refuses(
            endpoint,
            401,
            claims_as_a_list=signed(["aud"], issuer.ciam),
            header_as_a_list=f"{b64json([1])}.{b64json({})}.{b64(b'x')}",
            not_base64=f"{kid}.%%%.###",
            key_id_as_a_number=signed(issuer.claims(), issuer.ciam, kid=7),
            empty_parts="..",
        )

    @case("B1", "Entra encrypts the bearer token once the app has an encryption key", OBSERVED)
    async def test_encrypted_bearer(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _accepts(endpoint, issuer.encrypted(issuer.bearer()))

    @case("B2", "the bare token is accepted as well: the key may not have reached every part of the service", OVERVIEW)
    async def test_bare_bearer(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _accepts(endpoint, issuer.bearer())

    @case("B3", "encryption does not make a bad token good", f"{BCP} section 3.3")
    async def test_encrypted_defects(self, endpoint: Endpoint, issuer: Issuer) -> None:
        claims, now = issuer.claims(), int(time.time())
        defects = {
            "algorithm_none": unsigned(claims),
            "HS256_with_the_public_key_as_secret": hs256(claims, issuer.ciam),
            "a_stranger's_signature": signed(claims, issuer.stranger, kid=issuer.ciam.kid),
            "expired": issuer.bearer(iat=now - 7200, nbf=now - 7200, exp=now - 3600),
            "another_app's_audience": issuer.bearer(aud=_ELSEWHERE),
            "another_tenant": issuer.bearer(tid=_ELSEWHERE),
        }
        await _refuses(endpoint, 401, **{name: issuer.encrypted(token) for name, token in defects.items()})
        await _refuses(endpoint, 403, another_caller=issuer.encrypted(issuer.bearer(azp=_ELSEWHERE)))

    @case("B4", "during a change of keys, a token for the previous key is opened", SAFEST)
    @pytest.mark.needs("previous_certificate")
    async def test_previous_key(self, endpoint: Endpoint, issuer: Issuer) -> None:
        await _accepts(endpoint, issuer.encrypted(issuer.bearer(), endpoint.config.previous_certificate))

    @case("B5", "a token that passed may be remembered, one changed byte of it may not", SAFEST)
    async def test_remembered_token(self, endpoint: Endpoint, issuer: Issuer) -> None:
        for good, part in ((issuer.bearer(), 2), (issuer.encrypted(issuer.bearer()), 3)):
            await _accepts(endpoint, *[good] * 20)
            await endpoint.refuses(endpoint.call(token=tampered(good, part)), 401)

    @case("B6", "a token of kilobytes that inflates to megabytes is refused", f"{BCP} section 3.6")
    async def test_inflating_token(self, endpoint: Endpoint, issuer: Issuer) -> None:
        bomb = issuer.bearer(padding="0" * (6 * 1024 * 1024))
        await endpoint.refuses(endpoint.call(token=issuer.encrypted(bomb)), 401, 431, 400)
