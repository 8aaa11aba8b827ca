"""What four products answer to a password grant, and what it says about the password.

Sources: Microsoft Learn, "Azure AD B2C error codes" and "Microsoft Entra authentication and authorization error
codes"; Auth0's authentication API reference and the error codes that its SDKs know; Okta's "OAuth 2.0 error codes";
Keycloak's direct grant authenticators (`ValidateUsername`, `ValidatePassword`, `ValidateOTP`).

Descriptions may change without notice, so codes come first and short parts of a text second. What no row knows is
never `RIGHT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from jitkit.endpoint.stores import Verdict

__all__ = ["AUTH0", "KEYCLOAK", "MISCONFIGURED", "OKTA", "Row", "find_microsoft", "find_row"]


@dataclass(frozen=True)
class Row:
    """Hold what one answer means.

    Args:
        verdict: the outcome.
        error: the value of `error`; empty for any.
        says: a part of `error_description`, in lower case.
        status: the HTTP status, or 0 for any.
        proved: the documents say, or the source shows, that the password was found right before this answer.
        ours: the endpoint's own registration is at fault.
        name: what a log line calls it, where `error` is too coarse.
    """

    verdict: Verdict
    error: str = ""
    says: str = ""
    status: int = 0
    proved: bool = False
    ours: bool = False
    name: str = ""


def _ours(error: str, says: str = "") -> Row:
    return Row(Verdict.DOWN, error, says, ours=True)


def _codes(prefix: str, row: Row, *numbers: int) -> dict[str, Row]:
    return {f"{prefix}{number}": row for number in numbers}


# Nothing that a customer types leads to these [RFC 6749 5.2].
MISCONFIGURED: Final = (
    *(
        _ours(error)
        for error in (
            "invalid_client",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
            "consent_required",
            "invalid_request",
        )
    ),
    Row(Verdict.DOWN, "server_error"),
    Row(Verdict.DOWN, "temporarily_unavailable"),
)

# An unknown name and a wrong password look alike. Too many attempts come with 429 as overload does.
AUTH0: Final = (
    Row(Verdict.LOCKED, "too_many_attempts", "multiple consecutive", 429),
    Row(Verdict.THROTTLED, status=429),
    Row(Verdict.WRONG, "invalid_grant", "wrong email or password"),
    Row(Verdict.WRONG, "invalid_user_password"),
    *(
        Row(Verdict.MFA, error, proved=True)
        for error in (
            "mfa_required",
            "a0.mfa_required",
            "mfa_registration_required",
            "a0.mfa_registration_required",
            "unsupported_challenge_type",
        )
    ),
    Row(Verdict.DISABLED, "unauthorized"),
    Row(Verdict.DISABLED, "blocked_user"),
    Row(Verdict.DISABLED, "access_denied"),
    # A breached password is refused before or after it was compared: nothing is said about it.
    Row(Verdict.DISABLED, "password_leaked"),
    # A challenge that only a browser can answer: to Auth0 all calls come from one suspicious address.
    Row(Verdict.THROTTLED, "requires_verification"),
    Row(Verdict.THROTTLED, "requires_validation"),
)

# No answer tells that an account is locked. Whether the password is looked at first is not documented.
OKTA: Final = (
    Row(Verdict.THROTTLED, status=429),
    Row(Verdict.WRONG, "invalid_grant", "credentials provided were invalid"),
    Row(Verdict.RIGHT_MUST_CHANGE, "invalid_grant", "password has expired"),
    Row(Verdict.RIGHT_MUST_CHANGE, "access_denied", "password is expired"),
    Row(Verdict.MFA, "invalid_grant", "cannot be used with mfa enabled"),
    Row(Verdict.MFA, "mfa_required"),
    Row(Verdict.DISABLED, "invalid_grant", "denied by sign on policy"),
    Row(Verdict.DISABLED, "invalid_grant", "does not configure a password"),
    Row(Verdict.DISABLED, "access_denied", "not assigned to the client", ours=True),
    _ours("access_denied", "policy configurations"),
    _ours("access_denied", "requested scopes"),
    _ours("access_denied", "network zones"),
    Row(Verdict.DISABLED, "access_denied"),
)

# Up to 26.5 a wrong password is 401, from 26.6 on it is 400. A locked account, and a missing one-time code, look like a
# wrong password. A disabled account is told before the password is looked at; required actions after it.
KEYCLOAK: Final = (
    Row(Verdict.THROTTLED, status=429),
    Row(Verdict.WRONG, "invalid_grant", "invalid user credentials"),
    Row(Verdict.DISABLED, "invalid_grant", "account disabled"),
    Row(Verdict.LOCKED, "invalid_grant", "account temporarily disabled"),
    Row(Verdict.RIGHT_MUST_CHANGE, "invalid_grant", "account is not fully set up", proved=True),
    # More than one account has this e-mail address.
    Row(Verdict.MALFORMED, "invalid_request", "invalid user credentials"),
)

_OURS: Final = Row(Verdict.DOWN, ours=True)

# Custom policies pass on what the directory behind them says, so both families come from B2C.
_MICROSOFT: Final = {
    # Wrong and unknown look alike, and it is reported that locked does too.
    **_codes("AADB2C", Row(Verdict.WRONG), 90225, 90052, 90054),
    **_codes("AADB2C", Row(Verdict.UNKNOWN_USER), 90053),
    **_codes("AADB2C", Row(Verdict.LOCKED), 90111, 90114),
    **_codes("AADB2C", Row(Verdict.DOWN), 90035, 90037, 90048, 90085),
    **_codes("AADB2C", _OURS, 90018, 90057, 90058, 90084, 90092, 90117, 90205, 90224),
    **_codes("AADSTS", Row(Verdict.WRONG), 50126, 50064),
    **_codes("AADSTS", Row(Verdict.UNKNOWN_USER), 50034),
    # Also said when the caller's own address is blocked as malicious.
    **_codes("AADSTS", Row(Verdict.LOCKED), 50053),
    **_codes("AADSTS", Row(Verdict.RIGHT_MUST_CHANGE), 50055, 50144, 50125, 50135, 50137, 50142),
    **_codes("AADSTS", Row(Verdict.DISABLED), 50056, 50057, 53003, 50105, 50131, 50020),
    **_codes("AADSTS", Row(Verdict.MFA), 50072, 50074, 50076, 50079, 50158),
    **_codes("AADSTS", _OURS, 50059, 50128, 90002, 700016, 7000215, 7000218, 65001, 50194),
    **_codes("AADSTS", Row(Verdict.THROTTLED), 50196),
    **_codes("AADSTS", Row(Verdict.DOWN), 50000, 50033, 50087, 90033),
}
_CODE: Final = re.compile(r"(?:AADSTS|AADB2C)[0-9]{4,8}")


def find_row(rows: tuple[Row, ...], status: int, body: Mapping[str, Any]) -> Row | None:
    """Find the first row that an OAuth error fits.

    Args:
        rows: the product's own rows; they come before those of `MISCONFIGURED`.
        status: the HTTP status.
        body: the answer.
    """
    error, text = _text(body, "error"), _text(body, "error_description").lower()
    for row in (*rows, *MISCONFIGURED):
        if row.status in (0, status) and row.error in ("", error) and row.says in text:
            return row
    return None


def find_microsoft(status: int, body: Mapping[str, Any]) -> Row | None:
    """Find what an answer of Azure AD B2C means: its code decides, and where it has none its `error`.

    An unknown code is none of the known ways to say "wrong".
    """
    if status == 429:
        return Row(Verdict.THROTTLED)
    # Only where the text begins: further on it may repeat the name that was typed, and with it a code of one's choice.
    found = _CODE.match(_text(body, "error_description"))
    code = found[0] if found else ""
    if code in _MICROSOFT:
        return replace(_MICROSOFT[code], name=code)
    if _text(body, "error") == "interaction_required":
        return Row(Verdict.MFA, "interaction_required")
    row = find_row((), status, body)
    return Row(Verdict.MALFORMED, name=code) if row is None and code else row


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
