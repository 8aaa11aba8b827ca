"""The password context: what opens, and what is refused before the legacy store is asked."""

from __future__ import annotations

import base64
import json
import resource
import time
from typing import Any

import pytest

from jitkit import protocol
from jitkit.endpoint.app import Clock
from jitkit.endpoint.crypto import PasswordContext, open_context
from jitkit.endpoint.decision import Refused
from jitkit.endpoint.keys import parse_key

from . import issuer
from .conftest import Opener

KEYS = [parse_key(issuer.pair_pem("encryption"), "current"), parse_key(issuer.pair_pem("previous"), "previous")]
NOW = int(time.time())  # when the tokens of the tables below were made, which may be long before they are sent


def opened(token: str, keys: Any = KEYS, *, flat: bool = False, now: float | None = None) -> PasswordContext:
    now = time.time() if now is None else now
    return open_context(token, keys, audiences=(issuer.APP, issuer.URI), now=now, flat=flat)


def nested(**changes: Any) -> str:
    return issuer.unsigned(issuer.context_claims(**changes))


OPENED = {
    "as captured": issuer.jwe(nested()),
    "no zip": issuer.jwe(nested(), drop=("zip",)),
    "no x5t": issuer.jwe(nested(), drop=("x5t",)),
    "cty and an unknown member": issuer.jwe(nested(), cty="JWT", xms_hd_uti="new"),
    "OAEP-256 and GCM": issuer.jwe(nested(), alg="RSA-OAEP-256", enc="A256GCM"),
    "A256CBC-HS512": issuer.jwe(nested(), enc="A256CBC-HS512"),
    "previous key": issuer.jwe(nested(), "previous"),
    "previous key, no x5t": issuer.jwe(nested(), "previous", drop=("x5t",)),
    "without times that are not needed": issuer.jwe(nested(iss=None, iat=None, nbf=None)),
    "a list of audiences": issuer.jwe(nested(aud=[issuer.CLIENT, issuer.APP])),
    "the URI as audience": issuer.jwe(nested(aud=issuer.URI)),
    "within the skew": issuer.jwe(nested(exp=NOW - 200, iat=NOW + 200)),
}


@pytest.mark.parametrize("token", OPENED.values(), ids=OPENED)
def test_opens(token: str) -> None:
    assert opened(token, now=NOW).password == issuer.CANARY


def twice() -> str:
    """Write an inner token whose username is given twice."""
    claims = json.dumps(issuer.context_claims())
    head, _, signature = nested().split(".")
    return ".".join((head, issuer.b64(f'{claims[:-1]}, "username": "b"}}'.encode()), signature))


def test_flat_json_opens_with_the_switch_alone() -> None:
    token = issuer.jwe(json.dumps(issuer.context_claims()))
    assert opened(token, flat=True).password == issuer.CANARY
    with pytest.raises(Refused, match="context_form"):
        opened(token)


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"aud": "another"}, "context_audience"), ({"exp": 1}, "context_expired"), ({"aud": None}, "context_audience")],
)
def test_flat_json_may_leave_out_for_whom_and_until_when_but_not_lie(change: dict[str, Any], cause: str) -> None:
    names = (protocol.CLAIM_PASSWORD, protocol.CLAIM_USERNAME, protocol.CLAIM_NONCE)
    three = {name: value for name, value in issuer.context_claims().items() if name in names}
    assert opened(issuer.jwe(json.dumps(three)), flat=True).password == issuer.CANARY
    with pytest.raises(Refused, match=cause):
        opened(issuer.jwe(json.dumps(three | change)), flat=True)


def test_a_context_says_how_long_it_could_be_sent_again() -> None:
    assert 290 < opened(issuer.jwe(nested(exp=int(time.time())))).seconds_left <= 300


