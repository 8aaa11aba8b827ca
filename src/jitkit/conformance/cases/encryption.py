"""J: the encrypted password context as a JWE."""

from __future__ import annotations

import statistics

import pytest

from jitkit.conformance.cases import BCP, OBSERVED, SAFEST, case
from jitkit.conformance.endpoint import Endpoint, Reply, TooSlow, shows_nothing
from jitkit.entra_tokens import EncryptionKey, b64, b64json, tampered
from jitkit.protocol import MIGRATE

_JWE = "RFC 7516"
_PARTS = ("header", "encrypted key", "IV", "ciphertext", "tag")


def _context(endpoint: Endpoint) -> str:
    return str(endpoint.call().body["data"]["encryptedPasswordContext"])


async def _refuses(endpoint: Endpoint, **contexts: str) -> None:
    await endpoint.refuses_each({name: endpoint.call(context=context) for name, context in contexts.items()}, 400)


def _accepted_or_refused(reply: Reply) -> None:
    good = reply.status == 400 or reply.action == MIGRATE
    assert good, f"neither accepted nor refused, status {reply.status}"


@pytest.mark.area("Encryption")
class TestEncryption:
    @case("J1", "RSA-OAEP, A128CBC-HS256, x5t, compressed, an unsigned token inside: what Entra sends", OBSERVED)
    async def test_usual(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call(), MIGRATE)

    @case("J2", "compression and cty are the sender's choice", f"{_JWE} section 4.1")
    async def test_without_compression(self, endpoint: Endpoint) -> None:
        for header in ({"drop": ("zip",)}, {"cty": "JWT"}, {"typ": "JWT", "cty": "JWT", "drop": ("zip",)}):
            await endpoint.decides(endpoint.call(jwe=header), MIGRATE)

    @case("J3", "stronger algorithms are accepted or refused, on purpose", f"{BCP} section 3.1", required=False)
    @pytest.mark.parametrize("member", ["alg=RSA-OAEP-256", "enc=A256GCM", "enc=A256CBC-HS512"])
    async def test_stronger(self, endpoint: Endpoint, member: str) -> None:
        _accepted_or_refused(await endpoint.send(endpoint.call(jwe=dict([member.split("=")]))))

    @case("J4", "RSA1_5 lets an attacker decrypt by asking often enough", f"{BCP} section 3.2")
    async def test_bleichenbacher(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(jwe={"alg": "RSA1_5"}), 400)

    @case("J5", "algorithms that need no key of ours, and unknown ones, are refused", f"{BCP} section 3.1")
    async def test_other_algorithms(self, endpoint: Endpoint) -> None:
        _, rest = _context(endpoint).split(".", 1)
        heads = {
            "dir": {"alg": "dir", "enc": "A128CBC-HS256"},
            "PBES2": {"alg": "PBES2-HS256+A128KW", "enc": "A128CBC-HS256", "p2s": "AAAA", "p2c": 2_000_000_000},
            "none": {"alg": "none", "enc": "A128CBC-HS256"},
            "unknown_enc": {"alg": "RSA-OAEP", "enc": "A128CBC"},
            "no_alg": {"enc": "A128CBC-HS256"},
            "alg_as_a_list": {"alg": ["RSA-OAEP"], "enc": "A128CBC-HS256"},
        }
        await _refuses(endpoint, **{name: f"{b64json(head)}.{rest}" for name, head in heads.items()})

    @case("J6", "three, four and six parts and the JSON form are no compact JWE", f"{_JWE} section 9")
    async def test_parts(self, endpoint: Endpoint) -> None:
        five = _context(endpoint).split(".")
        three, four, six = ".".join(five[:3]), ".".join(five[:4]), ".".join([*five, "AA"])
        general = '{"protected":"%s","encrypted_key":"%s","iv":"%s","ciphertext":"%s","tag":"%s"}' % tuple(five)  # noqa: UP031
        await _refuses(endpoint, three=three, four=four, six=six, JSON=general, no_parts="x")

    @case("J7", "what is not base64url, and blanks around a token, are refused", "RFC 7515 section 2")
    async def test_alphabet(self, endpoint: Endpoint) -> None:
        good = _context(endpoint)
        _, rest = good.split(".", 1)
        await _refuses(
            endpoint,
            other_letters=f"%%%.{rest}",
            header_is_no_JSON=f"{b64(b'{not json')}.{rest}",
            header_is_a_list=f"{b64json(['RSA-OAEP'])}.{rest}",
            empty_parts="....",
            null_characters=good.replace(".", "\x00"),
        )

    @case("J8", "an unknown crit member must be understood, and is not", f"{_JWE} section 4.1.13")
    async def test_critical(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(jwe={"crit": ["x"], "x": 1}), 400)

    @case("J9", "unknown compression is refused", f"{_JWE} section 4.1.3")
    async def test_compression(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(jwe={"zip": "GZ"}), 400)

    @case("J10", "kilobytes that inflate to tens of megabytes are refused", f"{BCP} section 3.6")
    async def test_inflating(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(claims={"padding": "0" * (20 * 1024 * 1024)}), 400, 413)

    @case("J11", "one changed bit anywhere: one refusal, the same body, about the same time", f"{_JWE} section 11.5")
    async def test_one_bit(self, endpoint: Endpoint) -> None:
        replies: dict[str, list[Reply]] = {name: [] for name in _PARTS}
        for _ in range(7):
            for part, name in enumerate(_PARTS):
                call = endpoint.call(context=tampered(_context(endpoint), part))
                reply = await endpoint.send(call)
                assert reply.status == 400, f"a changed {name}: expected status 400, got {reply.status}"
                shows_nothing(reply, call)
                replies[name].append(reply)
        bodies = {reply.body for group in replies.values() for reply in group}
        assert len(bodies) == 1, f"the body tells which part was changed: {len(bodies)} different ones"
        # A changed header may be noticed before any key is used, and costs an attacker nothing to know.
        times = [statistics.median(reply.seconds for reply in replies[name]) for name in _PARTS[1:]]
        slowest, fastest = max(times), min(times)
        if slowest - fastest > max(0.02, fastest):
            raise TooSlow(f"the time tells which part was changed: {fastest * 1000:.0f} to {slowest * 1000:.0f} ms")

    @case(
        "J12", "a header member given twice, and keys that the header points at, change nothing", f"{BCP} section 3.10"
    )
    async def test_pointed_keys(self, endpoint: Endpoint) -> None:
        issuer, attacker = endpoint.issuer, f"{endpoint.issuer.url}/attacker"
        before = len(issuer.fetched)
        header = {"jku": f"{attacker}/keys", "x5u": f"{attacker}/certificate"}
        _accepted_or_refused(await endpoint.send(endpoint.call(jwe=header)))
        fetched = any(path.startswith("/attacker") for path in issuer.fetched[before:])
        assert not fetched, "the endpoint fetched what the password context pointed at"

    @case("J14", "what is encrypted for another key is refused, by its name or by its content", f"{_JWE} section 5.2")
    async def test_other_key(self, endpoint: Endpoint) -> None:
        other = EncryptionKey.make("another")
        await endpoint.refuses(endpoint.call(jwe={"key": other}), 400)
        await endpoint.refuses(endpoint.call(jwe={"key": other, "x5t": endpoint.config.certificate.x5t}), 400)

    @case("J15", "during a change of keys, the previous one still opens", SAFEST)
    @pytest.mark.needs("previous_certificate")
    async def test_previous_key(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call(jwe={"key": endpoint.config.previous_certificate}), MIGRATE)

    @case("J16", "during a change of keys, the new one opens too", SAFEST)
    @pytest.mark.needs("previous_certificate")
    async def test_both_keys(self, endpoint: Endpoint) -> None:
        for key in [endpoint.config.previous_certificate, endpoint.config.certificate] * 2:
            await endpoint.decides(endpoint.call(jwe={"key": key}), MIGRATE)

    @case("J17", "what is encrypted for a retired key is refused", SAFEST)
    async def test_retired_key(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(jwe={"key": EncryptionKey.make("retired")}), 400)
        await endpoint.decides(endpoint.call(), MIGRATE)

    @case("J18", "unknown header members are ignored", f"{_JWE} section 4")
    async def test_unknown_members(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call(jwe={"xms_hd_uti": "abc", "xms_hd_iat": 1}), MIGRATE)

    @case("J19", "a retired key's name is refused, even over content that would open", SAFEST, required=False)
    async def test_retired_name(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(jwe={"x5t": EncryptionKey.make("retired").x5t}), 400)
