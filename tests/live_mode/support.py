"""Runs notebooks in live mode, with credential and transport led to a rehearsal tenant and a person who answers.

The internet is played as well: the tunnel from the public host to this machine, and nothing else behind it.
"""

from __future__ import annotations

import ast
import inspect
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from sessions import KINDS

from helpers import live, settings
from helpers.graph import Change, Graph
from helpers.run_notebooks import in_order
from helpers.settings import Profile
from helpers.worlds import SAMPLE_DATA, LiveWorld, Skipped
from jitkit.rehearsal.tenant import RehearsalTenant

PATHS = {path.stem[:2]: path for path in in_order()}
# Notebook 09 stops at its invented names until they are the reader's own; Run All goes no further.
GO_LIVE = "09"
TO_THEIR_END = [number for number in PATHS if number != GO_LIVE]
HOST = "jit.contoso.example"
PRODUCTION = "prod.contoso.example"
PEOPLE = 40
_READS = ("GET", "HEAD")


@dataclass
class Write:
    """A request that changes the tenant, and whether the person had seen a change and answered before it."""

    method: str
    path: str
    body: bytes
    cell: str
    shown: bool  # a change was shown in this cell
    allowed: bool  # a question of this session was answered
    status: int = 0


@dataclass
class Asked:
    """A question, the change that was shown before it, and what was typed."""

    cell: str
    change: Change
    question: str
    typed: str


@dataclass
class Person:
    """Reads each change, answers each question from what is shown, and notes both.

    Args:
        domain: the tenant's domain, which this person knows by heart.
        refuses: whether they type something else when a change asks for an answer of its own.
    """

    domain: str
    refuses: bool = False
    shown: list[tuple[str, Change]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    cell: str = ""

    def see(self, change: Change) -> None:
        self.shown.append((self.cell, change))

    def answer(self, question: str) -> str:
        change = self.shown[-1][1]
        typed = change.answer or self.domain
        assert typed.lower() not in question.lower(), f"the question prints what is to be typed: {question}"
        if change.answer:
            assert change.answer in str(change), "what is to be typed can be read in what is shown"
            typed = "no" if self.refuses else typed
        self.asked.append(Asked(self.cell, change, question, typed))
        return typed

    @property
    def special(self) -> list[Asked]:
        """The questions that an ordinary creation does not need."""
        return [each for each in self.asked if each.change.answer]


class Watched(httpx.AsyncBaseTransport):
    """Hands requests to the tenant, and notes those that change it."""

    def __init__(self, tenant: RehearsalTenant, person: Person, writes: list[Write]) -> None:
        self._inner, self._person, self._writes = tenant.transport(), person, writes
        self._answered_before = len(person.asked)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        noted = self._write(request, body)
        answer = await self._inner.handle_async_request(request)
        if noted is not None:
            noted.status = answer.status_code
            self._writes.append(noted)
        return answer

    def _write(self, request: httpx.Request, body: bytes) -> Write | None:
        path = request.url.path
        if request.method in _READS or path.endswith("/validateAuthenticationConfiguration"):
            return None
        if path.endswith("/$batch") and all(each["method"] == "GET" for each in json.loads(body)["requests"]):
            return None
        person = self._person
        return Write(
            request.method,
            path,
            body,
            person.cell,
            shown=any(cell == person.cell for cell, _ in person.shown),
            allowed=len(person.asked) > self._answered_before,
        )


@dataclass
class Ran:
    """What one cell left: its last value as a page shows it, what it printed, and its error."""

    id: str
    value: Any
    text: str
    error: Exception | None
    tagged: bool


@dataclass
class Live:
    """A kit on this machine that was led to a real tenant, which is played by a rehearsal tenant.

    Args:
        tenant: the tenant, as its own administrator enters it.
        home: the state folder.
        person: who sits at the keyboard.
        roles: the directory roles of the kit's account; None for an application that may do everything.
    """

    tenant: RehearsalTenant
    home: Path
    person: Person
    patch: pytest.MonkeyPatch
    roles: Sequence[str] | None = None
    writes: list[Write] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)  # the cells of the last run

    def lead_here(self) -> None:
        """Lead the kit's credential, transport and public address to this tenant, and its questions to the person."""
        tenant, roles = self.tenant, self.roles

        class Credential:
            def __init__(self, profile: Profile) -> None:
                self._inner = tenant.credential(roles=roles)
                self.scopes = self.read_scopes = ["https://graph.microsoft.com/.default"]
                self.lacking = ()

            async def get_token(self, *scopes: str, **options: Any) -> Any:
                return await self._inner.get_token(*scopes, **options)

            async def close(self) -> None: ...

        async def reach(_: LiveWorld, url: str, method: str = "GET") -> httpx.Response:
            return await self.tenant.reach(url, method)

        self.patch.setenv("JIT_KIT_HOME", str(self.home))
        self.patch.setattr(live, "LiveCredential", Credential)
        self.patch.setattr(live, "transport", lambda: Watched(tenant, self.person, self.writes))
        self.patch.setattr(live, "_display", self.person.see)
        self.patch.setattr("builtins.input", self.person.answer)
        self.patch.setattr(LiveWorld, "reach", reach)

    async def run(self, number: str, **parameters: Any) -> list[Ran]:
        """Run one notebook from its first to its last cell, as Run All does: an error that is not taught ends it."""
        notebook = nbformat.read(PATHS[number], as_version=4)
        names: dict[str, Any] = {"__name__": "__main__"}
        ran = self.ran = []
        self.lead_here()
        try:
            for cell in notebook.cells:
                if cell.cell_type != "code":
                    continue
                self.person.cell = f"{number}/{cell.id}"
                tags = cell.metadata.get("tags", [])
                # What notebook 00 says to write there for a real tenant.
                source = (
                    f"kit.choose('live', tenant={self.tenant.domain!r})" if cell.id == "choose-world" else cell.source
                )
                done = await _run_cell(cell.id, source, names, "raises-exception" in tags)
                ran.append(done)
                if "parameters" in tags:
                    names.update(parameters)
                if done.error is not None and not done.tagged:
                    raise AssertionError(f"{self.person.cell}: {done.error!r}: {done.error}") from done.error
        finally:
            if "s" in names:
                await names["s"].close()
        return ran


