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

from . import entra
from .conftest import Opener

KEYS = [parse_key(entra.pair_pem("encryption"), "current"), parse_key(entra.pair_pem("previous"), "previous")]
NOW = int(time.time())  # when the tokens of the tables below were made, which may be long before they are sent


def opened(token: str, keys: Any = KEYS, *, flat: bool = False, now: float | None = None) -> PasswordContext:
    now = time.time() if now is None else now
    return open_context(token, keys, audiences=(entra.APP, entra.URI), now=now, flat=flat)


def nested(**changes: Any) -> str:
    return entra.unsigned(entra.context_claims(**changes))


OPENED = {
    "as captured": entra.jwe(nested()),
    "no zip": entra.jwe(nested(), drop=("zip",)),
    "no x5t": entra.jwe(nested(), drop=("x5t",)),
    "cty and an unknown member": entra.jwe(nested(), cty="JWT", xms_hd_uti="new"),
    "OAEP-256 and GCM": entra.jwe(nested(), alg="RSA-OAEP-256", enc="A256GCM"),
    "A256CBC-HS512": entra.jwe(nested(), enc="A256CBC-HS512"),
    "previous key": entra.jwe(nested(), "previous"),
    "previous key, no x5t": entra.jwe(nested(), "previous", drop=("x5t",)),
    "without times that are not needed": entra.jwe(nested(iss=None, iat=None, nbf=None)),
    "a list of audiences": entra.jwe(nested(aud=[entra.CLIENT, entra.APP])),
    "the URI as audience": entra.jwe(nested(aud=entra.URI)),
    "within the skew": entra.jwe(nested(exp=NOW - 200, iat=NOW + 200)),
}


@pytest.mark.parametrize("token", OPENED.values(), ids=OPENED)
def test_opens(token: str) -> None:
    assert opened(token, now=NOW).password == entra.CANARY


def twice() -> str:
    """Write an inner token whose username is given twice."""
    claims = json.dumps(entra.context_claims())
    head, _, signature = nested().split(".")
    return ".".join((head, entra.b64(f'{claims[:-1]}, "username": "b"}}'.encode()), signature))


def test_flat_json_opens_with_the_switch_alone() -> None:
    token = entra.jwe(json.dumps(entra.context_claims()))
    assert opened(token, flat=True).password == entra.CANARY
    with pytest.raises(Refused, match="context_form"):
        opened(token)


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"aud": "another"}, "context_audience"), ({"exp": 1}, "context_expired"), ({"aud": None}, "context_audience")],
)
def test_flat_json_may_leave_out_for_whom_and_until_when_but_not_lie(change: dict[str, Any], cause: str) -> None:
    names = (protocol.CLAIM_PASSWORD, protocol.CLAIM_USERNAME, protocol.CLAIM_NONCE)
    three = {name: value for name, value in entra.context_claims().items() if name in names}
    assert opened(entra.jwe(json.dumps(three)), flat=True).password == entra.CANARY
    with pytest.raises(Refused, match=cause):
        opened(entra.jwe(json.dumps(three | change)), flat=True)


def test_a_context_says_how_long_it_could_be_sent_again() -> None:
    assert 290 < opened(entra.jwe(nested(exp=int(time.time())))).seconds_left <= 300


