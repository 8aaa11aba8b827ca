"""The profile: which world, which tenant, which names. It holds no secret."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from jitkit.errors import SettingsError
from jitkit.files import write_private

__all__ = ["CREDENTIALS", "Credential", "Mode", "Names", "Profile", "home", "load", "save", "state"]

Mode = Literal["rehearsal", "live"]
Credential = Literal["browser", "device-code", "azure-cli", "client-secret", "client-certificate"]
CREDENTIALS: tuple[str, ...] = get_args(Credential)

_FILE = "profile.json"
_TENANT = re.compile(r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|([a-z0-9-]+\.)+[a-z0-9-]+)$", re.IGNORECASE)
_HOST = re.compile(r"^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$")


@dataclass(frozen=True)
class Names:
    """What the kit's objects are called in the tenant; a step finds its object by this name."""

    attribute: str = "toBeMigrated"
    extension_app: str = "JIT password check"
    client_app: str = "JIT test client"
    user_flow: str = "JIT sign-up and sign-in"
    extension: str = "JIT password check on submit"
    listener: str = "JIT migration listener"

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) or not value.strip():
                raise SettingsError(f"The name of the {each.name} is {value!r}.", next_step="Give it a name.")


@dataclass(frozen=True)
class Profile:
    """Which world and tenant the notebooks work in.

    Args:
        mode: `rehearsal` or `live`.
        tenant: a real tenant's domain or id; empty in rehearsal.
        credential: how a person or pipeline signs in to a real tenant.
        client_id: the application a real tenant is entered with; empty for the well-known one.
        certificate: path of the PEM file for `client-certificate`.
        endpoint_host: the public host name under which Entra reaches the endpoint.
        endpoint_port: the loopback port the local endpoint listens on; 0 takes any free one.
        export: path of the legacy system's user export (CSV); empty takes the sample data in rehearsal.
        names: what the kit's objects are called.
    """

    mode: Mode = "rehearsal"
    tenant: str = ""
    credential: Credential = "browser"
    client_id: str = ""
    certificate: str = ""
    endpoint_host: str = "jit-endpoint.woodgrove.example"
    endpoint_port: int = 7071
    export: str = ""
    names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            kind = {"endpoint_port": int, "names": Names}.get(each.name, str)
            if type(value) is not kind:
                raise SettingsError(
                    f"The profile's {each.name} is {value!r}.",
                    next_step=f"Give {'a text' if kind is str else 'a number' if kind is int else 'names as a dict'}.",
                )
        if self.mode not in get_args(Mode):
            raise SettingsError(f"The profile's mode is {self.mode!r}.", next_step="Use 'rehearsal' or 'live'.")
        if self.credential not in CREDENTIALS:
            raise SettingsError(
                f"The profile's credential is {self.credential!r}.", next_step=f"Use one of {', '.join(CREDENTIALS)}."
            )
        if self.mode == "live" and not self.tenant:
            raise SettingsError(
                "A real tenant needs a name.",
                next_step="Give its domain, such as kit.choose('live', tenant='contoso.onmicrosoft.com').",
            )
        if self.mode == "live" and not _TENANT.match(self.tenant):
            raise SettingsError(
                f"{self.tenant!r} is not a tenant's name.",
                next_step="Give its domain, such as contoso.onmicrosoft.com, or its id.",
            )
        if not _HOST.match(self.endpoint_host):
            raise SettingsError(
                f"{self.endpoint_host!r} is not a host name.",
                next_step="Give the endpoint's public host name alone: no https://, no port, no path.",
            )
        if not 0 <= self.endpoint_port <= 65535:
            raise SettingsError(
                f"{self.endpoint_port} is not a port.",
                next_step="Choose a port from 1 to 65535, or 0 for any free one.",
            )

    @property
    def target_url(self) -> str:
        """The address that Entra calls."""
        return f"https://{self.endpoint_host}/api/JitMigrationEndpoint"