async def _run_cell(cell_id: str, source: str, names: dict[str, Any], tagged: bool) -> Ran:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    value: Any = None
    try:
        made = eval(compile(tree, cell_id, "exec", flags=flags), names)
        if inspect.iscoroutine(made):
            await made
        if last is not None:
            value = eval(compile(ast.Expression(last.value), cell_id, "eval", flags=flags), names)
            if inspect.iscoroutine(value):
                value = await value
    except Exception as error:  # noqa: BLE001 - which one it may be, the tests say
        return Ran(cell_id, None, "", error, tagged)
    return Ran(cell_id, value, _shown(value), None, tagged)


def _shown(value: Any) -> str:
    data, _ = DisplayFormatter().format(value)
    return f"{data.get('text/html', '')}\n{data.get('text/plain', '')}" if value is not None else ""


def skipped(ran: Ran) -> bool:
    """Whether a drill said that it is skipped."""
    return isinstance(ran.error, Skipped)


@dataclass
class Runs:
    """What Run All of every notebook did, and what the tenant held before and afterwards."""

    live: Live
    before: dict[str, Any]
    ran: dict[str, list[Ran]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)  # where it is right that it stopped
    written: dict[str, list[Write]] = field(default_factory=dict)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)

    def cell(self, number: str, cell_id: str) -> Ran:
        return next(each for each in self.ran[number] if each.id == cell_id)


