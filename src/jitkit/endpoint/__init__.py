"""What Microsoft Entra calls when a user whose password is not migrated yet signs in."""
