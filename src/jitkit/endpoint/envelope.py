"""Reads the request body of the callout.

Source: [how-to] and [observed]; members that are not named here are ignored. It is read by hand: seven members are not
worth a library that takes a fifth of the time to start, and a member given twice is refused as in the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from jitkit import protocol
from jitkit.endpoint.crypto import json_object
from jitkit.endpoint.decision import Refused

_Kind = TypeVar("_Kind", str, dict[str, Any])


@dataclass(frozen=True)
class Envelope:
    """What the callout's request body says.

    Args:
        tenant_id: the tenant that calls.
        user_id: the directory account that signs in.
        password_context: the compact JWE with what was typed.
        correlation_id: Entra's id of the sign-in.
        app_id: the application that is signed in to.
        extension_id: the custom extension that calls.
        listener_id: the listener that made it call.
    """

    tenant_id: str
    user_id: str
    password_context: str = field(repr=False)
    correlation_id: str | None
    app_id: str | None
    extension_id: str | None
    listener_id: str | None


def read_envelope(body: bytes) -> Envelope:
    """Read the request body.

    Raises:
        Refused: status 400. A password that is not encrypted is its own cause, because one was sent.
    """
    envelope = json_object(body)
    try:
        data = _needed(envelope, "data", dict)
        context = _needed(data, "authenticationContext", dict)
        client = context.get("clientServicePrincipal") or {}
        read = Envelope(
            tenant_id=_needed(data, "tenantId", str),
            user_id=_needed(_needed(context, "user", dict), "id", str),
            password_context=_needed(data, "encryptedPasswordContext", str),
            correlation_id=_optional(context, "correlationId"),
            app_id=_optional(client, "appId"),
            extension_id=_optional(data, "customAuthenticationExtensionId"),
            listener_id=_optional(data, "authenticationEventListenerId"),
        )
        kinds = _needed(envelope, "type", str), _needed(data, "@odata.type", str)
    except ValueError:
        raise Refused(400, "plaintext_context" if b'"passwordContext"' in body else "envelope") from None
    if kinds != (protocol.EVENT_TYPE, protocol.CALLOUT_DATA_TYPE):
        raise Refused(400, "event_type")
    return read


def _needed(parent: object, name: str, kind: type[_Kind]) -> _Kind:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, kind) or value == "":
        raise ValueError(name)
    return value


def _optional(parent: object, name: str) -> str | None:
    if not isinstance(parent, dict) or not isinstance(parent.get(name), str | None):
        raise ValueError(name)
    return parent.get(name)
