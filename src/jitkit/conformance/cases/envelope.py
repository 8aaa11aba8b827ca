"""E: the JSON around the password context."""

from __future__ import annotations

import json
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, case
from jitkit.conformance.judge import decides, refuses, text_of
from jitkit.conformance.world import USER, Call, World

_HOWTO: Final = "Microsoft's how-to"
_OBSERVED: Final = "observed in live tenants"
_SAFEST: Final = "safest: the documents are silent"
_OTHER: Final = "f3b1c9d2-7a64-4b0e-8d15-6c2e9f0a1b77"


async def _all_refused(w: World, calls: dict[str, Call], *statuses: int) -> None:
    for name, call in calls.items():
        try:
            await refuses(w, call, *statuses)
        except Failed as problem:
            raise Failed(f"{name}: {problem}") from None


def _raw(w: World, content: bytes) -> Call:
    call = w.call()
    call.body = content
    return call


@case("E1", "the captured shape with its null members is answered", source=_OBSERVED)
async def captured(w: World) -> None:
    await decides(w, w.call(), protocol.MIGRATE)


@case("E2", "what the documents do not promise may be missing", source=_HOWTO)
async def minimal(w: World) -> None:
    call = w.call()
    data = call.body["data"]
    kept = {name: data[name] for name in ("@odata.type", "tenantId", "encryptedPasswordContext")}
    if w.config.extension_id or w.config.listener_id:
        kept |= {name: data[name] for name in ("authenticationEventListenerId", "customAuthenticationExtensionId")}
    context = data["authenticationContext"]
    kept["authenticationContext"] = {"correlationId": context["correlationId"], "user": {"id": context["user"]["id"]}}
    call.body = {"type": call.body["type"], "source": call.body["source"], "data": kept}
    await decides(w, call, protocol.MIGRATE)


@case("E3", "members that nobody knows yet are ignored", source="Microsoft Graph versioning: members may be added")
async def unknown_members(w: World) -> None:
    call = w.call(somethingNew={"a": [1, None]})
    call.body |= {"another": True}
    call.body["data"]["authenticationContext"]["riskDetail"] = {"level": "low"}
    await decides(w, call, protocol.MIGRATE)


@case("E4", "another event is not a password", source=_HOWTO)
async def other_event(w: World) -> None:
    call = w.call()
    call.body["type"] = "microsoft.graph.authenticationEvent.tokenIssuanceStart"
    await refuses(w, call, 400)


@case("E5", "the data must say that it is the password-submit callout's", source=_HOWTO)
async def other_data(w: World) -> None:
    other, missing = w.call(odata_type="microsoft.graph.onTokenIssuanceStartCalloutData"), w.call()
    del missing.body["data"]["@odata.type"]
    await _all_refused(w, {"other": other, "missing": missing}, 400)


@case("E6", "a callout for another tenant is not ours", source=_SAFEST)
async def other_tenant(w: World) -> None:
    await refuses(w, w.call(tenantId=_OTHER), 403)


@case("E7", "where extension and listener are pinned, others are refused", source=_SAFEST)
async def other_extension(w: World) -> None:
    if not (w.config.extension_id or w.config.listener_id):
        raise Skipped("the configuration names neither extension_id nor listener_id: nothing is pinned")
    if w.config.extension_id:
        await refuses(w, w.call(customAuthenticationExtensionId=_OTHER), 403)
    if w.config.listener_id:
        await refuses(w, w.call(authenticationEventListenerId=_OTHER), 403)


@case("E8", "without a user there is nobody to sign in", source="original sample: 400")
async def no_user(w: World) -> None:
    null, missing = w.call(), w.call()
    null.body["data"]["authenticationContext"]["user"] = None
    del missing.body["data"]["authenticationContext"]["user"]["id"]
    await _all_refused(w, {"user null": null, "user id missing": missing}, 400)


@case("E9", "a password context that is missing or no text is refused", source="original sample: 400")
async def no_context(w: World) -> None:
    values: dict[str, Any] = {"null": None, "a number": 7, "an object": {"a": 1}, "empty": "", "a list": ["a"]}
    calls = {name: w.call(context=value) for name, value in values.items()}
    calls["missing"] = w.call()
    del calls["missing"].body["data"]["encryptedPasswordContext"]
    await _all_refused(w, calls, 400)


@case("E10", "a password that is not encrypted is refused: never a downgrade", source=_SAFEST)
async def plaintext(w: World) -> None:
    person = w.account()
    call = w.call(person)
    data = call.body["data"]
    del data["encryptedPasswordContext"]
    data["passwordContext"] = {key: w.claims(person)[key] for key in ("user-password", "username", "nonce")}
    await refuses(w, call, 400)


@case("E11", "what is no JSON object in UTF-8 is refused, not stumbled over", source="RFC 8259")
async def no_json(w: World) -> None:
    good = json.dumps(w.call().body).encode()
    bodies = {
        "half an object": good[:-20],
        "a list": b"[" + good + b"]",
        "a text": b'"hello"',
        "null": b"null",
        "not UTF-8": b'{"type": "\xff\xfe"}',
        "30,000 brackets": b"[" * 30_000,
        "a list as data": json.dumps({"type": protocol.EVENT_TYPE, "data": []}).encode(),
    }
    await _all_refused(w, {name: _raw(w, body) for name, body in bodies.items()}, 400)


@case(
    "E12", "the name that the person typed is looked up, not the directory's made-up principal name", source=_OBSERVED
)
async def typed_name(w: World) -> None:
    legacy = w.scripted()
    person, before = w.account(), len(legacy.unknown)
    await decides(w, w.call(person), protocol.MIGRATE)
    if not person.asked or len(legacy.unknown) > before:
        raise Failed("the legacy store was asked about another name than the one that was typed")


@case(
    "E13",
    "where the legacy store knows the person as another directory account, nobody is migrated",
    source=_SAFEST,
    required=False,
)
async def other_account(w: World) -> None:
    w.scripted()
    if not w.feature("user_mapping"):
        raise Skipped("the configuration says that the endpoint compares no directory accounts")
    await decides(w, w.call(w.account(user_id=USER.upper())), protocol.MIGRATE)
    reply = await decides(w, w.call(w.account(user_id=_OTHER)), protocol.BLOCK)
    if not text_of(reply).get("message"):
        raise Failed("Block without a message: the person reads nothing about what to do")
