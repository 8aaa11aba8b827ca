"""The two worlds a session can work in. Above this module nobody asks which one it is."""

from __future__ import annotations

import csv
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol
from urllib.parse import urlencode

import httpx

from helpers.graph import Graph
from helpers.settings import Profile, state
from jitkit import protocol
from jitkit.display import Card
from jitkit.errors import BadTable, KitError, NotReady, SettingsError

if TYPE_CHECKING:
    from jitkit.rehearsal.callout import Callout
    from jitkit.rehearsal.drills import Drills
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["SKIPPED", "LiveWorld", "NoDrills", "RehearsalWorld", "Skipped", "TenantFacts", "World", "enter"]

SAMPLE_DATA = Path(__file__).resolve().parents[1] / "sample_data"


@dataclass(frozen=True)
class TenantFacts:
    """Which tenant this is: its id, its initial domain, its display name."""

    id: str
    domain: str
    name: str


class World(Protocol):
    """What a session needs from where it works."""

    words: str
    administrator: str
    graph: Graph

    @property
    def drills(self) -> Drills | NoDrills:
        """What breaks things on purpose, or skips it."""

    @property
    def people(self) -> Mapping[str, str]:
        """What invented people type, name to password; nobody where the people are real."""

    async def tenant(self) -> TenantFacts:
        """Ask the tenant who it is."""

    def export(self) -> Path:
        """Where the legacy system's user export lies."""

    def documents(self) -> str:
        """The endpoint's JIT_OPENID_CONFIGURATION; empty for the tenant's own public documents."""

    def publish(self, host: str, url: str) -> str:
        """Make a public host name lead to a loopback address; returns how, in words."""

    async def reach(self, url: str) -> httpx.Response:
        """Send a GET to a public address; raises httpx.TransportError when nothing answers there."""

    async def compose(self, username: str, password: str | None) -> Callout | None:
        """Compose a callout as Entra would send it, or None where only Entra can."""

    async def sign_in(self, username: str, password: str | None, new_password: str | None, client_app_id: str) -> Any:
        """Sign a customer in, or say how to do it by hand."""

    def connect(
        self,
        *,
        client_app_id: Callable[[], Awaitable[str]],
        endpoint_settings: Callable[[], Awaitable[Mapping[str, str]]],
        collect: Callable[[], Awaitable[object]],
    ) -> None:
        """Give the drills what `play` needs of the session; a real tenant needs nothing."""

    async def close(self) -> None:
        """Release everything."""


