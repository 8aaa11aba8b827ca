"""What notebooks start from: open a session, choose a world, check this machine."""

from __future__ import annotations

import asyncio
import html
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from helpers.session import Apps, Policies, Steps
from jitkit.display import Card, Table
from jitkit.errors import SettingsError
from jitkit.files import others_may_read, write_private

if TYPE_CHECKING:
    from helpers.checks import Checked
    from helpers.graph import Graph, explained
    from helpers.settings import Mode, Names, Profile
    from helpers.worlds import Account, World
    from jitkit.hosting.capacity import capacity

__all__ = ["Names", "Session", "capacity", "choose", "environment", "explained", "open"]

# Loaded at first use, as all that is slow to load: pydantic, httpx, the Graph SDK.
_SLOW: Final = {"Names": "helpers.settings", "capacity": "jitkit.hosting.capacity", "explained": "helpers.graph"}


def __getattr__(name: str) -> Any:
    if name not in _SLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_SLOW[name]), name)


@dataclass(frozen=True, kw_only=True, repr=False)
class Session(Steps):
    """One notebook's access to a tenant: things to ensure, show, check and remove."""

    folder: Path  # the kit's state folder
    account: Account  # who is signed in

    @property
    def graph(self) -> Graph:
        """The tenant's Microsoft Graph: `send`, `pages`, `batch`, and the SDK's own `client`."""
        return self.world.graph

    @property
    def rehearsal(self) -> Any:
        """Break things on purpose and fix them, or move the clock. In a real tenant each says that it is skipped."""
        return self.world.drills

    @property
    def outputs(self) -> Path:
        """The folder for this tenant's reports, which git ignores and JupyterLab opens: `report` next to `.kit`."""
        from helpers.settings import state

        visible = self.folder.parent if self.folder.name.startswith(".") else self.folder
        return visible / "report" / state(self.folder, self.profile).name

    def export(self) -> Path:
        """Return the path of the legacy system's user export."""
        return self.world.export()

    def __repr__(self) -> str:
        return f"<Session: {self.world.words}, {self.tenant.domain}>"

    def _repr_html_(self) -> str:
        facts = {
            "Tenant": f"{self.tenant.name} · {self.tenant.domain} · {self.tenant.id}",
            "Kind of tenant": f"external ({self.tenant.kind})" if self.tenant.kind == "CIAM" else self.tenant.kind,
            "Signed in": self.account.name,
            "Directory roles": self.account.roles,
            "Permissions of notebook 00 not in the token": ", ".join(self.account.lacking),
            "People in outputs": "ids only; `kit.choose('live', show_people=True)` shows names and addresses"
            if self.profile.hides_people
            else "names and addresses",
            "State on this machine": str(self.folder),
        }
        shown = {label: value for label, value in facts.items() if value}
        return Card(title="You are in", status=self.world.words, facts=shown)._repr_html_()

    async def sign_in(self, username: str, *, password: str | None = None, new_password: str | None = None) -> Any:
        """Sign a customer in at the test client and show what happened, step by step.

        Args:
            username: the name that is typed.
            password: the password that is typed. In the rehearsal it may be left out: then it is the right one of this
                invented person. A real tenant never takes a password from a cell; it gets a page to open.
            new_password: what the person chooses if a new password is asked for.
        """
        from helpers.graph import recording

        with recording("sign people in"):
            client = await self.apps.client.show()
        return await self.world.sign_in(username, password, new_password, client.app_id)

    async def require(self, notebook: str) -> Table:
        """Check that what a notebook, named by its two digits, needs is there.

        Raises:
            NotReady: something is missing; the message names the notebook that makes it.
        """
        from helpers.checks import needs_of, require_all

        return await require_all(self, needs_of(notebook), "What this notebook needs")

    async def checkpoint(self, notebook: str) -> Table:
        """Check, by asking the tenant again, that a notebook, named by its two digits, left what it should.

        Raises:
            NotReady: something is missing.
        """
        from helpers.checks import checkpoints_of, require_all

        return await require_all(self, checkpoints_of(notebook), "Checkpoint: what is there now")

    async def check(
        self,
        what: Literal["configuration", "go-live"] = "configuration",
        *,
        settings: Mapping[str, str] | Path | None = None,
        resource_group: str = "",
        app: str = "",
        vault: str = "",
        lock_after: int | None = None,
    ) -> Checked:
        """Read the whole configuration and name every fault in it with its fix. Nothing is written.

        Args:
            what: `go-live` checks as well what a set-up needs before users depend on it.
            settings: the endpoint's settings, or a file of them, where its host is not read through the Azure CLI.
            resource_group: of the function app that the Azure CLI on this machine reads; with `app`.
            app: the function app.
            vault: the key vault; by default the one that the app's settings name.
            lock_after: the wrong passwords at which the legacy store locks an account.

        Returns:
            One row a thing: whether it is in order, what was found, what to do. A fault never raises here.

        Raises:
            KitError: for `go-live`, the extension, the settings or the app cannot be read at all.
        """
        from helpers.checks import check, check_before_going_live
        from jitkit.hosting.doctor import read_azure, read_settings

        if what == "configuration":
            return await check(self)
        read = await asyncio.to_thread(read_azure, resource_group, app, vault) if app else ({}, {})
        given = read_settings(settings) if isinstance(settings, Path) else settings
        return await check_before_going_live(self, settings=given, azure=read, lock_after=lock_after)

    async def go_no_go(self, *, answers: Mapping[str, bool] | None = None) -> Table:
        """Put together what speaks for going live and what against it.

        Args:
            answers: what only people know: a question of the table, and True or False.
        """
        from helpers.checks import go_no_go

        return await go_no_go(self, answers=answers)

    async def switch_off(self, *, told: bool | None = None) -> Table:
        """Say whether the old system may be switched off.

        Args:
            told: whether everybody who is left was sent how to get a new password.
        """
        from helpers.checks import switch_off

        return await switch_off(self, told=told)

    async def remove(self, *, dry_run: bool = True, applications: Collection[str] = ()) -> Table:
        """Remove what the kit made in this tenant, or list what would be removed.

        Args:
            dry_run: change nothing; give False to remove.
            applications: the names of the applications that lose the migration by it, other than the test client.

        Raises:
            KitError: the listener covers applications that are not among those names.
            SettingsError: `dry_run` is neither True nor False.
        """
        from helpers.checks import remove

        return await remove(self, dry_run=dry_run, applications=applications)

    async def close(self) -> None:
        """Stop the endpoint and close all connections."""
        await self.endpoint.stop()
        await self.host.close()
        await self.world.close()


