"""`s.host`: the place where the endpoint runs for real users, its commands, and what to do when something is down."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import httpx

from helpers.graph import Graph
from helpers.local_endpoint import LocalEndpoint, RunningEndpoint
from helpers.settings import Hosting, Profile, save
from helpers.tenant.apps import ClientApp, ExtensionApp
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.encryption_key import WAITS, EncryptionKey
from helpers.tenant.policies import Listener, PasswordExtension
from helpers.tenant.step import Step
from helpers.tenant.users import Users
from helpers.tenant.vault import Vault
from helpers.worlds import SKIPPED, World
from jitkit.display import Card, Table
from jitkit.errors import EndpointDown, KitError, SettingsError
from jitkit.hosting import package

__all__ = ["DAYS_LEFT", "HAS_KEY", "Host"]

HAS_KEY: Final = "Has the key that the tenant encrypts with"
DAYS_LEFT: Final = "Days left of the key in use"

_DATA: Final = tomllib.loads((files("jitkit.hosting") / "commands.toml").read_text(encoding="utf-8"))
_TEMPLATE: Final = Path(package.__file__).parent / "azure" / "main.json"
_SECONDS: Final = 1_800  # for one command; a deployment takes minutes
# Nothing listens there: a legacy store that is down.
_NO_STORE: Final = "http://127.0.0.1:9/verify"
_WAVES: Final = (
    ("Pilot", None, "people you know, who tell you what they saw; two days"),
    ("First wave", 0.05, "look at failures and latency for some days"),
    ("Second wave", 0.25, "the help desk has seen every question by now"),
    ("Everybody else", 1.0, "people with a second factor last, in a wave of their own"),
)


class Host(Step):
    """Show the commands that make and change the host, run them where the reader says so, and rehearse both.

    Args:
        graph: the tenant's Microsoft Graph.
        profile: the names of the host's parts in Azure, and its public address.
        folder: the kit's state folder.
        world: the session's world.
        local: the endpoint on this machine, whose settings the host gets, without its keys.
        key: the encryption key.
        vault: the vault that keeps it.
    """

    def __init__(
        self,
        graph: Graph,
        profile: Profile,
        folder: Path,
        world: World,
        local: LocalEndpoint,
        key: EncryptionKey,
        vault: Vault,
    ) -> None:
        super().__init__(graph, profile, folder)
        self._world, self._local, self._key, self._vault = world, local, key, vault
        self._rehearsed = RunningEndpoint(self._state / "host")

    async def create(self, *, run: bool = False, alert_email: str = "", address: str = "") -> Table:
        """Show the commands that make the vault, the app, its identity, its network and its alerts.

        Args:
            run: run them, with the Azure CLI of this machine.
            alert_email: who gets the alerts.
            address: the public IP address of this machine, which the vault lets in.

        Raises:
            SettingsError: a name is missing, or the Azure CLI is.
            KitError: a command failed; the message says which.
        """
        return await self._step("create", run=run, alert_email=alert_email, address=address)

    async def grant(self, *, run: bool = False, alert_email: str = "") -> Table:
        """Show the commands that assign the two roles at the vault, or run them; as for `create`."""
        return await self._step("grant", run=run, alert_email=alert_email)

    async def restrict(self, *, run: bool = False) -> Table:
        """Show the commands that close the vault to all but the app's network, or run them."""
        return await self._step("restrict", run=run)

    async def let_in(self, address: str, *, run: bool = False) -> Table:
        """Show the commands that let one public IP address reach the vault, or run them."""
        return await self._step("let_in", run=run, address=address)

    async def deploy(self, *, run: bool = False, legacy_file: str = "") -> Table:
        """Write the package with this tenant's settings, and show the commands that deploy it, or run them.

        Args:
            run: run them, with the command-line tools of this machine.
            legacy_file: a file with the legacy system's connection, which goes into the vault.

        In the rehearsal the endpoint starts as a process of its own that reads the rehearsal vault with an identity,
        and the public host name leads to it.
        """
        settings, folder = await self._settings(), self._state / "functions"
        shown = {name: value for name, value in settings.items() if name not in package.SECRETS}
        public: dict[str, str] = {name: shown[name] for name in _PUBLIC if name in shown}
        files_ = await asyncio.to_thread(package.package, "functions", folder, public)
        rehearsed = ""
        if self._world.provision("deploy"):
            url = await self._rehearsed.start({**settings, **self._vault.door.environment}, port=0)
            self._world.publish(self._profile.endpoint_host, url.split("/api/")[0])
            rehearsed = f"rehearsal host: an endpoint process at {url}; {self._profile.endpoint_host} leads to it"
        table = await self._step("deploy", run=run, folder=str(folder), legacy_file=legacy_file, done=rehearsed)
        return Table(
            caption=table.caption,
            columns=table.columns,
            rows=[(f"the package, {len(files_.rows)} files", f"jitkit package functions --out {folder}"), *table.rows],
            note=table.note,
        )

    async def health(self) -> Card:
        """Ask the public address how many keys the endpoint holds, when they end, and whether it has the one in use.

        Raises:
            EndpointDown: nothing answers there, or something else than the endpoint.
        """
        url, in_use = self._profile.target_url, await self._key.show()
        try:
            answer = await self._world.reach(str(httpx.URL(url).copy_merge_params({"x5t": in_use.x5t})))
            said = answer.json()
            ends = [str(each or "not known") for each in said["keys_end"]]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as problem:
            raise EndpointDown(
                f"{url} does not say which keys it holds.",
                service=type(problem).__name__,
                next_step="Deploy the endpoint, and read its log: a reference to the vault that does not resolve, or a"
                " role that is missing, stops its start.",
            ) from None
        facts = {
            "GET": url,
            "Keys that it holds": str(len(ends)),
            "They end": ", ".join(ends),
            HAS_KEY: "yes" if said.get("has_key") is True else "no",
            DAYS_LEFT: str(said.get("certificate_days_left", "not known")),
        }
        return Card(title="Hosted endpoint", status=f"answers {answer.status_code}", facts=facts)

    async def waves(self) -> Table:
        """Divide the users who still have to migrate into a pilot and three waves."""
        left = (await self._other(Users).counts()).to_migrate
        rows, before = [], 0
        for name, share, words in _WAVES:
            until = min(20, left) if share is None else int(left * share)
            rows.append((name, f"{max(0, until - before):,}", words))
            before = max(before, until)
        return Table(
            caption=f"Waves for the {left:,} users who still have to migrate",
            columns=("Wave", "Users", "Meanwhile"),
            rows=rows,
            note="They all carry the flag, so each of them moves at the next sign-in at an application of the listener."
            " Who is without it is not counted. A wave gets it by an export file of its own: notebook 09 says how, also"
            " where everybody has it.",
        )

    async def outages(self) -> Table:
        """Show what to do when the legacy store, the vault or the endpoint is down; the rehearsal tries each."""
        seen = await self._tried()
        rows = [
            (each["down"], seen.get(each["down"], SKIPPED), *(each[name].format(**self._names()) for name in _COLUMNS))
            for each in _DATA["runbook"]
        ]
        return Table(
            caption="Runbook: what is down, and what to do",
            columns=("Down", "Tried: a person with the right password", "People", "First", "If it lasts"),
            rows=rows,
        )

    async def forget_the_switch(self) -> Card:
        """Renew the certificate in the rehearsal vault and forget the tenant, to see who notices."""
        if not self._world.provision("drill"):
            return Card(title="Forgotten switch", status=SKIPPED)
        await self._vault.new_version()
        shown = await self._key.show()
        facts = {"The tenant encrypts with": shown.thumbprint, "What the step says": shown.facts[WAITS]}
        return Card(title="A renewal in the vault, and nothing else", status="made", facts=facts)

    async def close(self) -> None:
        """Stop the rehearsal's host."""
        await self._rehearsed.stop()

    async def leave(self) -> Card:
        """Go back to the endpoint on this machine, in the profile too; a host in Azure goes on."""
        if not self._world.provision("open"):
            return Card(title="Hosted endpoint", status=SKIPPED)
        await self.close()
        there = httpx.URL((await self._other(PasswordExtension).show()).target_url).host
        profile = self._profile.model_copy(update={"hosting": Hosting(), "endpoint_host": there})
        save(self._folder, profile)
        return Card(title="Hosted endpoint", status="stopped", facts={"The tenant calls": there, "Vault": "none"})

    async def _tried(self) -> dict[str, str]:
        names = self._world.drills.volunteers(1)
        if not names or not self._rehearsed.url:
            return {}
        client, seen = (await self._other(ClientApp).show()).app_id, {}
        settings = {**await self._settings(), **self._vault.door.environment}

        async def sign_in() -> str:
            done = await self._world.sign_in(names[0], None, None, client)
            return f"{done.outcome}: {done.user_sees}"

        async def start(**changes: str) -> None:
            url = await self._rehearsed.start({**settings, **changes}, port=0)
            self._world.publish(self._profile.endpoint_host, url.split("/api/")[0])

        await start(LegacyApiConnectionString=_NO_STORE)
        seen["legacy store"] = await sign_in()
        await self._rehearsed.stop()
        seen["endpoint"] = await sign_in()
        await start()
        self._world.provision("vault-away")
        try:
            seen["vault"] = await sign_in()  # last, because this one succeeds
        finally:
            self._world.provision("vault-back")
        return seen

    async def _settings(self) -> dict[str, str]:
        """Return the endpoint's settings with the vault in place of key files."""
        return {
            **await self._local.settings(keys=False),
            "KeyVaultUrl": self._vault.door.url,
            "CiamJitMigrationEncryptionCertName": self._profile.hosting.certificate,
        }

    def _names(self) -> dict[str, str]:
        return {**self._profile.hosting.model_dump(), "host": self._profile.endpoint_host, "template": str(_TEMPLATE)}

    async def _step(self, step: str, *, run: bool, done: str = "", **values: str) -> Table:
        names = self._names() | values
        if step == "create":
            names["tenant_id"] = (await self._world.tenant()).id
            names["extension_app_id"] = (await self._other(ExtensionApp).show()).app_id
            names["migration_flag"] = (await self._other(MigrationFlag).show()).full_name
            names["extension_id"] = (await self._other(PasswordExtension).show()).extension_id
            names["listener_id"] = (await self._other(Listener).show()).listener_id
        data = _DATA[step]
        shown = {name: value or name.upper() for name, value in names.items()}
        lines = [(each["what"], each["run"].format(**shown), each.get("keep", "")) for each in data["commands"]]
        done = done or self._world.provision(step)
        if run and not done:
            if missing := sorted(name for name, value in names.items() if not value and f"{{{name}}}" in str(data)):
                raise SettingsError(
                    f"The commands need {missing[0]}.",
                    next_step=f"Give it: {missing[0]}='…', in this call or with kit.choose.",
                )
            await asyncio.to_thread(_run, [(command, keep) for _, command, keep in lines], values.get("folder"))
        status = done or ("run: all succeeded" if run else "shown, not run; add run=True to run them from here")
        rows = [(what, f"{keep}=$({command})" if keep else command) for what, command, keep in lines]
        return Table(caption=data["title"], columns=("What", "Command"), rows=rows, note=f"{status}. {data['note']}")


