"""P: what the endpoint wrote while it ran. These come last: they search for what the other cases sent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from jitkit.conformance.case import Failed, Skipped, case
from jitkit.conformance.world import World

_SAFEST: Final = "safest: the documents are silent; the original sample logs the decrypted payload"
_TELLING: Final = 16  # base64 characters, which no text has by chance
_LARGEST: Final = 64 * 1024 * 1024


def _base64(data: bytes) -> Iterator[str]:
    """Yield how bytes look within base64, wherever they begin: three alignments, without the edges."""
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        inner = whole[(0, 2, 3)[shift] : len(whole) - (1 if (len(data) + shift) % 3 else 0)]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _forms(secret: str) -> set[str]:
    data = secret.encode()
    forms = {secret, secret[::-1], data.hex(), data.hex().upper(), quote(secret), quote_plus(secret)}
    forms |= {json.dumps(secret)[1:-1], repr(secret)[1:-1], secret.encode("utf-16-le").hex(), *_base64(data)}
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, data, usedforsecurity=False)
        forms |= {digest.hexdigest(), digest.hexdigest().upper(), base64.b64encode(digest.digest()).decode()}
    return forms


def _written(w: World) -> str:
    """Read what the endpoint wrote.

    Raises:
        Skipped: nobody said where.
    """
    if not w.config.logs:
        raise Skipped("the configuration names no logs to search")
    paths = [path for log in w.config.logs for path in (log.rglob("*") if log.is_dir() else [log]) if path.is_file()]
    if not paths:
        raise Skipped("the logs that the configuration names are not there")
    # UTF-16, which Windows shells write into a redirected log, is the same text with null characters between.
    return "\n".join(path.read_bytes()[-_LARGEST:].decode("utf-8", "replace").replace("\0", "") for path in paths)


async def _absent(w: World, secrets: set[str], what: str, forms: Callable[[str], set[str]]) -> None:
    text = await asyncio.to_thread(_written, w)

    def found() -> int:
        return sum(any(form in text for form in forms(secret)) for secret in secrets if len(secret) > 7)

    hits = await asyncio.to_thread(found)
    if hits:
        raise Failed(f"{hits} of {len(secrets)} {what} stand in what the endpoint wrote")
    if away := [log.name for log in w.config.logs if not log.exists()]:
        raise Skipped(f"nothing was found, and {', '.join(away)} could not be searched: it is not there")


@case("P1", "no password in any log, as it is or encoded, reversed or hashed", source=_SAFEST)
async def passwords(w: World) -> None:
    await _absent(w, {secret for secret in w.passwords if secret.isascii()}, "passwords", _forms)


@case("P2", "no username in any log", source=_SAFEST)
async def usernames(w: World) -> None:
    await _absent(w, w.usernames, "usernames", lambda name: {name, quote(name), name.upper()})


@case("P3", "no nonce in any log: it is half of an accepted answer", source=_SAFEST)
async def nonces(w: World) -> None:
    await _absent(w, w.nonces, "nonces", lambda nonce: {nonce, nonce.upper(), nonce.replace("-", "")})


@case("P6", "no token in any log: with the private key, an encrypted password is a password", source=_SAFEST)
async def tokens(w: World) -> None:
    await _absent(w, w.tokens, "tokens", lambda token: {token, *_signature(token)})


def _signature(token: str) -> list[str]:
    """Return a token's last part. One that a case cut to a few characters stands in any text by chance."""
    last = token.rpartition(".")[2]
    return [last] if len(last) >= _TELLING else []


@case("P7", "logs and state are readable by their owner alone", source=_SAFEST, required=False)
async def permissions(w: World) -> None:
    _written(w)
    open_to_all = [path.name for path in _files(w) if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH)]
    if open_to_all:
        raise Failed(f"everybody on the machine may read {', '.join(sorted(open_to_all))}")


def _files(w: World) -> list[Path]:
    return [path for log in w.config.logs for path in (log.rglob("*") if log.is_dir() else [log]) if path.is_file()]
