"""The list of what the kit makes in a tenant, and `s.check()`: reads the whole configuration and names its faults."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import httpx

from helpers.graph import explained, recording
from helpers.legacy_export import read_export
from helpers.local_endpoint import LocalEndpoint
from helpers.migration_progress import Progress
from helpers.settings import Profile
from helpers.tenant.apps import ClientApp, ExtensionApp, Registration
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.consents import ClientConsent, PayloadConsent
from helpers.tenant.encryption_key import EncryptionKey, Key
from helpers.tenant.policies import EventListener, Listener, PasswordExtension
from helpers.tenant.user_flow import UserFlow
from helpers.tenant.users import Users, index_users, make_plan
from helpers.worlds import TenantFacts, World
from jitkit import protocol
from jitkit.display import Sent, Table
from jitkit.errors import KitError, PermissionMissing
from jitkit.explanations import callout_cause, fix, meaning

__all__ = ["THINGS", "Apps", "Checked", "Finding", "Policies", "Steps", "Thing", "check"]

T = TypeVar("T")


@dataclass(frozen=True)
class Apps:
    """The two app registrations, their consents, and the user flow of the client."""

    extension: ExtensionApp
    extension_consent: PayloadConsent
    client: ClientApp
    client_consent: ClientConsent
    user_flow: UserFlow


@dataclass(frozen=True)
class Policies:
    """The custom authentication extension and the listener that calls it."""

    extension: PasswordExtension
    listener: Listener


@dataclass(frozen=True)
class Steps:
    """Everything that a session can ensure, show, check and remove in one tenant."""

    profile: Profile
    tenant: TenantFacts
    attribute: MigrationFlag = field(repr=False)
    apps: Apps = field(repr=False)
    policies: Policies = field(repr=False)
    key: EncryptionKey = field(repr=False)
    users: Users = field(repr=False)
    endpoint: LocalEndpoint = field(repr=False)
    progress: Progress = field(repr=False)
    world: World = field(repr=False)


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    verdict: str  # `yes`, `no`, or `not known` when it could not be read
    found: str
    fix: str = ""  # empty when it is in order


@dataclass(frozen=True, kw_only=True)
class Checked(Table):
    """Everything that was checked; `faults` are the findings that are not in order."""

    faults: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"<Check of {len(self.rows)} things: {len(self.faults)} faults>"

    @classmethod
    def of(cls, findings: Iterable[Finding], sent: Iterable[Sent]) -> Checked:
        """Make the table; what is not in order comes first."""
        order = ("no", "not known", "yes")
        rows = sorted(findings, key=lambda each: order.index(each.verdict))
        faults = tuple(each for each in rows if each.verdict == "no")
        count = "1 fault" if len(faults) == 1 else f"{len(faults) or 'no'} faults"
        return cls(
            caption=f"Check of the whole configuration: {count}",
            columns=("What", "In order", "Found", "What to do"),
            rows=[(each.what, each.verdict, each.found, each.fix) for each in rows],
            note="Nothing was written.",
            sent=tuple(sent),
            faults=faults,
        )


class _Findings(list[Finding]):
    """Collects what is in order, what is not, and what could not be read."""

    def fine(self, what: str, found: str) -> None:
        self.append(Finding(what, "yes", found))

    def fault(self, what: str, found: str, fix: str) -> None:
        self.append(Finding(what, "no", found, fix))

    def unknown(self, what: str, found: str, fix: str) -> None:
        self.append(Finding(what, "not known", found, fix))

    async def read(self, what: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what a call reads, or None after adding the finding that says why it could not."""
        try:
            return await call()
        except PermissionMissing as refused:
            self.unknown(what, f"{refused.happened} {refused.service}", refused.next_step)
        except KitError as problem:
            words = problem.happened + (f" ({problem.service})" if problem.service else "")
            self.fault(what, words, problem.next_step)
        return None


# What `show` read, by the name of the thing; None where it could not be read.
_Cards = Mapping[str, Any]
_Judge = Callable[[Steps, _Cards, _Findings], None]


