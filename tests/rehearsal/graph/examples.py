"""The examples of the Graph reference: how they are read, prepared and compared.

Each says which page it comes from. Ids and dates in them are samples, so an answer is held to the members it shows, to
their JSON types, and to the values that the request itself sent.
"""

from __future__ import annotations

import json
import re
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

from jitkit.rehearsal.directory import User
from jitkit.rehearsal.graph.applications import new_application, new_service_principal
from jitkit.rehearsal.tenant import RehearsalTenant

Example = dict[str, Any]

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HERE = Path(__file__).parent / "contract"


def load() -> list[Example]:
    """Read every example, in the order of the files."""
    return [example for path in sorted(_HERE.glob("*.json")) for example in json.loads(path.read_text("utf-8"))]


EXAMPLES = {example["id"]: example for example in load()}

# Where the page contradicts itself or the live service; see `note` in the example.
PAGE_SLIPS = {
    "ael-create-fraud-arkose": {"fraudProtectionProvider/id"},
    "aef-get": {"/value"},
    "beta-signups-list": {"@microsoft.graph.tips"},
    "cae-validate-root": {"@odata.context"},
    "directoryaudit-list": {"@odata.context"},
    "extprop-create-multivalued": {"/name"},
    "jit-create-flag-property": {"/name"},
    "signin-list": {"@odata.nextLink"},
    "sp-get-select-graph": {"@odata.context"},
    "sp-list-startswith": {"@odata.context"},
    "user-list-startswith": {"/mailNickname"},
}


def without_slips(id: str, found: list[str]) -> list[str]:
    """Leave out the differences that are the page's own fault."""
    return [line for line in found if not any(slip in line for slip in PAGE_SLIPS.get(id, set()))]


def prepare(tenant: RehearsalTenant, example: Example, certificate: str) -> tuple[str, Any]:
    """Put what an example speaks of into the tenant.

    Args:
        tenant: an untouched tenant.
        example: the example.
        certificate: a DER certificate in base64, where the page shows a placeholder.

    Returns:
        The URL and the body to send.
    """
    text = json.dumps(example["request"])
    text = text.replace("contoso.onmicrosoft.com", tenant.domain).replace("M365x214355.onmicrosoft.com", tenant.domain)
    text = text.replace("@contoso.com", f"@{tenant.domain}")
    key_id = str(uuid.uuid4())
    for placeholder, value in (
        ("{base64-encoded-public-key}", certificate),
        ("MIICADCCAW2gAwIBAgIQ5j9/b+n2Q4pDvQUCcy3\\u2026", certificate),
        ("{key-guid}", key_id),
        ("{extension-url-from-create-custom-extension-section}", "https://jit.example/api"),
        ("{identifierUri-used-in-above-section}", f"api://jit.example/{key_id}"),
        ("passwordValue", "xWwvJ]6NMw+bWH-d"),
    ):
        text = text.replace(placeholder, value)
    request = json.loads(text)
    for name in ("startDateTime", "endDateTime"):
        for item in (request["body"] or {}).get("keyCredentials", []):
            item.pop(name, None)
    path = World(tenant).make(request["path"], request["body"], example["response"]["body"])
    return f"https://graph.microsoft.com{path}", request["body"]


