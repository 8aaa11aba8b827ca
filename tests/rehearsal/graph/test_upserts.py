"""What a client's own key addresses: made, changed or refused by one PATCH; and which identifier URIs are taken."""

from __future__ import annotations

import uuid

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message

CREATE = {"Prefer": "create-if-missing"}


async def test_an_application_is_made_or_changed_by_its_unique_name(graph: httpx.AsyncClient) -> None:
    path = "/applications(uniqueName='jit-login')"
    assert (await graph.patch(path, json={"displayName": "JIT"})).status_code == 404
    made = await graph.patch(path, json={"displayName": "JIT"}, headers=CREATE)
    assert (made.status_code, made.json()["uniqueName"]) == (201, "jit-login")
    assert (await graph.patch(path, json={"displayName": "New"}, headers=CREATE)).status_code == 204
    found = (await graph.get(path)).json()
    assert (found["id"], found["displayName"]) == (made.json()["id"], "New")
    assert "cannot be changed" in message(await graph.patch(path, json={"uniqueName": "other"}))
    taken = await graph.post("/applications", json={"displayName": "JIT", "uniqueName": "jit-login"})
    assert "same value for property uniqueName already exists" in message(taken)
    assert (await graph.delete(path)).status_code == 204


async def test_a_principal_is_made_or_changed_by_its_app_id(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    path = f"/servicePrincipals(appId='{app['appId']}')"
    assert (await graph.patch(path, json={"notes": "x"})).status_code == 404
    made = await graph.patch(path, json={"notes": "x"}, headers=CREATE)
    assert (made.status_code, made.json()["appId"], made.json()["notes"]) == (201, app["appId"], "x")
    assert (await graph.patch(path, json={"notes": "y"}, headers=CREATE)).status_code == 204
    assert (await graph.get(path)).json()["notes"] == "y"
    unknown = await graph.patch(f"/servicePrincipals(appId='{uuid.uuid4()}')", json={}, headers=CREATE)
    assert "does not reference a valid application object" in message(unknown)


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        ("api://{app}", True),
        ("api://jit.woodgrove.example/{app}", True),
        ("api://{tenant}/jit", True),
        ("https://{domain}/jit", True),
        ("https://api.{domain}", True),
        ("api://jit.woodgrove.example", False),
        ("https://woodgrove.example/jit", False),
        ("https://{domain}.example/jit", False),
    ],
)
async def test_an_identifier_uri_says_whose_it_is(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, form: str, taken: bool
) -> None:
    body = {"displayName": "JIT", "signInAudience": "AzureADMyOrg"}
    app = (await graph.post("/applications", json=body)).json()
    path = f"/applications/{app['id']}"
    uri = form.format(app=app["appId"], tenant=tenant.tenant_id, domain=tenant.domain)
    answer = await graph.patch(path, json={"identifierUris": [uri]})
    assert answer.status_code == (204 if taken else 400)
    if not taken:
        assert f"Failed to add identifier URI {uri}" in message(answer)
        # An application that takes version 2 tokens need not care, and what is there may stay.
        sent = {"identifierUris": [uri], "api": {"requestedAccessTokenVersion": 2}}
        assert (await graph.patch(path, json=sent)).status_code == 204
        assert (await graph.patch(path, json={"api": {"requestedAccessTokenVersion": 1}})).status_code == 204
        own = f"api://{app['appId']}"
        assert (await graph.patch(path, json={"identifierUris": [uri, own]})).status_code == 204


async def test_an_application_for_saml_may_have_any_identifier_uri(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "S", "signInAudience": "AzureADMyOrg"})).json()
    await graph.post("/servicePrincipals", json={"appId": app["appId"], "preferredSingleSignOnMode": "saml"})
    sent = {"identifierUris": ["https://signin.example/saml"]}
    assert (await graph.patch(f"/applications/{app['id']}", json=sent)).status_code == 204
