"""A straight Python port of the original sample's logic, to measure beside: never run it for anybody.

As in the sample, nobody asks who calls, the key is read from its PEM in each request, the payload is logged (here to
nowhere) and no claim is checked. Where the sample has a placeholder for the legacy store, the store answers at once.
"""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from jitkit.endpoint.app import ROUTE

_log = logging.getLogger("sample")
_log.addHandler(logging.NullHandler())
_log.propagate = False
_log.setLevel(logging.DEBUG)


def sample_app(private_pem: str) -> Starlette:
    async def handle(request: Request) -> JSONResponse:
        body = (await request.body()).decode()
        _log.info("Request body: %s", body)
        password, nonce = extract(json.loads(body)["data"]["encryptedPasswordContext"])
        action = "MigratePassword" if password else "Retry"
        actions = [{"@odata.type": f"microsoft.graph.passwordsubmit.{action}"}]
        data = {"@odata.type": "microsoft.graph.onPasswordSubmitResponseData", "actions": actions, "nonce": nonce}
        return JSONResponse({"data": data})

    def extract(context: str) -> tuple[str, str]:
        key = JWK.from_pyca(load_pem_private_key(private_pem.encode(), None))
        jwe = JWE()
        jwe.deserialize(context, key)
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(jwe.payload.decode().split(".")[1] + "=="))
        _log.debug("Decrypted payload structure: %s", json.dumps(claims, indent=2))
        return claims["user-password"], claims["nonce"]

    return Starlette(routes=[Route(ROUTE, handle, methods=["POST"])])
