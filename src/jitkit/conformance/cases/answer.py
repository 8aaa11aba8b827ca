"""R: the form of an answer, as the service reads it."""

from __future__ import annotations

from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, case
from jitkit.conformance.judge import leaks_nothing, text_of
from jitkit.conformance.world import Reply, World

_HOWTO: Final = "Microsoft's how-to"
_ERRORS: Final = "Troubleshoot custom authentication extensions"
_SAFEST: Final = "safest: the documents are silent"
_LARGEST: Final = 4096


async def _answers(w: World) -> list[tuple[Reply, str]]:
    """Get one answer of every kind, with its nonce."""
    replies = []
    for kind in ("right", "wrong", "locked", "weak"):
        # An own store may lock whoever mistypes: that is somebody else than "right", where the configuration has one.
        mistypes = w.legacy is None and kind == "wrong" and kind not in w.config.accounts
        if w.legacy is None and not mistypes and kind not in w.config.accounts:
            continue
        person = w.account("right" if mistypes else kind)
        typed = "Canary-near-miss-R-1!" if mistypes else w.typed(person, kind)
        call = w.call(person, claims=w.claims(person, typed))
        replies.append((await w.send(call), call.nonce))
    return replies


def _data(reply: Reply) -> Any:
    value = reply.json()
    return value.get("data") if isinstance(value, dict) else None


@case("R1", "every decision has status 200 and content type application/json", source=f"{_ERRORS}: 1003002, 1003006")
async def status_and_type(w: World) -> None:
    for reply, _ in await _answers(w):
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if reply.status != 200:
            raise Failed(f"a decision with status {reply.status}")
        if kind != "application/json":
            raise Failed(f"content type {kind or 'missing'}")


@case("R2", "exactly one action", source=f"{_ERRORS}: 1003010")
async def one_action(w: World) -> None:
    for reply, _ in await _answers(w):
        actions = (_data(reply) or {}).get("actions")
        if not isinstance(actions, list) or len(actions) != 1:
            raise Failed(f"{len(actions) if isinstance(actions, list) else 'no list of'} actions")


@case("R3", "the types are spelt as documented", source=f"{_HOWTO}; {_ERRORS}: 1003012")
async def spelling(w: World) -> None:
    known = {
        prefix + name
        for prefix in (protocol.ACTION_PREFIX, protocol.ACTION_PREFIX.replace("passwordSubmit", "passwordsubmit"))
        for name in (protocol.MIGRATE, protocol.UPDATE, protocol.RETRY, protocol.BLOCK)
    }
    for reply, _ in await _answers(w):
        data = _data(reply) or {}
        if data.get("@odata.type") != protocol.RESPONSE_DATA_TYPE:
            raise Failed(f"data has the type {data.get('@odata.type')!r}, not {protocol.RESPONSE_DATA_TYPE!r}")
        for action in data.get("actions", []):
            if action.get("@odata.type") not in known:
                raise Failed(f"an action has the type {action.get('@odata.type')!r}")


@case("R4", "the nonce comes back character for character", source=_HOWTO)
async def nonce(w: World) -> None:
    person = w.account()
    shouted = w.call(
        person, claims=w.claims(person, nonce="A0B1C2D3-E4F5-4A6B-8C7D-" + w.claims(person)["nonce"][-12:].upper())
    )
    for reply, sent in [*await _answers(w), (await w.send(shouted), shouted.nonce)]:
        back = (_data(reply) or {}).get("nonce")
        if back != sent:
            raise Failed("the nonce is missing" if back is None else "the nonce came back changed")


@case("R5", "title and message stand on Block alone", source=_HOWTO)
async def texts(w: World) -> None:
    for reply, _ in await _answers(w):
        blocked = str(_data(reply)["actions"][0]["@odata.type"]).lower().endswith("block")
        if not blocked and text_of(reply):
            raise Failed(f"{' and '.join(text_of(reply))} on an action other than Block")
        if blocked and set(text_of(reply)) != {"title", "message"}:
            raise Failed("Block without title and message")


@case("R6", "the body is not empty, and small", source=f"{_ERRORS}: 1003009, 1003024")
async def size(w: World) -> None:
    for reply, _ in await _answers(w):
        if not 0 < len(reply.body) <= _LARGEST:
            raise Failed(f"a body of {len(reply.body)} bytes")


@case("R8", "no password, username or stack in a decision's body or headers", source=_SAFEST)
async def nothing_secret(w: World) -> None:
    for kind in ("right", "locked"):
        call = w.call(w.account(kind))
        reply = await w.send(call)
        call.nonce = ""
        leaks_nothing(reply, call)


@case(
    "R9",
    "the correlation id comes back in a header, so that both sides' logs can be joined",
    source=_SAFEST,
    required=False,
)
async def correlation(w: World) -> None:
    call = w.call()
    wanted = call.body["data"]["authenticationContext"]["correlationId"]
    if wanted not in (await w.send(call)).headers.values():
        raise Failed("no header of the answer holds the correlation id")
