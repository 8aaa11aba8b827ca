"""What the service's documents leave open, or what a trainer may want otherwise, as named switches of the tenant.

Every behaviour that is assumed rather than documented or observed has one. They are kept in the tenant's file; a reset
sets them back.
"""

from __future__ import annotations

from typing import Final

from helpers.errors import KitError
from helpers.protocol import CALLS_PER_SECOND
from helpers.rehearsal.directory import Directory
from helpers.rehearsal.sign_in_switches import SIGN_IN
from helpers.rehearsal.switch import Switch, Value

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
        "disable_strong_password",
        False,
        "A legacy password that is only too plain is stored.",
        "The setting is documented; where it is kept is not.",
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