class RehearsalWorld:
    """A stand-in tenant in this process.

    Args:
        profile: the profile.
        folder: the kit's state folder.
    """

    words = "rehearsal (a stand-in tenant on this machine)"
    administrator = "the rehearsal tenant's administrator"

    def __init__(self, profile: Profile, folder: Path) -> None:
        from jitkit.rehearsal.drills import Drills
        from jitkit.rehearsal.tenant import RehearsalTenant

        self._profile = profile
        self.stand_in: RehearsalTenant = RehearsalTenant.open(folder / "rehearsal.sqlite3")
        self.graph = Graph(self.stand_in.credential(), self.stand_in.transport())
        own = state(folder, profile)
        ledger = f"ledger-{self.stand_in.tenant_id}.jsonl"
        files = [own / name for name in ("jit-key.pem", "jit-key-previous.pem", "users.jsonl", ledger, "history")]
        self.drills = Drills(
            self.stand_in, folder / "snapshots", files, lambda: _volunteers(self.export(), self.people)
        )
        self._documents: Any = None
        self._people: dict[str, str] | None = None

    async def tenant(self) -> TenantFacts:
        """Ask the stand-in tenant who it is, over Graph."""
        return await _organization(self.graph)

    def export(self) -> Path:
        """The export of the profile, or the sample data."""
        return Path(self._profile.export).expanduser() if self._profile.export else SAMPLE_DATA / "legacy_users.csv"

    def documents(self) -> str:
        """Serve the stand-in tenant's OpenID documents on loopback and name them."""
        from jitkit.rehearsal.serve import DocumentServer

        if self._documents is None:
            self._documents = DocumentServer(self.stand_in)
            self._documents.start()
        return ",".join(self._documents.urls)

    def publish(self, host: str, url: str) -> str:
        """Let the stand-in tenant reach this host at a loopback address, as a tunnel would."""
        self.stand_in.publish(host, url)
        return f"the rehearsal tenant reaches {host} at {url}, as a tunnel would"

    async def reach(self, url: str) -> httpx.Response:
        """Go the way that the stand-in tenant's callouts go."""
        return await self.stand_in.reach(url)

    async def compose(self, username: str, password: str | None) -> Callout | None:
        """Compose a callout with the stand-in tenant's own keys."""
        return await self.stand_in.compose_callout(username, self._password(username, password))

    async def sign_in(self, username: str, password: str | None, new_password: str | None, client_app_id: str) -> Any:
        """Sign in at the stand-in tenant; without a password, with the one this invented person types."""
        return await self.stand_in.sign_in(
            username, self._password(username, password), client_app_id=client_app_id, new_password=new_password
        )

    def connect(
        self,
        *,
        client_app_id: Callable[[], Awaitable[str]],
        endpoint_settings: Callable[[], Awaitable[Mapping[str, str]]],
        collect: Callable[[], Awaitable[object]],
    ) -> None:
        """Let invented users sign in at the session's client, endpoint and history."""
        from helpers.play import Player

        self.drills.player = Player(
            self.stand_in,
            people=lambda: self.people,
            export=self.export,
            client_app_id=client_app_id,
            endpoint_settings=endpoint_settings,
            collect=collect,
        )

    @property
    def people(self) -> dict[str, str]:
        """What the invented people type: name to password, from the `people.csv` beside the export."""
        if self._people is None:
            path = self.export().with_name("people.csv")
            try:
                with path.open(encoding="utf-8-sig", newline="") as file:
                    rows = csv.DictReader(file, restval="")
                    people = {row["username"]: row["password"] for row in rows}
                    if not {"username", "password"} <= set(rows.fieldnames or ()):
                        raise KeyError("username, password")
                self._people = people
            except (OSError, KeyError, UnicodeDecodeError, csv.Error) as problem:
                raise BadTable(
                    f"{path} does not say what the invented people type.",
                    service=f"{type(problem).__name__}",
                    next_step="Give a UTF-8 file with the columns username and password; sample_data has one.",
                ) from None
        return self._people

    async def close(self) -> None:
        """Stop serving documents and close the directory."""
        if self._documents is not None:
            self._documents.stop()
        await self.graph.close()
        self.stand_in.close()

    def _password(self, username: str, password: str | None) -> str:
        if password is not None:
            return password
        try:
            return self.people[username]
        except KeyError:
            raise NotReady(
                f"{username} is not among the invented people of people.csv.",
                next_step="Give password=… as well; in the rehearsal nobody real is behind it.",
            ) from None


