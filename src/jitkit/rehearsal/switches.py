"""What the service's documents leave open, or what a trainer may want otherwise, as named switches of the tenant.

Every behaviour that is assumed rather than documented or observed has one. They are kept in the tenant's file; a reset
sets them back.
"""

from __future__ import annotations

from typing import Final

from jitkit.errors import KitError
from jitkit.protocol import CALLS_PER_SECOND
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.sign_in_switches import SIGN_IN
from jitkit.rehearsal.switch import Switch, Value

__all__ = ["SWITCHES", "Switch", "Value", "is_on", "read", "write"]

_ALL: Final = (
    Switch(
        "allow_loopback",
        False,
        "Extensions may name a loopback address, over plain http.",
        "The service refuses it; a tenant served to other programs allows it.",
    ),
    Switch(
        "callouts_per_second",
        float(CALLS_PER_SECOND),
        "So many callouts a second are made for the whole tenant; more are answered 1003004.",
        "Documented: 50 [Microsoft Learn, External ID service limits].",
    ),
    Switch(
        "deleted_apps_keep_uris",
        False,
        "The identifier URIs of an application in the recycle bin cannot be given to another one.",
        "Not documented. A restore is known to fail when another application has the URI by then, so it can be given.",
    ),
    Switch(
        "delta_queries",
        True,
        "Changes to users can be read with delta queries.",
        "The pages disagree: the service limits of external tenants list them as supported, the overview of delta "
        "queries says that external tenants do not support them.",
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
        "A legacy password that is only too plain is stored.",
        "The setting is documented; where it is kept is not.",
    ),
    Switch(
        "graph_throttling",
        True,
        "Graph answers 429 beyond its documented limits.",
        "Documented [Microsoft Graph service-specific throttling limits]. Off, for bulk work that is not to wait.",
    ),
    Switch(
        "replication_delay",
        0.0,
        "For so many seconds, reads and references do not find an object that was made.",
        "Documented as possible and observed; how long it takes is not documented.",
    ),
    Switch(
        "retry_counts_for_lockout",
        False,
        "An answer Retry counts towards smart lockout.",
        "Not documented.",
    ),
)

SWITCHES: Final = {switch.name: switch for switch in sorted((*_ALL, *SIGN_IN), key=lambda switch: switch.name)}


def read(directory: Directory, name: str) -> Value:
    """Read a switch.

    Args:
        directory: the tenant's directory.
        name: its name.

    Returns:
        What it is set to, of the same type as its default.
    """
    default, kept = SWITCHES[name].default, directory.meta(name)
    if kept is None:
        return default
    return kept == "1" if isinstance(default, bool) else float(kept)


def is_on(directory: Directory, name: str) -> bool:
    """Tell whether a switch is on."""
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
