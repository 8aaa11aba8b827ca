"""A and B: who is calling, by a bearer token, bare or encrypted."""

from __future__ import annotations

import time

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, TooSlow, case
from jitkit.conformance.judge import decides, refuses
from jitkit.conformance.keys import b64, b64json
from jitkit.conformance.tokens import broken, hs256, signed, unsigned
from jitkit.conformance.world import World

_BCP = "RFC 8725"
_OVERVIEW = "Custom authentication extensions overview"
_OBSERVED = "observed in live tenants"
_SAFEST = "safest: the documents are silent"
_ELSEWHERE = "8e0f3c1a-2b7d-4e5f-9a6c-1d2e3f4a5b6c"


def defects(w: World) -> dict[str, str]:
    """Return the tokens that no endpoint may accept, bare or inside an encrypted one."""
    i, now = w.issuer, int(time.time())
    return {
        "algorithm none": unsigned(i.claims()),
        "HS256 with the public key as secret": hs256(i.claims(), i.ciam),
        "a stranger's signature": signed(i.claims(), i.stranger, kid=i.ciam.kid),
        "expired": i.bearer(iat=now - 7200, nbf=now - 7200, exp=now - 3600),
        "another app's audience": i.bearer(aud=_ELSEWHERE),
        "another tenant": i.bearer(tid=_ELSEWHERE),
    }


async def _refused(w: World, status: int, **tokens: str) -> None:
    for name, token in tokens.items():
        try:
            await refuses(w, w.call(token=token), status)
        except Failed as problem:
            raise Failed(f"{name.replace('_', ' ')}: {problem}") from None


@case("A1", "nobody without a token gets an answer", source=_OVERVIEW)
async def no_token(w: World) -> None:
    await refuses(w, w.call(token=None), 401)


@case("A2", "another scheme, an empty token and two Authorization headers are no token", source="RFC 6750 section 2")
async def no_bearer(w: World) -> None:
    for value in ("Basic YTpi", "Bearer", "Bearer not-a-token"):
        await refuses(w, w.call(token=None, headers={"authorization": value}), 401)


@case("A3", "an unsigned token proves nothing", source=f"{_BCP} section 2.1")
async def algorithm_none(w: World) -> None:
    claims = w.issuer.claims()
    await _refused(w, 401, none=unsigned(claims), None_in_capitals=unsigned(claims, alg="NONE", kid=w.issuer.ciam.kid))


@case("A4", "a public key is no secret: HS256 signed with it is forged", source=f"{_BCP} section 2.1")
async def algorithm_confused(w: World) -> None:
    await _refused(w, 401, HS256=hs256(w.issuer.claims(), w.issuer.ciam))


@case("A5", "good claims under a stranger's or a changed signature are forged", source="RFC 7515 section 5.2")
async def signature(w: World) -> None:
    forged, good = signed(w.issuer.claims(), w.issuer.stranger, kid=w.issuer.ciam.kid), w.issuer.bearer()
    await _refused(w, 401, a_stranger=forged, a_changed_signature=broken(good, 2), changed_claims=broken(good, 1))


@case("A6", "a key that travels in the token's own header is the sender's", source=f"{_BCP} section 3.10")
async def own_key(w: World) -> None:
    i, stranger = w.issuer, w.issuer.stranger
    embedded = signed(i.claims(), stranger, jwk=stranger.public_jwk())
    pointed = signed(i.claims(), stranger, jku=f"{i.url}/attacker/keys", x5u=f"{i.url}/attacker/certificate")
    await _refused(w, 401, jwk=embedded, jku=pointed)
    if any(path.startswith("/attacker") for path in i.fetched):
        raise Failed("the endpoint fetched a key from where the token told it to")


@case("A7", "times are checked, with a few minutes of tolerance at most", source="RFC 7519 section 4.1")
async def times(w: World) -> None:
    i, now = w.issuer, int(time.time())
    await _refused(
        w,
        401,
        expired=i.bearer(iat=now - 7200, nbf=now - 7200, exp=now - 900),
        not_yet_valid=i.bearer(iat=now + 900, nbf=now + 900, exp=now + 4500),
        without_exp=i.bearer(exp=None),
        exp_as_text=i.bearer(exp=str(now + 3600)),
    )


@case("A8", "a token for another app is not for this endpoint", source=f"{_BCP} section 3.9")
async def audience(w: World) -> None:
    await _refused(w, 401, other=w.issuer.bearer(aud=_ELSEWHERE), missing=w.issuer.bearer(aud=None))


@case(
    "A9",
    "the app id and the identifier URI both name this endpoint",
    source="Microsoft identity platform access tokens",
)
async def both_audiences(w: World) -> None:
    for aud in (w.config.app_id, w.config.identifier_uri):
        await decides(w, w.call(token=w.issuer.bearer(aud=aud)), protocol.MIGRATE)


@case("A10", "another tenant's token is a stranger's", source=f"{_BCP} section 3.8")
async def tenant(w: World) -> None:
    foreign = w.issuer.issuer().replace(w.config.tenant_id, _ELSEWHERE)
    await _refused(
        w,
        401,
        issuer_of_another_tenant=w.issuer.bearer(iss=foreign),
        tid_of_another_tenant=w.issuer.bearer(tid=_ELSEWHERE),
        without_issuer=w.issuer.bearer(iss=None),
        issuer_elsewhere=w.issuer.bearer(iss="https://evil.example/"),
    )


@case("A11", "both hosts' issuer names of the own tenant are accepted", source=_OBSERVED)
async def both_issuers(w: World) -> None:
    await decides(w, w.call(token=w.issuer.bearer()), protocol.MIGRATE)
    await decides(w, w.call(token=w.issuer.bearer(key=w.issuer.login, iss=w.issuer.issuer("login"))), protocol.MIGRATE)