_COLUMNS: Final = ("people", "first", "longer")
_PUBLIC: Final = (
    *("JIT_TENANT_ID", "JIT_EXTENSION_APP_ID", "JIT_IDENTIFIER_URI", "KeyVaultUrl"),
    "CiamJitMigrationEncryptionCertName",
)


def _run(commands: Sequence[tuple[str, str]], folder: str | None) -> None:
    """Run commands one after the other, without a shell; what one prints can be part of a later one."""
    kept: dict[str, str] = {}
    for command, keep in commands:
        words = [_filled(word, kept) for word in shlex.split(command)]
        program = shutil.which(words[0])
        if program is None:
            raise SettingsError(
                f"{words[0]} is not installed here, so nothing was run.",
                next_step="Install it and sign in, or copy the commands to where it is.",
            )
        try:
            done = subprocess.run(  # noqa: S603 - the reader's own command-line tools, with the names that were shown
                [program, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
            said = "" if not done.returncode else (done.stderr.strip().splitlines() or ["no message"])[-1]
        except (OSError, subprocess.TimeoutExpired) as problem:
            said = type(problem).__name__
        if said:
            raise KitError(
                f"This command failed: {command}",
                service=said,
                next_step="Fix what it says, and run this cell again: what is there already stays.",
            )
        if keep:
            kept[keep] = done.stdout.strip()


def _filled(word: str, kept: Mapping[str, Any]) -> str:
    for name, value in kept.items():
        word = word.replace(f"${name}", value)
    return word