class LiveWorld:
    """A real tenant.

    Args:
        profile: names the tenant and the credential.
        folder: the kit's state folder.
    """

    words = "live (a real tenant)"

    def __init__(self, profile: Profile, folder: Path) -> None:
        from helpers import live

        self._profile = profile
        self.drills: Drills | NoDrills = NoDrills()
        self.administrator: str = profile.credential
        self._facts: TenantFacts | None = None
        self._confirmation: live.Confirmation | None = None
        credential = live.LiveCredential(profile, folder)
        self.graph = Graph(
            credential, live.transport(), before_write=self._before_write, scopes=tuple(credential.scopes)
        )

    async def tenant(self) -> TenantFacts:
        """Ask the real tenant who it is."""
        if self._facts is None:
            self._facts = await _organization(self.graph)
        return self._facts

    def export(self) -> Path:
        """The export of the profile; sample data never goes into a real tenant unasked."""
        if self._profile.export:
            return Path(self._profile.export).expanduser()
        raise SettingsError(
            "No user export is chosen for this tenant.",
            next_step="Give export='path/to/users.csv' to kit.choose in notebook 00.",
        )

    @property
    def people(self) -> Mapping[str, str]:
        """Know nobody's password."""
        return {}

    def connect(self, **_: object) -> None:
        """Need nothing."""

    def documents(self) -> str:
        """Leave the endpoint with the tenant's own public documents."""
        return ""

    def publish(self, host: str, url: str) -> str:
        """Say how a real tenant reaches this machine."""
        port = url.rsplit(":", 1)[-1].split("/")[0]
        return f"open a tunnel that leads https://{host} to port {port} of this machine"

    async def reach(self, url: str) -> httpx.Response:
        """Go over the internet, as Entra does; from here, though, and not from where Entra is."""
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.get(url)

    async def compose(self, username: str, password: str | None) -> Callout | None:
        """Only Entra can sign a callout of a real tenant."""
        return None

    async def sign_in(self, username: str, password: str | None, new_password: str | None, client_app_id: str) -> Card:
        """Name the page where a person signs in; a cell never takes a real password."""
        facts = await self.tenant()
        query = urlencode(
            {
                "client_id": client_app_id,
                "response_type": "id_token",
                "redirect_uri": protocol.TEST_CLIENT_REDIRECT,
                "scope": "openid",
                "state": "jit",
                "nonce": "jit-test",
            }
        )
        address = f"https://{facts.domain.split('.')[0]}.ciamlogin.com/{facts.id}/oauth2/v2.0/authorize?{query}"
        return Card(
            title=f"Sign in as {username}",
            status="to do by hand",
            facts={
                "Open in a private window": address,
                "Then": "type the password there, and read the sign-in log in notebook 08",
                "Unverified here": "this kit has only been run against its rehearsal tenant",
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.graph.close()

    async def _before_write(self) -> None:
        from helpers.live import Confirmation

        if self._confirmation is None:
            self._confirmation = Confirmation((await self.tenant()).domain)
        await self._confirmation()


SKIPPED: Final = "skipped: a real tenant is not broken on purpose"


class Skipped(KitError):
    """A block was not run, because it is a drill and this is a real tenant. A notebook shows one line."""

    def __init__(self) -> None:
        super().__init__(SKIPPED, next_step="Go on with the next cell.")

    def _render_traceback_(self) -> list[str]:
        return [SKIPPED]


class _SkippedDrill(Card):
    def __enter__(self) -> NoReturn:
        raise Skipped

    def __exit__(self, *_: object) -> None: ...


class NoDrills:
    """`s.rehearsal` in a real tenant, which is never broken on purpose: each drill says that it is skipped."""

    def misconfigure(self, *_: Any, **__: Any) -> _SkippedDrill:
        """Skip; a `with` block is not run."""
        return _SkippedDrill(title="Drill", status=SKIPPED)

    def fault(self, *_: Any, **__: Any) -> NoReturn:
        """Skip the block.

        Raises:
            Skipped: always.
        """
        raise Skipped

    async def case(self, *_: Any, **__: Any) -> Card:
        """Skip."""
        return self.misconfigure()

    play = retry = each_case = case
    undo = switch = forward = snapshot = restore = reset = calls = listing = misconfigure


def enter(profile: Profile, folder: Path) -> World:
    """Enter the world that the profile names.

    Args:
        profile: the profile.
        folder: the kit's state folder.
    """
    return LiveWorld(profile, folder) if profile.mode == "live" else RehearsalWorld(profile, folder)


async def _organization(graph: Graph) -> TenantFacts:
    from helpers.graph import explained

    with explained("read which tenant this is"):
        found = (await graph.send("GET", "/organization?$select=id,displayName,verifiedDomains"))["value"][0]
    initial = next(each["name"] for each in found["verifiedDomains"] if each.get("isInitial"))
    return TenantFacts(found["id"], initial, found["displayName"])


def _volunteers(export: Path, people: Mapping[str, str]) -> dict[str, str]:
    """Choose the invented users whose old account is in order and whose password External ID accepts."""
    from helpers.legacy_export import read_export
    from jitkit.rehearsal.accounts import password_problem

    read = read_export(export)
    awkward = {each.username for each in read.problems}
    return {
        each.username: people[each.username]
        for each in read.users
        if each.status == "active" and not each.must_change and each.username not in awkward
        if each.username in people and not password_problem(people[each.username])
    }
