"""Applications, their service principals, directory extensions, certificates and identifier URIs.

Shapes and rules: Graph v1.0, application, servicePrincipal, extensionProperty and keyCredential resources and their
pages; "Add custom data to resources by using extensions"; Microsoft Learn, "Restrictions on identifier URIs of
Microsoft Entra applications" (their words: [observed]), and "Just-in-time password migration", section on the
encryption key.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory, new_id
from jitkit.rehearsal.graph.resource import READ_DIRECTORY, Resource, check_room, defaults, merge
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, refusal, written

_WRITE: Final = ("Application.ReadWrite.All", "Directory.ReadWrite.All")
_AUDIENCES: Final = {
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
}


class _Registered(Resource):
    """What applications and service principals have in common."""

    read, write = READ_DIRECTORY, _WRITE
    operations = "list count get create update delete"
    key = "appId"
    checks_select = recycled = logs_changes = True

    def listed(self, call: Call, item: Body) -> Body:
        return hidden(item)


class Applications(_Registered):
    """Application registrations. An application's service principal is a separate object."""

    kind, model = "application", "Application"
    paths = ("/applications",)
    keys, created_by = ("appId", "uniqueName"), "uniqueName"
    required = ("displayName", "signInAudience")
    read_only = frozenset({"id", "appId", "createdDateTime", "deletedDateTime", "publisherDomain"})
    on_create, on_update, on_delete = "Add application", "Update application", "Delete application"

    def shown(self, call: Call, item: Body) -> Body:
        """Public keys come only with `$select=keyCredentials`."""
        return item if "keycredentials" in {name.lower() for name in call.selected} else hidden(item)

    def as_created(self, item: Body) -> Body:
        return hidden(item)

    def checked(self, call: Call) -> Body:
        body = super().checked(call)
        if body.get("signInAudience") is not None and body["signInAudience"] not in _AUDIENCES:
            raise refusal("value", name="signInAudience", model=self.model)
        return body

    def new(self, call: Call, body: Body) -> Body:
        if not body.get("displayName"):
            raise refusal("value-required", name="displayName", model=self.model)
        name = body.get("uniqueName")
        if name and any(app.get("uniqueName") == name for app in call.directory.all("application")):
            raise refusal("taken", name="uniqueName")
        check_room(call.directory)
        app = new_application(body, call.directory)
        _check_uris(call, app, app["identifierUris"])
        app["keyCredentials"] = _replaced_keys(app["keyCredentials"], [])
        _check_token_encryption(app)
        return app

    def changed(self, call: Call, before: Body, body: Body) -> Body:
        """Collections are replaced as a whole, complex properties member by member."""
        if before.get("uniqueName") and body.get("uniqueName", before["uniqueName"]) != before["uniqueName"]:
            raise refusal("unique-name-set")
        after = _whole(super().changed(call, before, body))
        if "identifierUris" in body:
            _check_uris(call, after, after["identifierUris"], present=before["identifierUris"])
        if "keyCredentials" in body:
            after["keyCredentials"] = _replaced_keys(body["keyCredentials"], before["keyCredentials"])
        _check_token_encryption(after)
        if principal := call.directory.by_key("servicePrincipal", after["appId"]):
            call.directory.replace("servicePrincipal", {**principal, **_mirrored(after)})
        return after

    def delete(self, call: Call) -> Answer:
        """The service principal goes to the recycle bin as well."""
        if principal := call.directory.by_key("servicePrincipal", self.find(call)["appId"]):
            call.directory.discard("servicePrincipal", principal["id"], recycle=True)
        return super().delete(call)


def new_application(body: Body, directory: Directory) -> Body:
    """Fill a new registration as the service does, from a checked body."""
    made: Body = {"id": new_id(), "appId": new_id(), "createdDateTime": written(directory.clock.now())}
    made["publisherDomain"] = directory.meta("domain")
    app = _whole(merge({**made, **defaults("application")}, body))
    app["signInAudience"] = app["signInAudience"] or "AzureADandPersonalMicrosoftAccount"
    if app["signInAudience"].endswith("PersonalMicrosoftAccount") and not (body.get("api") or {}):
        app["api"]["requestedAccessTokenVersion"] = 2
    return app


