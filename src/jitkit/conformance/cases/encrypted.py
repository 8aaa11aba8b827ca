"""J: the encrypted password context as a JWE."""

from __future__ import annotations

import statistics
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, TooSlow, case
from jitkit.conformance.judge import action_of, decides, leaks_nothing, refuses
from jitkit.conformance.keys import EncryptionKey, b64, b64json
from jitkit.conformance.tokens import broken, encrypt, unsigned
from jitkit.conformance.world import Call, Reply, World

_BCP: Final = "RFC 8725"
_JWE: Final = "RFC 7516"
_SAFEST: Final = "safest: the documents are silent"
_PARTS: Final = ("header", "encrypted key", "IV", "ciphertext", "tag")


def _call(w: World, *, key: EncryptionKey | None = None, drop: tuple[str, ...] = (), **header: Any) -> Call:
    person = w.account()
    claims = w.claims(person)
    return w.call(person, claims=claims, context=encrypt(unsigned(claims), key or w.config.key, drop=drop, **header))


async def _refused(w: World, **contexts: str) -> None:
    for name, context in contexts.items():
        try:
            await refuses(w, w.call(context=context), 400)
        except Failed as problem:
            raise Failed(f"{name.replace('_', ' ')}: {problem}") from None


@case(
    "J1",
    "RSA-OAEP, A128CBC-HS256, x5t, compressed, an unsigned token inside: what Entra sends",
    source="observed in live tenants",
)
async def usual(w: World) -> None:
    await decides(w, _call(w), protocol.MIGRATE)


@case("J2", "compression and cty are the sender's choice", source=f"{_JWE} section 4.1")
async def without_compression(w: World) -> None:
    for call in (_call(w, drop=("zip",)), _call(w, cty="JWT"), _call(w, typ="JWT", cty="JWT", drop=("zip",))):
        await decides(w, call, protocol.MIGRATE)


@case("J3", "stronger algorithms are accepted or refused, on purpose", source=f"{_BCP} section 3.1", required=False)
async def stronger(w: World) -> None:
    choices: list[dict[str, Any]] = [{"alg": "RSA-OAEP-256"}, {"enc": "A256GCM"}, {"enc": "A256CBC-HS512"}]
    for header in choices:
        call = _call(w, **header)
        reply = await w.send(call)
        if reply.status != 400 and action_of(reply) != protocol.MIGRATE:
            raise Failed(f"{'/'.join(header.values())}: neither accepted nor refused, status {reply.status}")


@case("J4", "RSA1_5 lets an attacker decrypt by asking often enough", source=f"{_BCP} section 3.2")
async def bleichenbacher(w: World) -> None:
    await refuses(w, _call(w, alg="RSA1_5"), 400)


@case("J5", "algorithms that need no key of ours, and unknown ones, are refused", source=f"{_BCP} section 3.1")
async def other_algorithms(w: World) -> None:
    good = _call(w).body["data"]["encryptedPasswordContext"].split(".")
    heads = {
        "dir": {"alg": "dir", "enc": "A128CBC-HS256"},
        "PBES2": {"alg": "PBES2-HS256+A128KW", "enc": "A128CBC-HS256", "p2s": "AAAA", "p2c": 2_000_000_000},
        "none": {"alg": "none", "enc": "A128CBC-HS256"},
        "unknown_enc": {"alg": "RSA-OAEP", "enc": "A128CBC"},
        "no_alg": {"enc": "A128CBC-HS256"},
        "alg_as_a_list": {"alg": ["RSA-OAEP"], "enc": "A128CBC-HS256"},
    }
    await _refused(w, **{name: ".".join([b64json(head), *good[1:]]) for name, head in heads.items()})


@case("J6", "three, four and six parts and the JSON form are no compact JWE", source=f"{_JWE} section 9")
async def parts(w: World) -> None:
    good = _call(w).body["data"]["encryptedPasswordContext"]
    five = good.split(".")
    general = '{"protected":"%s","encrypted_key":"%s","iv":"%s","ciphertext":"%s","tag":"%s"}' % tuple(five)  # noqa: UP031
    await _refused(w, three=".".join(five[:3]), four=".".join(five[:4]), six=good + ".AA", JSON=general, no_parts="x")


@case("J7", "what is not base64url, and blanks around a token, are refused", source="RFC 7515 section 2")
async def alphabet(w: World) -> None:
    good = _call(w).body["data"]["encryptedPasswordContext"].split(".")
    no_json = b64(b"{not json")
    await _refused(
        w,
        other_letters=".".join(["%%%", *good[1:]]),
        header_is_no_JSON=".".join([no_json, *good[1:]]),
        header_is_a_list=".".join([b64json(["RSA-OAEP"]), *good[1:]]),
        empty_parts="....",
        null_characters="\x00".join(good),
    )


