"""Which identifier URIs an application may have.

Rules: Microsoft Learn, "Restrictions on identifier URIs of Microsoft Entra applications"; their words: [observed].
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph.wire import Call, bad_request


def check(call: Call, app: Body, uris: Sequence[str], *, present: Sequence[str] = ()) -> None:
    """Refuse identifier URIs that the service would not accept.

    Args:
        call: the request that brings them.
        app: the application as it would be.
        uris: its whole new list.
        present: those it has already, which are not held to the policy again.

    Raises:
        GraphError: 400.
    """
    check_free(call, app["id"], uris)
    for uri in uris:
        if "://" not in uri and not uri.startswith("urn:"):
            raise bad_request(
                f"Invalid value specified for property 'identifierUris' of resource 'Application': '{uri}'."
            )
        if uri.endswith("/"):
            raise bad_request(f"The identifier URI '{uri}' must not end with a slash ('/').")
        if uri not in present and not _secure(call, app, uri):
            raise bad_request(
                f"Failed to add identifier URI {uri}. All newly added URIs must contain a tenant verified domain, "
                "tenant ID, or app ID, as per the default tenant policy of your organization. See "
                "https://aka.ms/identifier-uri-addition-error for more information on this error."
            )
    if len({uri.lower() for uri in uris}) != len(uris):
        raise bad_request("Property identifierUris contains duplicate values.")


def check_free(call: Call, own_id: str, uris: Sequence[str]) -> None:
    """Refuse identifier URIs that another application has.

    Args:
        call: the request that brings them.
        own_id: the application that may have them.
        uris: the URIs.

    Raises:
        GraphError: 400.
    """
    gone = switches.is_on(call.directory, "deleted_apps_keep_uris")
    others = call.directory.rows(
        "SELECT json_extract(body, '$.identifierUris') AS uris FROM objects WHERE kind = 'application' AND id <> ?"
        " AND (deleted IS NULL OR ?)",
        (own_id, gone),
    )
    taken = {uri.lower() for row in others for uri in json.loads(row["uris"] or "[]")}
    if any(uri.lower() in taken for uri in uris):
        raise bad_request("Another object with the same value for property identifierUris already exists.")


def _secure(call: Call, app: Body, uri: str) -> bool:
    """Whether a URI has one of the forms that nobody else can claim, or its application need not care."""
    if (app.get("api") or {}).get("requestedAccessTokenVersion") == 2:
        return True
    principal = call.directory.by_key("servicePrincipal", app["appId"]) or {}
    if principal.get("preferredSingleSignOnMode") == "saml":
        return True
    scheme, _, rest = uri.lower().partition("://")
    host, _, path = rest.partition("/")
    if scheme == "api" and (call.tenant.tenant_id in rest or app["appId"] in (host, path.rpartition("/")[2])):
        return True
    return any(re.fullmatch(rf"(.+\.)?{re.escape(each['id'].lower())}", host) for each in call.directory.all("domain"))