class World:
    """Put what an example speaks of into a tenant."""

    def __init__(self, tenant: RehearsalTenant) -> None:
        self._tenant, self._kept = tenant, tenant.directory

    def make(self, path: str, body: Any, printed: Any) -> str:
        """Make what the path and the body name, and the log rows that are printed; return the path, completed."""
        for placeholder in re.findall(r"\{[^}]+\}", path):
            path = path.replace(placeholder, str(uuid.uuid5(uuid.NAMESPACE_URL, placeholder)), 1)
        segments = path.split("?")[0].split("/")[2:]
        for kind, id in pairwise(segments):
            maker = getattr(self, "users" if kind == "users" else f"_{kind}", None)
            if maker and "$" not in id and not id.startswith("microsoft.graph"):
                maker(id)
        if segments[0] == "auditLogs" and printed and "value" in printed:
            self._log(segments[1], printed["value"])
        if segments[-1] == "microsoft.graph.group":
            self._deletedItems(str(uuid.uuid4()))
        for name in re.findall(r"(\w+)-OAUTH", json.dumps(body)):
            if name in ("Google", "Facebook"):
                self._kept.add("identityProvider", {"id": f"{name}-OAUTH", "displayName": name})
        self._make_parts(segments, body if isinstance(body, dict) else {})
        for name in set(re.findall(r"extension_[0-9a-f]{32}_\w+", path + json.dumps(body))):
            self._extension_property(name)
        if len(segments) == 1 and path.startswith("/v1.0/users") and not body:
            self._some_users(path)
        if segments == ["servicePrincipals"] and not body:
            for name in ("a", "my Team"):
                self._servicePrincipals(str(uuid.uuid4()), name)
        if segments == ["identity", "authenticationEventsFlows"] and not body:
            printed = next(item for item in load() if item["id"] == "aef-list-filter-attribute")["response"]["body"]
            for flow in printed["value"]:
                self._kept.add("authenticationEventsFlow", flow)
        if segments[-1] == "extensionProperties" and not body:
            self._extension_property("extension_25883231668a43a780b25685c3f874bc_x", parent=segments[1])
        if segments == ["applications"] and not body:
            self._applications(str(uuid.uuid4()), displayName="DotNetWeb-App")
        if segments == ["oauth2PermissionGrants"] and not body:
            self._oauth2PermissionGrants("AVs6JuUDjkCFV7q2gd8QTPimBBgj5iBFj0C6GwwRxC0")
        if segments[-1] in ("appRoleAssignedTo", "appRoleAssignments") and not body:
            self._assignment(segments)
        return path

    def _make_parts(self, segments: list[str], body: dict[str, Any]) -> None:
        for name in ("resourceId", "clientId", "principalId"):
            if body.get(name) and not self._kept.get("servicePrincipal", body[name]):
                if name == "principalId" and "consentType" in body:
                    self.users(body[name])
                else:
                    self._servicePrincipals(body[name])
        if role := body.get("appRoleId"):
            found = self._kept.get("servicePrincipal", body["resourceId"]) or {}
            self._kept.replace("servicePrincipal", {**found, "appRoles": [{"id": role, "isEnabled": True}]})
        if body.get("scope"):
            for found in self._kept.all("servicePrincipal"):
                scopes = [{"value": value} for value in body["scope"].split()]
                self._kept.replace("servicePrincipal", {**found, "oauth2PermissionScopes": scopes})
        if named := (body.get("handler") or {}).get("customExtension"):
            self._customAuthenticationExtensions(named["id"])
        if segments[0] == "servicePrincipals" and "appId" in body:
            self._applications(str(uuid.uuid4()), appId=body["appId"])
        if segments[-1] == "includeApplications" and body:
            self._servicePrincipals(str(uuid.uuid4()), app_id=body["appId"])

    def _applications(self, id: str, **more: Any) -> None:
        app = {**new_application({"displayName": "Display name"}, self._kept), "id": id, **more}
        self._kept.add("application", app, key=app["appId"])

    def _servicePrincipals(self, id: str, name: str = "My App", app_id: str | None = None) -> None:
        app = new_application({"displayName": name}, self._kept)
        app["appId"] = app_id or app["appId"]
        self._kept.add(
            "servicePrincipal", {**new_service_principal(app, self._tenant.tenant_id), "id": id}, key=app["appId"]
        )

    def _assignment(self, segments: list[str]) -> None:
        side = "resourceId" if segments[-1] == "appRoleAssignedTo" else "principalId"
        other = {"resourceId": "principalId", "principalId": "resourceId"}[side]
        self._kept.add(
            "appRoleAssignment",
            {
                "id": "47nZsM8O_UuNq5Jz3QValCxBBiqJea9Drc9CMK4Ru_M",
                "deletedDateTime": None,
                "appRoleId": str(uuid.uuid4()),
                "createdDateTime": "2022-05-18T15:37:21Z",
                "principalDisplayName": "My application",
                "principalType": "ServicePrincipal",
                "resourceDisplayName": "Microsoft Graph",
                side: segments[1],
                other: str(uuid.uuid4()),
            },
        )

    def _appRoleAssignedTo(self, id: str) -> None:
        resource = next(item for item in self._kept.all("servicePrincipal") if item["displayName"] == "My App")
        self._kept.add("appRoleAssignment", {"id": id, "resourceId": resource["id"], "resourceDisplayName": "x"})

    def _oauth2PermissionGrants(self, id: str) -> None:
        client, resource = str(uuid.uuid4()), str(uuid.uuid4())
        self._servicePrincipals(client)
        self._servicePrincipals(resource)
        grant = {"id": id, "clientId": client, "resourceId": resource, "principalId": None, "scope": "User.Read"}
        self._kept.add("oauth2PermissionGrant", {**grant, "consentType": "AllPrincipals"})

    def _extension_property(self, name: str, id: str | None = None, parent: str | None = None) -> None:
        owner = parent or self._kept.all("application")[0]["id"]
        body = {"name": name, "dataType": "Boolean" if "pension" in name or "require" in name else "String"}
        body |= {"targetObjects": ["User"], "deletedDateTime": None, "isSyncedFromOnPremises": False}
        body |= {"appDisplayName": "b2c-extensions-app", "isMultiValued": False} | ({"id": id} if id else {})
        if name not in {item["name"] for item in self._kept.all("extensionProperty")}:
            self._kept.add("extensionProperty", body, parent=owner)

    def _extensionProperties(self, id: str) -> None:
        self._extension_property(
            "extension_25883231668a43a780b25685c3f874bc_x", id, "fd918e4b-c821-4efb-b50a-5eddd23afc6f"
        )

    def _customAuthenticationExtensions(self, id: str) -> None:
        if id == "validateAuthenticationConfiguration":
            return
        body = {
            "@odata.type": "#microsoft.graph.onTokenIssuanceStartCustomExtension",
            "id": id,
            "displayName": "onTokenIssuanceStartCustomExtension",
            "description": "Fetch additional claims from custom user store",
            "behaviorOnError": None,
            "clientConfiguration": None,
            "authenticationConfiguration": {"@odata.type": "#x", "resourceId": "api://x/y"},
            "endpointConfiguration": {"@odata.type": "#x", "targetUrl": "https://x"},
            "claimsForTokenConfiguration": [{"claimIdInApiResponse": "DateOfBirth"}],
        }
        self._kept.add("customAuthenticationExtension", body)

    def _authenticationEventListeners(self, id: str) -> None:
        body = {
            "@odata.type": "#microsoft.graph.onTokenIssuanceStartListener",
            "id": id,
            "displayName": None,
            "conditions": {"applications": {"includeApplications": [{"appId": str(uuid.uuid4())}]}},
            "handler": {"@odata.type": "#microsoft.graph.onTokenIssuanceStartCustomExtensionHandler"},
        }
        self._kept.add("authenticationEventListener", body)

    def _authenticationEventsFlows(self, id: str) -> None:
        printed = next(item for item in load() if item["id"] == "aef-get")["response"]["body"]["value"]
        conditions = {"applications": {"includeAllApplications": False, "includeApplications": []}}
        self._kept.add("authenticationEventsFlow", {**printed, "id": id, "conditions": conditions})

    def _includeApplications(self, app_id: str) -> None:
        flow = self._kept.all("authenticationEventsFlow")[0]
        flow["conditions"]["applications"]["includeApplications"] = [{"appId": app_id}]
        self._kept.replace("authenticationEventsFlow", flow)

    def _deletedItems(self, id: str) -> None:
        printed = next(item for item in load() if item["id"] == "deleted-get")["response"]["body"]
        group = {name: value for name, value in printed.items() if not name.startswith("@")}
        self._kept.add("group", {**group, "id": id})
        self._kept.discard("group", id, recycle=True)

    def _log(self, name: str, rows: list[dict[str, Any]]) -> None:
        kind = {"signIns": "signIn", "directoryAudits": "directoryAudit"}[name]
        # The page prints rows from outside the window that it asks for.
        moment = "2024-07-03T00:00:00Z"
        for row in rows:
            stamped = {**row, "createdDateTime": moment} if "createdDateTime" in row else row
            self._kept.append_log(kind, stamped, time=self._kept.clock.now())

    def users(self, id: str, name: str = "Adele Vance", **more: Any) -> None:
        self._kept.add_user(
            User(
                id=id,
                upn=f"{id}@{self._tenant.domain}",
                sign_in_name=None,
                password_hash="",
                force_change=False,
                enabled=True,
                failed=0,
                locked_until=0,
                body={"displayName": name, "businessPhones": ["+1 425 555 0109"], **more},
                created=0,
            )
        )

    def _some_users(self, path: str) -> None:
        values: dict[str, Any] = dict.fromkeys(re.findall(r"extension_[0-9a-f]{32}_\w+", path), "E4")
        values |= {name: True for name in values if "pension" in name}
        values["identities"] = [
            {"signInType": "emailAddress", "issuer": self._tenant.domain, "issuerAssignedId": "j.smith@yahoo.com"}
        ]
        values["assignedLicenses"] = [{"disabledPlans": [], "skuId": "cbdc14ab-d96c-4c30-b9f4-6ada7cdc1d46"}]
        self.users(str(uuid.uuid4()), "a", mail="a@x.example", mailNickname="a", **values)
        self.users(str(uuid.uuid4()), "Oscar Ward", mail="o@x.example")