@case("J8", "an unknown crit member must be understood, and is not", source=f"{_JWE} section 4.1.13")
async def critical(w: World) -> None:
    await refuses(w, _call(w, crit=["x"], x=1), 400)


@case("J9", "unknown compression is refused", source=f"{_JWE} section 4.1.3")
async def compression(w: World) -> None:
    await refuses(w, _call(w, zip="GZ"), 400)


@case("J10", "kilobytes that inflate to tens of megabytes are refused", source=f"{_BCP} section 3.6")
async def bomb(w: World) -> None:
    person = w.account()
    claims = w.claims(person)
    context = encrypt(unsigned(claims | {"padding": "0" * (20 * 1024 * 1024)}), w.config.key)
    await refuses(w, w.call(person, claims=claims, context=context), 400, 413)


@case("J11", "one changed bit anywhere: one refusal, the same body, about the same time", source=f"{_JWE} section 11.5")
async def one_bit(w: World) -> None:
    replies: dict[str, list[Reply]] = {name: [] for name in _PARTS}
    for _ in range(7):
        for part, name in enumerate(_PARTS):
            call = _call(w)
            call.body["data"]["encryptedPasswordContext"] = broken(call.body["data"]["encryptedPasswordContext"], part)
            reply = await w.send(call)
            if reply.status != 400:
                raise Failed(f"a changed {name}: expected status 400, got {reply.status}")
            leaks_nothing(reply, call)
            replies[name].append(reply)
    bodies = {reply.body for group in replies.values() for reply in group}
    if len(bodies) > 1:
        raise Failed(f"the body tells which part was changed: {len(bodies)} different ones")
    # A changed header may be noticed before any key is used, and costs an attacker nothing to know.
    times = {name: statistics.median(reply.seconds for reply in group) for name, group in replies.items()}
    slowest, fastest = max(times[name] for name in _PARTS[1:]), min(times[name] for name in _PARTS[1:])
    if slowest - fastest > max(0.02, fastest):
        raise TooSlow(f"the time tells which part was changed: {fastest * 1000:.0f} to {slowest * 1000:.0f} ms")


@case(
    "J12",
    "a header member given twice, and keys that the header points at, change nothing",
    source=f"{_BCP} section 3.10",
)
async def pointed(w: World) -> None:
    before = len(w.issuer.fetched)
    reply = await w.send(_call(w, jku=f"{w.issuer.url}/attacker/keys", x5u=f"{w.issuer.url}/attacker/certificate"))
    if reply.status != 400 and action_of(reply) != protocol.MIGRATE:
        raise Failed(f"neither accepted nor refused: status {reply.status}")
    if any(path.startswith("/attacker") for path in w.issuer.fetched[before:]):
        raise Failed("the endpoint fetched what the password context pointed at")


@case(
    "J14", "what is encrypted for another key is refused, by its name or by its content", source=f"{_JWE} section 5.2"
)
async def other_key(w: World) -> None:
    other = EncryptionKey.make("another")
    await refuses(w, _call(w, key=other), 400)
    await refuses(w, _call(w, key=other, x5t=w.config.key.x5t), 400)


@case("J15", "during a change of keys, the previous one still opens", source=_SAFEST)
async def previous(w: World) -> None:
    if w.config.previous is None:
        raise Skipped("the configuration names no previous_certificate")
    await decides(w, _call(w, key=w.config.previous), protocol.MIGRATE)


@case("J16", "during a change of keys, the new one opens too", source=_SAFEST)
async def current(w: World) -> None:
    if w.config.previous is None:
        raise Skipped("the configuration names no previous_certificate")
    for key in (w.config.previous, w.config.key, w.config.previous, w.config.key):
        await decides(w, _call(w, key=key), protocol.MIGRATE)


@case("J17", "what is encrypted for a retired key is refused", source=_SAFEST)
async def retired(w: World) -> None:
    retired = EncryptionKey.make("retired")
    await refuses(w, _call(w, key=retired), 400)
    await decides(w, _call(w), protocol.MIGRATE)


@case("J18", "unknown header members are ignored", source=f"{_JWE} section 4")
async def unknown_members(w: World) -> None:
    await decides(w, _call(w, xms_hd_uti="abc", xms_hd_iat=1), protocol.MIGRATE)


@case("J19", "a retired key's name is refused, even over content that would open", source=_SAFEST, required=False)
async def retired_name(w: World) -> None:
    await refuses(w, _call(w, x5t=EncryptionKey.make("retired").x5t), 400)
