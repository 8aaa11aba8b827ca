"""The request body of the callout, as far as the endpoint reads it.

Source: [how-to] and [observed]; members that are not named here are ignored.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from helpers import protocol
from helpers.endpoint.refused import Refused

__all__ = ["Envelope", "read_envelope"]

_Text = Annotated[str, StringConstraints(strict=True, min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _User(_Part):
    id: _Text


class _ServicePrincipal(_Part):
    app_id: str | None = Field(None, alias="appId")


class _AuthenticationContext(_Part):
    correlation_id: str | None = Field(None, alias="correlationId")
    client_service_principal: _ServicePrincipal | None = Field(None, alias="clientServicePrincipal")
    user: _User


class _Data(_Part):
    odata_type: _Text = Field(alias="@odata.type")
    tenant_id: _Text = Field(alias="tenantId")
    listener_id: str | None = Field(None, alias="authenticationEventListenerId")
    extension_id: str | None = Field(None, alias="customAuthenticationExtensionId")
    encrypted_password_context: _Text = Field(alias="encryptedPasswordContext", repr=False)
    authentication_context: _AuthenticationContext = Field(alias="authenticationContext")


class Envelope(_Part):
    """Hold the callout's request body."""

    type: _Text
    data: _Data


def read_envelope(body: bytes) -> Envelope:
    """Read the request body.

    Raises:
        Refused: status 400. A password that is not encrypted is its own cause, because somebody sent one.
    """
    try:
        envelope = Envelope.model_validate_json(body)
    except ValidationError:
        envelope = None
    if envelope is None:
        raise Refused(400, "plaintext_context" if b'"passwordContext"' in body else "envelope")
    if envelope.type != protocol.EVENT_TYPE or envelope.data.odata_type != protocol.CALLOUT_DATA_TYPE:
        raise Refused(400, "event_type")
    return envelope
