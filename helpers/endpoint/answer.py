"""From what the legacy store says to exactly one action.

Sources: [how-to] for the actions and when each is meant; Microsoft Learn, "Password policies and account restrictions
in Microsoft Entra ID" for the password policy.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from helpers import protocol
from helpers.endpoint.legacy import Verdict

__all__ = ["Answer", "answer_to", "body_of", "failure", "is_strong"]


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
_DISABLED: Final = ("You can't sign in with this account", "Contact support and we will help you to get back in.")
_BUSY: Final = (
    "Sign-in is temporarily unavailable",
    "Your password was not checked, and nothing is wrong with your account. Try again in a few minutes.",
)
_UNCLEAR: Final = (
    "We can't check your password",
    "Something about your account needs our attention. Contact support and we will help you to get back in.",
)

_BLOCKS: Final = {
    Verdict.LOCKED: _LOCKED,
    Verdict.DISABLED: _DISABLED,
    Verdict.THROTTLED: _BUSY,
    Verdict.DOWN: _BUSY,
    Verdict.MALFORMED: _UNCLEAR,
    Verdict.AMBIGUOUS: _UNCLEAR,
}

_ALLOWED: Final = re.compile(r"[ -~]{8,256}")
_CLASSES: Final = tuple(re.compile(pattern) for pattern in (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^a-zA-Z0-9]"))


def is_strong(password: str) -> bool:
    """Tell whether External ID's password policy takes a password, banned words aside.

    8 to 256 printable ASCII characters of at least three of the four classes: lower case, upper case, digit, symbol.
    """
    return bool(_ALLOWED.fullmatch(password)) and sum(bool(kind.search(password)) for kind in _CLASSES) >= 3


def answer_to(verdict: Verdict, password: str) -> Answer:
    """Choose the one action that a verdict calls for.

    A store that asks for a second factor has proved the password, so it counts as right. Whatever proves nothing
    about the password is Block: a customer whose store is away must not read "wrong password".

    Args:
        verdict: what the store said.
        password: what the customer typed, for the password policy alone.
    """
    match verdict:
        case Verdict.RIGHT | Verdict.MFA:
            if is_strong(password):
                return Answer(protocol.MIGRATE, verdict)
            return Answer(protocol.UPDATE, "weak")
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
