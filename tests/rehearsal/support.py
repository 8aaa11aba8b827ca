"""What the sign-in tests stand on: an endpoint of their own that can be told what to answer, and a finished set-up.

The endpoint shares no code with the kit. It opens tokens with jwcrypto and the private key it was given.
"""

from __future__ import annotations

import base64
import datetime
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwcrypto import jwe, jwk
from starlette.requests import Request
from starlette.responses import Response

from jitkit.rehearsal.accounts import hash_password
from jitkit.rehearsal.directory import User
from jitkit.rehearsal.graph.resource import defaults
from jitkit.rehearsal.sign_in import SignIn
from jitkit.rehearsal.tenant import RehearsalTenant

GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
RECEIVE_PAYLOAD = "214e810f-fda8-4fd7-a475-29461495eb00"
CALLER = "99045fe1-7639-4a75-9d4a-577b6ca3810f"
HOST = "jit.woodgrove.example"

STORED = "Stored#Password-1"
LEGACY = "Legacy#Password-2"
NEW = "Chosen#Password-3"


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    """Make a self-signed certificate, as DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "JitMigration")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=30))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@dataclass
class Received:
    """One request as the endpoint got it."""

    headers: dict[str, str]
    envelope: dict[str, Any]
    context_header: dict[str, Any] = field(default_factory=dict)
    inner_header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""


def answer(action: str, nonce: str, **words: Any) -> dict[str, Any]:
    """Build the documented answer."""
    return {
        "data": {
            "@odata.type": "microsoft.graph.onPasswordSubmitResponseData",
            "actions": [{"@odata.type": f"microsoft.graph.passwordSubmit.{action}", **words}],
            "nonce": nonce,
        }
    }


def as_json(body: Any, status: int = 200, kind: str = "application/json") -> Response:
    return Response(json.dumps(body), status, media_type=kind)


Script = Callable[[Received], Response]


class ScriptedEndpoint:
    """A real server on loopback that decrypts what it gets, remembers it, and answers as it was told.

    `script` is an action's name or a function of what was received.
    """

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        self._key = jwk.JWK.from_pyca(private_key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self._app, interface="asgi3", log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True)
        self._thread.start()
        self.reset()

    def reset(self) -> None:
        self.script: str | Script = "MigratePassword"
        self.received: list[Received] = []

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def open(self, token: str) -> tuple[dict[str, Any], bytes]:
        """Decrypt a compact JWE to its protected header and its plaintext."""
        sealed = jwe.JWE()
        sealed.deserialize(token, self._key)
        return json.loads(sealed.objects["protected"]), sealed.payload

    def _open_context(self, token: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        header, plaintext = self.open(token)
        first, second, signature = plaintext.decode().split(".")
        assert signature == ""
        return header, *(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (first, second))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        body = await request.body()
        envelope = json.loads(body)
        opened = self._open_context(envelope["data"]["encryptedPasswordContext"])
        got = Received(dict(request.headers), envelope, *opened, body)
        self.received.append(got)
        response = self.script(got) if callable(self.script) else as_json(answer(self.script, got.claims["nonce"]))
        await response(scope, receive, send)


class World:
    """A tenant in which everything is set up, put there without Graph so that a test can also take it apart."""

    def __init__(self, tenant: RehearsalTenant, der: bytes, endpoint_url: str) -> None:
        self.tenant, self.directory = tenant, tenant.directory
        owner = next(
            each for each in self.directory.all("application") if each["displayName"].startswith("b2c-extensions-app")
        )
        self.flag = f"extension_{owner['appId'].replace('-', '')}_toBeMigrated"
        flag = {"name": self.flag, "dataType": "Boolean", "targetObjects": ["User"]}
        self.directory.add("extensionProperty", flag, parent=owner["id"])
        self._extension_app(der)
        self.client_id = self._client_app()
        self._policies()
        tenant.publish(HOST, endpoint_url)

    def _extension_app(self, der: bytes) -> None:
        app_id, key_id = str(uuid.uuid4()), str(uuid.uuid4())
        key = {"keyId": key_id, "usage": "Encrypt", "type": "AsymmetricX509Cert", "key": base64.b64encode(der).decode()}
        usual = defaults("application")
        body = {
            **usual,
            "appId": app_id,
            "displayName": "JIT password check",
            "identifierUris": [f"api://{HOST}/{app_id}"],
            "api": {**usual["api"], "requestedAccessTokenVersion": 2},
            "keyCredentials": [key],
            "tokenEncryptionKeyId": key_id,
        }
        self.extension_app = self.directory.add("application", body, key=app_id)
        self.extension_principal = self.principal(app_id, "JIT password check")
        graph = self.directory.by_key("servicePrincipal", GRAPH_APP_ID)
        assert graph
        consent = {
            "principalId": self.extension_principal["id"],
            "resourceId": graph["id"],
            "appRoleId": RECEIVE_PAYLOAD,
        }
        self.consent = self.directory.add("appRoleAssignment", consent)

    def _client_app(self) -> str:
        app_id = str(uuid.uuid4())
        body = {
            **defaults("application"),
            "appId": app_id,
            "displayName": "JIT test client",
            "web": {"redirectUris": ["https://jwt.ms"], "implicitGrantSettings": {"enableIdTokenIssuance": True}},
        }
        self.client_app = self.directory.add("application", body, key=app_id)
        self.client_principal = self.principal(app_id, "JIT test client")
        self.user_flow = self.directory.add(
            "authenticationEventsFlow",
            {
                "@odata.type": "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow",
                "displayName": "Sign up and sign in",
                "conditions": {"applications": {"includeApplications": [{"appId": app_id}]}},
                "onAuthenticationMethodLoadStart": {"identityProviders": [{"id": "EmailPassword-OAUTH"}]},
            },
        )
        return app_id

    def principal(self, app_id: str, name: str) -> dict[str, Any]:
        body = {**defaults("servicePrincipal"), "appId": app_id, "displayName": name}
        return self.directory.add("servicePrincipal", body, key=app_id)

    def _policies(self) -> None:
        self.extension = self.directory.add(
            "customAuthenticationExtension",
            {
                "@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension",
                "authenticationConfiguration": {"resourceId": self.extension_app["identifierUris"][0]},
                "endpointConfiguration": {"targetUrl": f"https://{HOST}/api/JitMigrationEndpoint"},
                "clientConfiguration": {"timeoutInMilliseconds": 2000, "maximumRetries": 1},
            },
        )
        self.listener = self.add_listener(500)

    def add_listener(self, priority: int | None, *, extension_id: str | None = None) -> dict[str, Any]:
        handler = {
            "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
            "migrationPropertyId": self.flag,
            "customExtension": {"id": extension_id or self.extension["id"]},
        }
        body = {
            "@odata.type": "#microsoft.graph.onPasswordSubmitListener",
            "conditions": {"applications": {"includeApplications": [{"appId": self.client_id}]}},
            "handler": handler,
        }
        if priority is not None:
            body["priority"] = priority
        return self.directory.add("authenticationEventListener", body)

    def change(self, kind: str, body: dict[str, Any], **values: Any) -> None:
        """Store an object with some members changed."""
        body |= values
        self.directory.replace(kind, body)

    def patience(self, **values: Any) -> None:
        self.change("customAuthenticationExtension", self.extension, clientConfiguration=values)

    def add_user(
        self, name: str = "ada@woodgrove.example", *, flag: bool | None = True, password: str = STORED, **columns: Any
    ) -> User:
        id = str(uuid.uuid4())
        body = {"displayName": "Ada", "mail": name, "createdDateTime": "2026-11-01T00:00:00Z"}
        user = User(
            id=id,
            upn=f"{id}@{self.tenant.domain}",
            sign_in_name=name.lower(),
            password_hash=hash_password(password),
            force_change=columns.get("force_change", False),
            enabled=columns.get("enabled", True),
            failed=0,
            locked_until=0,
            body=body if flag is None else {**body, self.flag: flag},
            created=time.time(),
        )
        self.directory.add_user(user)
        return user

    def flag_of(self, user: User) -> Any:
        found = self.directory.user(user.id)
        assert found
        return found.body.get(self.flag)

    async def sign_in(self, password: str, username: str = "ada@woodgrove.example", **more: Any) -> SignIn:
        return await self.tenant.sign_in(username, password, **more)

    def last_row(self) -> dict[str, Any]:
        """The newest row of the sign-in log."""
        return self.tenant.sign_in_rows()[0]

    def last_callout(self) -> dict[str, Any]:
        """The callout's result in the newest row of the sign-in log."""
        (executed,) = self.last_row()["appliedEventListeners"]
        result: dict[str, Any] = executed["handlerResult"]
        return result
