"""The list of what the kit makes in a tenant, and what uses it: `check`, `require`, `checkpoint` and `remove`.

`check` reads the whole configuration and names its faults; `require` and `checkpoint` ask the tenant what a notebook
needs and leaves; `remove` deletes what the kit made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import httpx

from helpers.graph import explained, recording
from helpers.legacy_export import read_export
from helpers.session import Steps
from helpers.tenant.encryption_key import read_pair
from helpers.tenant.policies import EVERY_APP
from helpers.tenant.step import true_or_false
from helpers.tenant.users import index_users, make_plan, read_directory_size
from helpers.tenant.vault import VaultVersion
from jitkit import protocol
from jitkit.certificates import thumbprint
from jitkit.display import Card, Sent, Table
from jitkit.errors import EndpointDown, KitError, NotReady, PermissionMissing, Taken
from jitkit.explanations import callout_cause, fix, meaning
from jitkit.hosting import doctor

__all__ = [
    "CHECKPOINTS",
    "THINGS",
    "Checked",
    "Checkpoint",
    "Finding",
    "Thing",
    "check",
    "check_before_going_live",
    "checkpoint",
    "checkpoints_of",
    "needs_of",
    "remove",
    "require",
]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    # `yes`, `no`, or `not known` when it could not be read; before going live `pass`, `fail` or `cannot tell`
    verdict: str
    found: str
    fix: str = ""  # empty when it is in order


@dataclass(frozen=True, kw_only=True)
class Checked(Table):
    """Everything that was checked; `faults` are the findings that are not in order."""

    faults: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"<Check of {len(self.rows)} things: {len(self.faults)} faults>"


# What `show` read, by the name of the thing; what could not be read is not among them.
_Cards = Mapping[str, Any]
# What a check returns: what it found, in words, when that is in order; else its findings. It may also raise a KitError.
_Verdict = str | list[Finding]


@dataclass(frozen=True)
class Thing:
    """One thing that the kit makes in the tenant."""

    what: str  # its name in every table
    notebook: str  # the two digits of the notebook that makes it
    step: Callable[[Steps], Any]
    words: Callable[[Any], str]  # describes what `show` read
    faults: Callable[[Steps, _Cards], Iterator[Finding]] = lambda *_: iter(())


_FLAG: Final = "migration flag"
_APP: Final = "extension's app registration"
_KEY: Final = "encryption key"
_CLIENT: Final = "test client"
_EXTENSION: Final = "custom authentication extension"
_LISTENER: Final = "listener"

_ENDS_SOON: Final = 30  # days
_AGAIN: Final = "Run notebook 03 again, or `await s.policies.{}.ensure()`."


def _fault(what: str, found: str, fix: str) -> Finding:
    return Finding(what, "no", found, fix)


def _unknown(what: str, found: str, fix: str) -> Finding:
    return Finding(what, "not known", found, fix)


def _registration(s: Steps, cards: _Cards) -> Iterator[Finding]:
    app = cards[_APP]
    if not app.identifier_uri:
        uris = app.facts.get("Identifier URI") or "none"
        words = f"No identifier URI fits the endpoint's host; there are: {uris}."
        yield _fault(_APP, words, "Run notebook 02 again.")
    elif app.facts.get("Access token version") != "2":
        words = "It asks for version 1 tokens, which many endpoints in external tenants refuse."
        yield _fault(_APP, words, "Run notebook 02 again: it sets requestedAccessTokenVersion to 2.")


def _key_words(key: Any) -> str:
    return f"thumbprint {key.thumbprint}; {key.days_left} days left; the private half is on this machine"


def _key(s: Steps, cards: _Cards) -> Iterator[Finding]:
    if cards[_KEY].days_left < _ENDS_SOON:
        yield _fault(_KEY, _key_words(cards[_KEY]), "Run `await s.key.rotate()` and give the endpoint both keys.")


def _extension(s: Steps, cards: _Cards) -> Iterator[Finding]:
    address = cards[_EXTENSION].target_url
    if address != s.profile.target_url:
        words = f"Entra calls {address}; the address chosen in notebook 00 is {s.profile.target_url}."
        yield _fault(_EXTENSION, words, f"Choose the host in notebook 00, then: {_AGAIN.format('extension')}")


def _listener(s: Steps, cards: _Cards) -> Iterator[Finding]:
    listener, again = cards[_LISTENER], _AGAIN.format("listener")
    client, flag, extension = cards.get(_CLIENT), cards.get(_FLAG), cards.get(_EXTENSION)
    if client and client.app_id not in listener.app_ids and EVERY_APP not in listener.others:
        words = f"It does not include the test client {client.app_id}: sign-ins there lead to no call. Included"
        yield _fault("listener: which apps", f"{words}: {', '.join(listener.app_ids) or 'none'}.", again)
    if flag and listener.migration_property != flag.full_name:
        words = f"It reads {listener.migration_property}; the flag is {flag.full_name}. The endpoint is never asked."
        yield _fault("listener: which flag", words, again)
    if extension and listener.extension_id != extension.extension_id:
        words = f"It calls {listener.extension_id}, not {extension.extension_id}."
        yield _fault("listener: which extension", words, again)
    if listener.rivals:
        words = f"The same app is covered by {', '.join(listener.rivals)}; only the lowest priority number is called."
        yield _fault("listener: rivals", words, "Remove the app from all listeners but one.")


def _permissions(consent: Any) -> str:
    return ", ".join(consent.permissions)


# In the order in which `check` reads them; `remove` goes the other way, so that nothing points at something gone. The
# listener goes first: from then on no sign-in calls the endpoint.
THINGS: Final = (
    Thing(_FLAG, "01", lambda s: s.attribute, lambda flag: flag.full_name),
    Thing(_APP, "02", lambda s: s.apps.extension, lambda app: app.identifier_uri, _registration),
    Thing("consent to receive payloads", "02", lambda s: s.apps.extension_consent, _permissions),
    Thing(_KEY, "04", lambda s: s.key, _key_words, _key),
    Thing(_CLIENT, "02", lambda s: s.apps.client, lambda client: client.app_id),
    Thing("test client's consent", "02", lambda s: s.apps.client_consent, _permissions),
    Thing("user flow", "02", lambda s: s.apps.user_flow, lambda flow: f"{flow.title}: e-mail and password"),
    Thing(_EXTENSION, "03", lambda s: s.policies.extension, lambda each: f"Entra calls {each.target_url}", _extension),
    Thing(_LISTENER, "03", lambda s: s.policies.listener, lambda listener: listener.title, _listener),
)


async def check(s: Steps) -> Checked:
    """Check registrations, consents, policies, key, users, the endpoint and the newest sign-ins. Nothing is written."""
    with recording() as sent:
        findings, _ = await _configuration(s)
    return _checked("Check of the whole configuration", "In order", ("yes", "not known", "no"), findings, sent)


async def _configuration(s: Steps) -> tuple[list[Finding], _Cards]:
    """Check the whole configuration; returns also what was read, by the name of the thing."""
    cards: dict[str, Any] = {}
    findings: list[Finding] = []

    async def read(thing: Thing) -> _Verdict:
        card = cards[thing.what] = await thing.step(s).show()
        return list(thing.faults(s, cards)) or thing.words(card)

    for thing in THINGS:
        findings += await _findings(thing.what, read(thing))
    for what, look in _FURTHER.items():
        findings += await _findings(what, look(s, cards))
    return findings, cards


def _checked(
    caption: str, column: str, verdicts: tuple[str, str, str], findings: list[Finding], sent: list[Sent]
) -> Checked:
    """Make a table of findings, the faults first; the verdicts are those for good, not known and bad."""
    findings.sort(key=lambda each: verdicts[::-1].index(each.verdict))
    faults = tuple(each for each in findings if each.verdict == verdicts[2])
    count = "1 fault" if len(faults) == 1 else f"{len(faults) or 'no'} faults"
    return Checked(
        caption=f"{caption}: {count}",
        columns=("What", column, "Found", "What to do"),
        rows=[(each.what, each.verdict, each.found, each.fix) for each in findings],
        note="Nothing was written.",
        sent=tuple(sent),
        faults=faults,
    )


_GO_LIVE: Final = {"yes": doctor.PASS, "not known": doctor.CANNOT_TELL, "no": doctor.FAIL}


async def check_before_going_live(
    s: Steps,
    *,
    settings: Mapping[str, str] | None,
    azure: tuple[Mapping[str, Any], Mapping[str, str]],
    lock_after: int | None,
) -> Checked:
    """Check the configuration, the endpoint's settings and its host for going live. Nothing is written.

    Args:
        s: the session.
        settings: the endpoint's settings where they are; those that `azure` holds when None.
        azure: what `doctor.read_azure` returned, or two empty mappings.
        lock_after: the wrong passwords at which the legacy store locks an account, or None.

    Raises:
        KitError: the extension, its registration or the listener cannot be read.
    """
    with recording() as sent:
        configuration, cards = await _configuration(s)
        # Where the private half is, the settings say; which key is in use, the tenant.
        findings = [replace(each, verdict=_GO_LIVE[each.verdict]) for each in configuration if each.what != _KEY]
        for thing in THINGS:
            if thing.what in (_APP, _EXTENSION, _LISTENER) and thing.what not in cards:
                await thing.step(s).show()
        evidence = await _evidence(s, cards, settings, azure, lock_after)
    findings += [Finding(each.what, each.verdict, each.found, each.fix) for each in doctor.examine(evidence)]
    verdicts = (doctor.PASS, doctor.CANNOT_TELL, doctor.FAIL)
    return _checked("Check before going live", "Verdict", verdicts, findings, sent)


async def _evidence(
    s: Steps,
    cards: _Cards,
    settings: Mapping[str, str] | None,
    azure: tuple[Mapping[str, Any], Mapping[str, str]],
    lock_after: int | None,
) -> doctor.Evidence:
    app, extension, listener = cards[_APP], cards[_EXTENSION], cards[_LISTENER]
    with explained("read the extension's time limit"):
        stored = await s.world.graph.send("GET", f"/identity/customAuthenticationExtensions/{extension.extension_id}")
    limits, keys = stored.get("clientConfiguration") or {}, await s.key.uploaded()
    in_use = next((key.x5t for key in keys if key.in_use), "")
    health = None
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
        url = httpx.URL(extension.target_url).copy_merge_params({"x5t": in_use} if in_use else {})
        said = (await s.world.reach(str(url))).json()
        health = said if isinstance(said, dict) else None
    documents, names = azure
    hosting = s.profile.hosting
    if hosting.vault and "versions" not in documents:
        with contextlib.suppress(NotReady):  # its checks cannot tell then
            documents = {**documents, "versions": [_as_azure_shows(each) for each in await s.vault.versions()]}
    chosen = {"group": hosting.resource_group, "app": hosting.app, "vault": hosting.vault} if hosting.vault else {}
    pairs = [read_pair(path) for path in (s.key.private_key_path, s.key.previous_key_path)]
    return doctor.Evidence(
        address=extension.target_url,
        wait_ms=limits.get("timeoutInMilliseconds"),
        retries=limits.get("maximumRetries"),
        keys=keys,
        names={
            "JIT_TENANT_ID": s.tenant.id,
            "JIT_EXTENSION_APP_ID": app.app_id,
            "JIT_IDENTIFIER_URI": app.identifier_uri,
            "JIT_EXTENSION_IDS": extension.extension_id,
            "JIT_LISTENER_IDS": listener.listener_id,
        },
        other_applications=listener.others,
        health=health,
        settings=documents.get("settings") if settings is None else settings,
        azure=documents,
        azure_names={**chosen, **names},
        keys_here=[thumbprint(each) for each in pairs if each is not None],
        lock_after=lock_after,
    )


def _as_azure_shows(version: VaultVersion) -> dict[str, Any]:
    """Describe a version of the vault's certificate as the Azure CLI does."""
    created = version.certificate.not_valid_before_utc.isoformat()
    attributes = {"enabled": version.enabled, "created": created}
    return {"attributes": attributes, "x509ThumbprintHex": thumbprint(version.certificate)}


