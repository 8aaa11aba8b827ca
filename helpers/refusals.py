"""Refusals of Microsoft Graph in plain words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from jitkit import protocol
from jitkit.errors import GraphRefused, KitError, PermissionMissing, Taken

__all__ = ["error_of", "explained", "refusal"]


@contextlib.contextmanager
def explained(doing: str, *, next_step: str | None = None) -> Iterator[None]:
    """Turn what Graph, the SDK or the network raise inside the block into plain words.

    Args:
        doing: what the block does, to follow "could not", such as `create the migration flag`.
        next_step: what to do when Graph refuses for a reason this function does not know.

    Raises:
        PermissionMissing: 401 or 403.
        Taken: a name or identifier is in use.
        GraphRefused: any other refusal.
        KitError: Graph could not be reached.
    """
    from kiota_abstractions.api_error import APIError

    try:
        yield
    except APIError as error:
        raise refusal(doing, *_sdk_error(error), next_step) from error
    except httpx.HTTPStatusError as error:
        raise refusal(doing, *_http_error(error), next_step) from error
    except httpx.TransportError as error:
        raise KitError(
            f"Could not {doing}: Microsoft Graph cannot be reached.",
            service=f"{type(error).__name__}: {error}",
            next_step="Check the network and any proxy settings, then run this cell again; nothing is lost.",
        ) from error


def error_of(body: Any) -> dict[str, Any]:
    """Find the error object in a Graph answer; an empty dict when there is none."""
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _sdk_error(error: Any) -> tuple[int, str, str, str]:
    main = getattr(error, "error", None)
    headers = {str(name).lower(): value for name, value in (error.response_headers or {}).items()}
    return (
        error.response_status_code or 0,
        getattr(main, "code", None) or "",
        getattr(main, "message", None) or str(error.message or ""),
        str(headers.get("request-id", "")),
    )


def _http_error(error: httpx.HTTPStatusError) -> tuple[int, str, str, str]:
    try:
        body = error_of(error.response.json())
    except ValueError:
        body = {}
    status = error.response.status_code
    return status, str(body.get("code", "")), str(body.get("message", "")), error.response.headers.get("request-id", "")


def refusal(
    doing: str, status: int, code: str, message: str, request_id: str = "", next_step: str | None = None
) -> GraphRefused:
    """Put a refusal of Graph into plain words.

    Args:
        doing: what was tried, to follow "could not".
        status: the HTTP status.
        code: the error code.
        message: the error message.
        request_id: the service's name for the request, or an empty string.
        next_step: what to do when the refusal is an unusual one.
    """
    service = f"{status} {code}: {message}".strip(": ") + (f" (request-id {request_id})" if request_id else "")
    happened = f"Could not {doing}."
    roles = ", ".join(protocol.ROLES)
    if status == 401:
        return PermissionMissing(
            happened,
            status=status,
            code=code,
            service=service,
            next_step="Sign in again: run the cell with kit.open() once more, then this one.",
        )
    if status == 403:
        return PermissionMissing(
            happened,
            status=status,
            code=code,
            service=service,
            next_step=f"Ask for these directory roles, the first one before all: {roles}. Granting an application"
            f" permission of Microsoft Graph takes a {protocol.CONSENT_ROLE}. An application needs the Graph"
            " permissions of notebook 00 with admin consent. Then open a new session and run this cell again.",
        )
    if status == 409 or "already exists" in message or "already in use" in message:
        return Taken(
            happened,
            status=status,
            code=code,
            service=service,
            next_step=next_step
            or "Choose another name in notebook 00, or remove the object that has it, and run again.",
        )
    hint = next_step or "Read what the service said, mend it, and run this cell again; what is already there is reused."
    if status in (429, 503, 504):
        hint = "Wait a few minutes and run this cell again; it goes on where it stopped."
    return GraphRefused(happened, status=status, code=code, service=service, next_step=hint)
