"""The suite's legacy store: it knows invented accounts, and misbehaves as a case wants.

Its contract is the endpoint's own for a JSON store: POST with `username` and `password`; status 200 with `result`
(right, right_must_change, mfa, wrong, unknown_user, locked, disabled, no_password), with the `username` that the answer
is about, and for some accounts with `entra_user_id`, the object id of the directory account that they became.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

from jitkit.conformance.config import Config
from jitkit.conformance.server import Exchange, Server

_LONGEST = 12.0
# Fault -> status and body of the answer; the last four crash careless readers of JSON. A number is a status.
_ANSWERS: Final = {
    "html": (502, b"<html><h1>502 Bad Gateway</h1></html>"),
    "html with 200": (200, b"<html>Please sign in</html>"),
    "empty": (200, b""),
    "half json": (200, b'{"result": "right", "userna'),
    "no verdict": (200, b'{"ok": true}'),
    "204": (204, b""),
    "30,000 brackets": (200, b'{"result": ' + b"[" * 30_000),
    "a number of 5,000 digits": (200, b'{"result": "right", "username": ' + b"9" * 5_000 + b"}"),
    "half a character": (200, b'{"result": "right", "username": "\\ud83d"}'),
    "bytes that are no text": (200, b'{"result": "right", "username": "\xff\xfe"}'),
}


@dataclass
class Account:
    """An invented account, what the store does about it, and what it was asked.

    Args:
        username: the name in the store.
        password: the right password; None when the store does not know the name.
        typed: the password that the user types; empty for the right one.
        says: what the store says when the password is right.
        fault: what goes wrong instead of an answer; empty for nothing.
        delay: seconds before the answer.
        names: the username in the answer; empty for the one that was asked for.
        user_id: the directory account that the user became, as far as the store knows; empty for nothing.
        asked: the passwords that it was asked about.
        abandoned: calls that the endpoint gave up before they were answered.
    """

    username: str
    password: str | None = field(repr=False)
    typed: str = field(default="", repr=False)
    says: str = "right"
    fault: str = ""
    delay: float = 0.0
    names: str = ""
    user_id: str = ""
    asked: list[str] = field(default_factory=list, repr=False)
    abandoned: int = 0

    @property
    def directory_id(self) -> str:
        """The object id of the directory account that signs in with this name."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.username.strip().lower()))


class LegacyStore:
    """Serves the store, where the configuration says."""

    def __init__(self, config: Config) -> None:
        self._accounts: dict[str, Account] = {}
        self.allowed = 1000  # calls at once; one more gets status 503
        self.running = 0
        self.most_running = 0
        self.redirected = 0
        self.unknown: list[str] = []  # names without an account that it was asked about
        self.server = Server(self._answer, config.listen, config.legacy_url)

    def add(self, account: Account) -> Account:
        """Add an account; names are the same without outer blanks, in capitals or not."""
        self._accounts[account.username.strip().lower()] = account
        return account

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.path.startswith("/elsewhere"):
            self.redirected += 1
            await exchange.json({"result": "right"})
            return
        try:
            asked = json.loads(exchange.body)
            username, password = str(asked["username"]), str(asked["password"])
        except (ValueError, KeyError, TypeError):
            await exchange.answer(400)
            return
        account = self._accounts.get(username.strip().lower())
        if account is None:
            self.unknown.append(username)
            await exchange.json({"result": "unknown_user"})
            return
        account.asked.append(password)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.running > self.allowed:
                await exchange.answer(503)
            else:
                await self._verify(account, username, password, exchange)
        finally:
            self.running -= 1

    async def _verify(self, account: Account, username: str, password: str, exchange: Exchange) -> None:
        if account.delay and await exchange.gone(account.delay):
            account.abandoned += 1
            return
        if account.fault:
            await self._misbehave(account, exchange)
            return
        says = account.says if account.password == password else "wrong"
        if account.password is None:
            says = "unknown_user"
        mapped = {"entra_user_id": account.user_id} if account.user_id else {}
        await exchange.json({"result": says, "username": account.names or username, **mapped})

    async def _misbehave(self, account: Account, exchange: Exchange) -> None:
        match account.fault:
            case "hang":
                gone = await exchange.gone(_LONGEST)  # first: other calls count up meanwhile
                account.abandoned += gone
            case "drip":
                await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4096\r\n\r\n")
                for _ in range(int(_LONGEST / 0.1)):
                    await exchange.raw(b" ")
                    if await exchange.gone(0.1):
                        account.abandoned += 1
                        return
            case "hang up":
                return
            case "not http":
                await exchange.raw(b"SSH-2.0-OpenSSH_9.6\r\n")
            case "flood":
                await self._flood(exchange)
            case "redirect":
                await exchange.answer(307, location=urljoin(self.server.url, "/elsewhere"))
            case "429":
                await exchange.answer(429, b"{}", retry_after="30")
            case fault if fault in _ANSWERS:
                status, body = _ANSWERS[fault]
                kind = "text/html" if body.startswith(b"<") else "application/json"
                await exchange.answer(status, body, content_type=kind)
            case _:
                right = json.dumps({"result": "right", "username": account.username}).encode()
                await exchange.answer(int(account.fault), right)

    @staticmethod
    async def _flood(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{")
        for _ in range(400):
            await exchange.raw(b" " * 65536)
            await asyncio.sleep(0)  # lets the loop notice that the other side hung up