def hidden(app: Body) -> Body:
    """Return an application or principal as a list or an ordinary GET shows it: every `key` is null."""
    return {**app, "keyCredentials": [{**item, "key": None} for item in app["keyCredentials"]]}


def _whole(app: Body) -> Body:
    """Give a complex property that was set to null its parts back."""
    for name, value in defaults("application").items():
        if isinstance(value, dict) and app.get(name) is None:
            app[name] = value
    return app


class ServicePrincipals(_Registered):
    """Service principals: the presence of applications in the tenant."""

    kind, model = "servicePrincipal", "ServicePrincipal"
    paths = ("/servicePrincipals",)
    keys, created_by = ("appId",), "appId"
    read_only = frozenset({"id", "deletedDateTime", "appDisplayName", "appOwnerOrganizationId", "servicePrincipalType"})
    on_create, on_update = "Add service principal", "Update service principal"
    on_delete = "Remove service principal"

    def new(self, call: Call, body: Body) -> Body:
        """Only the appId has to be sent."""
        app_id = body.get("appId") or ""
        app = call.read_by_key("application", app_id)
        if app is None:
            raise refusal("app-id-unknown", app_id=app_id)
        if call.directory.by_key(self.kind, app_id):
            raise refusal("principal-taken", app_id=app_id)
        check_room(call.directory)
        return new_service_principal(app, call.tenant_id) | body

    def changed(self, call: Call, before: Body, body: Body) -> Body:
        if body.get("appId", before["appId"]) != before["appId"]:
            raise refusal("read-only", name="appId")
        return before | body


def new_service_principal(app: Body, tenant_id: str) -> Body:
    """Make the principal of an application of this tenant."""
    own = {"id": new_id(), "appId": app["appId"], "appOwnerOrganizationId": tenant_id}
    return {**defaults("servicePrincipal"), **own, **_mirrored(app)}


def _mirrored(app: Body) -> Body:
    """The properties a principal takes over from its application, now and whenever that changes."""
    urls = [app["publicClient"], app["web"], app["spa"]]
    return {
        "appDisplayName": app["displayName"],
        "displayName": app["displayName"],
        "homepage": app["web"].get("homePageUrl"),
        "logoutUrl": app["web"].get("logoutUrl"),
        "replyUrls": [url for group in urls for url in group.get("redirectUris", [])],
        "servicePrincipalNames": [app["appId"], *app["identifierUris"]],
        "appRoles": copy.deepcopy(app["appRoles"]),
        "oauth2PermissionScopes": copy.deepcopy(app["api"]["oauth2PermissionScopes"]),
        "info": copy.deepcopy(app["info"]),
        "signInAudience": app["signInAudience"],
    }


APPLICATIONS: Final = Applications()
SERVICE_PRINCIPALS: Final = ServicePrincipals()


# --- directory extensions: custom user attributes ------------------------------------------------------------------

_DATA_TYPES: Final = {"Binary", "Boolean", "DateTime", "Integer", "LargeInteger", "String"}
_TARGETS: Final = {"User", "Group", "AdministrativeUnit", "Application", "Device", "Organization"}
_MOST_EXTENSIONS: Final = 100


class ExtensionProperties(Resource):
    """The directory extensions that an application owns. Values stay on users when one is deleted, undiscoverable."""

    kind, model = "extensionProperty", "ExtensionProperty"
    paths = ("/applications/{id}/extensionProperties", "/applications(appId='{appId}')/extensionProperties")
    read, write = READ_DIRECTORY, ("Application.ReadWrite.All", "Application.ReadWrite.OwnedBy")
    operations = "list get create delete"
    placeholder, owner = "property", APPLICATIONS

    def routes(self) -> list[GraphRoute]:
        path = "/directoryObjects/getAvailableExtensionProperties"
        return [*super().routes(), GraphRoute("POST", path, self.available, self.read)]

    def available(self, call: Call) -> Answer:
        """List every extension registered in the tenant."""
        kind = {"@odata.type": "#microsoft.graph.extensionProperty"}
        value = [{**kind, **item} for item in call.directory.all(self.kind)]
        return call.collection("Collection(extensionProperty)", value)

    def context(self, call: Call) -> str:
        return f"applications('{APPLICATIONS.find(call)['id']}')/extensionProperties"

    def listed(self, call: Call, item: Body) -> Body:
        """As live, `appDisplayName` is empty in a list."""
        return {**item, "appDisplayName": ""}

    def create(self, call: Call) -> Answer:
        app = APPLICATIONS.find(call)
        return call.entity(201, self.context(call), add_extension(call, app, self.checked(call)))

    def delete(self, call: Call) -> Answer:
        APPLICATIONS.audit(call, APPLICATIONS.on_update, APPLICATIONS.find(call))
        return super().delete(call)