@dataclass(frozen=True)
class Thing:
    """One thing that the kit makes in the tenant."""

    what: str  # its name in every table
    notebook: str  # the two digits of the notebook that makes it
    step: Callable[[Steps], Any]
    words: Callable[[Any], str]  # describes what `show` read
    judge: _Judge | None = None  # adds what is right or wrong with it; by default it is in order


_FLAG: Final = "migration flag"
_APP: Final = "extension's app registration"
_KEY: Final = "encryption key"
_CLIENT: Final = "test client"
_EXTENSION: Final = "custom authentication extension"
_LISTENER: Final = "listener"

_ENDS_SOON: Final = 30  # days
_AGAIN: Final = "Run notebook 03 again, or `await s.policies.{}.ensure()`."


def _judge_registration(s: Steps, cards: _Cards, findings: _Findings) -> None:
    app: Registration = cards[_APP]
    if not app.identifier_uri:
        uris = app.facts.get("Identifier URI") or "none"
        words = f"No identifier URI fits the endpoint's host; there are: {uris}."
        findings.fault(_APP, words, "Run notebook 02 again.")
    elif app.facts.get("Access token version") != "2":
        words = "It asks for version 1 tokens, which many endpoints in external tenants refuse."
        findings.fault(_APP, words, "Run notebook 02 again: it sets requestedAccessTokenVersion to 2.")
    else:
        findings.fine(_APP, app.identifier_uri)


def _judge_key(s: Steps, cards: _Cards, findings: _Findings) -> None:
    key: Key = cards[_KEY]
    words = f"thumbprint {key.thumbprint}; {key.days_left} days left"
    if key.days_left < _ENDS_SOON:
        findings.fault(_KEY, words, "Run `await s.key.rotate()` and give the endpoint both keys.")
    else:
        findings.fine(_KEY, f"{words}; the private half is on this machine")


def _judge_extension(s: Steps, cards: _Cards, findings: _Findings) -> None:
    address = cards[_EXTENSION].target_url
    if address != s.profile.target_url:
        words = f"Entra calls {address}; the address chosen in notebook 00 is {s.profile.target_url}."
        findings.fault(_EXTENSION, words, f"Choose the host in notebook 00, then: {_AGAIN.format('extension')}")
    else:
        findings.fine(_EXTENSION, f"Entra calls {address}")


def _judge_listener(s: Steps, cards: _Cards, findings: _Findings) -> None:
    listener: EventListener = cards[_LISTENER]
    client, flag, extension = cards[_CLIENT], cards[_FLAG], cards[_EXTENSION]
    before, again = len(findings), _AGAIN.format("listener")
    if client and client.app_id not in listener.app_ids:
        words = f"It does not include the test client {client.app_id}: sign-ins there lead to no call. Included"
        findings.fault("listener: which apps", f"{words}: {', '.join(listener.app_ids) or 'none'}.", again)
    if flag and listener.migration_property != flag.full_name:
        words = f"It reads {listener.migration_property}; the flag is {flag.full_name}. The endpoint is never asked."
        findings.fault("listener: which flag", words, again)
    if extension and listener.extension_id != extension.extension_id:
        words = f"It calls {listener.extension_id}, not {extension.extension_id}."
        findings.fault("listener: which extension", words, again)
    if listener.rivals:
        words = f"The same app is covered by {', '.join(listener.rivals)}; only the lowest priority number is called."
        findings.fault("listener: rivals", words, "Remove the app from all listeners but one.")
    if len(findings) == before:
        findings.fine(_LISTENER, listener.title)


