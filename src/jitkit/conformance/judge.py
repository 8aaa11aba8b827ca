"""Judge replies: a decision of the right form, a refusal without a hint, an outage told as an outage."""

from __future__ import annotations

from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, TooSlow
from jitkit.conformance.world import LIMIT, Call, Reply, World

__all__ = ["action_of", "asked", "decides", "in_time", "leaks_nothing", "refuses", "unavailable"]

_SIGNS_OF_A_STACK: Final = (
    "traceback",
    "exception",
    "stack trace",
    ' at "',
    "\n   at ",
    ".java:",
    '.py"',
    "node_modules",
)
_DECISIONS: Final = (protocol.MIGRATE, protocol.UPDATE, protocol.RETRY, protocol.BLOCK)


def action_of(reply: Reply) -> str:
    """Return the name of a reply's action in its documented spelling; empty when it has no single known action."""
    try:
        (action,) = reply.json()["data"]["actions"]
        kind = str(action["@odata.type"]).lower().removeprefix("#")
    except (TypeError, KeyError, ValueError):
        return ""
    return next((name for name in _DECISIONS if kind == (protocol.ACTION_PREFIX + name).lower()), "")


async def decides(world: World, call: Call, *actions: str, url: str = "") -> Reply:
    """Send a call that must be decided, with one of these actions.

    Raises:
        Failed: it was not, or the answer's form is wrong.
    """
    return judged(await world.send(call, url=url), call, *actions)


def judged(reply: Reply, call: Call, *actions: str) -> Reply:
    """Check a decision that is there already; see `decides`."""
    wanted = " or ".join(actions)
    if reply.status != 200:
        raise Failed(f"expected {wanted}, got status {reply.status}")
    action = action_of(reply)
    if action not in actions:
        raise Failed(f"expected {wanted}, got {action or 'no action that Entra knows'}")
    if reply.json()["data"].get("nonce") != call.nonce:
        raise Failed(f"{action} without the nonce that was sent")
    return reply


async def refuses(world: World, call: Call, *statuses: int, url: str = "") -> Reply:
    """Send a call that must be refused: with one of these statuses, no hint, and without asking the legacy store.

    Raises:
        Failed: it was not.
    """
    before = len(call.account.asked)
    reply = await world.send(call, url=url)
    wanted = " or ".join(map(str, statuses))
    if action_of(reply):
        raise Failed(f"expected status {wanted}, got a decision: {action_of(reply)}")
    if reply.status not in statuses:
        raise Failed(f"expected status {wanted}, got {reply.status}")
    if len(call.account.asked) > before:
        raise Failed(f"refused with {reply.status}, but the legacy store was asked first")
    leaks_nothing(reply, call)
    return reply


def leaks_nothing(reply: Reply, call: Call) -> None:
    """Check that a refusal's body and headers hold nothing secret and no stack.

    Raises:
        Failed: they do.
    """
    text = reply.body.decode("utf-8", "replace") + str(reply.headers)
    secrets = {"the password": call.account.password, "the username": call.account.username, "the nonce": call.nonce}
    for name, value in secrets.items():
        if value and len(value) > 5 and value in text:
            raise Failed(f"the answer repeats {name}")
    if any(sign in text.lower() for sign in _SIGNS_OF_A_STACK):
        raise Failed("the answer shows a stack trace")


async def unavailable(world: World, call: Call) -> Reply:
    """Send a call that cannot be decided now: Block with the nonce, or 503; in time, and never a verdict.

    Raises:
        Failed: it was decided, or not in time.
    """
    reply = await world.send(call)
    in_time(reply)
    if reply.status == 503 and not action_of(reply):
        return reply
    action = action_of(reply)
    if action == protocol.RETRY:
        raise Failed("Retry: the person reads 'wrong password' although nothing was found out about it")
    if action in (protocol.MIGRATE, protocol.UPDATE):
        raise Failed(f"{action}: a password was let through that nobody verified")
    return judged(reply, call, protocol.BLOCK)


def in_time(reply: Reply, limit: float = LIMIT) -> None:
    """Check that Entra would still have been waiting.

    Raises:
        Failed: it would not.
    """
    if reply.seconds > limit:
        raise TooSlow(f"answered after {reply.seconds:.1f} s, and {limit:.1f} s is the limit here")


def asked(call: Call, times: int) -> None:
    """Check how often the legacy store was asked about a call's account.

    Raises:
        Failed: it was another number.
    """
    if len(call.account.asked) != times:
        raise Failed(f"the legacy store was asked {len(call.account.asked)} times, not {times}")


def text_of(reply: Reply) -> dict[str, Any]:
    """Return title and message of a reply's action, as far as they are there."""
    action = reply.json()["data"]["actions"][0]
    return {name: action[name] for name in ("title", "message") if action.get(name) is not None}
