"""The request body of the callout, as far as the endpoint reads it.

Source: [how-to] and [observed]; members that are not named here are ignored. It is read by hand: seven members are not
worth a library that takes a fifth of the time to start, and a member given twice is refused as in the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jitkit import protocol
from jitkit.endpoint.jose import json_object
from jitkit.endpoint.refused import Refused

__all__ = ["Envelope", "read_envelope"]


@dataclass(frozen=True)
class Envelope:
    """Hold what the callout's request body says.

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
        Refused: status 400. A password that is not encrypted is its own cause, because somebody sent one.
    """
    try:
        return _read(json_object(body))
    except _Odd:
        raise Refused(400, "plaintext_context" if b'"passwordContext"' in body else "envelope") from None


class _Odd(Exception):
    """A member is missing, or is of another type than documented."""


def _read(envelope: object) -> Envelope:
    data = _object(envelope, "data")
    context = _object(data, "authenticationContext")
    read = Envelope(
        tenant_id=_text(data, "tenantId"),
        user_id=_text(_object(context, "user"), "id"),
        password_context=_text(data, "encryptedPasswordContext"),
        correlation_id=_text_or_none(context, "correlationId"),
        app_id=_text_or_none(context.get("clientServicePrincipal") or {}, "appId"),
        extension_id=_text_or_none(data, "customAuthenticationExtensionId"),
        listener_id=_text_or_none(data, "authenticationEventListenerId"),
    )
    if _text(envelope, "type") != protocol.EVENT_TYPE or _text(data, "@odata.type") != protocol.CALLOUT_DATA_TYPE:
        raise Refused(400, "event_type")
    return read


def _member(parent: object, name: str) -> Any:
    if not isinstance(parent, dict):
        raise _Odd
    return parent.get(name)


def _object(parent: object, name: str) -> dict[str, Any]:
    value = _member(parent, name)
    if not isinstance(value, dict):
        raise _Odd
    return value


def _text(parent: object, name: str) -> str:
    value = _member(parent, name)
    if not isinstance(value, str) or not value:
        raise _Odd
    return value


def _text_or_none(parent: object, name: str) -> str | None:
    value = _member(parent, name)
    if value is not None and not isinstance(value, str):
        raise _Odd
    return value