# In the order in which `check` reads them; `remove` goes the other way, so that nothing points at something gone. The
# listener goes first: from then on no sign-in calls the endpoint.
THINGS: Final = (
    Thing(_FLAG, "01", lambda s: s.attribute, lambda flag: str(flag.full_name)),
    Thing(_APP, "02", lambda s: s.apps.extension, lambda app: str(app.identifier_uri), _judge_registration),
    Thing(
        "consent to receive payloads", "02", lambda s: s.apps.extension_consent, lambda got: ", ".join(got.permissions)
    ),
    Thing(_KEY, "04", lambda s: s.key, lambda key: f"thumbprint {key.thumbprint}", _judge_key),
    Thing(_CLIENT, "02", lambda s: s.apps.client, lambda client: str(client.app_id)),
    Thing("test client's consent", "02", lambda s: s.apps.client_consent, lambda got: ", ".join(got.permissions)),
    Thing("user flow", "02", lambda s: s.apps.user_flow, lambda flow: str(flow.title)),
    Thing(_EXTENSION, "03", lambda s: s.policies.extension, lambda each: str(each.target_url), _judge_extension),
    Thing(_LISTENER, "03", lambda s: s.policies.listener, lambda listener: str(listener.title), _judge_listener),
)


async def check(s: Steps) -> Checked:
    """Check registrations, consents, policies, key, users, the endpoint and the newest sign-ins. Nothing is written.

    Returns:
        One row a thing; what is not in order comes first.
    """
    findings = _Findings()
    cards: dict[str, Any] = {}
    with recording() as sent:
        for thing in THINGS:
            card = cards[thing.what] = await findings.read(thing.what, thing.step(s).show)
            if card is not None and thing.judge:
                thing.judge(s, cards, findings)
            elif card is not None:
                findings.fine(thing.what, thing.words(card))
        for further in (_validation, _principals, _users, _address, _sign_ins):
            await further(s, cards, findings)
    return Checked.of(findings, sent)


async def _validation(s: Steps, cards: _Cards, findings: _Findings) -> None:
    what = "the tenant's validation of it"
    verdict = await findings.read(what, s.policies.extension.check) if cards[_EXTENSION] else None
    if verdict and not verdict.rows:
        findings.fine(what, "it finds nothing wrong")
    for _, code, words, advice in verdict.rows if verdict else ():
        findings.fault(what, f"{code}: {words}", str(advice))


async def _principals(s: Steps, cards: _Cards, findings: _Findings) -> None:
    """Check that the service principals that a callout needs are enabled; before the first callout some are missing."""
    app, client = cards[_APP], cards[_CLIENT]
    named = {
        "service principal of the extension's app": app.app_id if app else "",
        "service principal of the test client": client.app_id if client else "",
        "service principal of Azure AD Authentication Extensions": protocol.CALLER_APP_ID,
        "service principal of Microsoft Graph": protocol.GRAPH_APP_ID,
    }
    for what, app_id in named.items():
        enabled = await findings.read(what, partial(_enabled, s, app_id)) if app_id else None
        if enabled:
            findings.fine(what, "enabled")
        elif enabled is False:
            advice = "Enable it: Enterprise applications > its name > Properties > Enabled for users to sign in."
            findings.fault(what, "It is disabled: Entra gets no token for it.", advice)


async def _enabled(s: Steps, app_id: str) -> bool | None:
    """Return whether a principal is enabled; None when the tenant has none."""
    with explained("read a service principal"):
        try:
            path = f"/servicePrincipals(appId='{app_id}')?$select=id,accountEnabled"
            return (await s.world.graph.send("GET", path))["accountEnabled"] is not False
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise


# A tenant may have hundreds of thousands: a mistake of an import shows in the first of them.
_USERS_READ: Final = 5_000
_FORCED: Final = (
    "Set it to false for each of them: PATCH /users/{id} with"
    ' {"passwordProfile": {"forceChangePasswordNextSignIn": false}}. An application needs the role User Administrator'
    " for that. Notebook 06 creates users so."
)


async def _users(s: Steps, cards: _Cards, findings: _Findings) -> None:
    """Check that there are users to migrate, that all have the flag, and that none has to change the password first."""
    what, flag = "users to migrate", cards[_FLAG]
    if flag is None:
        findings.unknown(what, "Without the flag they cannot be counted.", "Make the flag first.")
        return
    counts = await findings.read(what, s.users.counts)
    if counts:
        words = f"{counts.to_migrate:,} to migrate, {counts.migrated:,} migrated, {counts.unmarked:,} without the flag"
        if counts.to_migrate + counts.migrated:
            findings.fine(what, words)
        else:
            findings.fault(what, words, "Run notebook 06.")
    await _without_flag(s, flag.full_name, findings)

    what = "users who must change their password"
    read = await findings.read(what, lambda: _must_change(s, flag.full_name))
    if read and read[0]:
        words = f"{read[0]:,} {read[1]} carry forceChangePasswordNextSignIn: they stay flagged at their sign-in."
        findings.fault(what, words, _FORCED)
    elif read:
        findings.fine(what, f"none {read[1]}")


