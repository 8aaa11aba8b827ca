"""Turns what the legacy store says into exactly one action, or refuses a request without a decision.

Sources: [how-to] for the actions and when each is meant; Microsoft Learn, "Password policies and account restrictions
in Microsoft Entra ID" for the characters, length and classes of passwords.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from jitkit import protocol
from jitkit.endpoint.stores.base import Verdict

_ALLOWED: Final = re.compile(r"[ -~]{8,256}")
_CLASSES: Final = tuple(re.compile(pattern) for pattern in (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^a-zA-Z0-9]"))


class Refused(Exception):
    """Refuse a request with a status, no decision, and a cause that goes into the ledger alone."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status, self.cause = status, cause


@dataclass(frozen=True)
class Answer:
    """One decision: the action without its type prefix, a short cause for the ledger, and the text of a block page."""

    action: str
    cause: str
    title: str | None = None
    message: str | None = None


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

# What a blocked user reads.
_BLOCKS: Final = {
    Verdict.LOCKED: (
        "Your account is locked",
        "There were too many attempts to sign in. Wait a while and try again, or contact support.",
    ),
    Verdict.DISABLED: ("You can't sign in with this account", "Contact support and we will help you to get back in."),
    **dict.fromkeys((Verdict.THROTTLED, Verdict.DOWN), _BUSY),
    **dict.fromkeys((Verdict.OTHER_USER, Verdict.MALFORMED, Verdict.AMBIGUOUS), _UNCLEAR),
}


def answer_to(verdict: Verdict, password: str, *, accept_weak: bool = False, migrate_mfa: bool = True) -> Answer:
    """Choose the one action that a verdict calls for.

    One that proves nothing about the password is Block: while the store is down, a user must not read "wrong password".
    An account without a password looks like a wrong one, whatever is typed: its name alone must not say how it is used.
    """
    match verdict:
        case Verdict.MFA if not migrate_mfa:
            return Answer(protocol.BLOCK, verdict, *_SECOND_FACTOR)
        case Verdict.RIGHT | Verdict.MFA if meets_policy(password, accept_weak=accept_weak):
            return Answer(protocol.MIGRATE, verdict)
        case Verdict.RIGHT | Verdict.MFA:
            return Answer(protocol.UPDATE, "weak")
        case Verdict.RIGHT_MUST_CHANGE:
            return Answer(protocol.UPDATE, "must_change")
        case Verdict.WRONG | Verdict.UNKNOWN_USER | Verdict.NO_PASSWORD:
            return Answer(protocol.RETRY, verdict)
        case _:
            return Answer(protocol.BLOCK, verdict, *_BLOCKS[verdict])


def meets_policy(password: str, *, accept_weak: bool = False) -> bool:
    """Return whether Entra would store this password without asking for another one.

    Lists of banned passwords are Entra's to check: after MigratePassword it asks for a new one by itself [how-to]. A
    tenant that takes weak legacy passwords (`disableStrongPassword` [how-to]) counts no classes.
    """
    if not _ALLOWED.fullmatch(password):
        return False
    return accept_weak or sum(bool(kind.search(password)) for kind in _CLASSES) >= 3


def failure(cause: str) -> Answer:
    """Block with a text that blames no one, because the password could not be checked."""
    return Answer(protocol.BLOCK, cause, *_BUSY)


def body_of(answer: Answer, nonce: str) -> bytes:
    """Write the response body: one action, and the nonce as it came."""
    action = {"@odata.type": protocol.ACTION_PREFIX + answer.action}
    if answer.title and answer.message:
        action |= {"title": answer.title, "message": answer.message}
    data = {"@odata.type": protocol.RESPONSE_DATA_TYPE, "actions": [action], "nonce": nonce}
    return json.dumps({"data": data}).encode()
