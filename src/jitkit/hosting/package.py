"""Writes a folder that can be deployed: an Azure Functions project, or a container build, around the endpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jitkit.display import Table
from jitkit.errors import SettingsError

__all__ = ["SECRETS", "package"]

# Settings that hold a secret: they come from Azure Key Vault, never from a file.
SECRETS: Final = (
    *("DecryptionPrivateKey", "DecryptionPrivateKeyPrevious", "LegacyApiConnectionString", "JIT_LEGACY_PEPPER"),
)

_HERE: Final = Path(__file__).parent
_JITKIT: Final = _HERE.parent
_OWN_MODULES: Final = ("__init__.py", "errors.py", "protocol.py")
_NAMES: Final = {"functions": "Azure Functions project", "container": "Container build"}
# The file that takes the settings.
_SETTINGS: Final = {"functions": "app-settings.json", "container": "endpoint.env"}


def package(kind: str, out: Path, settings: Mapping[str, str] | None = None) -> Table:
    """Write everything that a host needs to run the endpoint. No file of it holds a secret.

    Args:
        kind: `functions` for an Azure Functions project, `container` for a container build.
        out: a new or empty folder, or one that this wrote before: then the endpoint in it is replaced, and every
            other file stays as it is.
        settings: values to write into the settings file, such as JIT_TENANT_ID. Secrets are refused.

    Returns:
        One row a file: written, replaced or kept.

    Raises:
        SettingsError: the folder holds something else or cannot be written, or a value is secret or not a setting.
    """
    content = _contents(kind)
    file = _SETTINGS[kind]
    content[file] = _filled(file, content[file], settings or {})
    endpoint = out / "jitkit" / "endpoint"
    try:
        if out.exists() and any(out.iterdir()) and not endpoint.is_dir():
            raise SettingsError(
                f"{out} holds files that this command did not write.", next_step="Name a new or an empty folder."
            )
        again = endpoint.is_dir()
        _copy_endpoint(out)
        rows = [("jitkit/", "replaced" if again else "written")]
        for name, text in sorted(content.items()):
            path = out / name
            rows.append((name, "kept" if path.exists() else "written"))
            if not path.exists():
                path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise SettingsError(
            f"{out} cannot be written.", service=problem.strerror, next_step="Name a folder of your own."
        ) from problem
    return Table(
        caption=f"{_NAMES[kind]} in {out}",
        columns=("File", "Status"),
        rows=rows,
        note=f"Next: fill in {file}, then follow README.md. Nothing in this folder is secret; keep it so.",
    )


def _contents(kind: str) -> dict[str, str]:
    """Read the templates of a kind, by the name of the file that each becomes."""
    found = {
        path.name.removesuffix(".template").replace("dot-", "."): path.read_text(encoding="utf-8")
        for path in (_HERE / kind).glob("*.template")
    }
    found["requirements.txt"] += (_HERE / "requirements.txt").read_text(encoding="utf-8")
    return found


def _filled(file: str, text: str, settings: Mapping[str, str]) -> str:
    if secret := sorted(set(SECRETS) & set(settings)):
        raise SettingsError(
            f"{secret[0]} is secret, and is never written into a file that is deployed.",
            next_step="Keep it in Azure Key Vault, and leave it out here.",
        )
    if file.endswith(".json"):
        known = {row["name"]: row["value"] for row in json.loads(text)}
    else:
        known = dict(line.split("=", 1) for line in text.splitlines())
    if unknown := sorted(set(settings) - set(known)):
        raise SettingsError(
            f"{unknown[0]} is not in {file}.", next_step=f"Give some of {', '.join(set(known) - set(SECRETS))}."
        )
    values = {**known, **settings}
    if file.endswith(".json"):
        return json.dumps([{"name": name, "value": value} for name, value in values.items()], indent=2) + "\n"
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _copy_endpoint(out: Path) -> None:
    """Copy the endpoint and the three modules of jitkit that it needs."""
    target = out / "jitkit"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for name in _OWN_MODULES:
        shutil.copyfile(_JITKIT / name, target / name)
    shutil.copytree(_JITKIT / "endpoint", target / "endpoint", ignore=shutil.ignore_patterns("__pycache__"))