async def _without_flag(s: Steps, flag: str, findings: _Findings) -> None:
    what = "people of the export without the flag"
    try:
        export = read_export(s.world.export())
        with explained("read who is without the flag"):
            rows, more = await _first_users(s, f"{flag} eq null", f"id,identities,mail,{flag}")
    except KitError as problem:
        findings.unknown(what, problem.happened, problem.next_step)
        return
    plan = make_plan(export.users, (), index_users(rows, flag), flag=flag, issuer="")
    if plan.mark:
        count = f"{len(plan.mark):,}{' or more' if more else ''}"
        words = f"{count} are in the tenant without it: the endpoint is never asked about them."
        findings.fault(what, words, "Run `plan = await s.users.plan(s.export())`, read it, then apply it.")
    elif more:
        words = f"none among {len(rows):,} users without it, and there are more of these"
        findings.unknown(what, words, "Run `await s.users.plan(s.export())`: it compares everybody.")
    else:
        findings.fine(what, "none")


async def _must_change(s: Steps, flag: str) -> tuple[int, str]:
    """Return how many flagged users must change their password first, and of how many."""
    with explained("read who must change the password"):
        rows, more = await _first_users(s, f"{flag} eq true", f"id,passwordProfile,{flag}")
    forced = sum(bool((row.get("passwordProfile") or {}).get("forceChangePasswordNextSignIn")) for row in rows)
    return forced, f"of {len(rows):,} flagged users who were read" if more else "of the flagged"


async def _first_users(s: Steps, condition: str, fields: str) -> tuple[list[dict[str, Any]], bool]:
    """Read the first users for whom a condition holds; return them, and whether there are more."""
    rows: list[dict[str, Any]] = []
    async for row in s.world.graph.pages(f"/users?$filter={condition}&$select={fields}&$top=999"):
        if len(rows) == _USERS_READ:
            return rows, True
        rows.append(row)
    return rows, False


# More than half of what Entra waits leaves too little for the legacy store.
_TOO_SLOW: Final = protocol.TIMEOUT_MS / 2
_ASKS_FOR_SIGN_IN: Final = (301, 302, 303, 307, 308, 401, 403)
_GATEWAY: Final = (
    "Take the built-in authentication or the gateway's token check off this path. Entra's token is encrypted for the"
    " endpoint's own key, so nothing in front of the endpoint can read it; the endpoint checks it itself."
)


async def _address(s: Steps, cards: _Cards, findings: _Findings) -> None:
    """Send a GET to the public address, as a monitor would; send another when it was slow, as a cold start is."""
    what, extension = "the endpoint at its public address", cards[_EXTENSION]
    if extension is None:
        findings.unknown(what, "No extension says where it is.", "Make the extension first.")
        return
    try:
        status, took = await _reach(s, extension.target_url)
        if took > _TOO_SLOW:
            status, took = await _reach(s, extension.target_url)
    except (httpx.TransportError, httpx.InvalidURL) as problem:
        words = f"{extension.target_url} does not answer: {problem or type(problem).__name__}."
        advice = "Start the endpoint, on this machine with `await s.endpoint.ensure()`; check its name and certificate."
        findings.fault(what, words, advice)
        return
    words = f"answers {status} to a GET after {took:,.0f} ms"
    if status in _ASKS_FOR_SIGN_IN:
        findings.fault(what, f"{words}: something in front of it wants a token or a sign-in.", _GATEWAY)
    elif took > _TOO_SLOW:
        advice = "Keep it warm, close to the tenant and close to the legacy store; notebook 08 shows its times."
        findings.fault(what, f"{words}, twice; Entra waits {protocol.TIMEOUT_MS:,} ms for all of it.", advice)
    elif status >= 500:
        findings.fault(what, words, "Read the endpoint's log.")
    else:
        findings.fine(what, words)