async def _findings(what: str, verdict: Awaitable[_Verdict]) -> list[Finding]:
    """Await a check and return its findings; what it raises becomes one."""
    try:
        found = await verdict
    except PermissionMissing as refused:
        return [_unknown(what, f"{refused.happened} {refused.service}", refused.next_step)]
    except KitError as problem:
        words = problem.happened + (f" ({problem.service})" if problem.service else "")
        return [_fault(what, words, problem.next_step)]
    return [Finding(what, "yes", found)] if isinstance(found, str) else found


_VALIDATION: Final = "the tenant's validation of it"
_ROOM: Final = "room for directory objects"
_RESET: Final = "a way out for weak passwords: Email OTP"
_USERS: Final = "users to migrate"
_UNFLAGGED: Final = "people of the export without the flag"
_FORCED: Final = "users who must change their password"
_ADDRESS: Final = "the endpoint at its public address"
_NOT_FORCED: Final = (
    "Set it to false for each user concerned: PATCH /users/{id} with"
    ' {"passwordProfile": {"forceChangePasswordNextSignIn": false}}. That takes the role User Administrator; an'
    " application also needs the permission User-PasswordProfile.ReadWrite.All with admin consent. Read the user again:"
    " where it had no effect, send a new random password with it. Notebook 06 creates users without it."
)
_CALLS: Final = "calls since the last one that worked"


