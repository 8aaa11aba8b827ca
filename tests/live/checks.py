"""The examples of the Graph reference that a real tenant can be held to without touching anything that is not ours.

Each check is named after its example and makes what it needs, once a run.
"""

from __future__ import annotations

import base64
import copy
import datetime
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from rehearsal.graph import examples
from rehearsal.graph.examples import EXAMPLES
from rehearsal.support import certificate

from live.tagged import Body, Tagged

GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
RECEIVE_PAYLOAD = "214e810f-fda8-4fd7-a475-29461495eb00"

Check = Callable[[Tagged], Awaitable[object]]
CHECKS: dict[str, Check] = {}


def check(check: Check) -> Check:
    """Add a check under the id of its example."""
    CHECKS[check.__name__.replace("_", "-")] = check
    return check


def printed(id: str, **changes: Any) -> Body:
    """An example's body with some members of its own."""
    body: Body = copy.deepcopy(EXAMPLES[id]["request"]["body"])
    return body | changes


async def once(live: Tagged, name: str, make: Callable[[], Awaitable[Body]]) -> Body:
    """Make something at its first use."""
    if name not in live.shared:
        live.shared[name] = await make()
    return live.shared[name]


# --- what the checks need ------------------------------------------------------------------------------------------


async def domain(live: Tagged) -> str:
    answer = await live.send("GET", "/domains")
    return next(str(item["id"]) for item in answer.json()["value"] if item["isInitial"])


async def app(live: Tagged, name: str = "app") -> Body:
    body = printed("app-create-minimal", displayName=f"{live.tag} {name}", signInAudience="AzureADMyOrg")
    return await once(live, name, lambda: live.replay("app-create-minimal", "/applications", body=body))


async def principal(live: Tagged) -> Body:
    body = {"appId": (await app(live))["appId"]}
    return await once(live, "principal", lambda: live.replay("sp-create", "/servicePrincipals", body=body))


async def microsoft_graph(live: Tagged) -> Body:
    answer = await live.send("GET", f"/servicePrincipals(appId='{GRAPH_APP_ID}')")
    found: Body = answer.json()
    return found


async def flag(live: Tagged) -> Body:
    path = f"/applications/{(await app(live))['id']}/extensionProperties"
    body = printed("jit-create-flag-property", name=f"{live.tag.replace('-', '_')}_flag")

    async def make() -> Body:
        answer: Body = await live.replay("jit-create-flag-property", path, body=body)
        return answer

    return await once(live, "flag", make)


async def new_user(live: Tagged, name: str, **more: Any) -> Body:
    email, issuer = f"{live.tag}-{name}@woodgrove.example", await domain(live)
    body = printed("user-create-external-tenant", displayName=f"{live.tag} {name}", mail=email, **more)
    body["identities"] = [{"signInType": "emailAddress", "issuer": issuer, "issuerAssignedId": email}]
    body["passwordProfile"]["password"] = f"Aa1!{uuid.uuid4()}"
    made: Body = await live.replay("user-create-external-tenant", "/users", body=body)
    return made


async def user(live: Tagged) -> Body:
    name = (await flag(live))["name"]
    return await once(live, "user", lambda: new_user(live, "user", **{name: True}))


async def extension(live: Tagged) -> Body:
    body = printed("cae-create-password-submit", displayName=f"{live.tag} extension")
    path = "/identity/customAuthenticationExtensions"
    return await once(live, "extension", lambda: live.replay("cae-create-password-submit", path, body=body))


async def listener(live: Tagged) -> Body:
    body = printed("ael-create-password-submit", displayName=f"{live.tag} listener")
    # Only sign-ins to this run's own application, which has no users, would meet it.
    await principal(live)
    body["conditions"]["applications"]["includeApplications"] = [{"appId": (await app(live))["appId"]}]
    body["handler"]["migrationPropertyId"] = (await flag(live))["name"]
    body["handler"]["customExtension"] = {"id": (await extension(live))["id"]}
    path = "/identity/authenticationEventListeners"
    return await once(live, "listener", lambda: live.replay("ael-create-password-submit", path, body=body))


