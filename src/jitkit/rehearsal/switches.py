"""Switches of the tenant: what the service's documents leave open, or what a trainer may want to be different.

They are kept in the tenant's file; a reset restores the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jitkit.errors import KitError
from jitkit.rehearsal.directory import Directory

__all__ = ["SWITCHES", "Switch", "Value", "is_on", "read", "write"]

Value = bool | float


@dataclass(frozen=True)
class Switch:
    """One choice.

    Args:
        name: what it is called.
        default: what a new tenant does.
        means: what it changes, in a sentence.
        why: what is documented, or what is not.
    """

    name: str
    default: Value
    means: str
    why: str


_ALL: Final = (
    Switch(
        "allow_loopback",
        False,
        "Extensions may name a loopback address, over plain http.",
        "The service refuses it; a tenant served to other programs allows it.",
    ),
    Switch(
        "conditional_access_blocks",
        False,
        "Conditional Access refuses every sign-in after the password was checked: 53003.",
        "That it comes after the first factor is documented; that the password is migrated by then is inferred.",
    ),
    Switch(
        "deleted_apps_keep_uris",
        False,
        "The identifier URIs of an application in the recycle bin cannot be given to another one.",
        "Not documented. A restore is known to fail when another application has the URI by then, so it can be given.",
    ),
    Switch(
        "directory_quota",
        300_000.0,
        "So many users, applications and service principals fit into the tenant.",
        "Documented: 300,000, and 10,000 in a trial tenant [Microsoft Learn, External ID service limits].",
    ),
    Switch(
        "disable_strong_password",
        False,
        "A legacy password is stored although it lacks character classes.",
        "The setting is documented; where it is kept is not.",
    ),
    Switch(
        "graph_throttling",
        True,
        "Graph answers 429 beyond its documented limits.",
        "Documented [Microsoft Graph service-specific throttling limits]. Off, for bulk work that is not to wait.",
    ),
    Switch(
        "log_delay",
        0.0,
        "Graph shows a row of a log so many seconds after it happened.",
        "Documented: minutes, not how many.",
    ),
    Switch(
        "p1_licence",
        True,
        "The tenant has the licence that Graph asks for to read sign-ins.",
        "Documented: Microsoft Entra ID P1; without it Graph answers 403 [observed].",
    ),
    Switch(
        "replication_delay",
        0.0,
        "For so many seconds, reads and references do not find a new object, and the migration flag of a user who "
        "just migrated still reads true.",
        "Documented as possible and observed; how long it takes is not documented.",
    ),
    Switch(
        "retry_counts_for_lockout",
        False,
        "An answer Retry counts towards smart lockout.",
        "Not documented.",
    ),
)

SWITCHES: Final = {switch.name: switch for switch in _ALL}


def read(directory: Directory, name: str) -> Value:
    """Read a switch.

    Args:
        directory: the tenant's directory.
        name: its name.

    Returns:
        Its value, of the same type as its default.
    """
    default, kept = SWITCHES[name].default, directory.meta(name)
    if kept is None:
        return default
    return kept == "1" if isinstance(default, bool) else float(kept)


def is_on(directory: Directory, name: str) -> bool:
    """Return whether a switch is on."""
    return bool(read(directory, name))


def write(directory: Directory, name: str, value: Value) -> None:
    """Set a switch.

    Args:
        directory: the tenant's directory.
        name: its name.
        value: True or False, or a number, as the default is.

    Raises:
        KitError: there is no such switch, or the value is of another kind.
    """
    if name not in SWITCHES:
        raise KitError(f"There is no switch {name}.", next_step=f"Choose one of {', '.join(sorted(SWITCHES))}.")
    wants_truth = isinstance(SWITCHES[name].default, bool)
    if isinstance(value, bool) != wants_truth:
        kind = "True or False" if wants_truth else "a number"
        raise KitError(f"The switch {name} takes {kind}, not {value!r}.", next_step="Give it that.")
    directory.set_meta(name, str(int(value)) if wants_truth else repr(float(value)))
