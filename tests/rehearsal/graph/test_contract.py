"""The examples of the Graph reference, replayed."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from helpers.rehearsal.tenant import RehearsalTenant

from . import examples

# What the tenant does not stand in for: it has to say so.
NOT_SIMULATED = {
    "user-get-me",
    "group-filter-unindexed",
    "deleted-list-cast",
    "user-delta-initial",
    "user-delta-select-first",
    "user-delta-cycle-1-initial",
    "user-delta-cycle-2-nextlink",
    "user-delta-cycle-3-deltalink",
    "user-delta-cycle-4-empty",
}
# What cannot be replayed as printed, and why.
NOT_REPLAYED = {
    "error-object": "a shape, not an exchange",
    "throttled-429-retry-after-10": "throttling is not switched on",
    "jit-callout-migrate-password": "goes to the endpoint, not to Graph",
    "batch-five-mixed": "asks for groups and plans",
    "user-get-schema-extension": "another mechanism than directory extensions",
    "user-list-search-or": "a malformed option is printed",
    "jit-create-user-with-flag": "incomplete as printed: the reference requires displayName and a name to sign in by",
    "aef-create-social-custom": "needs social identity providers",
    "ael-create-fraud-arkose": "needs a fraud protection provider",
    "cae-create-otp-send": "behaviorOnError is printed with an abstract type",
}
# Where the page contradicts itself or the live service; see `note` in the example.
PAGE_SLIPS = {
    "sp-list-startswith": {"@odata.context"},
    "sp-get-select-graph": {"@odata.context"},
    "cae-validate-root": {"@odata.context"},
    "aef-get": {"/value"},
    "deleted-get": {"/groupTypes", "/mail", "/mailEnabled", "/mailNickname", "/securityEnabled", "/visibility"},
    "user-list-startswith": {"/mailNickname"},
    "extprop-create-multivalued": {"/name"},
}
REPLAYED = [item for item in examples.load() if item["id"] not in NOT_REPLAYED]


@pytest.mark.parametrize("example", REPLAYED, ids=lambda item: str(item["id"]))
async def test_an_example_of_the_reference(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, der: bytes, example: dict[str, Any]
) -> None:
    url, body = examples.prepare(tenant, example, base64.b64encode(der).decode())
    headers = {
        name: value for name, value in example["request"]["headers"].items() if name.lower() == "consistencylevel"
    }
    answer = await graph.request(example["request"]["method"], url, json=body, headers=headers)
    if example["id"] in NOT_SIMULATED:
        assert answer.status_code == 501
        return
    printed = example["response"]
    assert answer.status_code == printed["status"], answer.text
    if printed["body"] is None:
        return
    found = examples.differences(printed["body"], answer.json())
    if example["request"]["method"] == "POST" and printed["status"] == 201:
        found += examples.echoed(body, answer.json())
    slips = PAGE_SLIPS.get(example["id"], set())
    assert [line for line in found if not any(slip in line for slip in slips)] == []
