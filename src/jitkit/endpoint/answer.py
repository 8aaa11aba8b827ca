"""From what the legacy store says to exactly one action.

Source: [how-to] for the actions and when each is meant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from jitkit import protocol
from jitkit.endpoint.password_policy import PasswordPolicy
from jitkit.endpoint.stores import Verdict

__all__ = ["Answer", "answer_to", "body_of", "failure"]


@dataclass(frozen=True)
class Answer:
    """Hold one decision.

    Args:
        action: the action's name, without its type prefix.
        cause: a short word for the ledger.
        title: what the customer reads on the block page; only with Block.
        message: the text under it; only with Block.
    """

    action: str
    cause: str
    title: str | None = None
    message: str | None = None


_LOCKED: Final = (
    "Your account is locked",
    "There were too many attempts to sign in. Wait a while and try again, or contact support.",
)
_NO_PASSWORD: Final = (
    "Your account has no password here",
    "Sign in the way you did before, with the button of the service that you used. Or contact support.",
)
_DISABLED: Final = ("You can't sign in with this account", "Contact support and we will help you to get back in.")
_BUSY: Final = (
    "Sign-in is temporarily unavailable",
    "Your password was not checked, and nothing is wrong with your account. Try again in a few minutes.",
)
_UNCLEAR: Final = (
    "We can't check your password",
    "Something about your account needs our attention. Contact support and we will help you to get back in.",
)

_SECOND_FACTOR: Final = (
    "Your account needs one more step",
    "Your account is protected by a second step that this page can't ask for. Contact support to move your account.",
)

_BLOCKS: Final = {
    Verdict.LOCKED: _LOCKED,
    Verdict.DISABLED: _DISABLED,
    Verdict.NO_PASSWORD: _NO_PASSWORD,
    Verdict.OTHER_USER: _UNCLEAR,
    Verdict.THROTTLED: _BUSY,
    Verdict.DOWN: _BUSY,
    Verdict.MALFORMED: _UNCLEAR,
    Verdict.AMBIGUOUS: _UNCLEAR,
}


def answer_to(verdict: Verdict, password: str, policy: PasswordPolicy, *, migrate_mfa: bool = True) -> Answer:
    """Choose the one action that a verdict calls for.

    Whatever proves nothing about the password is Block: a customer whose store is away must not read "wrong password".

    Args:
        verdict: what the store said.
        password: what the customer typed, for the password policy alone.
        policy: which passwords Entra takes as they are.
        migrate_mfa: whether an account that wants a second factor, and so has proved its password, is migrated.
    """
    match verdict:
        case Verdict.MFA if not migrate_mfa:
            return Answer(protocol.BLOCK, verdict, *_SECOND_FACTOR)
        case Verdict.RIGHT | Verdict.MFA:
            return Answer(protocol.MIGRATE, verdict) if policy.takes(password) else Answer(protocol.UPDATE, "weak")
        case Verdict.RIGHT_MUST_CHANGE:
            return Answer(protocol.UPDATE, "must_change")
        case Verdict.WRONG | Verdict.UNKNOWN_USER:
            return Answer(protocol.RETRY, verdict)
        case _:
            return Answer(protocol.BLOCK, verdict, *_BLOCKS[verdict])


def failure(cause: str) -> Answer:
    """Block kindly, because nothing could be found out about the password."""
    return Answer(protocol.BLOCK, cause, *_BUSY)


def body_of(answer: Answer, nonce: str) -> bytes:
    """Write the response body: one action, and the nonce as it came."""
    action = {"@odata.type": protocol.ACTION_PREFIX + answer.action}
    if answer.title and answer.message:
        action |= {"title": answer.title, "message": answer.message}
    data = {"@odata.type": protocol.RESPONSE_DATA_TYPE, "actions": [action], "nonce": nonce}
    return json.dumps({"data": data}).encode()
