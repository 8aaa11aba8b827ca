"""The profile: which world, which tenant, which names. It holds no secret."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jitkit.errors import SettingsError
from jitkit.files import in_own_folder, write_private

__all__ = [
    "CREDENTIALS",
    "Credential",
    "Hosting",
    "Mode",
    "Names",
    "Profile",
    "choice",
    "chosen_hides_people",
    "has_real_tenant",
    "home",
    "load",
    "named_by_id",
    "save",
    "state",
]

Mode = Literal["rehearsal", "live"]
Credential = Literal["browser", "device-code", "azure-cli", "client-secret", "client-certificate"]
CREDENTIALS: tuple[str, ...] = get_args(Credential)

INVENTED = "@woodgrove.example"  # the users of sample_data
_FILE = "profile.json"
_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TENANT = rf"(?i)^({_GUID}|([a-z0-9-]+\.)+[a-z0-9-]+)?\Z"
_NATIONAL = re.compile(r"(?i)\.(onmicrosoft\.(us|de|cn)|onmschina\.cn|ciamlogin\.(?!com\Z).+)\Z")
_HOST = r"^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z"


# Nobody owns a name there: it serves the rehearsal, and a real tenant could never reach it.
_NOBODYS: Final = ".woodgrove.example"
_REHEARSAL_HOST: Final = f"jit-endpoint{_NOBODYS}"


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
    user_flow: str = Field(default="JIT sign-in", pattern=r"\S")
    extension: str = Field(default="JIT password check on submit", pattern=r"\S")
    listener: str = Field(default="JIT migration listener", pattern=r"\S")


class Hosting(_Values):
    """What the hosted endpoint's things are called in Azure; no vault until notebook 09 chooses one."""

    resource_group: str = Field(default="rg-jit-migration", pattern=r"^[\w.()-]{1,90}\Z")
    location: str = Field(default="westeurope", pattern=r"^[a-z0-9]+\Z")
    app: str = Field(default="func-jit-migration", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]\Z")
    vault: str = Field(
        default="",
        pattern=r"^([A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9])?\Z",
        description="Give the vault's name alone, 3 to 24 letters, digits and hyphens.",
    )
    certificate: str = Field(default="JitMigrationEncryptionCert", pattern=r"^[A-Za-z0-9-]{1,127}\Z")


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
        default=_REHEARSAL_HOST,
        pattern=_HOST,
        description="Give the endpoint's public host name alone: no https://, no port, no path.",
    )
    # A tunnel leads to one port; the rehearsal tenant finds any, so that many people can rehearse on one machine.
    endpoint_port: int = Field(
        default_factory=lambda before: 0 if before.get("mode") == "rehearsal" else 7071,
        ge=0,
        le=65535,
        description="Give a port as a number, 1 to 65535, or 0 for any free one.",
    )
    export: str = ""  # path of the legacy system's user export (CSV); empty takes the sample data in rehearsal
    # Whether outputs name real people; ids stand for them otherwise. Invented people are always named.
    show_people: bool = Field(default=False, description="Use True or False.")
    names: Names = Field(default_factory=Names, description="Give names as a dict, or as kit.Names(…).")
    hosting: Hosting = Field(default_factory=Hosting, description="Give names as a dict: resource_group, app, vault …")

    @field_validator("tenant", mode="before")
    @classmethod
    def _resolve_sign_in_host(cls, value: Any) -> Any:
        """Return the tenant of a sign-in host: contoso.ciamlogin.com is contoso.onmicrosoft.com."""
        found = re.fullmatch(r"(?i)([a-z0-9-]+)\.ciamlogin\.com", value) if isinstance(value, str) else None
        if not found:
            return value
        return found[1] if re.fullmatch(_GUID, found[1], re.IGNORECASE) else f"{found[1]}.onmicrosoft.com"

    @model_validator(mode="after")
    def _name_a_real_tenant(self) -> Profile:
        if _NATIONAL.search(self.tenant):
            raise SettingsError(
                f"{self.tenant} belongs to a national cloud; the kit works in the worldwide Microsoft cloud only.",
                next_step="Choose a tenant whose first domain ends in .onmicrosoft.com.",
            )
        if self.mode == "live" and not self.tenant:
            raise SettingsError(
                "A real tenant needs a name.",
                next_step="Give its domain, such as kit.choose('live', tenant='contoso.onmicrosoft.com').",
            )
        return self

    @property
    def asks_a_person(self) -> bool:
        """Whether signing in to the tenant asks somebody at this screen."""
        secret = self.credential == "client-secret" and not os.environ.get("AZURE_CLIENT_SECRET")
        return self.mode == "live" and (secret or self.credential in ("browser", "device-code"))

    def skips(self, username: str) -> bool:
        """Return whether a name is one of the rehearsal's invented users, and this is a real tenant."""
        return self.mode == "live" and username.strip().lower().endswith(INVENTED)

    @property
    def hides_people(self) -> bool:
        """Whether outputs have ids in place of names and addresses."""
        return self.mode == "live" and not self.show_people

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


