"""The profile: which world, which tenant, which names. It holds no secret."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jitkit.errors import SettingsError
from jitkit.files import write_private

__all__ = ["CREDENTIALS", "Credential", "Mode", "Names", "Profile", "home", "load", "save", "state"]

Mode = Literal["rehearsal", "live"]
Credential = Literal["browser", "device-code", "azure-cli", "client-secret", "client-certificate"]
CREDENTIALS: tuple[str, ...] = get_args(Credential)

_FILE = "profile.json"
_TENANT = r"(?i)^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|([a-z0-9-]+\.)+[a-z0-9-]+)?\Z"
_HOST = r"^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z"


class _Values(BaseModel):
    """Values of the right kind, or a SettingsError; a field's description says what to give."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, regex_engine="python-re")

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(values)
        except ValidationError as problem:
            error, kind = problem.errors(include_url=False)[0], cls.__name__.lower()
            name = str(error["loc"][0]) if error["loc"] else kind
            if error["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise SettingsError(f"There is no {name} in the {kind}.", next_step=f"Use some of {known}.") from None
            advice = cls.model_fields[name].description or "Give a text." if error["loc"] else "Give a dict."
            raise SettingsError(f"{name} is {error['input']!r}, which cannot be used.", next_step=advice) from None


class Names(_Values):
    """What the kit's objects are called in the tenant; a step finds its object by this name."""

    attribute: str = Field(default="toBeMigrated", pattern=r"\S")
    extension_app: str = Field(default="JIT password check", pattern=r"\S")
    client_app: str = Field(default="JIT test client", pattern=r"\S")
    user_flow: str = Field(default="JIT sign-up and sign-in", pattern=r"\S")
    extension: str = Field(default="JIT password check on submit", pattern=r"\S")
    listener: str = Field(default="JIT migration listener", pattern=r"\S")


class Profile(_Values):
    """Which world and tenant the notebooks work in."""

    mode: Mode = Field(default="rehearsal", description="Use 'rehearsal' or 'live'.")
    tenant: str = Field(
        default="", pattern=_TENANT, description="Give its domain, such as contoso.onmicrosoft.com, or its id."
    )
    credential: Credential = Field(default="browser", description=f"Use one of {', '.join(CREDENTIALS)}.")
    client_id: str = ""  # the application that signs in to a real tenant; empty for the well-known one
    certificate: str = ""  # path of the PEM file for `client-certificate`
    endpoint_host: str = Field(
        default="jit-endpoint.woodgrove.example",
        pattern=_HOST,
        description="Give the endpoint's public host name alone: no https://, no port, no path.",
    )
    endpoint_port: int = Field(
        default=7071, ge=0, le=65535, description="Give a port as a number, 1 to 65535, or 0 for any free one."
    )
    export: str = ""  # path of the legacy system's user export (CSV); empty takes the sample data in rehearsal
    names: Names = Field(default_factory=Names, description="Give names as a dict, or as kit.Names(…).")

    @model_validator(mode="after")
    def _name_a_real_tenant(self) -> Profile:
        if self.mode == "live" and not self.tenant:
            raise SettingsError(
                "A real tenant needs a name.",
                next_step="Give its domain, such as kit.choose('live', tenant='contoso.onmicrosoft.com').",
            )
        return self

    @property
    def target_url(self) -> str:
        """The address that Entra calls."""
        return f"https://{self.endpoint_host}/api/JitMigrationEndpoint"


def home() -> Path:
    """Return the folder of the kit's state: `JIT_KIT_HOME` if it is set, else `.kit` next to the `helpers` package."""
    chosen = os.environ.get("JIT_KIT_HOME")
    return Path(chosen).expanduser().resolve() if chosen else Path(__file__).resolve().parents[1] / ".kit"


def state(folder: Path, profile: Profile) -> Path:
    """Return the folder of a tenant's key, journal, ledger and legacy copy; rehearsal and real tenants never share."""
    name = profile.tenant if profile.mode == "live" else "rehearsal"
    return folder / re.sub(r"[^a-z0-9.-]", "_", name.lower()).strip(".")


def load(folder: Path, mode: Mode | None = None) -> Profile:
    """Read the profile of one world, by default of the chosen one; its defaults when none was saved."""
    kept = _kept(folder)
    mode = mode or kept["mode"]
    try:
        return Profile(mode=mode, **kept["worlds"].get(mode, {}))
    except (SettingsError, TypeError) as problem:
        if mode not in kept["worlds"]:
            raise  # a real tenant was never named
        raise _unreadable(folder, problem) from problem


def save(folder: Path, profile: Profile) -> Path:
    """Write the profile for its owner alone, whole or not at all, and make its world the chosen one.

    The other world's values are kept: a real export never becomes the rehearsal's. Returns the file's path.
    """
    worlds = {**_kept(folder)["worlds"], profile.mode: profile.model_dump(exclude={"mode"})}
    path = folder / _FILE
    write_private(path, json.dumps({"mode": profile.mode, "worlds": worlds}, indent=2).encode())
    return path


def choice(folder: Path, mode: Mode, values: Mapping[str, Any]) -> tuple[Profile | None, Profile]:
    """Return the profile in force (None when nothing was ever chosen), and the one after a choice.

    A field of the profile that is left out of the values, or None, stays as that world has it.
    """
    kept = _kept(folder)["worlds"]
    in_force = load(folder) if kept else None
    before = load(folder, mode).model_dump(exclude={"mode"}) if mode in kept else {}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return in_force, Profile(mode=mode, **{**before, **{n: value for n, value in given.items() if value is not None}})


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
