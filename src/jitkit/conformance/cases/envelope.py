"""E: the JSON around the password context."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jitkit.conformance.cases import HOWTO, OBSERVED, SAFEST, case
from jitkit.conformance.endpoint import Call, Endpoint
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.entra_tokens import USER
from jitkit.protocol import BLOCK, EVENT_TYPE, MIGRATE

_OTHER = "f3b1c9d2-7a64-4b0e-8d15-6c2e9f0a1b77"


@pytest.mark.area("Envelope")
class TestEnvelope:
    @case("E1", "the captured shape with its null members is answered", OBSERVED)
    async def test_captured_shape(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call(), MIGRATE)

    @case("E2", "what the documents do not promise may be missing", HOWTO)
    async def test_minimal(self, endpoint: Endpoint) -> None:
        call = endpoint.call()
        data, kept = call.body["data"], ["@odata.type", "tenantId", "encryptedPasswordContext"]
        if endpoint.config.extension_id or endpoint.config.listener_id:
            kept += ["authenticationEventListenerId", "customAuthenticationExtensionId"]
        context = data["authenticationContext"]
        least = {"correlationId": context["correlationId"], "user": {"id": context["user"]["id"]}}
        call.body["data"] = {name: data[name] for name in kept} | {"authenticationContext": least}
        await endpoint.decides(call, MIGRATE)

    @case("E3", "members that nobody knows yet are ignored", "Microsoft Graph versioning: members may be added")
    async def test_unknown_members(self, endpoint: Endpoint) -> None:
        call = endpoint.call(somethingNew={"a": [1, None]})
        call.body |= {"another": True}
        call.body["data"]["authenticationContext"]["riskDetail"] = {"level": "low"}
        await endpoint.decides(call, MIGRATE)

    @case("E4", "another event is not a password", HOWTO)
    async def test_other_event(self, endpoint: Endpoint) -> None:
        call = endpoint.call()
        call.body["type"] = "microsoft.graph.authenticationEvent.tokenIssuanceStart"
        await endpoint.refuses(call, 400)

    @case("E5", "the data must say that it is the password-submit callout's", HOWTO)
    async def test_other_data(self, endpoint: Endpoint) -> None:
        missing = endpoint.call()
        del missing.body["data"]["@odata.type"]
        other = endpoint.call()
        other.body["data"]["@odata.type"] = "microsoft.graph.onTokenIssuanceStartCalloutData"
        await endpoint.refuses_each({"other": other, "missing": missing}, 400)

    @case("E6", "a callout for another tenant is not ours", SAFEST)
    async def test_other_tenant(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(tenantId=_OTHER), 403)

    @case("E7", "where extension and listener are pinned, others are refused", SAFEST)
    async def test_other_extension(self, endpoint: Endpoint) -> None:
        if not (endpoint.config.extension_id or endpoint.config.listener_id):
            pytest.skip("the configuration names neither extension_id nor listener_id: nothing is pinned")
        if endpoint.config.extension_id:
            await endpoint.refuses(endpoint.call(customAuthenticationExtensionId=_OTHER), 403)
        if endpoint.config.listener_id:
            await endpoint.refuses(endpoint.call(authenticationEventListenerId=_OTHER), 403)

    @case("E8", "without a user there is nobody to sign in", "original sample: 400")
    async def test_no_user(self, endpoint: Endpoint) -> None:
        null, missing = endpoint.call(), endpoint.call()
        null.body["data"]["authenticationContext"]["user"] = None
        del missing.body["data"]["authenticationContext"]["user"]["id"]
        await endpoint.refuses_each({"user null": null, "user id missing": missing}, 400)

    @case("E9", "a password context that is missing or no text is refused", "original sample: 400")
    async def test_no_context(self, endpoint: Endpoint) -> None:
        values: dict[str, Any] = {"null": None, "a number": 7, "an object": {"a": 1}, "empty": "", "a list": ["a"]}
        calls = {name: endpoint.call(context=value) for name, value in values.items()} | {"missing": endpoint.call()}
        del calls["missing"].body["data"]["encryptedPasswordContext"]
        await endpoint.refuses_each(calls, 400)

    @case("E10", "a password that is not encrypted is refused: never a downgrade", SAFEST)
    async def test_plain_text(self, endpoint: Endpoint) -> None:
        call = endpoint.call()
        del call.body["data"]["encryptedPasswordContext"]
        stated = {"user-password": call.account.password, "username": call.account.username, "nonce": call.nonce}
        call.body["data"]["passwordContext"] = stated
        await endpoint.refuses(call, 400)

    @case("E11", "what is no JSON object in UTF-8 is refused, not stumbled over", "RFC 8259")
    async def test_no_json(self, endpoint: Endpoint) -> None:
        def raw(content: bytes) -> Call:
            call = endpoint.call()
            call.body = content
            return call

        good = json.dumps(endpoint.call().body).encode()
        bodies = {
            "half an object": good[:-20],
            "a list": b"[" + good + b"]",
            "a text": b'"hello"',
            "null": b"null",
            "not UTF-8": b'{"type": "\xff\xfe"}',
            "30,000 brackets": b"[" * 30_000,
            "a list as data": json.dumps({"type": EVENT_TYPE, "data": []}).encode(),
        }
        await endpoint.refuses_each({name: raw(body) for name, body in bodies.items()}, 400)

    @case("E12", "the name that the person typed is looked up, not the directory's made-up principal name", OBSERVED)
    async def test_typed_name(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        call, before = endpoint.call(), len(legacy.unknown)
        await endpoint.decides(call, MIGRATE)
        as_typed = call.account.asked and len(legacy.unknown) == before
        assert as_typed, "the legacy store was asked about another name than the one that was typed"

    @case(
        "E13",
        "where the legacy store knows the person as another directory account, nobody is migrated",
        SAFEST,
        required=False,
    )
    @pytest.mark.needs("user_mapping")
    async def test_other_directory_account(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.decides(endpoint.call(endpoint.account(user_id=USER.upper())), MIGRATE)
        reply = await endpoint.decides(endpoint.call(endpoint.account(user_id=_OTHER)), BLOCK)
        assert reply.texts.get("message"), "Block without a message: the user reads nothing about what to do"
