"""What a session holds: one tenant, and the steps that ensure, show, check and remove things in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helpers.host import Host
    from helpers.local_endpoint import LocalEndpoint
    from helpers.migration_progress import Progress
    from helpers.settings import Profile
    from helpers.tenant.apps import ClientApp, ExtensionApp
    from helpers.tenant.attribute import MigrationFlag
    from helpers.tenant.consents import ClientConsent, PayloadConsent
    from helpers.tenant.encryption_key import EncryptionKey
    from helpers.tenant.policies import Listener, PasswordExtension
    from helpers.tenant.user_flow import EmailCodes, UserFlow
    from helpers.tenant.users import Users
    from helpers.tenant.vault import Vault
    from helpers.worlds import TenantFacts, World

__all__ = ["Apps", "Policies", "Steps"]


@dataclass(frozen=True)
class Apps:
    """The two app registrations, their consents, the user flow of the client, and codes by e-mail."""

    extension: ExtensionApp
    extension_consent: PayloadConsent
    client: ClientApp
    client_consent: ClientConsent
    user_flow: UserFlow
    email_codes: EmailCodes


@dataclass(frozen=True)
class Policies:
    """The custom authentication extension and the listener that calls it."""

    extension: PasswordExtension
    listener: Listener


@dataclass(frozen=True, kw_only=True, repr=False)
class Steps:
    """Everything that a session can ensure, show, check and remove in one tenant."""

    profile: Profile
    tenant: TenantFacts
    attribute: MigrationFlag
    apps: Apps
    policies: Policies
    key: EncryptionKey
    vault: Vault
    host: Host
    users: Users
    endpoint: LocalEndpoint
    progress: Progress
    world: World
