"""A function app and its vault as the Azure CLI shows them, with nothing wrong, and the endpoint's settings there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jitkit.hosting.monitoring import ALERTS

GROUP, APP, VAULT, CERTIFICATE = "rg-jit", "func-jit", "kv-jit", "JitMigrationEncryptionCert"
_OF_GROUP = f"/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/{GROUP}/providers"
SITE_ID = f"{_OF_GROUP}/Microsoft.Web/sites/{APP}"
VAULT_ID = f"{_OF_GROUP}/Microsoft.KeyVault/vaults/{VAULT}"
PRINCIPAL = "99999999-9999-4999-8999-999999999999"


def settings(names: Mapping[str, str]) -> dict[str, str]:
    """The settings of a good endpoint for a tenant: whom it serves, by the names of the settings."""
    return {
        **names,
        "JIT_PROFILE": "production",
        "JIT_BEHIND_TLS": "1",
        "JIT_LEDGER": "-",
        "JIT_GUESSES": "4",
        "KeyVaultUrl": f"https://{VAULT}.vault.azure.net",
        "CiamJitMigrationEncryptionCertName": CERTIFICATE,
        "LegacyApiConnectionString": f"@Microsoft.KeyVault(VaultName={VAULT};SecretName=LegacyApiConnectionString)",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "AzureWebJobsStorage__accountName": "stjit",
        "AzureWebJobsStorage__credential": "managedidentity",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-4000-8000-000000000002",
        "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
    }


def documents(thumbprint: str) -> dict[str, Any]:
    """What each command of the Azure CLI prints, with a certificate in the vault."""
    return {
        "site": {
            "id": SITE_ID,
            "identity": {"type": "SystemAssigned", "principalId": PRINCIPAL},
            "properties": {
                "httpsOnly": True,
                "publicNetworkAccess": "Enabled",
                "virtualNetworkSubnetId": f"{_OF_GROUP}/Microsoft.Network/virtualNetworks/vnet/subnets/app",
                "siteConfig": {"ipSecurityRestrictions": [{"ipAddress": "Any", "action": "Allow"}]},
                "functionAppConfig": {
                    "runtime": {"name": "python", "version": "3.13"},
                    "deployment": {
                        "storage": {
                            "type": "blobContainer",
                            "authentication": {"type": "SystemAssignedIdentity"},
                        }
                    },
                    "scaleAndConcurrency": {
                        "instanceMemoryMB": 2048,
                        "maximumInstanceCount": 40,
                        "alwaysReady": [{"name": "http", "instanceCount": 2}],
                        "triggers": {"http": {"perInstanceConcurrency": 50}},
                    },
                    "siteUpdateStrategy": {"type": "RollingUpdate"},
                },
            },
        },
        "auth": {"properties": {"platform": {"enabled": False}}},
        "references": {"value": [{"name": "LegacyApiConnectionString", "properties": {"status": "Resolved"}}]},
        "storage": {"name": "stjit", "allowSharedKeyAccess": False},
        "alerts": [
            {"name": f"jit-{rule.name}", "enabled": True, "actions": {"actionGroups": ["operators"]}} for rule in ALERTS
        ],
        "workbooks": [{"name": "progress"}],
        "vault": {
            "id": VAULT_ID,
            "properties": {
                "enableRbacAuthorization": True,
                "enableSoftDelete": True,
                "enablePurgeProtection": True,
                "publicNetworkAccess": "Disabled",
                "privateEndpointConnections": [{"privateLinkServiceConnectionState": {"status": "Approved"}}],
            },
        },
        "certificate": {
            "policy": {
                "keyProperties": {"keyType": "RSA", "keySize": 2048, "exportable": True, "reuseKey": False},
                "secretProperties": {"contentType": "application/x-pkcs12"},
                "lifetimeActions": [{"action": {"actionType": "EmailContacts"}, "trigger": {"daysBeforeExpiry": 30}}],
            }
        },
        "versions": [
            {
                "attributes": {"enabled": True, "created": "2026-11-01T08:00:00+00:00"},
                "x509ThumbprintHex": thumbprint,
            }
        ],
        "contacts": [{"email": "operators@woodgrove.example"}],
        "roles": [{"roleDefinitionName": "Key Vault Secrets User", "scope": VAULT_ID}],
        "vault_log": [{"logs": [{"categoryGroup": "audit", "enabled": True}]}],
    }