async def _validation(s: Steps, cards: _Cards) -> _Verdict:
    if _EXTENSION not in cards:
        return []
    rows = (await s.policies.extension.check()).rows
    faults = [_fault(_VALIDATION, f"{code}: {words}", str(advice)) for _, code, words, advice in rows]
    return faults or "it finds nothing wrong"


async def _enabled(s: Steps, app_id: str | None) -> _Verdict:
    """Check that a service principal is enabled; before the first callout the tenant has some of them not yet."""
    if not app_id:
        return []
    with explained("read a service principal"):
        try:
            path = f"/servicePrincipals(appId='{app_id}')?$select=id,accountEnabled"
            enabled = (await s.world.graph.send("GET", path))["accountEnabled"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return []
            raise
    if enabled is not False:
        return "enabled"
    raise NotReady(
        "It is disabled: Entra gets no token for it.",
        next_step="Enable it: Enterprise applications > its name > Properties > Enabled for users to sign in.",
    )


async def _reset(s: Steps, cards: _Cards) -> _Verdict:
    """Check that people can be sent a code: who is answered UpdatePassword proves with it who they are."""
    with explained("read the authentication methods policy"):
        path = "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email"
        method = await s.world.graph.send("GET", path)
    on = "Entra ID > Authentication methods > Policies > Email OTP > Enable, for all users."
    if method.get("state") != "enabled":
        raise NotReady(
            "It is off: a person whose old password is right and too weak (UpdatePassword) is asked for a new one and"
            " cannot choose it.",
            next_step=f"Run `await s.apps.email_codes.ensure()`, or switch it on: {on} That takes the role"
            " Authentication Policy Administrator.",
        )
    targets = [str(each.get("id")) for each in method.get("includeTargets") or ()]
    if targets and "all_users" not in targets:
        return [_unknown(_RESET, "It is on for some groups: who is in none of them has no way out.", on)]
    return "enabled"


async def _room(s: Steps, cards: _Cards) -> _Verdict:
    size = await read_directory_size(s.world.graph)
    if size is None:
        return [_unknown(_ROOM, "The tenant does not show it.", "Read it in the admin center: Overview > Properties.")]
    used, total = size
    if used >= total:
        raise NotReady(
            f"{used:,} of {total:,} directory objects are used: nothing more can be created.",
            next_step="Delete what is no longer needed, also for good under Deleted users, or ask Microsoft support for"
            " a higher limit.",
        )
    return f"for {total - used:,} more: {used:,} of {total:,} are used"


async def _users(s: Steps, cards: _Cards) -> _Verdict:
    if _FLAG not in cards:
        return [_unknown(_USERS, "Without the flag they cannot be counted.", "Make the flag first.")]
    return await users_in_words(s)


async def users_in_words(s: Steps) -> str:
    """Count the users by the flag; raise NotReady when none carries it."""
    counts = await s.users.counts()
    if not counts.to_migrate + counts.migrated:
        raise NotReady("No user carries the migration flag.", next_step="Run notebook 06-users.")
    return f"{counts.to_migrate:,} to migrate, {counts.migrated:,} migrated, {counts.unmarked:,} without the flag"


async def _unflagged(s: Steps, cards: _Cards) -> _Verdict:
    if _FLAG not in cards:
        return []
    flag = cards[_FLAG].full_name
    try:
        export = read_export(s.world.export())
        with explained("read who is without the flag"):
            rows, more = await _first_users(s, f"{flag} eq null", f"id,identities,mail,{flag}")
    except KitError as problem:
        return [_unknown(_UNFLAGGED, problem.happened, problem.next_step)]
    plan = make_plan(export.users, (), index_users(rows, flag), flag=flag, issuer="")
    if plan.mark:
        words = (
            f"{len(plan.mark):,}{' or more' if more else ''} are in the tenant without it: the endpoint is never asked"
            " about them."
        )
        advice = "Run `plan = await s.users.plan(s.export())`, read it, then `await s.users.mark(plan)`."
        if len(plan.mark) <= (await s.users.counts()).to_migrate:
            # The import did set it. Who signed up alone has a password that the old one would replace.
            return [_unknown(_UNFLAGGED, words, f"Leave those who signed up by themselves. For others: {advice}")]
        raise NotReady(words, next_step=advice)
    if more:
        words = f"none among {len(rows):,} users without it, and there are more of these"
        return [_unknown(_UNFLAGGED, words, "Run `await s.users.plan(s.export())`: it compares everybody.")]
    return "none"


async def _forced(s: Steps, cards: _Cards) -> _Verdict:
    if _FLAG not in cards:
        return []
    flag = cards[_FLAG].full_name
    with explained("read who must change the password"):
        rows, more = await _first_users(s, f"{flag} eq true", f"id,passwordProfile,{flag}")
    forced = sum(bool((row.get("passwordProfile") or {}).get("forceChangePasswordNextSignIn")) for row in rows)
    # Some tenants leave the profile out: then it is not known what it says.
    silent = sum(row.get("passwordProfile") is None for row in rows)
    which = f"of {len(rows):,} flagged users who were read" if more else "of the flagged"
    findings = []
    if forced:
        words = f"{forced:,} {which} carry forceChangePasswordNextSignIn: they stay flagged at their sign-in."
        findings.append(_fault(_FORCED, words, _NOT_FORCED))
    if silent:
        words = f"The tenant shows no passwordProfile for {silent:,} {which}: it cannot be told."
        findings.append(_unknown(_FORCED, words, f"Look at one of them in the admin center. {_NOT_FORCED}"))
    return findings or f"none {which}"


# A tenant may have hundreds of thousands: a mistake of an import shows in the first of them.
_USERS_READ: Final = 5_000


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


async def _address(s: Steps, cards: _Cards) -> _Verdict:
    if _EXTENSION not in cards:
        return [_unknown(_ADDRESS, "No extension says where it is.", "Make the extension first.")]
    words, took = await _reach(s, cards[_EXTENSION].target_url)
    if took > _TOO_SLOW:
        raise EndpointDown(
            f"{words}, twice; Entra waits {protocol.TIMEOUT_MS:,} ms for all of it.",
            next_step="Keep it warm, close to the tenant and close to the legacy store; notebook 08 shows its times.",
        )
    return words


async def _reach(s: Steps, url: str) -> tuple[str, float]:
    """Send a GET to a public address, as a monitor would; send another when it was slow, as a cold start is.

    Returns what it answers, and after how many milliseconds; raises EndpointDown when Entra could not use that.
    """
    try:
        answer = await s.world.reach(url)
        if answer.elapsed.total_seconds() * 1000 > _TOO_SLOW:
            answer = await s.world.reach(url)
    except (httpx.TransportError, httpx.InvalidURL) as problem:
        raise EndpointDown(
            f"{url} does not answer: {problem or type(problem).__name__}.",
            next_step="Start the endpoint, on this machine with `await s.endpoint.ensure()`; open the tunnel that leads"
            " its public name to it; check the name and its certificate.",
        ) from None
    took = answer.elapsed.total_seconds() * 1000
    words = f"{url} answers {answer.status_code} to a GET after {took:,.0f} ms"
    if answer.status_code in _ASKS_FOR_SIGN_IN:
        raise EndpointDown(f"{words}: something in front of it wants a token or a sign-in.", next_step=_GATEWAY)
    if answer.status_code >= 500:
        raise EndpointDown(f"{words}.", next_step="Read the endpoint's log.")
    return words, took


_NEWEST: Final = 200
# The ledger's line is written when the answer is; two clocks may differ a little.
_MARGIN: Final = timedelta(seconds=0.5)
_AT_THE_TIME: Final = timedelta(milliseconds=protocol.TIMEOUT_MS)
# These come from the configuration, which the other checks read as it is now: in the log they may be long fixed.
_CONFIGURED: Final = range(1003011, 1003024)


async def _calls(s: Steps, cards: _Cards) -> _Verdict:
    """Check the calls of the newest sign-ins, back to the last call that worked."""
    newer = {"Prefer": "include-unknown-enum-members"}
    with explained("read the newest sign-ins"):
        # Left alone, beta lists interactive sign-ins only, and native authentication may be none.
        path = f"/auditLogs/signIns?$top={_NEWEST}&$filter={protocol.USER_SIGN_INS}"
        page = await s.world.graph.send("GET", path, headers=newer, version="beta")
    failed: dict[int, tuple[str, dict[str, Any]]] = {}
    for row in page["value"]:
        result = _call_of(row)
        if result and not result.get("errorCode"):
            break
        if result:
            failed.setdefault(int(result["errorCode"]), (row["correlationId"], result))
    faults = []
    for code, (correlation_id, result) in failed.items():
        if code not in _CONFIGURED:
            words, advice = _failure(s, code, correlation_id, result)
            again = f"{advice} If you have fixed it since, sign a user in and check again."
            faults.append(_fault(_CALLS, f"{words}.", again))
    codes = ", ".join(map(str, failed))
    return faults or (f"{codes}: its cause is in a row above, or fixed" if failed else "none failed")


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


def _call_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the call that a sign-in made; empty when it made none."""
    # The event has this other name for callers who do not ask for values newer than the published ones.
    events = ("passwordSubmit", "unknownFutureValue")
    for each in row.get("appliedEventListeners") or ():
        if each.get("eventType") in events:
            return dict(each.get("handlerResult") or {})
    return {}


def _app_id(cards: _Cards, what: str) -> str | None:
    return cards[what].app_id if what in cards else None


# What is checked when the things have been read, in this order.
_FURTHER: Final[dict[str, Callable[[Steps, _Cards], Awaitable[_Verdict]]]] = {
    _VALIDATION: _validation,
    "service principal of the extension's app": lambda s, cards: _enabled(s, _app_id(cards, _APP)),
    "service principal of the test client": lambda s, cards: _enabled(s, _app_id(cards, _CLIENT)),
    "service principal of Azure AD Authentication Extensions": lambda s, _: _enabled(s, protocol.CALLER_APP_ID),
    "service principal of Microsoft Graph": lambda s, _: _enabled(s, protocol.GRAPH_APP_ID),
    _RESET: _reset,
    _ROOM: _room,
    _USERS: _users,
    _UNFLAGGED: _unflagged,
    _FORCED: _forced,
    _ADDRESS: _address,
    _CALLS: _calls,
}


# --- what each notebook needs and leaves, and the removal of what the kit made --------------------------------------

_WOULD_GO: Final = "would be removed"
_ALONE: Final = "left alone"


@dataclass(frozen=True)
class Checkpoint:
    """One thing that is there once its notebook has run."""

    what: str
    notebook: str  # its two digits
    check: Callable[[Steps], Awaitable[str]]  # returns what it found; raises a KitError when that is not right


async def _show(thing: Thing, s: Steps) -> str:
    return thing.words(await thing.step(s).show())


async def _tenant(s: Steps) -> str:
    return s.tenant.domain


async def _endpoint(s: Steps) -> str:
    await s.endpoint.ensure()
    # Loopback answers as well where the public name leads nowhere, or to something else.
    words, _ = await _reach(s, s.profile.target_url)
    return f"{(await s.endpoint.show()).status}; {words}"


class _NotYet(KitError):
    """Something is not there because real people have not done their part."""


async def _migrated(s: Steps) -> str:
    counts = await s.users.counts()
    if counts.migrated == 0 and not s.world.people:
        raise _NotYet("Nobody has migrated.", next_step="Sign a user in at the page above, then run this cell again.")
    if counts.migrated == 0:
        raise NotReady("No user has migrated yet.", next_step="Sign a user in with notebook 07-sign-in.")
    return f"{counts.migrated:,} migrated"


async def _figures(s: Steps) -> str:
    collected, counted = (await s.progress.collect()).counts["migrated"], (await s.users.counts()).migrated
    if collected != counted:
        raise NotReady(
            f"The figures say that {collected} have migrated, the tenant counts {counted}.",
            next_step="Run the cell again: new values can take some seconds to appear in counts.",
        )
    return f"{counted:,} migrated, in the figures and in the tenant"


async def _in_order(s: Steps) -> str:
    faults = (await check(s)).faults
    if faults:
        raise NotReady(
            "Not in order: " + "; ".join(f"{each.what} ({each.found})" for each in faults), next_step=faults[0].fix
        )
    return "everything that the check reads is in order"


async def _left(s: Steps) -> str:
    rows = (await remove(s, dry_run=True)).rows
    left = [str(what) for what, _, happens in rows if happens == _WOULD_GO]
    if "listener" in left and "custom authentication extension" not in left:
        raise NotReady(
            "The listener points to an extension that is gone: sign-ins of flagged users fail.",
            next_step="Set really = True in notebook 99 and run it again, or run notebook 03.",
        )
    alone = [f"{what} ({happens})" for what, _, happens in rows if happens == _ALONE]
    return "; ".join(left + alone) or "nothing"


CHECKPOINTS: Final = (
    Checkpoint("a tenant that answers", "00", _tenant),
    *(
        Checkpoint(each.what, each.notebook, partial(_show, each))
        for each in sorted(THINGS, key=lambda thing: thing.notebook)
    ),
    Checkpoint("an endpoint that answers", "05", _endpoint),
    Checkpoint("users to migrate", "06", users_in_words),
    Checkpoint("a user who has migrated", "07", _migrated),
    Checkpoint("figures that equal the tenant's own count", "08", _figures),
    Checkpoint("a configuration without a fault", "90", _in_order),
    Checkpoint("what is left of the kit in the tenant", "99", _left),
)

# Notebook: the notebooks whose checkpoints it needs.
_NEEDS: Final = {
    "00": (),
    "01": ("00",),
    "02": ("00",),
    "03": ("00", "01", "02"),
    "04": ("00", "02"),
    "05": ("00", "02", "03", "04"),
    "06": ("00", "01"),
    "07": ("00", "01", "02", "03", "04", "05", "06"),
    "08": ("00", "01", "06"),
    "90": ("00", "01", "02", "03", "04", "05", "06"),
    "99": ("00",),
}


def needs_of(notebook: str) -> list[Checkpoint]:
    """Return what a notebook, named by its two digits, needs from the ones before it."""
    return [each for each in CHECKPOINTS if each.notebook in _NEEDS[notebook]]


def checkpoints_of(notebook: str) -> list[Checkpoint]:
    """Return what a notebook, named by its two digits, leaves."""
    return [each for each in CHECKPOINTS if each.notebook == notebook]


async def require(s: Steps, notebook: str) -> Table:
    """Check that what a notebook needs is there, or cannot be read; raises NotReady with everything that is missing."""
    return await _all(s, needs_of(notebook), "What this notebook needs")


async def checkpoint(s: Steps, notebook: str) -> Table:
    """Check that a notebook left what it should; raises NotReady with everything that is missing."""
    return await _all(s, checkpoints_of(notebook), "Checkpoint: what is there now")


_UNREAD: Final = (
    "What this account may not read may be there all the same: the notebook goes on, and a cell that needs it says so."
)


async def _all(s: Steps, checkpoints: list[Checkpoint], caption: str) -> Table:
    rows, missing, unread = [], [], 0
    for each in checkpoints:
        try:
            rows.append((each.what, "yes", await each.check(s)))
        except _NotYet as later:
            rows.append((each.what, "not yet", f"{later.happened} {later.next_step}"))
        except KitError as problem:
            # Without a valid token (401) nothing can be read, and nothing after it would work.
            if isinstance(problem, PermissionMissing) and problem.status != 401:
                rows.append((each.what, "not readable", f"{problem.happened} {problem.next_step}"))
                unread += 1
            else:
                missing.append((each, problem))
    if missing:
        raise NotReady(
            "Not there yet: " + "; ".join(f"{each.what} ({problem.happened})" for each, problem in missing),
            service=next((problem.service for _, problem in missing if problem.service), None),
            next_step=missing[0][1].next_step,
        )
    return Table(caption=caption, columns=("What", "There", "Found"), rows=rows, note=_UNREAD if unread else "")


async def remove(s: Steps, *, dry_run: bool, applications: Collection[str] = ()) -> Table:
    """Remove the kit's objects from the tenant in dependency order, or list what would be removed.

    Users stay, and so does the `b2c-extensions-app`, which belongs to the tenant.

    Raises:
        KitError: the listener covers applications that are neither the test client nor named in the call.
        SettingsError: `dry_run` is neither True nor False.
    """
    dry_run = true_or_false("dry_run", dry_run)
    with recording() as sent:
        rows = [("users who have not migrated", await _waiting(s), "stay")]
        for thing in reversed(THINGS):
            step = thing.step(s)
            found, happens, others = await _found(step.to_remove)
            if thing.what == _LISTENER and others:
                found = f"{found}; {', '.join(others)} would lose the migration"
                if unnamed := [each for each in others if each not in applications]:
                    happens = f"stays, unless the call names {', '.join(unnamed)}"
            if not dry_run:
                # Asked even where nothing was found: a half-made thing reads as absent and has parts to remove.
                named = {"applications": applications} if thing.what == _LISTENER else {}
                card = await step.remove(**named)
                found, happens = card.facts.get("Why", found), card.status
            rows.append((thing.what, found, happens))
    return Table(
        caption="What would be removed" if dry_run else "What was removed",
        columns=("What", "Found", "What would happen" if dry_run else "What happened"),
        rows=rows,
        note="Users stay. A user who has not migrated by then needs a password reset, because their temporary password"
        " is random and was never stored. Removed app registrations can be restored for 30 days. What you consented to"
        " for Microsoft Graph Command Line Tools, to sign in here, stays as well: see Enterprise applications.",
        sent=tuple(sent),
    )


async def _found(show: Callable[[], Awaitable[Card]]) -> tuple[str, str, tuple[str, ...]]:
    """Return what is there, what would happen to it, and which applications other than the test client use it."""
    try:
        card = await show()
    except NotReady:
        return "not there", "nothing to do", ()
    except Taken as theirs:
        return f"{theirs.happened} {theirs.service}", _ALONE, ()
    except KitError as problem:
        return problem.happened, "not known", ()
    ours = card.facts.get("Made by", "this kit") == "this kit"
    happens = _WOULD_GO if ours else "stays: the test client is taken out"
    return card.title, happens, getattr(card, "others", ())


async def _waiting(s: Steps) -> str:
    try:
        return f"{(await s.users.counts()).to_migrate:,}"
    except NotReady:
        return "not counted: there is no flag"