def registered(call: Call, target: str) -> dict[str, str]:
    """Return the directory extensions that `User`, `Application` … may carry: full name to data type.

    Those of a deleted application are hidden with it.
    """
    found = call.directory.rows(
        "SELECT json_extract(p.body, '$.name') AS name, json_extract(p.body, '$.dataType') AS type,"
        " json_extract(p.body, '$.targetObjects') AS targets FROM objects p JOIN objects a ON a.id = p.parent"
        " WHERE p.kind = 'extensionProperty' AND p.deleted IS NULL AND a.deleted IS NULL AND p.created <= ?",
        (call.replicated,),
    )
    return {row["name"]: row["type"] for row in found if target in json.loads(row["targets"])}


def add_extension(call: Call, app: Body, body: Body) -> Body:
    """Register an extension on an application under its full name, `extension_{appId without hyphens}_{name}`.

    Raises GraphError 400 for a name, type or target that is missing, wrong or taken.
    """
    name, targets = body.get("name") or "", body.get("targetObjects") or []
    if not re.fullmatch(r"\w{1,80}", name, re.ASCII):
        raise refusal("extension-name")
    if body.get("dataType") not in _DATA_TYPES:
        raise refusal("extension-type", types=", ".join(sorted(_DATA_TYPES)))
    if not targets or not set(targets) <= _TARGETS:
        raise refusal("extension-targets", targets=", ".join(sorted(_TARGETS)))
    full = f"extension_{app['appId'].replace('-', '')}_{name}"
    present = call.directory.all("extensionProperty")
    if any(item["name"].lower() == full.lower() for item in present):
        raise refusal("extension-taken", name=full)
    if len(present) >= _MOST_EXTENSIONS:
        raise refusal("extension-limit", most=_MOST_EXTENSIONS)
    made = new_extension(app, full, body["dataType"], targets, multiple=bool(body.get("isMultiValued")))
    APPLICATIONS.audit(call, APPLICATIONS.on_update, app)
    return call.directory.add("extensionProperty", made, parent=app["id"])


def new_extension(app: Body, full_name: str, data_type: str, targets: list[str], *, multiple: bool = False) -> Body:
    """Make the object of a directory extension, without its id."""
    return {
        "deletedDateTime": None,
        "appDisplayName": app["displayName"],
        "name": full_name,
        "dataType": data_type,
        "isMultiValued": multiple,
        "isSyncedFromOnPremises": False,
        "targetObjects": targets,
    }


# --- identifier URIs -----------------------------------------------------------------------------------------------


def check_uris_free(call: Call, own_id: str, uris: Sequence[str]) -> None:
    """Refuse identifier URIs that another application than `own_id` has. Raises GraphError 400."""
    gone = switches.is_on(call.directory, "deleted_apps_keep_uris")
    others = call.directory.rows(
        "SELECT json_extract(body, '$.identifierUris') AS uris FROM objects WHERE kind = 'application' AND id <> ?"
        " AND (deleted IS NULL OR ?)",
        (own_id, gone),
    )
    taken = {uri.lower() for row in others for uri in json.loads(row["uris"] or "[]")}
    if any(uri.lower() in taken for uri in uris):
        raise refusal("taken", name="identifierUris")