async def run_every_notebook(live: Live) -> Runs:
    """Run every notebook in order; one that a cell ended is noted, and the next one runs."""
    runs = Runs(live, await contents(live.tenant))
    for number in PATHS:
        before = len(live.writes)
        try:
            runs.ran[number] = await live.run(number)
        except AssertionError as problem:
            (runs.stopped if number == GO_LIVE else runs.problems)[number] = str(problem)
        runs.written[number] = live.writes[before:]
        runs.held[number] = await contents(live.tenant)
    return runs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def export(folder: Path, people: int = PEOPLE) -> Path:
    """An export of real people: the sample's first rows, at a domain of their own."""
    lines = (SAMPLE_DATA / "legacy_users.csv").read_text(encoding="utf-8").splitlines()[: people + 1]
    path = folder / "legacy-users.csv"
    path.write_text("\n".join(lines).replace("@woodgrove.example", "@contoso.example") + "\n", encoding="utf-8")
    return path


def choose(home: Path, tenant: RehearsalTenant, export: Path, **values: Any) -> Profile:
    """Choose the real tenant, as notebook 00 does, and open the tunnel to this machine."""
    port = free_port()
    chosen = {"tenant": tenant.domain, "endpoint_host": HOST, "endpoint_port": port, "export": str(export), **values}
    profile = Profile(mode="live", **chosen)
    settings.save(home, profile)
    tenant.publish(profile.endpoint_host, f"http://127.0.0.1:{port}")
    return profile


# --- what a tenant holds --------------------------------------------------------------------------------------------

_KINDS = (*KINDS, "identity/userFlowAttributes")


async def contents(tenant: RehearsalTenant) -> dict[str, Any]:
    """Read everything that a tenant holds, by kind and id, as its administrator sees it."""
    graph = Graph(tenant.credential(), tenant.transport())
    found: dict[str, Any] = {}
    for kind in _KINDS:
        async for each in graph.pages(f"/{kind}"):
            found[f"{kind}/{each['id']}"] = each
    flags = []
    for path in [path for path in found if path.startswith("applications/")]:
        async for each in graph.pages(f"/{path}/extensionProperties"):
            found[f"{path}/extensionProperties/{each['id']}"] = each
            flags.append(each["name"])
    for path in [path for path in found if path.startswith("servicePrincipals/")]:
        async for each in graph.pages(f"/{path}/appRoleAssignments"):
            found[f"{path}/appRoleAssignments/{each['id']}"] = each
    fields = ",".join(["id", "displayName", "accountEnabled", "identities", "passwordPolicies", *flags])
    async for each in graph.pages(f"/users?$select={fields}&$top=999"):
        found[f"users/{each['id']}"] = each
    return found


async def live_production(tenant: RehearsalTenant) -> None:
    """Move the kit's extension to production, and let its listener cover every application, as one does by hand."""
    graph = Graph(tenant.credential(), tenant.transport())
    kind = "/identity/customAuthenticationExtensions"
    [extension] = [each async for each in graph.pages(kind) if HOST in str(each)]
    [app] = [each async for each in graph.pages("/applications") if HOST in str(each["identifierUris"])]
    uri = f"api://{PRODUCTION}/{app['appId']}"
    await graph.send("PATCH", f"/applications/{app['id']}", body={"identifierUris": [*app["identifierUris"], uri]})
    endpoint = {**extension["endpointConfiguration"], "targetUrl": f"https://{PRODUCTION}/api/JitMigrationEndpoint"}
    token = {**extension["authenticationConfiguration"], "resourceId": uri}
    body = {"endpointConfiguration": endpoint, "authenticationConfiguration": token}
    await graph.send("PATCH", f"{kind}/{extension['id']}", body={"@odata.type": extension["@odata.type"], **body})
    kind = "/identity/authenticationEventListeners"
    [listener] = [each async for each in graph.pages(kind)]
    conditions = {"applications": {"includeAllApplications": True}}
    body = {"@odata.type": listener["@odata.type"], "conditions": conditions}
    await graph.send("PATCH", f"{kind}/{listener['id']}", body=body)


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What was there before and is changed or gone."""
    return {path: (value, after.get(path)) for path, value in before.items() if after.get(path) != value}


def unasked(writes: list[Write]) -> list[Write]:
    """The writes that no shown change and no answer came before."""
    return [each for each in writes if not (each.shown and each.allowed)]