def named_by_id(folder: Path, profile: Profile, tenant_id: str, domains: Iterable[str]) -> Profile:
    """Return the profile with a real tenant's id for its name, so that `state` has one folder for it.

    The folders of earlier sessions that named it by a domain are moved there, or named in a SettingsError.
    """
    if profile.mode != "live":
        return profile
    by_id = profile.model_copy(update={"tenant": tenant_id})
    for name in dict.fromkeys((profile.tenant, *domains)):
        old, new = state(folder, profile.model_copy(update={"tenant": name})), state(folder, by_id)
        if old != new and old.is_dir():
            _move(old, new)
    return by_id


def _move(old: Path, new: Path) -> None:
    with in_own_folder(new):
        if not new.exists():
            old.rename(new)
            return
        if both := sorted(each.name for each in old.iterdir() if (new / each.name).exists()):
            raise SettingsError(
                f"This machine has two state folders of one tenant, and both hold {', '.join(both)}.",
                service=f"{old} and {new}",
                next_step=f"Shut down all kernels. Keep the right one of each of these files in {new}: the key whose"
                " thumbprint the app registration shows under Certificates & secrets, and the lines of both in each"
                " .jsonl file. Delete the other folder, then open the session again.",
            )
        for each in list(old.iterdir()):
            each.rename(new / each.name)
        old.rmdir()


def load(folder: Path, mode: Mode | None = None) -> Profile:
    """Read the profile of one world, by default of the chosen one; its defaults when none was saved."""
    return _with_host(_read(folder, mode))


def _with_host(profile: Profile) -> Profile:
    if profile.mode == "live" and profile.endpoint_host.endswith(_NOBODYS):
        raise SettingsError(
            "A real tenant needs the public host name of your endpoint; none is chosen.",
            next_step="Give it, such as kit.choose('live', endpoint_host='jit.contoso.com'). Notebook 00 shows how to"
            " get one that leads to this machine.",
        )
    return profile


def _read(folder: Path, mode: Mode | None = None) -> Profile:
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
    in_force = _read(folder) if kept else None
    before = _read(folder, mode).model_dump(exclude={"mode"}) if mode in kept else {}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    chosen = {**before, **{name: value for name, value in given.items() if value is not None}}
    return in_force, _with_host(Profile(mode=mode, **chosen))


def chosen_hides_people() -> bool:
    """Whether the chosen world keeps names of people out of outputs; taken for granted where that cannot be read."""
    try:
        return _read(home()).hides_people
    except SettingsError:
        return True


def has_real_tenant(folder: Path) -> bool:
    """Whether a real tenant was ever chosen; taken for granted where the profile cannot be read."""
    try:
        return "live" in _kept(folder)["worlds"]
    except SettingsError:
        return True


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