async def _reach(s: Steps, url: str) -> tuple[int, float]:
    started = time.perf_counter()
    answer = await s.world.reach(url)
    return answer.status_code, (time.perf_counter() - started) * 1000


_NEWEST: Final = 200
# The ledger's line is written when the answer is; two clocks may differ a little.
_MARGIN: Final = timedelta(seconds=0.5)
_AT_THE_TIME: Final = timedelta(milliseconds=protocol.TIMEOUT_MS)
# These come from the configuration, which the other checks read as it is now: in the log they may be long fixed.
_CONFIGURED: Final = range(1003011, 1003024)


async def _sign_ins(s: Steps, cards: _Cards, findings: _Findings) -> None:
    """Check the calls of the newest sign-ins, back to the last call that worked."""
    what = "calls since the last one that worked"
    rows = await findings.read(what, lambda: _newest(s))
    failed: dict[int, tuple[str, dict[str, Any]]] = {}
    for row in rows or ():
        result = _call_of(row)
        if result and not result.get("errorCode"):
            break
        if result:
            failed.setdefault(int(result["errorCode"]), (row["correlationId"], result))
    current = {code: one for code, one in failed.items() if code not in _CONFIGURED}
    for code, (correlation_id, result) in current.items():
        words, advice = _failure(s, code, correlation_id, result)
        findings.fault(what, f"{words}.", f"{advice} If you have fixed it since, sign a user in and check again.")
    if rows is not None and not current:
        codes = ", ".join(map(str, failed))
        findings.fine(what, f"{codes}: its cause is in a row above, or fixed" if failed else "none failed")


def _failure(s: Steps, code: int, correlation_id: str, result: dict[str, Any]) -> tuple[str, str]:
    """Return why a call failed, with what the endpoint's ledger says about it, and what to do."""
    cause = callout_cause(code)
    words, advice = f"{cause}: {meaning(cause)}", fix(cause)
    lines = s.endpoint.ledger_lines()
    line = next((each for each in reversed(lines) if _is_of(each, correlation_id, result)), None)
    if result.get("httpStatus") not in (0, 200, None):
        words += f" (status {result['httpStatus']})"
    if line and line.get("cause"):
        return f"{words}. The endpoint's ledger says {line['cause']}: {meaning(line['cause'])}", fix(line["cause"])
    if lines and code == 1003002 and line is None:
        words += ". The endpoint on this machine has no line of that time: something in front of it answered"
    return words, advice


def _is_of(line: dict[str, Any], correlation_id: str, result: dict[str, Any]) -> bool:
    """Return whether a line of the ledger is about a call; one that was refused early has the time alone."""
    if line.get("correlation_id"):
        return bool(line["correlation_id"] == correlation_id)
    try:
        apart = datetime.fromisoformat(line["time"]) - datetime.fromisoformat(result["calloutDateTime"])
    except (KeyError, TypeError, ValueError):
        return False
    return bool(result.get("httpStatus")) and timedelta() <= apart + _MARGIN <= _AT_THE_TIME


def _call_of(row: dict[str, Any]) -> dict[str, Any] | None:
    # The event has this other name for callers who do not ask for values newer than the published ones.
    for applied in row.get("appliedEventListeners") or ():
        if applied.get("eventType") in ("passwordSubmit", "unknownFutureValue"):
            result: dict[str, Any] = applied.get("handlerResult") or {}
            return result
    return None


async def _newest(s: Steps) -> list[dict[str, Any]]:
    newer = {"Prefer": "include-unknown-enum-members"}
    with explained("read the newest sign-ins"):
        page = await s.world.graph.send("GET", f"/auditLogs/signIns?$top={_NEWEST}", headers=newer, version="beta")
    rows: list[dict[str, Any]] = page["value"]
    return rows
