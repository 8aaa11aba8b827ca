"""What a new external tenant holds before anybody touches it.

Ids of permissions: Microsoft Graph permissions reference. The owner application of custom user attributes and its
built-in property: Graph v1.0, "List extensionProperties", example.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping

from jitkit.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD, RECEIVE_PAYLOAD_ROLE_ID, USER_READ, USER_READ_SCOPE_ID
from jitkit.rehearsal import identity
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph.wire import new_id, written

EXTENSIONS_APP_NAME = "b2c-extensions-app. Do not modify. Used by AADB2C for storing user data."
_BUILT_IN_PROPERTY = "cpiminternal_useAccountEnabledForPhone"

# Permission: (delegated scope id, application role id); None where there is no such variant.
PERMISSIONS: Mapping[str, tuple[str | None, str | None]] = {
    RECEIVE_PAYLOAD: (None, RECEIVE_PAYLOAD_ROLE_ID),
    USER_READ: (USER_READ_SCOPE_ID, None),
    "openid": ("37f7f235-527c-4136-accd-4a02d197296e", None),
    "offline_access": ("7427e0e9-2fba-42fe-b0c0-848c9e6a8182", None),
    "email": ("64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0", None),
    "CustomAuthenticationExtension.ReadWrite.All": (
        "8dfcf82f-15d0-43b3-bc78-a958a13a5792",
        "c2667967-7050-4e7e-b059-4cbbb3811d03",
    ),
    "EventListener.ReadWrite.All": ("d11625a6-fe21-4fc6-8d3d-063eba5525ad", "0edf5e9e-4ce8-468a-8432-d08631d18c43"),
    "CustomAuthenticationExtension.Read.All": (
        "b2052569-c98c-4f36-a5fb-43e5c111e6d0",
        "88bb2658-5d9e-454f-aacd-a3933e079526",
    ),
    "EventListener.Read.All": ("f7dd3bed-5eec-48da-bc73-1c0ef50bc9a1", "b7f6385c-6ce6-4639-a480-e23c42ed9784"),
    "Application.ReadWrite.All": ("bdfbf15f-ee85-4955-8675-146e8e5296b5", "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"),
    "Application.ReadWrite.OwnedBy": (None, "18a4783c-866b-4cc7-a460-3d5e5662c884"),
    "Application.Read.All": ("c79f8feb-a9db-4090-85f9-90d820caa0eb", "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"),
    "AppRoleAssignment.ReadWrite.All": (
        "84bccea3-f856-4a8a-967b-dbe0a3d53a64",
        "06b708a9-e830-4db3-a914-8e69da51d44f",
    ),
    "DelegatedPermissionGrant.ReadWrite.All": (
        "41ce6ca6-6826-4807-84f1-1c82854f7ee5",
        "8e8e4742-1d95-4f68-9d56-6ee75648c72a",
    ),
    "User.ReadWrite.All": ("204e0828-b5ca-4ad8-b9f3-f32a958e7cc4", "741f803b-c850-494e-b5df-cde7c675a1ca"),
    "User.Read.All": ("a154be20-db9c-4678-8ab7-66f6cc099a59", "df021288-bdef-4463-88db-98f22de89214"),
    "User.ManageIdentities.All": ("637d7bec-b31e-4deb-acc9-24275642a2c9", "c529cfca-c91b-489c-af2b-d92990b66ce6"),
    "Directory.Read.All": ("06da0dbc-49e2-44d2-8312-53f166ab848a", "7ab1d382-f21e-4acd-a863-ba3e13f7da61"),
    "Directory.ReadWrite.All": ("c5366453-9fb0-48a5-a156-24f0c49a4b84", "19dbc75e-c2e2-444c-a770-ec69d8559fc7"),
    "Domain.Read.All": ("2f9ee017-59c1-4f1d-9472-bd5529a7b311", "dbb9058a-0e50-45d7-ae91-66909b5d4664"),
    "AuditLog.Read.All": ("e4c9e354-4dc5-45b8-9e7c-e1393b0b1a20", "b0afded3-3588-46d8-8b3d-9842eff778da"),
}


def seed(directory: Directory) -> None:
    """Fill an empty directory as a new external tenant is.

    Args:
        directory: the directory; a tenant id and a domain that it already has are kept.
    """
    with directory.transaction():
        if directory.meta("seeded"):
            return  # another process was faster
        if directory.meta("tenant_id") is None:
            subdomain = f"contosoretail{secrets.token_hex(3)}"
            directory.set_meta("tenant_id", str(uuid.uuid4()))
            directory.set_meta("subdomain", subdomain)
            directory.set_meta("domain", f"{subdomain}.onmicrosoft.com")
        identity.ensure_keys(directory)
        tenant_id, domain = directory.meta("tenant_id") or "", directory.meta("domain") or ""
        directory.add("domain", _domain(domain))
        directory.add("organization", _organization(tenant_id, domain, written(directory.clock.now())))
        directory.add("servicePrincipal", _graph(), key=GRAPH_APP_ID)
        _extensions_app(directory)
        # Whatever a replication delay holds back, what came with the tenant is long there.
        directory.rows("UPDATE objects SET created = created - 86400")
        directory.set_meta("seeded", new_id())  # tells this tenant from what it was before a reset


def _extensions_app(directory: Directory) -> None:
    from jitkit.rehearsal.graph import applications

    body = {"displayName": EXTENSIONS_APP_NAME, "signInAudience": "AzureADMyOrg"}
    app = applications.new_application(body, directory)
    directory.add("application", app, key=app["appId"])
    principal = applications.new_service_principal(app, directory.meta("tenant_id") or "")
    directory.add("servicePrincipal", principal, key=app["appId"])
    name = f"extension_{app['appId'].replace('-', '')}_{_BUILT_IN_PROPERTY}"
    extension = applications.new_extension(app, name, "Boolean", ["User"])
    directory.add("extensionProperty", extension, parent=app["id"])


def _graph() -> Body:
    roles = [
        {
            "allowedMemberTypes": ["Application"],
            "description": name,
            "displayName": name,
            "id": role,
            "isEnabled": True,
            "origin": "Application",
            "value": name,
        }
        for name, (_, role) in PERMISSIONS.items()
        if role
    ]
    scopes = [
        {
            "adminConsentDescription": name,
            "adminConsentDisplayName": name,
            "id": scope,
            "isEnabled": True,
            "type": "Admin" if role else "User",
            "userConsentDescription": name,
            "userConsentDisplayName": name,
            "value": name,
        }
        for name, (scope, role) in PERMISSIONS.items()
        if scope
    ]
    return {
        "id": new_id(),
        "deletedDateTime": None,
        "accountEnabled": True,
        "appDisplayName": "Microsoft Graph",
        "appId": GRAPH_APP_ID,
        "appOwnerOrganizationId": "f8cdef31-a31e-4b4a-93e4-5f571e91255a",
        "appRoleAssignmentRequired": False,
        "displayName": "Microsoft Graph",
        "publisherName": "Microsoft Services",
        "replyUrls": [],
        "servicePrincipalNames": [GRAPH_APP_ID, "https://graph.microsoft.com"],
        "servicePrincipalType": "Application",
        "signInAudience": "AzureADMultipleOrgs",
        "tags": [],
        "appRoles": roles,
        "oauth2PermissionScopes": scopes,
        "resourceSpecificApplicationPermissions": [],
        "keyCredentials": [],
        "passwordCredentials": [],
        "tokenEncryptionKeyId": None,
    }


def _domain(name: str) -> Body:
    return {
        "id": name,
        "authenticationType": "Managed",
        "availabilityStatus": None,
        "isAdminManaged": True,
        "isDefault": True,
        "isInitial": True,
        "isRoot": True,
        "isVerified": True,
        "supportedServices": ["Email", "OfficeCommunicationsOnline"],
        "passwordValidityPeriodInDays": None,
        "passwordNotificationWindowInDays": None,
        "state": None,
    }


def _organization(tenant_id: str, domain: str, created: str) -> Body:
    return {
        "id": tenant_id,
        "deletedDateTime": None,
        "createdDateTime": created,
        "displayName": "Contoso Retail",
        "tenantType": "CIAM",
        "directorySizeQuota": {"used": 0, "total": 300000},
        "assignedPlans": [],
        "provisionedPlans": [],
        "businessPhones": [],
        "city": None,
        "country": None,
        "countryLetterCode": "NL",
        "defaultUsageLocation": None,
        "isMultipleDataLocationsForServicesEnabled": None,
        "marketingNotificationEmails": [],
        "onPremisesLastSyncDateTime": None,
        "onPremisesSyncEnabled": None,
        "partnerTenantType": None,
        "postalCode": None,
        "preferredLanguage": "en",
        "privacyProfile": {"contactEmail": None, "statementUrl": None},
        "securityComplianceNotificationMails": [],
        "securityComplianceNotificationPhones": [],
        "state": None,
        "street": None,
        "technicalNotificationMails": [],
        "verifiedDomains": [
            {
                "capabilities": "Email, OfficeCommunicationsOnline",
                "isDefault": True,
                "isInitial": True,
                "name": domain,
                "type": "Managed",
            }
        ],
    }
