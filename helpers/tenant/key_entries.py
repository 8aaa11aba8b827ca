"""The key credentials of a registration, as the SDK reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from helpers.tenant.key_pair import thumbprint_of

if TYPE_CHECKING:
    from msgraph.generated.models.application import Application
    from msgraph.generated.models.key_credential import KeyCredential

__all__ = ["active_of", "again", "described", "shown_thumbprint"]


def active_of(app: Application) -> KeyCredential | None:
    """Find the entry that Entra encrypts with, or None."""
    wanted: UUID | None = app.token_encryption_key_id
    return next((each for each in app.key_credentials or [] if wanted and each.key_id == wanted), None)


def shown_thumbprint(entry: KeyCredential | None) -> str | None:
    """Compute the thumbprint of an entry, or None when the tenant does not show its certificate."""
    return thumbprint_of(entry.key) if entry is not None and entry.key else None


def again(entry: KeyCredential) -> KeyCredential:
    """Copy an entry so that it can be sent back: the SDK may leave out what did not change in an object it has read."""
    from msgraph.generated.models.key_credential import KeyCredential

    return KeyCredential(
        custom_key_identifier=entry.custom_key_identifier,
        display_name=entry.display_name,
        end_date_time=entry.end_date_time,
        key=entry.key,
        key_id=entry.key_id,
        start_date_time=entry.start_date_time,
        type=entry.type,
        usage=entry.usage,
    )


def described(entry: KeyCredential) -> str:
    """Put an entry into words."""
    ends = entry.end_date_time
    words = "no end" if ends is None else f"until {ends.date().isoformat()}"
    if ends is not None and ends <= datetime.now(UTC):
        words = f"ran out on {ends.date().isoformat()}, kept"
    return f"{entry.display_name or entry.key_id} ({entry.usage}, {words})"