def home() -> Path:
    """Find the folder of the kit's state.

    Returns:
        `JIT_KIT_HOME` if it is set, else `.kit` beside the `helpers` package.
    """
    chosen = os.environ.get("JIT_KIT_HOME")
    return Path(chosen).expanduser().resolve() if chosen else Path(__file__).resolve().parents[1] / ".kit"


def state(folder: Path, profile: Profile) -> Path:
    """Name the folder of one tenant's key, journal, ledger and legacy copy: a rehearsal never touches a real tenant's.

    Args:
        folder: the kit's state folder.
        profile: names the tenant.
    """
    name = profile.tenant if profile.mode == "live" else "rehearsal"
    return folder / re.sub(r"[^a-z0-9.-]", "_", name.lower()).strip(".")


def load(folder: Path, mode: Mode | None = None) -> Profile:
    """Read the profile of one world.

    Args:
        folder: the kit's state folder.
        mode: which world's; the chosen one's when left out.

    Returns:
        The profile, or that world's defaults when none was saved.

    Raises:
        SettingsError: the file cannot be read as a profile, or a real tenant was never named.
    """
    kept = _kept(folder)
    try:
        mode = mode or kept["mode"]
        values = dict(kept["worlds"].get(mode, {}))
        return Profile(mode=mode, **{**values, "names": Names(**values.get("names", {}))})
    except SettingsError as problem:
        if mode not in kept["worlds"]:
            raise
        raise _unreadable(folder, problem) from problem
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise _unreadable(folder, problem) from problem


def save(folder: Path, profile: Profile) -> Path:
    """Write the profile for its owner alone, whole or not at all, and make its world the chosen one.

    The other world's values are kept: a real export never becomes the rehearsal's.

    Args:
        folder: the kit's state folder; it is made when absent.
        profile: what to keep.

    Returns:
        The file's path.
    """
    values = asdict(profile)
    mode = values.pop("mode")
    worlds = {**_kept(folder)["worlds"], mode: values}
    path = folder / _FILE
    write_private(path, json.dumps({"mode": mode, "worlds": worlds}, indent=2).encode())
    return path


def choice(folder: Path, mode: Mode, values: Mapping[str, Any]) -> tuple[Profile | None, Profile]:
    """Work out what a choice changes.

    Args:
        folder: the kit's state folder.
        mode: the chosen world.
        values: fields of `Profile`; what is left out, or None, stays as that world has it.

    Returns:
        The profile that was in force, None when nothing was ever chosen; and the one that should be.

    Raises:
        SettingsError: a value cannot be used.
    """
    known = {each.name for each in fields(Profile)} - {"mode"}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingsError(
            f"A profile has no {', '.join(unknown)}.", next_step=f"Use one of {', '.join(sorted(known))}."
        )
    kept = _kept(folder)
    given = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    in_force = load(folder) if kept["worlds"] else None
    before = kept["worlds"].get(mode, {})
    if before:
        load(folder, mode)
    merged = {**before, **{name: value for name, value in given.items() if value is not None}}
    if isinstance(merged.get("names"), dict):
        strange = sorted(set(merged["names"]) - {each.name for each in fields(Names)})
        if strange:
            raise SettingsError(
                f"There are no names for {', '.join(map(str, strange))}.",
                next_step=f"Use some of {', '.join(each.name for each in fields(Names))}.",
            )
        merged["names"] = Names(**merged["names"])
    return in_force, Profile(mode=mode, **merged)


def _kept(folder: Path) -> dict[str, Any]:
    try:
        kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {"mode": kept["mode"], "worlds": dict(kept["worlds"])}
    except (FileNotFoundError, NotADirectoryError):
        return {"mode": "rehearsal", "worlds": {}}
    except (ValueError, TypeError, KeyError, OSError) as problem:
        raise _unreadable(folder, problem) from problem


def _unreadable(folder: Path, problem: Exception) -> SettingsError:
    return SettingsError(
        f"The profile {folder / _FILE} cannot be read.",
        service=problem.happened if isinstance(problem, SettingsError) else f"{type(problem).__name__}: {problem}",
        next_step="Delete that file and choose your world again in notebook 00; no tenant is changed by that.",
    )