async def grant(live: Tagged) -> Body:
    parts = {"clientId": (await principal(live))["id"], "resourceId": (await microsoft_graph(live))["id"]}
    body = printed("grant-create-allprincipals", **parts, scope="User.Read")
    path = "/oauth2PermissionGrants"
    return await once(live, "grant", lambda: live.replay("grant-create-allprincipals", path, body=body))


async def assignment(live: Tagged) -> Body:
    microsoft = (await microsoft_graph(live))["id"]
    parts = {"principalId": (await principal(live))["id"], "resourceId": microsoft, "appRoleId": RECEIVE_PAYLOAD}
    path = f"/servicePrincipals/{microsoft}/appRoleAssignedTo"
    body = printed("ara-assignedto-create-sp", **parts)
    return await once(live, "assignment", lambda: live.replay("ara-assignedto-create-sp", path, body=body))


def shows(id: str) -> Callable[[Any], bool]:
    """Whether an answer's list has an object."""
    return lambda answer: any(item["id"] == id for item in answer["value"])


# --- applications and service principals ---------------------------------------------------------------------------


@check
async def app_create_minimal(live: Tagged) -> object:
    return await app(live)


@check
async def app_get(live: Tagged) -> object:
    return await live.replay("app-get", f"/applications/{(await app(live))['id']}")


@check
async def app_list(live: Tagged) -> object:
    await app(live)
    return await live.replay("app-list", "/applications")


@check
async def app_count(live: Tagged) -> object:
    count = await live.replay("app-count", "/applications/$count")
    assert int(count.lstrip("\ufeff")) >= 0
    return count


@check
async def app_list_search(live: Tagged) -> object:
    made = await app(live)
    query = f'$search="displayName:{live.tag}"&$count=true&$select=id,appId,identifierUris,displayName,publisherDomain'
    answer = await live.send(
        "GET", f"/applications?{quote(query, safe='$=&,:')}", headers={"ConsistencyLevel": "eventual"}
    )
    assert answer.status_code == 200, answer.text
    assert "@odata.count" in answer.json()
    return made


@check
async def app_update_displayname(live: Tagged) -> object:
    path, name = f"/applications/{(await app(live))['id']}", f"{live.tag} app, renamed"
    await live.replay("app-update-displayname", path, body={"displayName": name})
    return await live.replay("app-get", path, until=lambda answer: answer["displayName"] == name)


@check
async def app_update_jit_encryption_key(live: Tagged) -> object:
    path, key_id = f"/applications/{(await app(live, 'key'))['id']}", str(uuid.uuid4())
    der = certificate(rsa.generate_private_key(65537, 2048))
    body = printed("app-update-jit-encryption-key", tokenEncryptionKeyId=key_id)
    (entry,) = body["keyCredentials"]
    now = datetime.datetime.now(datetime.UTC)
    entry |= {"keyId": key_id, "key": base64.b64encode(der).decode()}
    entry |= {"endDateTime": f"{now + datetime.timedelta(days=20):%Y-%m-%dT%H:%M:%SZ}"}
    del entry["startDateTime"]
    await live.replay("app-update-jit-encryption-key", path, body=body)
    shown = await live.replay("app-get", path, until=lambda answer: answer["tokenEncryptionKeyId"] == key_id)
    assert shown["keyCredentials"][0]["key"] is None
    whole = (await live.send("GET", f"{path}?$select=keyCredentials")).json()
    assert base64.b64decode(whole["keyCredentials"][0]["key"]) == der
    return whole


@check
async def app_delete(live: Tagged) -> object:
    made = await app(live, "deleted")
    await live.replay("app-delete", f"/applications/{made['id']}")
    found = await live.send("GET", f"/directory/deletedItems/{made['id']}")
    assert found.json()["displayName"] == made["displayName"]
    return made


@check
async def sp_create(live: Tagged) -> object:
    return await principal(live)


@check
async def sp_get(live: Tagged) -> object:
    return await live.replay("sp-get", f"/servicePrincipals/{(await principal(live))['id']}")


