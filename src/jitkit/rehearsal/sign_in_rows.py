"""Builds sign-in log entries as they are stored; `graph.logs` completes them.

[Microsoft Graph: signIn (v1.0 and beta), appliedAuthenticationEventListener and customExtensionCalloutResult (beta)]
"""

from __future__ import annotations

from typing import Final

from jitkit.rehearsal.callout_answer import Verdict
from jitkit.rehearsal.client_app import ClientApp
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.ids import new_id
from jitkit.rehearsal.journal import timestamp
from jitkit.rehearsal.sign_in_result import SignIn
from jitkit.rehearsal.users import User

__all__ = ["made"]

_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_GUESSED: Final = (
    "The user didn't enter the right credentials. \u00a0It's expected to see some number of these errors in your logs "
    "due to users making mistakes."
)

# [Microsoft Learn, "Microsoft Entra authentication and authorization error codes"], in the kit's words.
_REASONS: Final = {
    50034: "The user account does not exist in the directory.",
    50053: "The account is locked because of too many sign-ins with a wrong password.",
    50055: "The password is expired or has to be changed.",
    50056: "The account has no password.",
    50057: "The user account is disabled.",
    50076: "A second factor is required.",
    50125: "The sign-in was interrupted because of a password reset.",
    50126: "Error validating credentials due to invalid username or password.",
    50142: "A new password is required.",
    53003: "Access was blocked by Conditional Access policies.",
    90055: "There are too many incoming requests.",
    500208: "The app does not accept this kind of account.",
    700016: "The application was not found in the directory.",
    7000112: "The application is disabled.",
    1100001: "A non-retryable error has occurred in the custom authentication extension.",
}


def made(
    done: SignIn,
    started: float,
    user: User | None,
    client: ClientApp | None,
    listener: Body | None,
    verdict: Verdict | None,
) -> Body:
    """Make the row of a sign-in, without what is the same in every row.

    Args:
        done: what the sign-in came to.
        started: when it began, in seconds since the epoch.
        user: who signed in; None for an unknown user, whose typed name is not kept.
        client: the app; None when it cannot be signed in to.
        listener: the listener that was executed, if one was.
        verdict: what came of its callout.
    """
    row: Body = {
        "id": new_id(),
        "createdDateTime": timestamp(started),
        "userDisplayName": (user.body.get("displayName") if user else None) or "",
        "userPrincipalName": user.upn if user else "",
        "userId": user.id if user else _NOBODY,
        "appId": done.app_id,
        "appDisplayName": client.name if client else "",
        "ipAddress": done.ip,
        "correlationId": done.correlation_id,
        "signInIdentifier": (user.sign_in_name if user else None) or "",
        "processingTimeInMilliseconds": int(done.duration_ms),
        "status": {
            "errorCode": done.code,
            "failureReason": _REASONS.get(done.code),
            "additionalDetails": _GUESSED if done.code == 50126 else None,
        },
        "appliedEventListeners": [_executed(listener, verdict)] if listener and verdict else [],
    }
    if done.code == 53003:
        row["conditionalAccessStatus"] = "failure"
    return row


def _executed(listener: Body, verdict: Verdict) -> Body:
    return {
        "@odata.type": "#microsoft.graph.appliedAuthenticationEventListener",
        "eventType": "passwordSubmit",
        "executedListenerId": listener["id"],
        "handlerResult": {
            "@odata.type": "#microsoft.graph.customExtensionCalloutResult",
            "calloutDateTime": timestamp(verdict.started),
            "customExtensionId": str(((listener.get("handler") or {}).get("customExtension") or {}).get("id") or ""),
            "errorCode": verdict.error or 0,
            "httpStatus": verdict.http_status or 0,
            "numberOfAttempts": verdict.attempts,
        },
    }
