"""Read single settings from environment variables; every refusal names the variable and never repeats its value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from jitkit.errors import SettingsError

__all__ = ["GUID", "choice", "guid", "guids", "number", "refuse_bypasses", "required", "switch"]

GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_ON: Final = ("1", "true", "yes", "on")
_OFF: Final = ("0", "false", "no", "off")
# How other endpoints name the switches that let anybody in. The prefix is that of Microsoft's .NET library.
_BYPASS: Final = re.compile(
    r"(?:JIT_|AuthenticationEvents__).*(?:BYPASS|SKIP|ANONYMOUS|INSECURE|TEST_?MODE).*", re.IGNORECASE
)


def required(environment: Mapping[str, str], name: str) -> str:
    """Read a value that must be there, and must not be a Key Vault reference that nobody resolved."""
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(f"The setting {name} is missing.", next_step=f"Set the environment variable {name}.")
    if value.startswith("@Microsoft.KeyVault("):
        raise SettingsError(
            f"{name} still holds a Key Vault reference that was not resolved.",
            next_step="Give the app's managed identity the role Key Vault Secrets User on that vault, then restart.",
        )
    return value


def guid(environment: Mapping[str, str], name: str) -> str:
    """Read one GUID that must be there, in lower case."""
    value = required(environment, name)
    if not GUID.fullmatch(value):
        raise SettingsError(
            f"The setting {name} is not a GUID.", next_step=f"Set {name} to the id that the app's overview shows."
        )
    return value.lower()


def guids(environment: Mapping[str, str], name: str) -> frozenset[str]:
    """Read GUIDs with commas between them, in lower case; none when the setting is not there."""
    values = [value.strip() for value in environment.get(name, "").split(",") if value.strip()]
    if not all(GUID.fullmatch(value) for value in values):
        raise SettingsError(
            f"The setting {name} holds something that is not a GUID.",
            next_step="Set it to ids with commas between them, or leave it out.",
        )
    return frozenset(value.lower() for value in values)


def switch(environment: Mapping[str, str], name: str, *, usual: bool = False) -> bool:
    """Read a switch; it is as usual when it is not there."""
    value = environment.get(name, "").strip().lower() or ("1" if usual else "0")
    if value not in (*_ON, *_OFF):
        raise SettingsError(f"The setting {name} is neither on nor off.", next_step="Set it to 1 or 0.")
    return value in _ON


def choice(environment: Mapping[str, str], name: str, words: Sequence[str]) -> str:
    """Read one of a few words; the first one when the setting is not there."""
    value = environment.get(name, "").strip().lower() or words[0]
    if value not in words:
        raise SettingsError(f"The setting {name} is not known.", next_step=f"Set it to {' or '.join(words)}.")
    return value


def number(environment: Mapping[str, str], name: str, *, least: int, usual: int, most: int) -> int:
    """Read a whole number within bounds; the usual one when the setting is not there."""
    text = environment.get(name, "").strip() or str(usual)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise SettingsError(
            f"{name} is not a whole number from {least} to {most}.", next_step=f"Leave it out for {usual}."
        )
    return int(text)


def refuse_bypasses(environment: Mapping[str, str]) -> None:
    """Refuse a set-up that asks for a test bypass: this endpoint has none, and somebody believes that it does."""
    for name in sorted(environment):
        if _BYPASS.fullmatch(name) and environment[name].strip().lower() not in _OFF:
            raise SettingsError(
                f"The setting {name} asks to skip checks, and this endpoint never does.",
                next_step=f"Remove {name}, and test with tokens of a rehearsal tenant instead.",
            )