@check
async def sp_get_select_graph(live: Tagged) -> object:
    names = EXAMPLES["sp-get-select-graph"]["request"]["path"].partition("?")[2]
    return await live.replay("sp-get-select-graph", f"/servicePrincipals/{(await microsoft_graph(live))['id']}?{names}")


@check
async def sp_filter_graph_approles(live: Tagged) -> object:
    query = quote("$filter=displayName eq 'Microsoft Graph'&$select=id,displayName,appId,appRoles", safe="$=&,")
    return await live.replay("sp-filter-graph-approles", f"/servicePrincipals?{query}")


@check
async def sp_update_assignment_required(live: Tagged) -> object:
    path = f"/servicePrincipals/{(await principal(live))['id']}"
    await live.replay("sp-update-assignment-required", path, body=printed("sp-update-assignment-required"))
    return await live.replay("sp-get", path, until=lambda answer: answer["appRoleAssignmentRequired"])


# --- consent -------------------------------------------------------------------------------------------------------


@check
async def ara_assignedto_create_sp(live: Tagged) -> object:
    return await assignment(live)


@check
async def ara_assignments_list(live: Tagged) -> object:
    made = await assignment(live)
    path = f"/servicePrincipals/{made['principalId']}/appRoleAssignments"
    return await live.replay("ara-assignments-list", path, until=shows(made["id"]))


@check
async def grant_create_allprincipals(live: Tagged) -> object:
    return await grant(live)


@check
async def grant_get(live: Tagged) -> object:
    return await live.replay("grant-get", f"/oauth2PermissionGrants/{(await grant(live))['id']}")


@check
async def grant_list(live: Tagged) -> object:
    await grant(live)
    return await live.replay("grant-list", "/oauth2PermissionGrants")


@check
async def grant_update_retain_one(live: Tagged) -> object:
    path = f"/oauth2PermissionGrants/{(await grant(live))['id']}"
    await live.replay("grant-update-retain-one", path, body={"scope": "openid"})
    return await live.replay("grant-get", path, until=lambda answer: answer["scope"].split() == ["openid"])


# --- directory extensions and users --------------------------------------------------------------------------------


@check
async def jit_create_flag_property(live: Tagged) -> object:
    return await flag(live)


@check
async def extprop_get(live: Tagged) -> object:
    made = await flag(live)
    return await live.replay("extprop-get", f"/applications/{(await app(live))['id']}/extensionProperties/{made['id']}")


@check
async def extprop_list(live: Tagged) -> object:
    made = await flag(live)
    path = f"/applications/{(await app(live))['id']}/extensionProperties"
    return await live.replay("extprop-list", path, until=shows(made["id"]))


@check
async def user_create_external_tenant(live: Tagged) -> object:
    return await user(live)


@check
async def user_get(live: Tagged) -> object:
    made = await user(live)
    found = await live.replay("user-get", f"/users/{made['id']}")
    assert not any(name.startswith("extension_") for name in found)
    return found


@check
async def user_list_select_extension(live: Tagged) -> object:
    made, name = await user(live), (await flag(live))["name"]
    path = f"/users/{made['id']}?$select=id,{name}"
    for _ in range(12):
        answer = await live.send("GET", path)
        if answer.status_code == 200 and name in answer.json():
            break
    assert answer.json()[name] is True
    return made


@check
async def user_list_filter_identities(live: Tagged) -> object:
    made, issuer = await user(live), await domain(live)
    email = f"{live.tag}-user@woodgrove.example"
    condition = f"identities/any(c:c/issuerAssignedId eq '{email}' and c/issuer eq '{issuer}')"
    path = f"/users?$select=displayName,id&$filter={quote(condition)}"
    return await live.replay("user-list-filter-identities", path, until=shows(made["id"]))


@check
async def user_count(live: Tagged) -> object:
    return int(str(await live.replay("user-count", "/users/$count")).lstrip("\ufeff"))