def _check_uris(call: Call, app: Body, uris: Sequence[str], *, present: Sequence[str] = ()) -> None:
    """Refuse URIs that the service would not accept; those already present are not held to the policy again."""
    check_uris_free(call, app["id"], uris)
    for uri in uris:
        if "://" not in uri and not uri.startswith("urn:"):
            raise refusal("uri", uri=uri)
        if uri.endswith("/"):
            raise refusal("uri-slash", uri=uri)
        if uri not in present and not _secure(call, app, uri):
            raise refusal("uri-insecure", uri=uri)
    if len({uri.lower() for uri in uris}) != len(uris):
        raise refusal("uri-twice")


def _secure(call: Call, app: Body, uri: str) -> bool:
    """Whether a URI has a form that no other tenant can claim, or the policy does not bind its application."""
    if (app.get("api") or {}).get("requestedAccessTokenVersion") == 2:
        return True
    principal = call.directory.by_key("servicePrincipal", app["appId"]) or {}
    if principal.get("preferredSingleSignOnMode") == "saml":
        return True
    scheme, _, rest = uri.lower().partition("://")
    host, _, path = rest.partition("/")
    if scheme == "api" and (call.tenant_id in rest or app["appId"] in (host, path.rpartition("/")[2])):
        return True
    return any(re.fullmatch(rf"(.+\.)?{re.escape(each['id'].lower())}", host) for each in call.directory.all("domain"))


# --- certificates --------------------------------------------------------------------------------------------------

_KEY_TYPES: Final = {"AsymmetricX509Cert", "X509CertAndPassword", "Symmetric"}
_KEY_USAGES: Final = {"Sign", "Verify", "Encrypt"}


def _replaced_keys(sent: list[Body], present: list[Body]) -> list[Body]:
    """Work out `keyCredentials` after a PATCH: what was sent, and nothing else.

    An entry that names a present key and carries no `key` keeps the stored one: the reference does not say so, it is
    what clients that read, append and write back rely on.
    """
    known = {item["keyId"]: item for item in present}
    result = [
        {**known[item["keyId"]], **{k: v for k, v in item.items() if v is not None and not k.startswith("@odata")}}
        if not item.get("key") and item.get("keyId") in known
        else _key_entry(item)
        for item in sent
    ]
    if len({item["keyId"] for item in result}) != len(result):
        raise refusal("key-twice")
    return result


def _check_token_encryption(app: Body) -> None:
    """Refuse a `tokenEncryptionKeyId` that names no stored key of usage Encrypt."""
    wanted = app.get("tokenEncryptionKeyId")
    usable = {item["keyId"].lower() for item in app["keyCredentials"] if item["usage"] == "Encrypt"}
    if wanted is not None and wanted.lower() not in usable:
        raise refusal("token-encryption-key", id=wanted)


def _key_entry(item: Body) -> Body:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    if item.get("type") not in _KEY_TYPES or item.get("usage") not in _KEY_USAGES:
        raise refusal("key-type")
    if not item.get("key"):
        raise refusal("key-bytes")
    if item["type"] != "AsymmetricX509Cert":
        raise refusal("key-addkey", type=item["type"])
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(item["key"]))
    except ValueError:
        raise refusal("key-certificate") from None
    thumbprint = base64.b64encode(certificate.fingerprint(hashes.SHA1()).hex().upper().encode()).decode()  # noqa: S303
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return {
        "customKeyIdentifier": item.get("customKeyIdentifier") or thumbprint,
        "displayName": item.get("displayName") or certificate.subject.rfc4514_string(),
        "endDateTime": _within(item.get("endDateTime"), starts, ends) or written(ends.timestamp()),
        "key": item["key"],
        "keyId": (item.get("keyId") or new_id()).lower(),
        "startDateTime": _within(item.get("startDateTime"), starts, ends) or written(starts.timestamp()),
        "type": item["type"],
        "usage": item["usage"],
    }


def _within(text: str | None, starts: datetime, ends: datetime) -> str | None:
    """Read a start or end date; refuse one outside the certificate's validity."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # Certificates carry whole seconds; a caller may send fractions of one.
    if not starts.timestamp() - 1 <= moment.timestamp() <= ends.timestamp() + 1:
        raise refusal("key-dates")
    return written(moment.timestamp())
