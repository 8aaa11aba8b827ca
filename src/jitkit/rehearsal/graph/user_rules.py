"""What makes a user acceptable: properties, identities, passwords.

Sources: Graph v1.0, "Create user" (example for local accounts), objectIdentity and user resources; Microsoft Learn,
"Password policies" for the passwords. Texts of refusals: [observed], except where a comment says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jitkit.rehearsal import password_policy
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import schema
from jitkit.rehearsal.graph.wire import bad_request

EMPTY: Body = {
    "businessPhones": [],
    "displayName": None,
    "givenName": None,
    "jobTitle": None,
    "mail": None,
    "mobilePhone": None,
    "officeLocation": None,
    "preferredLanguage": None,
    "surname": None,
    "creationType": None,
    "mailNickname": None,
    "passwordPolicies": None,
    "userType": "Member",
    "otherMails": [],
    "proxyAddresses": [],
    "deletedDateTime": None,
}
_READ_ONLY = frozenset({"id", "createdDateTime", "deletedDateTime", "lastPasswordChangeDateTime", "proxyAddresses"})
_KEPT_APART = frozenset({"accountEnabled", "passwordProfile", "identities", "userPrincipalName"})
_LONGEST = 256
_LOCAL_TYPES = ("emailAddress", "userName")


@dataclass
class NewUser:
    """A user to be made: what the caller sent, checked and sorted."""

    body: Body
    identities: list[Body]
    upn: str | None
    enabled: bool
    force_change: bool
    password: str = field(repr=False)


@dataclass
class Changes:
    """What a PATCH changes; None means left alone, except in `body`, where it means removed."""

    body: Body
    identities: list[Body] | None
    upn: str | None
    enabled: bool | None
    force_change: bool | None
    password: str | None = field(repr=False)


def new_user(body: Body, extensions: Mapping[str, str], domain: str) -> NewUser:
    """Judge the body of a creation.

    Args:
        body: the request's JSON object.
        extensions: the directory extensions users may carry: full name to data type.
        domain: the tenant's verified domain.

    Raises:
        GraphError: 400.
    """
    _check(body, extensions)
    for name in ("displayName",):
        if not body.get(name):
            raise bad_request(f"A value is required for property '{name}' of resource 'User'.")
    identities = _identities(body.get("identities") or [], domain)
    upn = body.get("userPrincipalName")
    if upn is not None:
        _check_upn(upn, domain)
        if not body.get("mailNickname"):
            raise bad_request("A value is required for property 'mailNickname' of resource 'User'.")
    elif not identities:
        raise bad_request("A value is required for property 'userPrincipalName' of resource 'User'.")
    profile = body.get("passwordProfile") or {}
    password = profile.get("password") or ""
    if not password and (upn or any(item["signInType"] != "federated" for item in identities)):
        raise bad_request("A password must be specified to create a new user.")
    if password:
        _check_password(password, body.get("passwordPolicies"))
    return NewUser(
        body=_rest(body),
        identities=identities,
        upn=upn,
        enabled=body.get("accountEnabled") is not False,
        # The service's default for a new password is to have it changed (Graph v1.0, passwordProfile resource).
        force_change=profile.get("forceChangePasswordNextSignIn") is not False,
        password=password,
    )


def changes(body: Body, extensions: Mapping[str, str], domain: str) -> Changes:
    """Judge the body of a PATCH. Arguments and refusals as for `new_user`."""
    _check(body, extensions)
    # It cannot be cleared (Graph v1.0, user resource).
    if not body.get("displayName", True):
        raise bad_request("A value is required for property 'displayName' of resource 'User'.")
    upn = body.get("userPrincipalName")
    if upn is not None:
        _check_upn(upn, domain)
    profile = body.get("passwordProfile") or {}
    password = profile.get("password")
    if password is not None:
        _check_password(password, body.get("passwordPolicies"))
    force_change = profile.get("forceChangePasswordNextSignIn")
    return Changes(
        body=_rest(body, nulls=True),
        identities=_identities(body["identities"], domain) if "identities" in body else None,
        upn=upn,
        enabled=body.get("accountEnabled"),
        force_change=force_change if force_change is not None else (True if password else None),
        password=password,
    )


def check_free(directory: Directory, upn: str, identities: list[Body], *, own_id: str | None = None) -> None:
    """Refuse names that another user has.

    Args:
        directory: the tenant's directory.
        upn: the user principal name.
        identities: the identities without the one for the user principal name.
        own_id: the user who may keep these names.

    Raises:
        GraphError: 400.
    """
    if directory.rows("SELECT 1 FROM users WHERE upn = ? AND id IS NOT ?", (upn, own_id)):
        raise bad_request("Another object with the same value for property userPrincipalName already exists.")
    for item in identities:
        taken = directory.rows(
            "SELECT 1 FROM sign_in_names WHERE name = ? AND user_id IS NOT ?", (item["issuerAssignedId"], own_id)
        )
        if taken and item["signInType"] != "federated":
            raise bad_request("Another object with the same value for property identities already exists.")


def _check(body: Body, extensions: Mapping[str, str]) -> None:
    unknown = sorted(name for name in body if name.startswith("extension_") and name not in extensions)
    if unknown:
        raise bad_request(f"The following extension properties are not available: {', '.join(unknown)}.")
    schema.check("User", body, code="Request_BadRequest", extensions=extensions)
    for name in extensions.keys() & body.keys():
        if isinstance(body[name], str) and len(body[name]) > _LONGEST:
            # The limit is documented [Graph, "Add custom data to resources by using extensions"]; the words are not.
            raise bad_request(f"Invalid value specified for property '{name}' of resource 'User'.")
    for name in sorted(_READ_ONLY & body.keys()):
        raise bad_request(f"Property '{name}' is read-only and cannot be set.")


def _rest(body: Body, *, nulls: bool = False) -> Body:
    return {
        name: value
        for name, value in body.items()
        if name not in _KEPT_APART and "@odata." not in name and (nulls or value is not None)
    }


def _identities(items: list[Any], domain: str) -> list[Body]:
    kept: list[Body] = []
    for item in items:
        kind, issuer, name = (item.get(key) or "" for key in ("signInType", "issuer", "issuerAssignedId"))
        if kind == "userPrincipalName":
            continue
        if not (kind and issuer and name):
            raise _invalid("identities: signInType, issuer and issuerAssignedId are required")
        if kind in _LOCAL_TYPES and issuer.lower() != domain.lower():
            raise _invalid(f"identities: the issuer of a local account must be a verified domain, not '{issuer}'")
        if kind == "emailAddress" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", name):
            raise _invalid(f"identities: '{name}' is not an e-mail address")
        if kind == "userName" and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise _invalid(f"identities: '{name}' is not a user name of at most 64 letters, digits, '-' and '_'")
        kept.append({"signInType": kind, "issuer": issuer, "issuerAssignedId": name})
    if len({(item["issuer"].lower(), item["issuerAssignedId"].lower()) for item in kept}) != len(kept):
        raise _invalid("identities: the same identity is listed twice")
    return kept


def _invalid(detail: str) -> Exception:
    # The first sentence is the service's; what follows the colon is added here to say which value.
    return bad_request(f"One or more properties contains invalid values: {detail}.")


def _check_upn(upn: str, domain: str) -> None:
    name, _, host = upn.partition("@")
    if not name or not host:
        raise bad_request("Property userPrincipalName is invalid.")
    if host.lower() != domain.lower():
        raise bad_request(
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain "
            "names in your organization."
        )


def _check_password(password: str, policies: str | None) -> None:
    weak_allowed = "DisableStrongPassword" in (policies or "")
    if password_policy.problem(password, complexity=not weak_allowed):
        raise bad_request(
            "The specified password does not comply with password complexity requirements. Please provide a different "
            "password."
        )