def differences(expected: Any, actual: Any, at: str = "") -> list[str]:
    """List what an answer lacks, or has with another JSON type, compared with a printed one."""
    if expected is None or actual is None:
        return []
    if isinstance(expected, dict) and isinstance(actual, dict):
        missing = [f"{at}/{name} is missing" for name in expected if name not in actual and _required(name)]
        return missing + [
            found
            for name in expected
            if name in actual
            for found in differences(expected[name], actual[name], f"{at}/{name}")
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        if at == "/value" and expected and not actual:
            return [f"{at} is empty"]
        return differences(expected[0], actual[0], f"{at}[0]") if expected and actual else []
    if at.endswith("@odata.context"):
        printed, sent = (_GUID.sub("{}", text.partition("$metadata#")[2]) for text in (expected, actual))
        return [] if printed == sent else [f"{at}: {sent!r}, printed {printed!r}"]
    return [] if type(expected) is type(actual) else [f"{at}: {actual!r} is no {type(expected).__name__}"]


def echoed(sent: Any, actual: Any, at: str = "") -> list[str]:
    """List the values a request sent that its answer shows differently."""
    if isinstance(sent, dict) and isinstance(actual, dict):
        return [
            found for name in sent.keys() & actual.keys() for found in echoed(sent[name], actual[name], f"{at}/{name}")
        ]
    if isinstance(sent, list) and isinstance(actual, list):
        return [found for one, other in zip(sent, actual, strict=False) for found in echoed(one, other, f"{at}[]")]
    alike = sent == actual or str(sent).lower() == str(actual).lower()
    return [] if alike else [f"{at}: sent {sent!r}, answered {actual!r}"]


def _required(name: str) -> bool:
    # An annotation that belongs to Graph Explorer.
    return name != "@odata.id"