@case("A12", "keys that only the ciamlogin.com document names are known", source=_OBSERVED)
async def ciam_key(w: World) -> None:
    await decides(w, w.call(token=w.issuer.bearer(key=w.issuer.ciam)), protocol.MIGRATE)


@case("A13", "only Entra's authentication extensions service may call", source=_OVERVIEW)
async def other_caller(w: World) -> None:
    i = w.issuer
    await _refused(w, 403, other_app=i.bearer(azp=_ELSEWHERE), no_app=i.bearer(azp=None))
    await _refused(w, 403, other_app_in_version_1=i.first_version(appid=_ELSEWHERE))


@case("A14", "a version 1 token names its caller in appid", source=_OVERVIEW)
async def first_version(w: World) -> None:
    await decides(w, w.call(token=w.issuer.first_version()), protocol.MIGRATE)


@case("A15", "a person's own token for the same audience is not Entra's", source=f"{_BCP} section 3.12")
async def a_users_token(w: World) -> None:
    await _refused(w, 403, user=w.issuer.bearer(scp="access_as_user", name="Somebody"))


@case(
    "A16",
    "other signature algorithms are not what Entra signs with, even with its own key",
    source=f"{_BCP} section 3.1",
)
async def other_algorithms(w: World) -> None:
    claims, key = w.issuer.claims(), w.issuer.ciam
    await _refused(w, 401, RS512=signed(claims, key, alg="RS512"), PS256=signed(claims, key, alg="PS256"))


@case("A17", "while the key documents are away, known keys still serve", source=_SAFEST)
async def documents_away(w: World) -> None:
    w.issuer.away = True
    try:
        await decides(w, w.call(token=w.issuer.bearer()), protocol.MIGRATE)
    finally:
        w.issuer.away = False


@case("A20", "unknown key ids do not make the endpoint fetch the documents again and again", source=_SAFEST)
async def unknown_keys(w: World) -> None:
    before, started = len(w.issuer.fetched), time.monotonic()
    for number in range(20):
        call = w.call(token=signed(w.issuer.claims(), w.issuer.stranger, kid=f"nobody-{number}"))
        await refuses(w, call, 401)
    fetched, seconds = len(w.issuer.fetched) - before, time.monotonic() - started
    if fetched > 8:
        problem = TooSlow if seconds > 2 else Failed  # one look a second is a bound too
        raise problem(f"20 tokens with made-up key ids caused {fetched} fetches in {seconds:.1f} s")


@case(
    "A22",
    "whoever has the public certificate can make a password context; it proves nothing",
    source="RFC 7516 section 1",
)
async def certificate_alone(w: World) -> None:
    call = w.call(token=None)
    call.headers["authorization"] = f"Bearer {call.body['data']['encryptedPasswordContext']}"
    await refuses(w, call, 401)


@case("A23", "an unknown crit member must be understood, and is not", source="RFC 7515 section 4.1.11")
async def critical(w: World) -> None:
    await _refused(w, 401, crit=signed(w.issuer.claims(), w.issuer.ciam, crit=["x"], x=1))


@case(
    "A25", "claims that are no JSON object, and headers that are none, are refused, not stumbled over", source=_SAFEST
)
async def nonsense(w: World) -> None:
    kid = b64json({"alg": "RS256", "kid": w.issuer.ciam.kid})
    await _refused(
        w,
        401,
        claims_as_a_list=signed(["aud"], w.issuer.ciam),
        header_as_a_list=f"{b64json([1])}.{b64json({})}.{b64(b'x')}",
        not_base64=f"{kid}.%%%.###",
        key_id_as_a_number=signed(w.issuer.claims(), w.issuer.ciam, kid=7),
        empty_parts="..",
    )


@case("B1", "Entra encrypts the bearer token once the app has an encryption key", source=_OBSERVED)
async def encrypted_bearer(w: World) -> None:
    await decides(w, w.call(token=w.issuer.encrypted(w.issuer.bearer())), protocol.MIGRATE)


@case(
    "B2", "the bare token is accepted as well: the key may not have reached every part of the service", source=_OVERVIEW
)
async def bare_bearer(w: World) -> None:
    await decides(w, w.call(token=w.issuer.bearer()), protocol.MIGRATE)


@case("B3", "encryption does not make a bad token good", source=f"{_BCP} section 3.3")
async def encrypted_defects(w: World) -> None:
    i = w.issuer
    await _refused(w, 401, **{name: i.encrypted(token) for name, token in defects(w).items()})
    await _refused(w, 403, **{"another caller": i.encrypted(i.bearer(azp=_ELSEWHERE))})


@case("B4", "during a change of keys, a token for the previous key is opened", source=_SAFEST)
async def previous_bearer(w: World) -> None:
    if w.config.previous is None:
        raise Skipped("the configuration names no previous_certificate")
    await decides(w, w.call(token=w.issuer.encrypted(w.issuer.bearer(), w.config.previous)), protocol.MIGRATE)


@case("B5", "a token that passed may be remembered, one changed byte of it may not", source=_SAFEST)
async def remembered(w: World) -> None:
    for good, part in ((w.issuer.bearer(), 2), (w.issuer.encrypted(w.issuer.bearer()), 3)):
        for _ in range(20):
            await decides(w, w.call(token=good), protocol.MIGRATE)
        await refuses(w, w.call(token=broken(good, part)), 401)


@case("B6", "a token of kilobytes that inflates to megabytes is refused", source=f"{_BCP} section 3.6")
async def bearer_bomb(w: World) -> None:
    bomb = w.issuer.bearer(padding="0" * (6 * 1024 * 1024))
    await refuses(w, w.call(token=w.issuer.encrypted(bomb)), 401, 431, 400)
