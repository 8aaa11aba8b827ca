"""P: what the endpoint wrote while it ran. These cases come last: they search for what the others sent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from jitkit.conformance.endpoint import Endpoint

_TELLING = 16  # base64 characters, which no text has by chance
_LARGEST = 64 * 1024 * 1024


def _base64(data: bytes) -> Iterator[str]:
    """Yield how bytes look within base64, wherever they begin: three alignments, without the edges."""
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        inner = whole[(0, 2, 3)[shift] : len(whole) - (1 if (len(data) + shift) % 3 else 0)]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _password_forms(secret: str) -> set[str]:
    data = secret.encode()
    forms = {secret, secret[::-1], data.hex(), data.hex().upper(), quote(secret), quote_plus(secret)}
    forms |= {json.dumps(secret)[1:-1], repr(secret)[1:-1], secret.encode("utf-16-le").hex(), *_base64(data)}
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, data, usedforsecurity=False)
        forms |= {digest.hexdigest(), digest.hexdigest().upper(), base64.b64encode(digest.digest()).decode()}
    return forms


def _token_forms(token: str) -> set[str]:
    """Return a token and its last part. One that a case cut to a few characters stands in any text by chance."""
    last = token.rpartition(".")[2]
    return {token, last} if len(last) >= _TELLING else {token}


def _files(endpoint: Endpoint) -> list[Path]:
    logs = endpoint.config.logs
    files = [path for log in logs for path in (log.rglob("*") if log.is_dir() else [log]) if path.is_file()]
    if not files:
        pytest.skip("the logs that the configuration names are not there")
    return files


async def _search(endpoint: Endpoint, secrets: set[str], what: str, forms: Callable[[str], set[str]]) -> None:
    files = _files(endpoint)

    def count() -> int:
        # UTF-16, which Windows shells write into a redirected log, is the same text with null characters between.
        text = "\n".join(path.read_bytes()[-_LARGEST:].decode("utf-8", "replace").replace("\0", "") for path in files)
        return sum(any(form in text for form in forms(secret)) for secret in secrets if len(secret) > 7)

    found = await asyncio.to_thread(count)
    assert not found, f"{found} of {len(secrets)} {what} stand in what the endpoint wrote"
    if away := [log.name for log in endpoint.config.logs if not log.exists()]:
        pytest.skip(f"nothing was found, and {', '.join(away)} could not be searched: it is not there")


async def test_p1_passwords(endpoint: Endpoint) -> None:
    await _search(endpoint, set(filter(str.isascii, endpoint.passwords)), "passwords", _password_forms)


async def test_p2_usernames(endpoint: Endpoint) -> None:
    await _search(endpoint, endpoint.usernames, "usernames", lambda name: {name, quote(name), name.upper()})


async def test_p3_nonces(endpoint: Endpoint) -> None:
    await _search(endpoint, endpoint.nonces, "nonces", lambda nonce: {nonce, nonce.upper(), nonce.replace("-", "")})


async def test_p6_tokens(endpoint: Endpoint) -> None:
    await _search(endpoint, endpoint.tokens, "tokens", _token_forms)


async def test_p7_permissions(endpoint: Endpoint) -> None:
    open_to_all = [path.name for path in _files(endpoint) if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH)]
    assert not open_to_all, f"everybody on the machine may read {', '.join(sorted(open_to_all))}"