@check
async def user_update(live: Tagged) -> object:
    path, body = f"/users/{(await user(live))['id']}", printed("user-update")
    await live.replay("user-update", path, body=body)
    return await live.replay("user-get", path, until=lambda answer: answer["officeLocation"] == body["officeLocation"])


@check
async def user_delete(live: Tagged) -> object:
    made = await new_user(live, "deleted")
    await live.replay("user-delete", f"/users/{made['id']}")
    found = await live.send("GET", f"/directory/deletedItems/{made['id']}")
    assert found.status_code == 200, found.text
    return found


@check
async def user_advanced_missing_header(live: Tagged) -> object:
    path = EXAMPLES["user-advanced-missing-header"]["request"]["path"].removeprefix("/v1.0")
    return await live.replay("user-advanced-missing-header", quote(path, safe="/?$=%"))


@check
async def directory_get_available_extensions(live: Tagged) -> object:
    await flag(live)
    return await live.replay(
        "directory-get-available-extensions", "/directoryObjects/getAvailableExtensionProperties", body={}
    )


# --- extensions and listeners --------------------------------------------------------------------------------------


@check
async def cae_create_password_submit(live: Tagged) -> object:
    return await extension(live)


@check
async def cae_get(live: Tagged) -> object:
    made = await extension(live)
    found = await live.send("GET", f"/identity/customAuthenticationExtensions/{made['id']}")
    assert examples.differences(made, found.json()) == []
    return found


@check
async def cae_update(live: Tagged) -> object:
    made = await extension(live)
    body = {"@odata.type": made["@odata.type"], "description": "Changed"}
    return await live.replay("cae-update", f"/identity/customAuthenticationExtensions/{made['id']}", body=body)


@check
async def cae_validate_root(live: Tagged) -> object:
    path = "/identity/customAuthenticationExtensions/validateAuthenticationConfiguration"
    found = await live.replay("cae-validate-root", path, body=printed("cae-validate-root"))
    assert {error["code"] for error in found["errors"]} >= {"DomainNameDoesNotMatch"}
    return found


@check
async def ael_create_password_submit(live: Tagged) -> object:
    return await listener(live)


@check
async def ael_get(live: Tagged) -> object:
    made = await listener(live)
    found = await live.send("GET", f"/identity/authenticationEventListeners/{made['id']}")
    assert examples.differences(made, found.json()) == []
    return found


@check
async def ael_update_conditions(live: Tagged) -> object:
    made = await listener(live)
    body = {"@odata.type": made["@odata.type"], "conditions": made["conditions"]}
    return await live.replay("ael-update-conditions", f"/identity/authenticationEventListeners/{made['id']}", body=body)


# --- the tenant and its logs ---------------------------------------------------------------------------------------


@check
async def domain_list(live: Tagged) -> object:
    return await live.replay("domain-list", "/domains")


@check
async def domain_get(live: Tagged) -> object:
    return await live.replay("domain-get", f"/domains/{await domain(live)}")


@check
async def organization_list(live: Tagged) -> object:
    return await live.replay("organization-list", "/organization")


@check
async def error_object(live: Tagged) -> object:
    answer = await live.send("GET", f"/users/{uuid.uuid4()}")
    assert answer.status_code == 404
    assert examples.differences(EXAMPLES["error-object"]["response"]["body"], answer.json()) == []
    return answer


@check
async def batch_five_mixed(live: Tagged) -> object:
    asked = [item for item in printed("batch-five-mixed")["requests"] if item["id"] == "5"]
    answer = await live.send("POST", "/$batch", body={"requests": asked})
    (inner,) = answer.json()["responses"]
    (shown,) = [item for item in EXAMPLES["batch-five-mixed"]["response"]["body"]["responses"] if item["id"] == "5"]
    assert inner["status"] == shown["status"]
    assert examples.differences(shown["body"], inner["body"]) == []
    return answer


@check
async def directoryaudit_list(live: Tagged) -> object:
    answer = await live.send("GET", "/auditLogs/directoryAudits?$top=1")
    assert answer.status_code == 200, answer.text
    return answer