async def open(folder: Path | None = None) -> Session:
    """Open a session in the world that notebook 00 chose: the rehearsal tenant unless you chose a real one.

    Args:
        folder: the kit's state folder; `.kit` unless JIT_KIT_HOME names another.

    Raises:
        KitError: the profile, the sign-in or the tenant is not right; the message says what to do.

    Example:
        >>> from helpers import kit
        >>> s = await kit.open()  # doctest: +SKIP
    """
    from helpers import settings
    from helpers.worlds import enter

    _show_paths()
    folder = folder or settings.home()
    profile = settings.load(folder)
    world = enter(profile, folder)
    try:
        return await _session(world, profile, folder)
    except BaseException:
        await world.close()
        raise


def _show_paths() -> None:
    """Let the notebook show every path as text, and as a link where JupyterLab can open it."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        formatters = shell.display_formatter.formatters
        formatters["text/plain"].for_type(Path, lambda path, printer, _: printer.text(str(path)))
        formatters["text/html"].for_type(Path, _path_as_html)


def _path_as_html(path: Path) -> str:
    text, here = html.escape(str(path)), Path.cwd()
    # What Jupyter serves is the folder around the notebooks, without what is hidden; Voilà serves no files.
    served = path.is_file() and path.is_relative_to(here.parent) and "voila" not in os.getenv("SERVER_SOFTWARE", "")
    if not served or any(part.startswith(".") for part in path.relative_to(here.parent).parts):
        return f"<code>{text}</code>"
    address = quote(Path(os.path.relpath(path, here)).as_posix())
    return f'<a href="{address}" target="_blank">{text}</a>'


def choose(mode: Mode, **values: Any) -> Card:
    """Choose where the notebooks work, and keep the choice.

    Args:
        mode: `rehearsal` or `live`.
        values: any field of the profile: tenant, credential, client_id, certificate, endpoint_host, endpoint_port,
            export, show_people, names. What you leave out stays as it was.

    Returns:
        The profile in words, with status chosen or unchanged.

    Raises:
        SettingsError: a value cannot be used.
    """
    from helpers import settings

    folder = settings.home()
    before, profile = settings.choice(folder, mode, values)
    if profile != before:
        settings.save(folder, profile)
    facts = {"Mode": str(profile.mode), "Endpoint": profile.target_url}
    if profile.mode == "live":
        facts |= {"Tenant": profile.tenant, "Credential": str(profile.credential)}
        facts["People in outputs"] = "ids only" if profile.hides_people else "names and addresses"
    return Card(title="Where the notebooks work", status="unchanged" if profile == before else "chosen", facts=facts)


def environment() -> Table:
    """Check this machine: Python, the packages, and the folder where the kit keeps its state.

    Raises:
        SettingsError: something is missing; the message says what to install or change.
    """
    from importlib.metadata import PackageNotFoundError, version

    from helpers.settings import home

    rows: list[tuple[str, str, str]] = [("Python", ".".join(map(str, sys.version_info[:3])), "3.11 or newer")]
    missing = []
    for name in ("jupyterlab", "msgraph-sdk", "azure-identity", "jwcrypto", "pandas", "ipywidgets"):
        try:
            rows.append((name, version(name), "installed"))
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise SettingsError(
            f"These packages are missing: {', '.join(missing)}.",
            next_step="Run `pip install -e . -c constraints.txt` in the kit's folder, then restart the kernel.",
        )
    folder = home()
    probe = folder / ".probe"
    write_private(probe, b"")
    readable = others_may_read(folder, probe)
    probe.unlink()
    rows.append(("State folder", str(folder), f"writable; {readable}"))
    rows.append(("Processors", str(os.cpu_count()), "two are enough"))
    return Table(caption="This machine", columns=("What", "Found", "In words"), rows=rows)


async def _session(world: World, profile: Profile, folder: Path) -> Session:
    from helpers.host import Host
    from helpers.local_endpoint import LocalEndpoint
    from helpers.migration_progress import Progress
    from helpers.settings import named_by_id, state
    from helpers.tenant.apps import ClientApp, ExtensionApp
    from helpers.tenant.attribute import MigrationFlag
    from helpers.tenant.consents import ClientConsent, PayloadConsent
    from helpers.tenant.encryption_key import EncryptionKey
    from helpers.tenant.policies import Listener, PasswordExtension
    from helpers.tenant.user_flow import EmailCodes, UserFlow
    from helpers.tenant.users import Users
    from helpers.tenant.vault import Vault, VaultKey

    tenant, account = await world.tenant(), await world.account()
    profile = named_by_id(folder, profile, tenant.id, tenant.domains)
    tools = (world.graph, profile, folder)
    app, client, attribute = ExtensionApp(*tools), ClientApp(*tools), MigrationFlag(*tools)
    vault = Vault(*tools, world.vault)
    key = VaultKey(*tools, vault) if profile.hosting.vault else EncryptionKey(*tools)
    key.reach = world.reach
    endpoint = LocalEndpoint(world, profile, state(folder, profile), app, key, tenant.id)
    progress = Progress(world.graph, attribute, endpoint.ledger_path)

    async def client_app_id() -> str:
        return (await client.show()).app_id

    session = Session(
        profile=profile,
        folder=folder,
        account=account,
        tenant=tenant,
        attribute=attribute,
        apps=Apps(app, PayloadConsent(*tools), client, ClientConsent(*tools), UserFlow(*tools), EmailCodes(*tools)),
        policies=Policies(PasswordExtension(*tools), Listener(*tools)),
        key=key,
        vault=vault,
        host=Host(*tools, world, endpoint, key, vault),
        users=Users(*tools),
        endpoint=endpoint,
        progress=progress,
        world=world,
    )
    world.connect(
        stop_endpoint=endpoint.stop,
        start_endpoint=endpoint.ensure,
        check=session.check,
        client_app_id=client_app_id,
        endpoint_settings=endpoint.settings,
        collect=progress.keep_logs,
    )
    return session
