"""The words of the password-submit callout and the identifiers around it, each with its source.

Sources: [how-to] Microsoft Learn, "Just-in-time password migration" (2026-04-03); [overview] "Custom authentication
extensions overview"; [limits] "Service limits";
[graph] Microsoft Graph v1.0 reference; [permissions] Microsoft Graph permissions reference; [roles] "Microsoft Entra
built-in roles"; [observed] captured from live tenants by public projects.
"""

from __future__ import annotations

from typing import Final

# The event, as it arrives at the endpoint [how-to].
EVENT_TYPE: Final = "microsoft.graph.authenticationEvent.passwordSubmit"
CALLOUT_DATA_TYPE: Final = "microsoft.graph.onPasswordSubmitCalloutData"
RESPONSE_DATA_TYPE: Final = "microsoft.graph.onPasswordSubmitResponseData"
ACTION_PREFIX: Final = "microsoft.graph.passwordSubmit."

MIGRATE: Final = "MigratePassword"
UPDATE: Final = "UpdatePassword"
RETRY: Final = "Retry"
BLOCK: Final = "Block"

# Claims inside the encrypted password context [how-to].
CLAIM_PASSWORD: Final = "user-password"  # noqa: S105
CLAIM_USERNAME: Final = "username"
CLAIM_NONCE: Final = "nonce"

# JOSE algorithms of the password context and of encrypted bearer tokens [observed].
JWE_ALG: Final = "RSA-OAEP"
JWE_ENC: Final = "A128CBC-HS256"

# Who calls: "Azure Active Directory Authentication Extensions" [overview].
CALLER_APP_ID: Final = "99045fe1-7639-4a75-9d4a-577b6ca3810f"

# Microsoft Graph and the permissions that the set-up grants [permissions].
GRAPH_APP_ID: Final = "00000003-0000-0000-c000-000000000000"
RECEIVE_PAYLOAD_ROLE_ID: Final = "214e810f-fda8-4fd7-a475-29461495eb00"
RECEIVE_PAYLOAD: Final = "CustomAuthenticationExtension.Receive.Payload"
USER_READ_SCOPE_ID: Final = "e1fe6dd8-ba31-4d61-89e7-88639da4683d"
USER_READ: Final = "User.Read"

# Directory roles of the person who sets the migration up [how-to, roles].
ROLES: Final = {
    "Authentication Extensibility Password Administrator": "0b00bede-4072-4d22-b441-e7df02a1ef63",
    "Application Administrator": "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
    "User Administrator": "fe930be7-5e62-47db-91af-98c3a49a38b1",
}

# Permissions of Microsoft Graph that the person or application needs who sets the migration up [permissions].
DELEGATED_PERMISSIONS: Final = (
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "AuditLog.Read.All",
    "CustomAuthenticationExtension.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.Read.All",
    "EventListener.ReadWrite.All",
    "Policy.Read.All",
    "Policy.ReadWrite.AuthenticationMethod",
    "User.ReadWrite.All",
)
# What reading all of it takes; the application of a person asks for no more until something is to be written.
READ_PERMISSIONS: Final = (
    "Application.Read.All",
    "AuditLog.Read.All",
    "CustomAuthenticationExtension.Read.All",
    "Directory.Read.All",
    "EventListener.Read.All",
    "Policy.Read.All",
    "User.Read.All",
)

# The filter that lists sign-ins of people of both kinds: without it beta lists the interactive ones [graph].
USER_SIGN_INS: Final = "signInEventTypes/any(t: t eq 'interactiveUser' or t eq 'nonInteractiveUser')"

# Limits of the service [limits].
TIMEOUT_MS: Final = 2000
MAXIMUM_RETRIES: Final = 1
CALLS_PER_SECOND: Final = 50
BATCH_SIZE: Final = 20

# The application that owns custom user attributes of an external tenant [graph].
EXTENSIONS_APP_PREFIX: Final = "b2c-extensions-app"

TEST_CLIENT_REDIRECT: Final = "https://jwt.ms"
