"""What Microsoft Entra calls when a customer whose password is not migrated yet signs in."""
