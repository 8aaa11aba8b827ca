"""Switches of the tenant: what the service's documents leave open, or what a trainer may want to be different.

They are kept in the tenant's file; a reset restores the defaults.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from jitkit.errors import KitError
from jitkit.rehearsal.directory import Directory

Value = bool | float | str


@dataclass(frozen=True)
class Switch:
    """One choice."""

    name: str
    default: Value
    means: str
    why: str


_TABLE: Final = tomllib.loads((files("jitkit.rehearsal") / "drills.toml").read_text(encoding="utf-8"))["switch"]
SWITCHES: Final = {each["name"]: Switch(**each) for each in _TABLE}


def read(directory: Directory, name: str) -> Value:
    """Read a switch."""
    default, kept = SWITCHES[name].default, directory.meta(name)
    if kept is None:
        return default
    return kept == "1" if isinstance(default, bool) else type(default)(kept)


def is_on(directory: Directory, name: str) -> bool:
    """Return whether a switch is on."""
    return bool(read(directory, name))


def write(directory: Directory, name: str, value: Value) -> None:
    """Set a switch."""
    if name not in SWITCHES:
        raise KitError(f"There is no switch {name}.", next_step=f"Choose one of {', '.join(sorted(SWITCHES))}.")
    kind = type(SWITCHES[name].default)
    given = float if type(value) is int else type(value)
    if given is not kind:
        wanted = {bool: "True or False", float: "a number", str: "a text"}[kind]
        raise KitError(f"The switch {name} takes {wanted}, not {value!r}.", next_step="Give it that.")
    directory.set_meta(name, str(int(value)) if isinstance(value, bool) else str(given(value)))