REFUSED: list[tuple[str, str]] = [
    ("jwe_algorithm", entra.jwe(nested(), alg="RSA1_5")),
    ("jwe_algorithm", entra.jwe(nested(), alg=["RSA-OAEP"])),
    ("jwe_header", entra.jwe(nested(), crit=["exp"])),
    ("jwe_header", entra.jwe(nested(), zip="GZ")),
    ("jwe_header", "e30x" + entra.jwe(nested())[4:]),
    ("jwe_form", entra.jwe(nested()).rpartition(".")[0]),
    ("jwe_form", entra.jwe(nested()) + ".AAAA"),
    ("jwe_form", entra.jwe(nested()) + "="),
    ("jwe_form", entra.jwe(nested()) + "\n"),
    ("jwe_form", json.dumps({"protected": "", "ciphertext": "", "iv": "", "tag": ""})),
    ("jwe_form", "é" * 40),
    ("unknown_key", entra.jwe(nested(), "retired")),
    ("decrypt_failed", entra.jwe(nested(), "retired", drop=("x5t",))),
    ("decrypt_failed", entra.jwe(nested(), "retired", x5t=entra.x5t("encryption"))),
    ("decrypt_failed", entra.jwe(b"\0" * 40_000_000)),
    ("decrypt_failed", entra.jwe(b"{" + b" " * 40_000 + b"}", drop=("zip",))),
    ("context_form", entra.jwe(entra.jws(entra.context_claims()))),
    ("context_form", entra.jwe(entra.unsigned(entra.context_claims(), signature="AAAA"))),
    ("context_form", entra.jwe(entra.unsigned(entra.context_claims(), {"alg": "None"}))),
    ("context_form", entra.jwe(entra.unsigned(entra.context_claims(), {"alg": "none", "crit": []}))),
    ("context_form", entra.jwe("hello")),
    ("context_form", entra.jwe(b"\xff\xfe\x00")),
    ("context_claims", entra.jwe(entra.unsigned([1]))),
    ("context_form", entra.jwe('{"username": "a", "username": "b"}')),
    ("context_form", entra.jwe("{" * 20_000)),
    ("context_claims", entra.jwe(twice())),
    ("context_claims", entra.jwe(nested(exp=None))),
    ("context_audience", entra.jwe(nested(aud=None))),
    ("context_claims", entra.jwe(nested(exp=float("nan")))),
    ("context_claims", entra.jwe(nested(exp="soon"))),
    ("context_claims", entra.jwe(nested(exp=True))),
    ("context_expired", entra.jwe(nested(exp=NOW - 400))),
    ("context_expired", entra.jwe(nested(exp=0))),
    ("context_not_yet_valid", entra.jwe(nested(nbf=NOW + 600))),
    ("context_not_yet_valid", entra.jwe(nested(iat=NOW + 600))),
    ("context_audience", entra.jwe(nested(aud=entra.CLIENT))),
    ("context_audience", entra.jwe(nested(aud=[]))),
    ("context_password", entra.jwe(nested(password=None))),
    ("context_password", entra.jwe(nested(password=""))),
    ("context_password", entra.jwe(nested(password=12345678))),
    ("context_password", entra.jwe(nested(password=["a"]))),
    ("context_password", entra.jwe(nested(password="half \ud800 a pair"))),
    ("context_username", entra.jwe(nested(username=None))),
    ("context_username", entra.jwe(nested(username=" \t"))),
    ("context_nonce", entra.jwe(nested(nonce=None))),
    ("context_nonce", entra.jwe(nested(nonce="12345"))),
    ("context_nonce", entra.jwe(nested(nonce="{" + entra.USER + "}"))),
    ("context_nonce", entra.jwe(nested(nonce=entra.USER + "\n"))),
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
    parts = entra.jwe(nested()).split(".")
    data = bytearray(base64.urlsafe_b64decode(parts[segment] + "=="))
    for place in range(0, len(data), max(1, len(data) // 6)):
        data[place] ^= 1
        changed = ".".join((*parts[:segment], entra.b64(bytes(data)), *parts[segment + 1 :]))
        data[place] ^= 1
        with pytest.raises(Refused) as raised:
            opened(changed)
        assert raised.value.status == 400


def test_a_compression_bomb_takes_no_memory() -> None:
    bomb = entra.jwe(b"\0" * 40_000_000)
    assert len(bomb) < 64 * 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refused):
        opened(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5_000


def test_a_key_without_a_certificate_is_tried_for_any_thumbprint() -> None:
    bare = [parse_key(entra.private_pem("encryption"), "bare"), parse_key(entra.private_pem("previous"), "bare")]
    for key in ("encryption", "previous"):
        assert opened(entra.jwe(nested(), key), bare).password == entra.CANARY
    with pytest.raises(Refused, match="decrypt_failed"):
        opened(entra.jwe(nested(), "retired"), bare)


def test_nothing_of_a_context_shows() -> None:
    context = opened(entra.jwe(nested()))
    assert repr(context) == "PasswordContext()"


async def test_during_a_change_of_keys_both_open_and_the_ledger_says_which(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(DecryptionPrivateKeyPrevious=entra.pair_pem("previous"))
    for key, status in (("encryption", 200), ("previous", 200), ("retired", 400)):
        assert (await endpoint.post(entra.envelope(entra.context(key=key)))).status_code == status
    assert [line["key"] for line in endpoint.lines()] == [
        entra.x5t(key) for key in ("encryption", "previous", "retired")
    ]
    assert len(endpoint.store.asked) == 2


async def test_every_refused_context_looks_the_same_from_outside(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(clock=Clock(now=lambda: NOW))
    bearer = entra.bearer(nbf=NOW, exp=NOW + 3600)
    answers = set()
    for _, token in REFUSED:
        response = await endpoint.post(entra.envelope(token), token=bearer)
        answers.add((response.status_code, response.content, tuple(sorted(response.headers))))
    assert len(answers) == 1
    assert not endpoint.store.asked
