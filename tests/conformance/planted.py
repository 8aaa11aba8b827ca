"""A small endpoint that passes every case, and fails the case meant for it when a fault is planted.

It shares nothing with the kit's endpoint but the protocol, except for the SQL store that one start-up case needs.
`python -m tests.conformance.planted` serves it from environment settings, with `PLANTED` naming its fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .planted_tokens import SKEW, Gate, Key, Opener, Refused, decode, read_object, read_once

GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
EVENT = "microsoft.graph.authenticationEvent.passwordSubmit"
CALLOUT = "microsoft.graph.onPasswordSubmitCalloutData"
DEADLINE = 1.0
PROBE = 0.8
MIGRATE, UPDATE, RETRY, BLOCK = "MigratePassword", "UpdatePassword", "Retry", "Block"
RESULTS = {
    "mfa": MIGRATE,
    "right_must_change": UPDATE,
    "wrong": RETRY,
    "unknown_user": RETRY,
    "locked": BLOCK,
    "disabled": BLOCK,
}


ACCOUNT: ContextVar[str] = ContextVar("account", default="")


class Outage(Exception):
    """The legacy store did not say anything about the password."""


@dataclass
class Said:
    action: str
    cause: str = ""


@dataclass
class Planted:
    """One endpoint.

    Args:
        settings: the names of the kit's endpoint.
        faults: what is planted.
    """

    settings: dict[str, str]
    faults: frozenset[str]
    held: dict[str, tuple[str, asyncio.Task[Said]]] = field(default_factory=dict)
    kept_until: dict[str, float] = field(default_factory=dict)
    failures: int = 0
    opened: float = 0.0
    guesses: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    known: dict[str, str] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        self.refuse_to_start()
        pems = [
            self.settings[name]
            for name in ("DecryptionPrivateKey", "DecryptionPrivateKeyPrevious")
            if self.settings.get(name)
        ]
        keys = [Key.read(pem) for pem in pems]
        if self.bad("expired certificate refused"):
            keys = [key for key in keys if key.certificate.not_valid_after_utc > datetime.now(UTC)]
        opener = Opener(keys, self.faults)
        self.gate = Gate(self.settings, opener, self.faults)
        self.opener = opener
        self.http = httpx.AsyncClient(trust_env=False, timeout=10, follow_redirects=self.bad("redirect followed"))
        self.sql: Any = None
        if self.settings["LegacyApiConnectionString"].startswith("sqlite"):
            from jitkit.endpoint.stores.sql import SqlStore

            self.sql = SqlStore(self.settings["LegacyApiConnectionString"])

    def bad(self, fault: str) -> bool:
        return fault in self.faults

    def refuse_to_start(self) -> None:
        if self.settings.get("JIT_PROFILE") == "production" and not self.bad("plain HTTP in production"):
            raise SystemExit("production needs https")
        if any("BYPASS" in name.upper() for name in self.settings) and not self.bad("starts with a bypass"):
            raise SystemExit("a bypass is set")
        key = self.settings.get("DecryptionPrivateKey", "")
        if self.bad("starts without a key"):
            self.settings.pop("DecryptionPrivateKey", None)
            return
        try:
            Key.read(key)
        except ValueError:
            shown = key if self.bad("the key in the message") else ""
            raise SystemExit(f"DecryptionPrivateKey cannot be used {shown}") from None

    def app(self) -> Starlette:
        methods = ["GET", "POST"] + (["PUT", "DELETE"] if self.bad("any method") else [])
        return Starlette(routes=[Route("/callout", self.handle, methods=methods)], lifespan=self.lifespan)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if not self.bad("keys fetched with the first call"):
            await self.gate.fetch()
        if self.sql and not self.bad("slow hashes not reported"):
            await self.sql.prepare(int(self.settings.get("JIT_DEADLINE_MS", 1000)) / 1000)
        yield
        await self.http.aclose()

    async def handle(self, request: Request) -> Response:
        if request.method == "GET":
            told = {"status": "ok"} | (
                {"tenant": self.settings["JIT_TENANT_ID"]} if self.bad("health tells all") else {}
            )
            return Response(json.dumps(told), media_type="application/json")
        line: dict[str, Any] = {"time": time.time(), "cause": ""}
        before = self.write('{"time": ') if self.bad("a line in two halves") else None
        try:
            response = await self.decide(request, line)
        except Refused as refusal:
            line["cause"] = refusal.cause
            said = json.dumps({"error": refusal.status}) if self.bad("a body for each refusal") else "{}"
            response = Response(refusal.detail or said, refusal.status, media_type="application/json")
        if not (response.status_code == 401 and self.bad("strangers not counted")):
            self.write(("0}" if before else json.dumps(line)) + "\n")
        return response

    def write(self, text: str) -> bool:
        path = Path(self.settings["JIT_LEDGER"])
        path.touch(mode=0o600)
        if self.bad("a log for everybody"):
            path.chmod(0o644)
        with path.open("a") as file:
            file.write(text)
        return True

    def ledger_is_gone(self) -> bool:
        return not Path(self.settings["JIT_LEDGER"]).exists()

    async def decide(self, request: Request, line: dict[str, Any]) -> Response:
        await self.gate.admit(request.headers.getlist("authorization"))
        kind = request.headers.get("content-type", "").partition(";")[0]
        if kind != "application/json" and not self.bad("any content type"):
            raise Refused(415)
        body = await self.body(request)
        if not body and self.bad("an empty body is decided"):
            return self.response(Said(RETRY), "", "", "")
        envelope = self.envelope(body)
        data = envelope["data"]
        claims = self.claims(data)
        password, name, nonce = self.context(claims, data)
        for fault, secret in {
            "password logged": password.encode().hex() if isinstance(password, str) else "",
            "username logged": name,
            "nonce logged": nonce,
            "token logged": str(data.get("encryptedPasswordContext")),
        }.items():
            if self.bad(fault):
                line["debug"] = secret
        ACCOUNT.set(str(data["authenticationContext"].get("user", {}).get("id")))
        line["attempt"] = 1 if nonce not in self.held or self.bad("every attempt is the first") else 2
        said = await self.once(password, name, nonce)
        return self.response(said, nonce, name, data["authenticationContext"].get("correlationId", ""))

    async def body(self, request: Request) -> bytes:
        limit = 10**9 if self.bad("no size limit") else 64 * 1024
        if int(request.headers.get("content-length", 0)) > limit:
            raise Refused(413)
        body = b""
        try:
            async with asyncio.timeout(60 if self.bad("waits for the body") else DEADLINE):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise Refused(413)
        except TimeoutError:
            raise Refused(408) from None
        return body

    def envelope(self, body: bytes) -> dict[str, Any]:
        try:
            envelope = (read_object if self.bad("doubled members read") else read_once)(body)
            data, user = envelope["data"], None
            if not (self.bad("any event") or envelope["type"] == EVENT):
                raise ValueError("event")
            if not (self.bad("any data type") or data["@odata.type"] == CALLOUT):
                raise ValueError("data type")
            context = data["authenticationContext"]
            user = context["user"]
            if not self.bad("no user needed") and not (isinstance(user["id"], str) and user["id"]):
                raise ValueError("user")
            if not isinstance(data["tenantId"], str) and self.bad("500 on members of another type"):
                raise RuntimeError("tenantId")
            if self.bad("every member needed"):
                _ = data["otpContext"], context["client"], user["userPrincipalName"]
            if self.bad("null members refused") and None in context.values():
                raise ValueError("null")
            if self.bad("unknown members refused") and "another" in envelope:
                raise ValueError("unknown member")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if self.bad("500 on bad JSON"):
                raise RuntimeError("bad body") from error
            raise Refused(400) from None
        pinned = {
            "JIT_EXTENSION_IDS": "customAuthenticationExtensionId",
            "JIT_LISTENER_IDS": "authenticationEventListenerId",
        }
        others = [n for n, member in pinned.items() if self.settings.get(n) and data.get(member) != self.settings[n]]
        if others and not self.bad("pins unchecked"):
            raise Refused(403)
        if data.get("tenantId") != self.settings["JIT_TENANT_ID"] and not self.bad("any tenant in the body"):
            raise Refused(403)
        return envelope

    def claims(self, data: dict[str, Any]) -> dict[str, Any]:
        token = data.get("encryptedPasswordContext")
        if self.bad("plain text accepted") and "passwordContext" in data:
            future = {"aud": self.settings["JIT_EXTENSION_APP_ID"], "exp": time.time() + 60}
            return dict(data["passwordContext"]) | future | {"iss": self.settings["JIT_IDENTIFIER_URI"]}
        if not isinstance(token, str) or not token:
            if self.bad("500 without a context"):
                raise RuntimeError("no context")
            raise Refused(400)
        plain = self.opener.open(token, 400)
        try:
            if plain.startswith(b"{") and self.bad("flat JSON accepted"):
                return read_object(plain)
            head, claims, signature = plain.decode().split(".")
            inner = read_object(decode(head))
            if not self.bad("what is inside unchecked") and (inner["alg"] != "none" or signature):
                raise ValueError("form")
            if self.bad("inner signature wanted") and not signature:
                raise ValueError("unsigned")
            return (read_object if self.bad("doubled members read") else read_once)(decode(claims))
        except (ValueError, KeyError):
            raise Refused(400) from None

    def context(self, claims: dict[str, Any], data: dict[str, Any]) -> tuple[str, str, str]:
        password, name, nonce = (claims.get(member) for member in ("user-password", "username", "nonce"))
        if not (isinstance(name, str) and name.strip()) or self.bad("the principal name looked up"):
            if not (self.bad("the principal name looked up") or self.bad("the principal name instead")):
                raise Refused(400)
            name = str(data["authenticationContext"]["user"].get("userPrincipalName"))
        if not (isinstance(nonce, str) and GUID.fullmatch(nonce)) and not self.bad("nonce unchecked"):
            raise Refused(400)
        if not (isinstance(password, str) and password):
            if not self.bad("an empty password asked"):
                raise Refused(400)
            password = ""
        with contextlib.suppress(UnicodeEncodeError):
            password.encode()
            return self.checked(claims, password, name, str(nonce))
        if self.bad("500 on an odd password"):
            raise RuntimeError("odd password")
        raise Refused(400)

    def checked(self, claims: dict[str, Any], password: str, name: str, nonce: str) -> tuple[str, str, str]:
        now, aud = time.time(), claims.get("aud")
        mine = self.settings["JIT_EXTENSION_APP_ID"]
        if aud != mine and not (isinstance(aud, list) and mine in aud) and not self.bad("context audience unchecked"):
            raise Refused(400)
        if claims.get("iss") != self.settings["JIT_IDENTIFIER_URI"] and not self.bad("context issuer unchecked"):
            raise Refused(400)
        if "exp" not in claims and self.bad("an endless context accepted"):
            return password, name, nonce
        if not self.bad("context times unchecked") and not (self.bad("trusts its memory") and not self.calls):
            times = [claims.get("exp"), claims.get("nbf", 0), claims.get("iat", 0)]
            if not all(isinstance(each, int | float) for each in times):
                raise Refused(400)
            if times[0] < now - SKEW or max(times[1:]) > now + SKEW:
                raise Refused(400)
        return password, name, nonce

    async def once(self, password: str, name: str, nonce: str) -> Said:
        asked = f"{name}\0{password}"
        if self.bad("remembers by the ledger") and self.ledger_is_gone():
            self.held.clear()
        if self.bad("keeps answers for a second") and nonce in self.held and time.monotonic() > self.kept_until[nonce]:
            del self.held[nonce]
        if nonce in self.held and not self.bad("asks twice"):
            if self.bad("a repeated nonce refused"):
                raise Refused(400)
            before, task = self.held[nonce]
            if before != asked and not self.bad("a nonce with another password accepted"):
                raise Refused(400)
            if before == asked:
                await asyncio.sleep(2.1 if self.bad("a second attempt waits longer") else 0)
                return await asyncio.shield(task)
        task = asyncio.create_task(self.judge(password, name))
        self.held[nonce], self.kept_until[nonce] = (asked, task), time.monotonic() + 1
        said = await asyncio.shield(task)
        if said.action == BLOCK and self.bad("forgets an outage answer"):
            self.held.pop(nonce, None)
        return said

    async def judge(self, password: str, name: str) -> Said:
        if self.bad("always Retry"):
            return Said(RETRY)
        if self.bad("always slow"):
            await asyncio.sleep(1.2)
        self.calls += 1
        if self.bad("a slow first call") and self.calls == 1:
            await asyncio.sleep(2.1)
        if self.bad("one in ten fails") and self.calls % 10 == 0:
            return Said(BLOCK)
        key = name if self.bad("guesses counted by the name as typed") else name.strip().lower()
        waits = self.bad("guesses counted after the answer")
        if self.guesses[key] + (0 if waits else self.running[key]) >= 4 and not self.bad("no limit to guesses"):
            return Said(RETRY)
        if self.failures >= 5 and time.monotonic() < self.opened + PROBE and not self.bad("no breaker"):
            return Said(BLOCK)
        self.running[key] += 1
        try:
            said = await self.in_time(password, name)
        except Outage as outage:
            self.failures, self.opened = self.failures + 1, time.monotonic()
            return Said(RETRY if self.bad(f"{outage} is Retry") else BLOCK)
        finally:
            self.running[key] -= 1
        self.failures = 0
        self.guesses[key] += said.action == RETRY
        return said

    async def in_time(self, password: str, name: str) -> Said:
        limit = 60 if self.bad("no deadline") else 0.3 if self.bad("too short a deadline") else DEADLINE
        task = asyncio.create_task(self.ask(password, name))
        done, _ = await asyncio.wait([task], timeout=limit)
        if not done:
            if not self.bad("calls not let go"):
                task.cancel()
            raise Outage("timeout")
        return task.result()

    async def ask(self, password: str, name: str) -> Said:
        if self.bad("remembers passwords") and self.known.get(name) == password:
            return Said(MIGRATE)
        if self.sql:
            verdict = str(await self.sql.verify(name, password))
            verdict = "wrong" if verdict == "malformed" and self.bad("a damaged hash is wrong") else verdict
            return Said({"right": MIGRATE, "wrong": RETRY}.get(verdict, BLOCK))
        if self.bad("a password with other blanks"):
            password = unicodedata.normalize("NFC", password.strip())
        typed = re.sub(r"\+[^@]*", "", name.strip()) if self.bad("plus tags cut") else name.strip()
        content = json.dumps({"username": typed, "password": password})
        url = self.settings["LegacyApiConnectionString"]
        try:
            async with self.http.stream("POST", url, content=content) as answer:
                return await self.read(answer, password, typed)
        except httpx.HTTPError:
            raise Outage("no connection") from None

    async def read(self, answer: httpx.Response, password: str, name: str) -> Said:
        good = (200, 201) if self.bad("201 is right") else (200,)
        if answer.status_code not in good:
            raise Outage(f"status {answer.status_code}")
        body = b""
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > 65536:
                raise Outage("flood")
        try:
            said = read_object(body)
            result, of = said["result"], said.get("username", name)
            name.encode(), of.encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if self.bad("500 on an odd answer"):
                raise RuntimeError("odd answer") from error
            raise Outage("an unreadable answer") from None
        other = said.get("entra_user_id", ACCOUNT.get()).lower() != ACCOUNT.get().lower()
        if other and not self.bad("mapping unchecked"):
            return Said(BLOCK)
        if of.lower() != name.lower() and not self.bad("an answer about anybody"):
            return Said(BLOCK)
        return await self.translate(result, password, name)

    async def translate(self, result: str, password: str, name: str) -> Said:
        if result == "no_password" and self.bad("no_password migrates"):
            return Said(MIGRATE)
        for word in ("locked", "disabled", "mfa"):
            if result == word and self.bad(f"{word} is Retry"):
                return Said(RETRY)
        if result == "wrong" and self.bad("status 200 is right"):
            result = "right"
        if result == "right" and name in self.known and self.bad("a second migration refused"):
            return Said(BLOCK)
        if result == "wrong" and self.bad("wrong is Block"):
            return Said(BLOCK)
        if result == "unknown_user" and self.bad("unknown takes its time"):
            await asyncio.sleep(0.15)
        if result == "wrong" and self.bad("unknown is a little faster"):
            await asyncio.sleep(0.03)
        if result == "right_must_change" and self.bad("must change ignored"):
            result = "right"
        if result != "right":
            return Said(RESULTS.get(result, BLOCK))
        self.known[name] = password
        classes = sum(bool(re.search(kind, password)) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[^A-Za-z0-9]"))
        strong = 8 <= len(password) <= 256 and password.isascii() and classes >= 3
        if self.bad("seven characters are enough") and len(password) == 7:
            strong = True
        return Said(MIGRATE if strong or self.bad("weak migrates") else UPDATE)

    def response(self, said: Said, nonce: str, name: str, correlation: str) -> Response:
        prefix = "microsoft.graph.passwordSubmit."
        if self.bad("wrong spelling"):
            prefix = "microsoft.graph.authenticationEvent.passwordSubmit."
        action = {"@odata.type": prefix + said.action}
        if said.action == BLOCK and not self.bad("Block without a text"):
            action |= {"title": "Sign-in is not possible now", "message": "Try again later, or contact support."}
        if said.action == RETRY and self.bad("title on Retry"):
            action |= {"title": "Wrong password", "message": "Try again."}
        data: dict[str, Any] = {"@odata.type": "microsoft.graph.onPasswordSubmitResponseData"}
        data |= {"actions": [action] * (2 if self.bad("two actions") else 1)}
        if not self.bad("nonce missing"):
            data["nonce"] = nonce.lower() if self.bad("nonce in small letters") else nonce
        headers = {} if self.bad("no correlation id") else {"x-correlation-id": correlation}
        if self.bad("username in a header"):
            headers["x-user"] = name
        text = json.dumps({"data": data}) + (" " * 10_000 if self.bad("a large answer") else "")
        media = "text/plain" if self.bad("text/plain") else "application/json"
        return Response(text, 201 if self.bad("status 201") else 200, headers, media)


async def started(server: uvicorn.Server) -> None:
    while True:
        if server.started:
            return
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def served(settings: Mapping[str, str], *faults: str) -> AsyncIterator[str]:
    """Serve a planted endpoint on loopback in this process; yield its URL."""
    planted = Planted(dict(settings), frozenset(faults))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(planted.app(), log_level="critical", timeout_graceful_shutdown=1))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await started(server)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/callout"
    finally:
        server.should_exit = True
        await task


def main() -> None:
    faults = frozenset(os.environ.get("PLANTED", "").split("|"))
    planted = Planted(dict(os.environ), faults)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(planted.app(), log_level="critical", timeout_graceful_shutdown=5))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]

    def stop() -> None:
        if "drops its calls" in faults:
            os._exit(0)
        server.should_exit = True

    async def serve() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await started(server)
        sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}/callout"}) + "\n")
        sys.stdout.flush()
        await task

    asyncio.run(serve())


if __name__ == "__main__":
    main()
