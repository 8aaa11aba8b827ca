"""A finished set-up, put into a tenant's directory without Graph, and what troubles do to it meanwhile."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from jitkit.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal.directory import Body, Directory, new_id
from jitkit.rehearsal.population.plan import Plan
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["HOST", "Setup"]

HOST = "jit.woodgrove.example"
_ATTRIBUTE = "toBeMigrated"
_EMAIL_WITH_PASSWORD = "EmailPassword-OAUTH"  # noqa: S105


@dataclass(frozen=True)
class Setup:
    """What the notebooks make, for the apps of a plan.

    Args:
        flag: the flag's full name.
        extension_app: the extension's app registration.
        listener: the password-submit listener as it is when nothing is wrong.
        consent: the extension's granted permission.
        app_ids: the appIds of the plan's apps, in its order.
    """

    flag: str
    extension_app: Body
    listener: Body
    consent: Body
    app_ids: tuple[str, ...]

    @classmethod
    def make(cls, tenant: RehearsalTenant, plan: Plan, certificate: bytes) -> Setup:
        """Put everything in place in an untouched tenant.

        The web apps take no token from the sign-in page, as apps with the authorization code flow do.

        Args:
            tenant: the tenant.
            plan: names the apps.
            certificate: the certificate to encrypt for, as DER.
        """
        directory = tenant.directory
        with directory.transaction():
            flag = _flag(directory)
            extension_app, consent = _extension_app(directory, certificate)
            app_ids = tuple(_app(directory, app.name)["appId"] for app in plan.apps)
            _user_flow(directory, app_ids)
            listener = _listener(directory, flag, _extension(directory, extension_app), app_ids)
            tenant.publish(HOST, "http://127.0.0.1")
        return cls(flag, extension_app, listener, consent, app_ids)

    def follow(self, directory: Directory, plan: Plan, day: float) -> None:
        """Change the set-up to what it is at a moment of the plan.

        Args:
            directory: the tenant's directory.
            plan: says which app is covered since when, and what is wrong.
            day: the moment, in days from the start.
        """
        covered = [id for id, app in zip(self.app_ids, plan.apps, strict=True) if app.covered_from <= day]
        included = [] if plan.wrong("listener removed", at=day) else covered
        directory.replace("authenticationEventListener", {**self.listener, "conditions": _conditions(included)})
        granted = directory.get("appRoleAssignment", self.consent["id"]) is not None
        if plan.wrong("consent revoked", at=day) and granted:
            directory.discard("appRoleAssignment", self.consent["id"], recycle=False)
        elif not plan.wrong("consent revoked", at=day) and not granted:
            directory.add("appRoleAssignment", self.consent)


def _flag(directory: Directory) -> str:
    owner = next(each for each in directory.all("application") if each["displayName"].startswith("b2c-extensions-app"))
    name = f"extension_{owner['appId'].replace('-', '')}_{_ATTRIBUTE}"
    directory.add(
        "extensionProperty",
        {
            "appDisplayName": owner["displayName"],
            "name": name,
            "dataType": "Boolean",
            "isMultiValued": False,
            "targetObjects": ["User"],
        },
        parent=owner["id"],
    )
    return name


def _extension_app(directory: Directory, certificate: bytes) -> tuple[Body, Body]:
    key = {
        "keyId": new_id(),
        "usage": "Encrypt",
        "type": "AsymmetricX509Cert",
        "key": base64.b64encode(certificate).decode(),
    }
    app_id = new_id()
    app = _app(
        directory,
        "JIT password check",
        appId=app_id,
        identifierUris=[f"api://{HOST}/{app_id}"],
        api={"requestedAccessTokenVersion": 2},
        keyCredentials=[key],
        tokenEncryptionKeyId=key["keyId"],
    )
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID) or {}
    principal = directory.by_key("servicePrincipal", app_id) or {}
    consent = {
        "id": new_id(),
        "principalId": principal["id"],
        "resourceId": graph["id"],
        "appRoleId": RECEIVE_PAYLOAD_ROLE_ID,
    }
    return app, directory.add("appRoleAssignment", consent)


def _app(directory: Directory, name: str, **more: object) -> Body:
    app = {"id": new_id(), "appId": new_id(), "displayName": name, **more}
    principal = {"id": new_id(), "appId": app["appId"], "displayName": name, "accountEnabled": True}
    directory.add("servicePrincipal", principal, key=str(app["appId"]))
    return directory.add("application", app, key=str(app["appId"]))


def _user_flow(directory: Directory, app_ids: tuple[str, ...]) -> None:
    directory.add(
        "authenticationEventsFlow",
        {
            "id": new_id(),
            "@odata.type": "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow",
            "displayName": "Sign up and sign in",
            "conditions": _conditions(app_ids),
            "onAuthenticationMethodLoadStart": {"identityProviders": [{"id": _EMAIL_WITH_PASSWORD}]},
        },
    )


def _extension(directory: Directory, app: Body) -> Body:
    return directory.add(
        "customAuthenticationExtension",
        {
            "id": new_id(),
            "@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension",
            "displayName": "JIT password check",
            "authenticationConfiguration": {"resourceId": app["identifierUris"][0]},
            "endpointConfiguration": {"targetUrl": f"https://{HOST}/api/JitMigrationEndpoint"},
            "clientConfiguration": {"timeoutInMilliseconds": 2000, "maximumRetries": 1},
        },
    )


def _listener(directory: Directory, flag: str, extension: Body, app_ids: tuple[str, ...]) -> Body:
    return directory.add(
        "authenticationEventListener",
        {
            "id": new_id(),
            "@odata.type": "#microsoft.graph.onPasswordSubmitListener",
            "priority": 500,
            "conditions": _conditions(app_ids),
            "handler": {
                "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
                "migrationPropertyId": flag,
                "customExtension": {"id": extension["id"]},
            },
        },
    )


def _conditions(app_ids: tuple[str, ...] | list[str]) -> Body:
    return {"applications": {"includeApplications": [{"appId": id} for id in app_ids]}}
