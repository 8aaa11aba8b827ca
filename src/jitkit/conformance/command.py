"""`jitkit check`, from its arguments to its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from jitkit.conformance.case import Outcome
from jitkit.conformance.config import Config
from jitkit.conformance.first_call import check_address
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import settings_for
from jitkit.conformance.legacy import Legacy
from jitkit.conformance.own import check_own, fresh_config
from jitkit.conformance.report import failed, line, summary, write_json, write_junit
from jitkit.conformance.run import check_url
from jitkit.errors import SettingsError

__all__ = ["check", "write_config"]

_TEMPLATE: Final = """\
# The endpoint under test. Change what differs; the paths are relative to this file.
tenant_id = "{tenant_id}"
app_id = "{app_id}"
identifier_uri = "{identifier_uri}"

# Your endpoint opens passwords with the private keys beside these certificates. They are for tests alone.
certificate = "{folder}/current.pem"
previous_certificate = "{folder}/previous.pem"

# Where your endpoint reaches the suite's issuer and legacy store. In a container, let the suite listen on
# 0.0.0.0 and name the host as the container sees it.
listen = "127.0.0.1"
issuer_url = "http://127.0.0.1:7081"
legacy_url = "http://127.0.0.1:7082/verify"

# Files and folders that your endpoint writes. They are searched for passwords at the end.
logs = []

# false skips the cases of what your endpoint does not do; weak_passwords and flat_context say what it lets in.
[features]
breaker = true
limiter = true
replay = true
context_issuer = true
weak_passwords = false
flat_context = false
user_mapping = false
"""


def check(
    url: str | None,
    config: Path | None,
    *,
    only: Sequence[str],
    json_file: Path | None,
    junit_file: Path | None,
    say: Callable[[str], None],
) -> int:
    """Run the suite and report.

    Args:
        url: the endpoint; None for the kit's own, which the suite starts.
        config: the configuration file; needed with a URL.
        only: ids of cases; all when empty.
        json_file: where to write JSON, or None.
        junit_file: where to write JUnit XML, or None.
        say: gets the lines of the table.

    Returns:
        0, or 1 when a required case failed.

    Raises:
        KitError: the suite could not run.
    """
    areas: list[str] = []

    def tell(outcome: Outcome) -> None:
        if outcome.area not in areas:
            areas.append(outcome.area)
            say(f"\n{outcome.area}")
        say(line(outcome))

    if url is None:
        outcomes = asyncio.run(check_own(only, tell))
    else:
        check_address(url)
        read = _read(config)
        say(_announcement(read))
        outcomes = asyncio.run(check_url(read, url, only, tell))
    say(f"\n{summary(outcomes)}")
    if json_file:
        write_json(outcomes, json_file, (url or "started by the suite").partition("?")[0])
    if junit_file:
        write_junit(outcomes, junit_file)
    return 1 if failed(outcomes) else 0


def _read(config: Path | None) -> Config:
    if config is None:
        raise SettingsError(
            "The suite must know whom the endpoint serves.",
            next_step="Run `jitkit check --write-config check.toml`, adapt the file, and name it with --config.",
        )
    return Config.read(config)


def _announcement(config: Config) -> str:
    legacy = None if config.legacy_url is None else Legacy(config)
    settings = settings_for(config, Issuer(config, config.key), legacy)
    lines = [f"  {name}={value}" for name, value in settings.items()]
    return "\n".join(
        (
            "The endpoint must run with these settings, whatever it calls them, and with its private keys:",
            *lines,
            "Start it now if it is not running; the suite waits a minute for a good call to pass.",
        )
    )


def write_config(path: Path) -> str:
    """Write a configuration to start from, and key pairs for tests beside it.

    Args:
        path: the TOML file to write; it must not be there yet.

    Returns:
        What to do next.

    Raises:
        SettingsError: the file is there already, or cannot be written.
    """
    config, folder = fresh_config(), path.with_name(f"{path.stem}-keys")
    text = _TEMPLATE.format(
        tenant_id=config.tenant_id, app_id=config.app_id, identifier_uri=config.identifier_uri, folder=folder.name
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, key in (("current", config.key), ("previous", config.previous)):
            target = folder / f"{name}.pem"
            target.touch(mode=0o600)
            target.write_text(key.pem() if key else "", encoding="ascii")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written.", service=error.strerror, next_step="Name a new file in a folder that is there."
        ) from None
    return (
        f"Wrote {path}, and key pairs for tests in {folder}.\n"
        f"Next: give your endpoint the private key in {folder / 'current.pem'}, and the previous one if it takes two;\n"
        f"then run `jitkit check URL --config {path}`: it says which settings your endpoint needs."
    )