REFUSED: list[tuple[str, str]] = [
    ("jwe_algorithm", issuer.jwe(nested(), alg="RSA1_5")),
    ("jwe_algorithm", issuer.jwe(nested(), alg=["RSA-OAEP"])),
    ("jwe_header", issuer.jwe(nested(), crit=["exp"])),
    ("jwe_header", issuer.jwe(nested(), zip="GZ")),
    ("jwe_header", "e30x" + issuer.jwe(nested())[4:]),
    ("jwe_form", issuer.jwe(nested()).rpartition(".")[0]),
    ("jwe_form", issuer.jwe(nested()) + ".AAAA"),
    ("jwe_form", issuer.jwe(nested()) + "="),
    ("jwe_form", issuer.jwe(nested()) + "\n"),
    ("jwe_form", json.dumps({"protected": "", "ciphertext": "", "iv": "", "tag": ""})),
    ("jwe_form", "é" * 40),
    ("unknown_key", issuer.jwe(nested(), "retired")),
    ("decrypt_failed", issuer.jwe(nested(), "retired", drop=("x5t",))),
    ("decrypt_failed", issuer.jwe(nested(), "retired", x5t=issuer.x5t("encryption"))),
    ("decrypt_failed", issuer.jwe(b"\0" * 40_000_000)),
    ("decrypt_failed", issuer.jwe(b"{" + b" " * 40_000 + b"}", drop=("zip",))),
    ("context_form", issuer.jwe(issuer.jws(issuer.context_claims()))),
    ("context_form", issuer.jwe(issuer.unsigned(issuer.context_claims(), signature="AAAA"))),
    ("context_form", issuer.jwe(issuer.unsigned(issuer.context_claims(), {"alg": "None"}))),
    ("context_form", issuer.jwe(issuer.unsigned(issuer.context_claims(), {"alg": "none", "crit": []}))),
    ("context_form", issuer.jwe("hello")),
    ("context_form", issuer.jwe(b"\xff\xfe\x00")),
    ("context_claims", issuer.jwe(issuer.unsigned([1]))),
    ("context_form", issuer.jwe('{"username": "a", "username": "b"}')),
    ("context_form", issuer.jwe("{" * 20_000)),
    ("context_claims", issuer.jwe(twice())),
    ("context_claims", issuer.jwe(nested(exp=None))),
    ("context_audience", issuer.jwe(nested(aud=None))),
    ("context_claims", issuer.jwe(nested(exp=float("nan")))),
    ("context_claims", issuer.jwe(nested(exp="soon"))),
    ("context_claims", issuer.jwe(nested(exp=True))),
    ("context_expired", issuer.jwe(nested(exp=NOW - 400))),
    ("context_expired", issuer.jwe(nested(exp=0))),
    ("context_not_yet_valid", issuer.jwe(nested(nbf=NOW + 600))),
    ("context_not_yet_valid", issuer.jwe(nested(iat=NOW + 600))),
    ("context_audience", issuer.jwe(nested(aud=issuer.CLIENT))),
    ("context_audience", issuer.jwe(nested(aud=[]))),
    ("context_password", issuer.jwe(nested(password=None))),
    ("context_password", issuer.jwe(nested(password=""))),
    ("context_password", issuer.jwe(nested(password=12345678))),
    ("context_password", issuer.jwe(nested(password=["a"]))),
    ("context_password", issuer.jwe(nested(password="half \ud800 a pair"))),
    ("context_username", issuer.jwe(nested(username=None))),
    ("context_username", issuer.jwe(nested(username=" \t"))),
    ("context_nonce", issuer.jwe(nested(nonce=None))),
    ("context_nonce", issuer.jwe(nested(nonce="12345"))),
    ("context_nonce", issuer.jwe(nested(nonce="{" + issuer.USER + "}"))),
    ("context_nonce", issuer.jwe(nested(nonce=issuer.USER + "\n"))),
]


@pytest.mark.parametrize(("cause", "token"), REFUSED, ids=[f"{n}-{row[0]}" for n, row in enumerate(REFUSED)])
def test_refused(cause: str, token: str) -> None:
    with pytest.raises(Refused) as raised:
        opened(token, now=NOW)
    assert (raised.value.status, raised.value.cause) == (400, cause)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("segment", range(5))
def test_one_changed_bit_anywhere_is_refused_alike(segment: int) -> None:
    parts = issuer.jwe(nested()).split(".")
    data = bytearray(base64.urlsafe_b64decode(parts[segment] + "=="))
    for place in range(0, len(data), max(1, len(data) // 6)):
        data[place] ^= 1
        changed = ".".join((*parts[:segment], issuer.b64(bytes(data)), *parts[segment + 1 :]))
        data[place] ^= 1
        with pytest.raises(Refused) as raised:
            opened(changed)
        assert raised.value.status == 400


def test_a_compression_bomb_takes_no_memory() -> None:
    bomb = issuer.jwe(b"\0" * 40_000_000)
    assert len(bomb) < 64 * 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refused):
        opened(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5_000


def test_a_key_without_a_certificate_is_tried_for_any_thumbprint() -> None:
    bare = [parse_key(issuer.private_pem("encryption"), "bare"), parse_key(issuer.private_pem("previous"), "bare")]
    for key in ("encryption", "previous"):
        assert opened(issuer.jwe(nested(), key), bare).password == issuer.CANARY
    with pytest.raises(Refused, match="decrypt_failed"):
        opened(issuer.jwe(nested(), "retired"), bare)


def test_nothing_of_a_context_shows() -> None:
    context = opened(issuer.jwe(nested()))
    assert repr(context) == "PasswordContext()"


async def test_during_a_change_of_keys_both_open_and_the_ledger_says_which(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(DecryptionPrivateKeyPrevious=issuer.pair_pem("previous"))
    for key, status in (("encryption", 200), ("previous", 200), ("retired", 400)):
        assert (await endpoint.post(issuer.envelope(issuer.context(key=key)))).status_code == status
    assert [line["key"] for line in endpoint.lines()] == [
        issuer.x5t(key) for key in ("encryption", "previous", "retired")
    ]
    assert len(endpoint.store.asked) == 2


async def test_every_refused_context_looks_the_same_from_outside(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(clock=Clock(now=lambda: NOW))
    bearer = issuer.bearer(nbf=NOW, exp=NOW + 3600)
    answers = set()
    for _, token in REFUSED:
        response = await endpoint.post(issuer.envelope(token), token=bearer)
        answers.add((response.status_code, response.content, tuple(sorted(response.headers))))
    assert len(answers) == 1
    assert not endpoint.store.asked
