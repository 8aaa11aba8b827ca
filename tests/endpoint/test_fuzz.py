"""Whatever arrives, the endpoint answers in time, never with a 500, and says nothing that it was not asked.

The same examples run each time, a few by default. `JIT_FUZZ_EXAMPLES=30000` runs that many new ones of each kind:

    JIT_FUZZ_EXAMPLES=30000 python -m pytest -n 0 tests/endpoint/test_fuzz.py
"""

from __future__ import annotations

import asyncio
import base64
import copy
import functools
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jitkit.endpoint.app import create_app

from . import entra
from .entra import AskedStore, Documents
from .test_secrets import USERNAME, traces

EXAMPLES = os.environ.get("JIT_FUZZ_EXAMPLES", "60")
MORE = "250"
RUN = settings(
    max_examples=int(EXAMPLES),
    derandomize=EXAMPLES in ("60", MORE),
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# Of processor time, which a busy machine does not change; waiting is bounded by the deadline, and here nothing waits.
SECONDS = 0.5
FORMS = traces()


class Fuzzed:
    """One endpoint for all examples, with everything it says at hand."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = AskedStore()
        self.log: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self.stack = AsyncExitStack()
        self.app: Any = None
        (folder / "ledger.jsonl").touch()
        self.ledger = (folder / "ledger.jsonl").open()
        self.loop.run_until_complete(self.open(str(folder / "ledger.jsonl")))

    async def open(self, ledger: str) -> None:
        client = await self.stack.enter_async_context(Documents().client())
        limits = {"JIT_GUESSES": "100", "JIT_FLAT_CONTEXT": "1"}
        self.app = create_app(entra.settings(JIT_LEDGER=ledger, **limits), http=client, store=self.store)
        await self.stack.enter_async_context(self.app.router.lifespan_context(self.app))

    def send(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
        """Call as a server would, and hold the answer to what every answer must be."""
        # What the collector would walk here is what Hypothesis remembers of all examples, not the endpoint's.
        gc.disable()
        started = time.process_time()
        status, answer, said = self.loop.run_until_complete(self._call(body, headers))
        took = time.process_time() - started
        gc.enable()
        self.slowest = max(self.slowest, took)
        self.statuses[status] += 1
        assert took < SECONDS
        assert status in (200, 400, 401, 403, 413, 415)
        text = "\n".join((answer.decode(), str(said), self.ledger.read(), *self.log))
        assert not [form for form in FORMS if form in text]
        assert "Traceback" not in text
        assert "unexpected" not in text
        self.log.clear()
        if status == 200:
            (action,) = json.loads(answer)["data"]["actions"]
            assert action["@odata.type"].startswith("microsoft.graph.passwordSubmit.")
        else:
            assert answer == b"{}"
        return status, answer

    async def _call(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes, Any]:
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
        scope |= {"path": entra.ROUTE, "query_string": b"", "root_path": "", "headers": headers}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], sent[1]["body"], sent[0]["headers"]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    endpoint = Fuzzed(tmp_path_factory.mktemp("fuzz"))

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            endpoint.log.append(self.format(record))

    listener = Listener(logging.DEBUG)
    logging.getLogger().addHandler(listener)
    yield endpoint
    logging.getLogger().removeHandler(listener)
    endpoint.loop.run_until_complete(endpoint.stack.aclose())
    endpoint.loop.close()
    endpoint.ledger.close()
    inputs = sum(endpoint.statuses.values())
    sys.stdout.write(f"\n{inputs} inputs, {dict(endpoint.statuses)}, slowest {endpoint.slowest:.3f} s\n")


def headers(token: bytes, content_type: bytes = b"application/json") -> list[tuple[bytes, bytes]]:
    return [(b"content-type", content_type), (b"authorization", b"Bearer " + token)]


@functools.cache
def good_bearer() -> str:
    return entra.bearer()


def good_context() -> str:
    """A context that is still within the time of Entra's second attempt."""
    return _context_of(int(time.monotonic() // 20))


@functools.lru_cache(1)
def _context_of(_: int) -> str:
    return entra.context(entra.CANARY, USERNAME)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.just(entra.CANARY),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
BINARY = st.binary(max_size=30)
HOSTILE = st.sampled_from(
    [b"[" * 30_000, b'{"a":' * 9_000, b'{"data":' + b"9" * 20_000 + b"}", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00", b"1e999"]
)


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """Change a few bytes of something good: flip, insert, remove, repeat, cut."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 4)):
            case 0 if data:
                data[at] ^= draw(st.integers(1, 255))
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case 2:
                del data[at : at + draw(st.integers(1, 20))]
            case 3:
                data[at:at] = data[at : at + draw(st.integers(1, 60))]
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An envelope with one member, however deep, replaced or removed; or its bytes spoilt; or anything at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=300) | HOSTILE)
    if kind == 1:
        return json.dumps(draw(JSON)).encode()
    envelope = copy.deepcopy(entra.envelope(good_context()))
    if kind < 5:
        return draw(spoilt(json.dumps(envelope).encode()))
    place = envelope
    while True:
        name = draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or not place[name] or draw(st.booleans()):
            break
        place = place[name]
    if draw(st.booleans()):
        place[name] = draw(JSON)
    else:
        del place[name]
    return json.dumps(envelope, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


CLAIMS = {
    "claims": st.dictionaries(
        st.sampled_from(["aud", "iss", "azp", "appid", "tid", "exp", "nbf", "iat", "scp", "ver", "oid"]),
        JSON | st.sampled_from([entra.APP, entra.CIAM, entra.CALLER_APP_ID, entra.TENANT, 0, 10**400, -1e308]),
        max_size=3,
    ),
    "header": st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "zip", "jku", "x5u", "jwk", "b64"]),
        JSON | st.sampled_from(["none", "HS256", "RS512", "PS256", "other-signing", "signing"]),
        max_size=2,
    ),
}


def written(value: object) -> str:
    """Write a base64url segment of JSON that may hold half a surrogate pair."""
    return entra.b64(json.dumps(value).encode())


@st.composite
def bearers(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind < 4:
        return draw(spoilt(good_bearer().encode()))
    if kind == 4:
        return draw(spoilt(entra.encrypted_bearer(good_bearer()).encode()))
    claims = entra.token_claims() | draw(CLAIMS["claims"])
    token = entra.jws(claims, header=draw(CLAIMS["header"]))
    if kind < 7:
        return token.encode()
    head = {"alg": "RS256", "kid": "signing"} | draw(CLAIMS["header"])
    unsigned = f"{written(head)}.{written(claims)}.{entra.b64(draw(st.binary(max_size=256)))}"
    return entra.jwe(unsigned if kind == 7 else token, **draw(JWE_HEADERS)).encode()


JWE_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "zip": st.sampled_from(["DEF", "GZ", "", None, 7, ["DEF"]]),
        "x5t": JSON | st.sampled_from(["previous", entra.x5t("previous")]),
        "crit": JSON,
        "cty": JSON,
        "kid": JSON,
        "epk": JSON,
        "p2c": st.integers(),
        "xms_hd_uti": JSON,
    },
)
INNER = st.dictionaries(
    st.sampled_from(["user-password", "username", "nonce", "aud", "iss", "exp", "nbf", "iat"]),
    JSON | st.sampled_from([entra.APP, "", " ", "\x00", "a" * 5_000, "\ud800", "é", 10**400, -1]),
    max_size=3,
)


@st.composite
def contexts(draw: st.DrawFn) -> tuple[str, dict[str, Any] | None]:
    """A password context and, where its inside is one, the claims in it."""
    kind = draw(st.integers(0, 9))
    if kind < 2:
        return draw(spoilt(good_context().encode())).decode("latin-1"), None
    if kind == 2:
        parts = good_context().split(".")
        parts[draw(st.integers(0, 4))] = entra.b64(draw(st.binary(max_size=300)))
        return ".".join(parts), None
    if kind == 3:
        return entra.jwe(draw(st.binary(max_size=400) | HOSTILE)), None
    claims = entra.context_claims(entra.CANARY, USERNAME) | draw(INNER)
    if kind == 4:
        return entra.jwe(json.dumps(claims), **draw(JWE_HEADERS)), claims
    header = {"alg": "none"} | (draw(CLAIMS["header"]) if kind < 7 else {})
    inner = f"{written(header)}.{written(claims)}."
    if kind == 5:
        return entra.jwe(draw(spoilt(inner.encode()))), None
    return entra.jwe(inner, **(draw(JWE_HEADERS) if kind == 9 else {})), claims


@RUN
@given(body=bodies(), content_type=st.integers(0, 19).flatmap(lambda n: st.just(b"application/json") if n else BINARY))
def test_any_body(fuzzed: Fuzzed, body: bytes, content_type: bytes) -> None:
    fuzzed.send(body, headers(good_bearer().encode(), content_type))


@RUN
@given(token=bearers())
def test_any_bearer(fuzzed: Fuzzed, token: bytes) -> None:
    before = len(fuzzed.store.asked)
    status, _ = fuzzed.send(json.dumps(entra.envelope(good_context())).encode(), headers(token))
    if status == 200 and token.count(b".") == 2:
        assert accepted(token)
    if status != 200:
        assert len(fuzzed.store.asked) == before


def accepted(token: bytes) -> bool:
    """Tell whether a token is good: the one that was made, or claims that name the caller and the tenant."""
    if decoded(token.decode()) == decoded(good_bearer()):
        return True
    claims = json.loads(decoded(token.decode())[1])
    caller = claims.get("azp", claims.get("appid"))
    return bool(caller == entra.CALLER_APP_ID and claims["tid"] == entra.TENANT and claims["exp"] > time.time() - 301)


def decoded(token: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]


NAMES = st.sampled_from(
    b"authorization content-type content-length transfer-encoding content-encoding cookie x-forwarded-proto"
    b" x-forwarded-for x-correlation-id host expect x-ms-client-principal".split()
)
ODD_VALUES = (
    *(b"9" * 5_000, b"\xb2", b"-1", b"+5", b"0x10", b"1e3", b"", b"\x00", b"chunked", b"gzip", b"100-continue"),
    *(b"application/json; charset=utf-16", b"application/json, text/html", b"APPLICATION/JSON", b"https, http"),
)


@RUN
@given(
    extra=st.lists(st.tuples(NAMES, BINARY | st.sampled_from(ODD_VALUES)), max_size=4),
    scheme=st.sampled_from([b"Bearer ", b"bEARER ", b"Bearer\t"]),
)
def test_any_headers(fuzzed: Fuzzed, extra: list[tuple[bytes, bytes]], scheme: bytes) -> None:
    before = len(fuzzed.store.asked)
    usual = [(b"content-type", b"application/json"), (b"authorization", scheme + good_bearer().encode())]
    status, _ = fuzzed.send(json.dumps(entra.envelope(good_context())).encode(), [*extra, *usual])
    if any(name == b"authorization" for name, _ in extra):
        assert status == 401, "of two tokens nobody may choose the one to look at"
        assert len(fuzzed.store.asked) == before


@RUN
@given(made=contexts())
def test_any_context(fuzzed: Fuzzed, made: tuple[str, dict[str, Any] | None]) -> None:
    token, claims = made
    fuzzed.store.asked.clear()
    status, answer = fuzzed.send(json.dumps(entra.envelope(token)).encode(), headers(good_bearer().encode()))
    if status == 200 and claims is not None:
        assert json.loads(answer)["data"]["nonce"] == claims["nonce"]
        for asked in fuzzed.store.asked:
            assert asked == (claims["username"], claims["user-password"])
    if status != 200:
        assert not fuzzed.store.asked


@pytest.mark.slow
def test_more_examples_of_each_kind() -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "not slow", __file__]
    done = subprocess.run(command, env=os.environ | {"JIT_FUZZ_EXAMPLES": MORE}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
