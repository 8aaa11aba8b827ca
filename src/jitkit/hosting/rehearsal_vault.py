"""A vault to rehearse with, on loopback: Azure Key Vault's REST API as far as certificates and their secrets need it.

It refuses what the service refuses: who has no role (403), who comes from a network that its firewall does not let in
(403), a name that a deleted certificate still has (409), every route that is not simulated (501). Next to the vault is
the token service that App Service gives an app with a managed identity. Sources: Key Vault's REST reference; "Azure
role-based access control for Key Vault"; "How to use managed identities for App Service".
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import trustme
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jitkit.certificates import make_certificate, x5t
from jitkit.files import write_private

__all__ = ["ADMINISTRATOR", "ENDPOINT", "OFFICER", "SECRETS_USER", "RehearsalVault", "VaultServer"]

OFFICER: Final = "Key Vault Certificates Officer"
SECRETS_USER: Final = "Key Vault Secrets User"
_READ_SECRETS: Final = (SECRETS_USER, "Key Vault Secrets Officer", "Key Vault Administrator")
_MANAGE: Final = (OFFICER, "Key Vault Administrator")
# The two that call it: who sets things up, from this machine, and the endpoint's identity, from the app's network.
ADMINISTRATOR, ENDPOINT = "administrator", "endpoint"
_PKCS12, _PEM = "application/x-pkcs12", "application/x-pem-file"
_METHODS: Final = ["GET", "POST", "PATCH", "PUT", "DELETE"]
_DAYS_A_MONTH: Final = 365 / 12


class _Refused(Exception):
    """An answer that is an error: status, code, what it says, and the inner code."""

    def __init__(self, status: int, code: str, message: str, inner: str = "") -> None:
        super().__init__(message)
        self.status, self.error = status, {"code": code, "message": message}
        if inner:
            self.error |= {"innererror": {"code": inner}}  # type: ignore[dict-item]


@dataclass
class RehearsalVault:
    """What the vault holds, kept in an owner-only file, because private keys are in it.

    Args:
        path: the file; a vault without certificates and roles is made where there is none.
    """

    path: Path
    url: str = ""
    away: bool = False  # whether the vault answers nothing but 503
    _held: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def assign(self, principal: str, role: str) -> None:
        """Assign a role at the vault; the real service may take ten minutes until it has effect."""
        with self._changing() as held:
            held["roles"][principal] = sorted({*held["roles"][principal], role})

    def let_in(self, *principals: str) -> None:
        """Switch the firewall on and let in the networks of these principals alone; none switches it off."""
        with self._changing() as held:
            held["networks"] = list(principals) or None

    def answer(self, principal: str, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Carry one request out; returns status and body."""
        try:
            with self._changing(saves=method != "GET") as held:
                if self.away:
                    raise _Refused(503, "ServiceUnavailable", "The vault does not answer in this drill.")
                if held["networks"] is not None and principal not in held["networks"]:
                    words = "Client address is not authorized and caller is not a trusted service."
                    raise _Refused(403, "Forbidden", words, "ForbiddenByFirewall")
                return self._route(principal, method, [part for part in path.split("/") if part], body)
        except _Refused as refused:
            return refused.status, {"error": refused.error}
        except (KeyError, TypeError, AttributeError):  # a member of the body is missing or of another kind
            return 400, {"error": {"code": "BadParameter", "message": "The body is not as the reference has it."}}

    @contextmanager
    def _changing(self, *, saves: bool = True) -> Iterator[dict[str, Any]]:
        """Read the file, because a snapshot may have been restored meanwhile, and write it when nothing was refused."""
        with self._lock:
            empty: dict[str, Any] = {
                "certificates": {},
                "deleted": {},
                "roles": {ADMINISTRATOR: [], ENDPOINT: []},
                "networks": None,
            }
            self._held = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else empty
            yield self._held
            if saves:
                write_private(self.path, json.dumps(self._held).encode())

    def _route(self, principal: str, method: str, parts: list[str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match method, parts:
            case "GET", ["secrets", name, "versions"]:
                self._require(principal, _READ_SECRETS)
                return 200, {"value": [self._secret(name, each) for each in self._certificate(name)["versions"]]}
            case "GET", ["secrets", name, *version]:
                self._require(principal, _READ_SECRETS)
                found = self._version(name, version)
                if not found["enabled"]:
                    raise _Refused(403, "Forbidden", "Operation get is not allowed on a disabled secret.")
                return 200, self._secret(name, found) | {"value": found["secret"]}
        self._require(principal, _MANAGE)
        match method, parts:
            case "POST", ["certificates", name, "create"]:
                self._free(name)
                self._create(name, body["policy"])
                return 202, self._operation(name) | {"status": "inProgress"}
            case "POST", ["certificates", name, "import"]:
                self._free(name)
                self._import(name, body)
                return 200, self._shown(name, self._version(name, []))
            case "GET", ["certificates", name, "pending"]:
                return 200, self._operation(name)
            case "GET", ["certificates", name, "policy"]:
                return 200, self._certificate(name)["policy"]
            case "PATCH", ["certificates", name, "policy"]:
                self._certificate(name)["policy"] |= body
                return 200, self._certificate(name)["policy"]
            case "GET", ["certificates", name, "versions"]:
                return 200, {"value": [self._item(name, each) for each in self._certificate(name)["versions"]]}
            case "GET", ["certificates", name, *version]:
                return 200, self._shown(name, self._version(name, version))
            case "PATCH", ["certificates", name, *version]:
                found = self._version(name, version)
                found["enabled"] = body.get("attributes", {}).get("enabled", found["enabled"])
                return 200, self._shown(name, found)
            case "DELETE", ["certificates", name]:
                self._held["deleted"][name] = self._certificate(name)
                del self._held["certificates"][name]
                return 200, self._gone(name)
            case "GET", ["deletedcertificates", name]:
                return 200, self._gone(name)
            case "POST", ["deletedcertificates", name, "recover"]:
                self._gone(name)
                self._held["certificates"][name] = self._held["deleted"].pop(name)
                return 200, self._shown(name, self._version(name, []))
            case "DELETE", ["deletedcertificates", _]:
                raise _Refused(403, "Forbidden", "Purge protection is on: it goes by itself after 90 days.")
        raise _Refused(501, "NotImplemented", f"The rehearsal vault does not know {method} /{'/'.join(parts)}.")

    def _require(self, principal: str, roles: tuple[str, ...]) -> None:
        if not set(self._held["roles"].get(principal, ())) & set(roles):
            words = "Caller is not authorized to perform action on resource. Assignment: (not found)"
            raise _Refused(403, "Forbidden", words, "ForbiddenByRbac")

    def _free(self, name: str) -> None:
        if name in self._held["deleted"]:
            words = f"Certificate {name} is currently in a deleted but recoverable state, and its name cannot be reused"
            raise _Refused(409, "Conflict", f"{words}; recover it.", "ObjectIsDeletedButRecoverable")

    def _certificate(self, name: str) -> dict[str, Any]:
        if name not in self._held["certificates"]:
            words = f"A certificate with (name/id) {name} was not found in this key vault."
            raise _Refused(404, "CertificateNotFound", words)
        found: dict[str, Any] = self._held["certificates"][name]
        return found

    def _version(self, name: str, wanted: list[str]) -> dict[str, Any]:
        versions = self._certificate(name)["versions"]
        found = [each for each in versions if not wanted or each["version"] == wanted[0]]
        if not found:
            raise _Refused(404, "CertificateNotFound", f"{name} has no such version.")
        newest: dict[str, Any] = found[-1]
        return newest

    def _create(self, name: str, policy: dict[str, Any]) -> None:
        if policy.get("issuer", {}).get("name") != "Self":
            raise _Refused(400, "BadParameter", "The rehearsal vault issues self-signed certificates only.")
        x509_props, key_props = policy["x509_props"], policy.get("key_props", {})
        subject = str(x509_props["subject"]).removeprefix("CN=")
        key, certificate = make_certificate(subject, days=x509_props.get("validity_months", 12) * _DAYS_A_MONTH)
        self._add(name, policy, key if key_props.get("exportable", True) else None, certificate)

    def _import(self, name: str, body: dict[str, Any]) -> None:
        try:
            key, certificate, _ = pkcs12.load_key_and_certificates(base64.b64decode(body["value"]), None)
        except ValueError:
            key = certificate = None
        if not isinstance(key, rsa.RSAPrivateKey) or certificate is None:
            raise _Refused(400, "BadParameter", "The value is not base64 PKCS#12 with an RSA key and its certificate.")
        self._add(name, body["policy"], key, certificate)

    def _add(
        self, name: str, policy: dict[str, Any], key: rsa.RSAPrivateKey | None, certificate: x509.Certificate
    ) -> None:
        kept = self._held["certificates"].setdefault(name, {"versions": []})
        kept["policy"] = policy
        kind = policy.get("secret_props", {}).get("contentType") or _PKCS12
        if kind == _PEM or key is None:
            private = b"" if key is None else key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            secret = (private + certificate.public_bytes(Encoding.PEM)).decode()
        else:
            packed = pkcs12.serialize_key_and_certificates(None, key, certificate, None, NoEncryption())
            secret = base64.b64encode(packed).decode()
        last = kept["versions"][-1]["created"] if kept["versions"] else 0
        kept["versions"].append(
            {
                "version": secrets.token_hex(16),
                "created": max(int(time.time()), last + 1),  # whole seconds, as the service; so that they have an order
                "enabled": True,
                "kind": kind,
                "cer": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
                "secret": secret,
            }
        )

    def _operation(self, name: str) -> dict[str, Any]:
        self._certificate(name)
        base = f"{self.url}/certificates/{name}"
        return {"id": f"{base}/pending", "issuer": {"name": "Self"}, "status": "completed", "target": base}

    def _secret(self, name: str, each: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.url}/secrets/{name}/{each['version']}"
        return {"id": address, "contentType": each["kind"], "attributes": _attributes(each), "managed": True}

    def _item(self, name: str, each: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.url}/certificates/{name}/{each['version']}"
        return {"id": address, "x5t": x5t(base64.b64decode(each["cer"])), "attributes": _attributes(each)}

    def _shown(self, name: str, each: dict[str, Any]) -> dict[str, Any]:
        kept = self._held["certificates"].get(name) or self._held["deleted"][name]
        addresses = {kind: f"{self.url}/{path}/{name}/{each['version']}" for kind, path in _PLACES}
        return self._item(name, each) | {"cer": each["cer"], "policy": kept["policy"]} | addresses

    def _gone(self, name: str) -> dict[str, Any]:
        if name not in self._held["deleted"]:
            raise _Refused(404, "CertificateNotFound", f"{name} is not among the deleted certificates.")
        recover = {"recoveryId": f"{self.url}/deletedcertificates/{name}", "deletedDate": int(time.time())}
        return self._shown(name, self._held["deleted"][name]["versions"][-1]) | recover


_PLACES: Final = (("kid", "keys"), ("sid", "secrets"))


def _attributes(each: dict[str, Any]) -> dict[str, Any]:
    certificate = x509.load_der_x509_certificate(base64.b64decode(each["cer"]))
    ends, starts = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    times = {"nbf": int(starts.timestamp()), "exp": int(ends.timestamp())}
    return {"enabled": each["enabled"], "created": each["created"], "updated": each["created"], **times}


class VaultServer:
    """Serves a rehearsal vault by HTTPS on a free loopback port, in a thread.

    Args:
        vault: the vault.
        authority: where the certificate authority to trust is written; its key is written nowhere.
    """

    def __init__(self, vault: RehearsalVault, authority: Path) -> None:
        self.vault, self.authority = vault, authority
        self._tokens = {name: secrets.token_urlsafe(32) for name in (ADMINISTRATOR, ENDPOINT)}
        self._header = secrets.token_urlsafe(32)
        routes = [Route("/msi/token", self._identity), Route("/{path:path}", self._answer, methods=_METHODS)]
        self._listening = socket.create_server(("127.0.0.1", 0))
        # Accepted connections inherit it; without it a call over a kept connection waits 40 ms for an acknowledgement.
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        vault.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        made = trustme.CA(organization_name="JIT migration rehearsal, this machine only", path_length=0)
        write_private(authority, made.cert_pem.bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.issue_cert("127.0.0.1").configure_cert(context)
        factory: Callable[..., ssl.SSLContext] = lambda *_: context  # noqa: E731
        options: dict[str, Any] = {"log_level": "error", "access_log": False, "lifespan": "off"}
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), ssl_context_factory=factory, **options))
        sockets = {"sockets": [self._listening]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, name="rehearsal-vault", daemon=True)
        self._thread.start()

    @property
    def token(self) -> str:
        """The administrator's token."""
        return self._tokens[ADMINISTRATOR]

    def environment(self) -> dict[str, str]:
        """Return what App Service would give an app with a managed identity, and the authority to trust."""
        return {
            "KeyVaultUrl": self.vault.url,
            "IDENTITY_ENDPOINT": f"{self.vault.url}/msi/token",
            "IDENTITY_HEADER": self._header,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "REQUESTS_CA_BUNDLE": str(self.authority),
            "NO_PROXY": "127.0.0.1",
        }

    def stop(self) -> None:
        """Stop serving; what the vault holds stays in its file."""
        # Kept connections would be waited for; their clients reconnect, or are gone.
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._listening.close()

    async def _identity(self, request: Request) -> Response:
        if not secrets.compare_digest(request.headers.get("x-identity-header", ""), self._header):
            return JSONResponse({"error": "unauthorized"}, 401)
        token = {"access_token": self._tokens[ENDPOINT], "expires_on": str(int(time.time()) + 3600)}
        return JSONResponse(token | {"token_type": "Bearer", "resource": request.query_params.get("resource", "")})

    async def _answer(self, request: Request) -> Response:
        _, _, token = request.headers.get("authorization", "").partition(" ")
        caller = next((name for name, one in self._tokens.items() if secrets.compare_digest(one, token)), None)
        if caller is None:
            # Clients want the resource to be a parent domain of the vault's host.
            resource = self.vault.url.replace("127.", "", 1)
            challenge = f'Bearer authorization="https://login.microsoftonline.com/common", resource="{resource}"'
            return JSONResponse({"error": {"code": "Unauthorized"}}, 401, {"www-authenticate": challenge})
        parts = urlsplit(str(request.url))
        if "api-version" not in parse_qs(parts.query):
            return JSONResponse({"error": {"code": "BadParameter", "message": "api-version is missing."}}, 400)
        given = await request.body()
        body = json.loads(given) if given else {}
        status, answer = await run_in_threadpool(self.vault.answer, caller, request.method, parts.path, body)
        return JSONResponse(answer, status)
