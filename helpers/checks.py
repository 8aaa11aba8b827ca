"""The list of what the kit makes in a tenant, and what uses it.

`check` reads the whole configuration and names its faults, in the words of `findings.toml`; `require_all` asks
the tenant for what a notebook needs or leaves; `remove` deletes what the kit made.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from helpers.graph import explained, recording
from helpers.host import DAYS_LEFT, HAS_KEY
from helpers.legacy_export import read_export
from helpers.session import Steps
from helpers.tenant.encryption_key import WAITS, read_pair
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
    "Checked",
    "Finding",
    "check",
    "check_before_going_live",
    "checkpoints_of",
    "needs_of",
    "remove",
    "require_all",
]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    found: str
    fix: str = ""  # empty when it is in order
    # `yes`, `no`, or `not known` when it could not be read; before going live `pass`, `fail` or `cannot tell`
    verdict: str = "no"
    what: str = ""  # the name of its row; empty for that of the check which found it


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
_WORDS: Final = tomllib.loads(Path(__file__).with_name("findings.toml").read_text(encoding="utf-8"))


def _finding(name: str, **values: object) -> Finding:
    return Finding(**{part: text.format(**values) for part, text in _WORDS[name].items()})


def _error(kind: type[KitError], name: str, **values: object) -> KitError:
    finding = _finding(name, **values)
    return kind(finding.found, next_step=finding.fix)


def _registration(s: Steps, cards: _Cards) -> Iterator[Finding]:
    app = cards[_APP]
    if not app.identifier_uri:
        yield _finding("identifier-uri", uris=app.facts.get("Identifier URI") or "none")
    elif app.facts.get("Access token version") != "2":
        yield _finding("token-version")


def _key_words(key: Any) -> str:
    where = "in the vault" if key.path is None else "on this machine"
    return f"thumbprint {key.thumbprint}; {key.days_left} days left; the private half is {where}"


def _key(s: Steps, cards: _Cards) -> Iterator[Finding]:
    if WAITS in cards[_KEY].facts:
        yield _finding("key-waits", key=_key_words(cards[_KEY]))
    if cards[_KEY].days_left < _ENDS_SOON:
        yield _finding("key-ends", key=_key_words(cards[_KEY]))


def _extension(s: Steps, cards: _Cards) -> Iterator[Finding]:
    address = cards[_EXTENSION].target_url
    if address != s.profile.target_url:
        yield _finding("extension-address", address=address, chosen=s.profile.target_url)


def _listener(s: Steps, cards: _Cards) -> Iterator[Finding]:
    listener = cards[_LISTENER]
    client, flag, extension = cards.get(_CLIENT), cards.get(_FLAG), cards.get(_EXTENSION)
    if client and client.app_id not in listener.app_ids and EVERY_APP not in listener.others:
        yield _finding("listener-apps", client=client.app_id, included=", ".join(listener.app_ids) or "none")
    if flag and listener.migration_property != flag.full_name:
        yield _finding("listener-flag", read=listener.migration_property, flag=flag.full_name)
    if extension and listener.extension_id != extension.extension_id:
        yield _finding("listener-extension", called=listener.extension_id, extension=extension.extension_id)
    if listener.rivals:
        yield _finding("listener-rivals", rivals=", ".join(listener.rivals))


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
    with recording("s.check()") as sent:
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
    with recording("s.check()") as sent:
        configuration, cards = await _configuration(s)
        # Where a private half is that the kit does not keep, the settings say; which key is in use, the tenant.
        kept = [each for each in configuration if each.what != _KEY or s.profile.hosting.vault]
        findings = [replace(each, verdict=_GO_LIVE[each.verdict]) for each in kept]
        for thing in THINGS:
            if thing.what in (_APP, _EXTENSION, _LISTENER) and thing.what not in cards:
                await thing.step(s).show()
        evidence = await _evidence(s, cards, settings, azure, lock_after)
    examined = doctor.examine(evidence)
    if s.world.people:  # the rehearsal's vault shows its versions, and nothing else of Azure is there
        rest = [each for each in examined if each.unread in ("", "versions")]
        if count := len(examined) - len(rest):
            hosting = s.profile.hosting
            findings.append(_finding("only-azure-shows", count=count, group=hosting.resource_group, app=hosting.app))
        examined = rest
    findings += [Finding(each.found, each.fix, each.verdict, each.what) for each in examined]
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
    stranger = None
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
        stranger = (await s.world.reach(extension.target_url, "POST")).status_code
    documents, names = azure
    hosting = s.profile.hosting
    if hosting.vault and "versions" not in documents:
        with contextlib.suppress(NotReady):  # its checks cannot tell then
            documents = {**documents, "versions": [_as_azure_shows(each) for each in await s.vault.versions()]}
    named = {"group": hosting.resource_group, **hosting.model_dump(include={"app", "vault", "certificate"})}
    chosen = named if hosting.vault else {}
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
        to_strangers=stranger,
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
        found = [Finding(f"{refused.happened} {refused.service}", refused.next_step, "not known")]
    except KitError as problem:
        words = problem.happened + (f" ({problem.service})" if problem.service else "")
        found = [Finding(words, problem.next_step)]
    findings = [Finding(found, verdict="yes")] if isinstance(found, str) else found
    return [replace(each, what=each.what or what) for each in findings]


async def _validation(s: Steps, cards: _Cards) -> _Verdict:
    if _EXTENSION not in cards:
        return []
    rows = (await s.policies.extension.check()).rows
    return [Finding(f"{code}: {words}", str(advice)) for _, code, words, advice in rows] or "it finds nothing wrong"


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
    return [_finding("principal-disabled")] if enabled is False else "enabled"


async def _reset(s: Steps, cards: _Cards) -> _Verdict:
    """Check that people can be sent a code: who is answered UpdatePassword proves with it who they are."""
    with explained("read the authentication methods policy"):
        path = "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email"
        method = await s.world.graph.send("GET", path)
    if method.get("state") != "enabled":
        return [_finding("codes-off")]
    targets = [str(each.get("id")) for each in method.get("includeTargets") or ()]
    return [_finding("codes-for-some")] if targets and "all_users" not in targets else "enabled"


async def _room(s: Steps, cards: _Cards) -> _Verdict:
    size = await read_directory_size(s.world.graph)
    if size is None:
        return [_finding("room-not-shown")]
    used, total = size
    if used >= total:
        return [_finding("no-room", used=used, total=total)]
    return f"for {total - used:,} more: {used:,} of {total:,} are used"


async def _users(s: Steps, cards: _Cards) -> _Verdict:
    return await users_in_words(s) if _FLAG in cards else [_finding("users-without-flag")]


async def users_in_words(s: Steps) -> str:
    """Count the users by the flag; raise NotReady when none carries it."""
    counts = await s.users.counts()
    if not counts.to_migrate + counts.migrated:
        raise _error(NotReady, "nobody-flagged")
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
        return [Finding(problem.happened, problem.next_step, "not known")]
    plan = make_plan(export.users, (), index_users(rows, flag), flag=flag, issuer="")
    if plan.mark:
        unflagged = _finding("unflagged", count=len(plan.mark), more=" or more" if more else "")
        if len(plan.mark) > (await s.users.counts()).to_migrate:
            return [unflagged]
        # The import did set it. Who signed up alone has a password that the old one would replace.
        return [_finding("unflagged-after-import", found=unflagged.found, fix=unflagged.fix)]
    return [_finding("unflagged-not-known", read=len(rows))] if more else "none"


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
    change = _finding("change-forced", count=forced, which=which)
    findings = [change] if forced else []
    if silent:
        findings.append(_finding("change-not-shown", count=silent, which=which, fix=change.fix))
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


class _NotFound(EndpointDown):
    """An address answers 404 to a GET: nothing is there, or something that takes only POST."""


async def _address(s: Steps, cards: _Cards) -> _Verdict:
    if _EXTENSION not in cards:
        return [_finding("address-not-known")]
    try:
        words, took = await _reach(s, cards[_EXTENSION].target_url)
    except _NotFound as answer:
        with contextlib.suppress(EndpointDown):
            own, _ = await _reach(s, s.profile.target_url)
            return [_finding("path-of-nobody", words=answer.happened.rstrip("."), own=own)]
        return [_finding("not-found", words=answer.happened.rstrip("."))]
    return [_finding("too-slow", words=words, limit=protocol.TIMEOUT_MS)] if took > _TOO_SLOW else words


async def _reach(s: Steps, url: str) -> tuple[str, float]:
    """Return what a public address answers to a GET, and after how many milliseconds; raises EndpointDown."""
    try:
        answer = await s.world.reach(url)
        if answer.elapsed.total_seconds() * 1000 > _TOO_SLOW:  # as a cold start is
            answer = await s.world.reach(url)
    except (httpx.TransportError, httpx.InvalidURL) as problem:
        reason = str(problem).rstrip(".") or type(problem).__name__
        raise _error(EndpointDown, "no-answer", url=url, problem=reason) from None
    took = answer.elapsed.total_seconds() * 1000
    words = f"{url} answers {answer.status_code} to a GET after {took:,.0f} ms"
    if answer.status_code in _ASKS_FOR_SIGN_IN:
        raise _error(EndpointDown, "gateway-in-front", words=words)
    if answer.status_code == 404:
        raise _error(_NotFound, "not-there", words=words)
    if answer.status_code >= 500:
        raise _error(EndpointDown, "server-error", words=words)
    return words, took


_NEWEST: Final = 200
# The ledger's line is written when the answer is; two clocks may differ a little.
_MARGIN: Final = timedelta(seconds=0.5)
_AT_THE_TIME: Final = timedelta(milliseconds=protocol.TIMEOUT_MS)
# These come from the configuration, which the other checks read as it is now: in the log they may be long fixed.
_CONFIGURED: Final = range(1003011, 1003024)


async def _calls(s: Steps, cards: _Cards) -> _Verdict:
    """Check the calls of the newest sign-ins, back to the last call that worked."""
    rows = await _newest_sign_ins(s)
    failed: dict[int, tuple[str, dict[str, Any]]] = {}
    for row in rows:
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
            faults.append(Finding(f"{words}.", again))
    codes = ", ".join(map(str, failed))
    return faults or (f"{codes}: its cause is in a row above, or fixed" if failed else "none failed")


async def _newest_sign_ins(s: Steps) -> list[dict[str, Any]]:
    newer = {"Prefer": "include-unknown-enum-members"}
    with explained("read the newest sign-ins"):
        # Left alone, beta lists interactive sign-ins only, and native authentication may be none.
        path = f"/auditLogs/signIns?$top={_NEWEST}&$filter={protocol.USER_SIGN_INS}"
        return list((await s.world.graph.send("GET", path, headers=newer, version="beta"))["value"])


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
    "the tenant's validation of it": _validation,
    "service principal of the extension's app": lambda s, cards: _enabled(s, _app_id(cards, _APP)),
    "service principal of the test client": lambda s, cards: _enabled(s, _app_id(cards, _CLIENT)),
    "service principal of Azure AD Authentication Extensions": lambda s, _: _enabled(s, protocol.CALLER_APP_ID),
    "service principal of Microsoft Graph": lambda s, _: _enabled(s, protocol.GRAPH_APP_ID),
    "a way out for weak passwords: Email OTP": _reset,
    "room for directory objects": _room,
    "users to migrate": _users,
    "people of the export without the flag": _unflagged,
    "users who must change their password": _forced,
    "the endpoint at its public address": _address,
    "calls since the last one that worked": _calls,
}


# --- whether to go, and when the old system may --------------------------------------------------------------------

_QUIET: Final = timedelta(hours=72)
_LASTS: Final = 90  # days that the certificate should last at the start


async def go_no_go(s: Steps, *, answers: Mapping[str, bool] | None = None) -> Table:
    """Put together what speaks for going live and what against it.

    Args:
        s: the session.
        answers: what only people know: a question of the table, and True or False.

    Raises:
        KitError: the tenant, or the hosted endpoint, cannot be read.
    """
    faults, health = (await check(s)).faults, await s.host.health()
    counts, codes = await s.users.counts(), await _newest_calls(s)
    days = int(health.facts[DAYS_LEFT]) if health.facts[DAYS_LEFT].isdigit() else 0
    failed = [code for _, code in codes if code]
    judged = [
        (
            "the configuration has no fault",
            not faults,
            "; ".join(dict.fromkeys(each.what for each in faults)) or "none",
        ),
        ("the endpoint has the key in use", health.facts[HAS_KEY] == "yes", health.status),
        ("the certificate outlasts the first months", days >= _LASTS, f"{days} days left"),
        ("the pilot has migrated", counts.migrated > 0, f"{counts.migrated:,} migrated"),
        ("the pilot's calls worked", bool(codes) and not failed, f"{len(codes) - len(failed)} of {len(codes)}"),
    ]
    rows = [(what, "go" if good else "no go", found) for what, good, found in judged]
    for question in _QUESTIONS:
        answer = (answers or {}).get(question)
        rows.append((question, "you say" if answer is None else "go" if answer else "no go", "only people know"))
    verdicts = [verdict for _, verdict, _ in rows]
    word = "no go" if "no go" in verdicts else "not decided" if "you say" in verdicts else "go"
    return Table(caption=f"Go or no go: {word}", columns=("What", "Verdict", "Found"), rows=rows)


_QUESTIONS: Final = (
    "the legacy store stands the busiest minute",
    "the way back was tried",
    "the help desk knows the texts that people see",
)


async def switch_off(s: Steps, *, told: bool | None = None) -> Table:
    """Say whether the old system may be switched off: three days without a call, who is left, and what they were sent.

    Args:
        s: the session.
        told: whether everybody who is left was sent how to get a new password.
    """
    counts, calls, now = await s.users.counts(), await _newest_calls(s), s.world.now()
    last = max((time for time, _ in calls), default=None)
    quiet = last is None or now - last >= _QUIET
    since = "none in the log that can be read" if last is None else f"the last one was {(now - last).days} days ago"
    rows = [
        ("72 hours without a call", "yes" if quiet else "no", since),
        ("nobody is left", "no" if counts.to_migrate else "yes", f"{counts.to_migrate:,} carry the flag"),
        (
            "who is left was sent how to get a new password",
            "you say" if told is None else "yes" if told else "no",
            "notebook 08 lists who is left, and measures what a campaign did",
        ),
    ]
    may = quiet and (not counts.to_migrate or told is True)
    return Table(
        caption=f"May the old system be switched off? {'Yes' if may else 'Not yet'}",
        columns=("What", "So", "Found"),
        rows=rows,
        note="Then as notebook 99 says: the listener first, so that no sign-in asks the endpoint; the extension and the"
        " registrations; the people's flag, `await s.users.unmark()`, and its definition; the endpoint's host; the old"
        " system last. A password that has not moved is lost with it, unless somebody can restore a backup.",
    )


async def _newest_calls(s: Steps) -> list[tuple[datetime, int]]:
    """Read when the newest sign-ins called the endpoint, and the error code of each call."""
    found = [(row["createdDateTime"], result) for row in await _newest_sign_ins(s) if (result := _call_of(row))]
    return [(datetime.fromisoformat(time), int(result.get("errorCode") or 0)) for time, result in found]


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
    if s.profile.hosting.vault:  # it runs elsewhere, with keys that are not on this machine
        return (await _reach(s, s.profile.target_url))[0]
    await s.endpoint.ensure()
    # Loopback answers as well where the public name leads nowhere, or to something else.
    words, _ = await _reach(s, s.profile.target_url)
    return f"{(await s.endpoint.show()).status}; {words}"


class _NotYet(KitError):
    """Something is not there because real people have not done their part."""


async def _migrated(s: Steps) -> str:
    migrated = (await s.users.counts()).migrated
    if not migrated:
        raise _error(NotReady, "no-user-migrated") if s.world.people else _error(_NotYet, "nobody-migrated")
    return f"{migrated:,} migrated"


async def _figures(s: Steps) -> str:
    collected, counted = (await s.progress.collect()).counts["migrated"], (await s.users.counts()).migrated
    if collected != counted:
        raise _error(NotReady, "figures-differ", collected=collected, counted=counted)
    return f"{counted:,} migrated, in the figures and in the tenant"


async def _hosted(s: Steps) -> str:
    if not s.profile.hosting.vault:
        raise NotReady("No vault is chosen.", next_step="Run notebook 09-go-live from its first cell.")
    health = await s.host.health()
    if health.facts[HAS_KEY] != "yes":
        raise NotReady("The hosted endpoint lacks the key in use.", next_step="Check its vault, identity and role.")
    return f"{health.status}; its key is in the vault; {health.facts[DAYS_LEFT]} days left"


async def _in_order(s: Steps) -> str:
    faults = (await check(s)).faults
    if faults:
        words = "; ".join(f"{each.what} ({each.found})" for each in faults)
        raise NotReady(f"Not in order: {words}", next_step=faults[0].fix)
    return "everything that the check reads is in order"


async def _left(s: Steps) -> str:
    rows = (await remove(s, dry_run=True)).rows
    left = [str(what) for what, _, happens in rows if happens == _WOULD_GO]
    if _LISTENER in left and _EXTENSION not in left:
        raise _error(NotReady, "listener-without-extension")
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
    Checkpoint("a hosted endpoint with the vault's key", "09", _hosted),
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
    "09": ("00", "01", "02", "03", "04", "06"),
    "90": ("00", "01", "02", "03", "04", "05", "06"),
    "99": ("00",),
}


def needs_of(notebook: str) -> list[Checkpoint]:
    """Return what a notebook, named by its two digits, needs from the ones before it."""
    return [each for each in CHECKPOINTS if each.notebook in _NEEDS[notebook]]


def checkpoints_of(notebook: str) -> list[Checkpoint]:
    """Return what a notebook, named by its two digits, leaves."""
    return [each for each in CHECKPOINTS if each.notebook == notebook]


_UNREAD: Final = (
    "What this account may not read may be there all the same: the notebook goes on, and a cell that needs it says so."
)


async def require_all(s: Steps, checkpoints: list[Checkpoint], caption: str) -> Table:
    """Check that things are there, or cannot be read; raise NotReady with everything that is missing."""
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
        step = (cause := missing[0][1]).next_step
        # The endpoint needs no run of its own: its check starts it once the key is there.
        first, *others = dict.fromkeys(each.notebook for each, _ in missing if each.notebook != "05") or [""]
        if others and isinstance(cause, NotReady):
            rest = " and ".join(filter(None, (", ".join(others[:-1]), others[-1])))
            step = f"Run notebook {first} first, then {rest}, each from its first cell, then this cell again."
        raise NotReady(
            "Not there yet: " + "; ".join(f"{each.what} ({problem.happened})" for each, problem in missing),
            service=next((problem.service for _, problem in missing if problem.service), None),
            next_step=step,
        )
    return Table(caption=caption, columns=("What", "Ready", "Found"), rows=rows, note=_UNREAD if unread else "")


async def remove(s: Steps, *, dry_run: bool, applications: Collection[str] = ()) -> Table:
    """Remove the kit's objects from the tenant in dependency order, or list what would be removed.

    Users stay, and so does the `b2c-extensions-app`, which belongs to the tenant. Raises as `Session.remove` does.
    """
    dry_run = true_or_false("dry_run", dry_run)
    with recording("s.remove()") as sent:
        rows = [("users who have not migrated", await _waiting(s), "stay")]
        for thing in reversed(THINGS):
            step = thing.step(s)
            found, happens, others = await _found(step.to_remove)
            if thing.what == _LISTENER and others:
                found = f"{found}; {', '.join(others)} would lose the migration"
                if unnamed := [each for each in others if each not in applications]:
                    happens = f"stays, unless the call names {', '.join(unnamed)}"
            if not dry_run:
                # Asked even where nothing was found: what stands on something that is gone reads as absent.
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
    happens = "stays: the test client is taken out" if getattr(card, "stays", False) else _WOULD_GO
    return card.title, happens, getattr(card, "others", ())


async def _waiting(s: Steps) -> str:
    try:
        return f"{(await s.users.counts()).to_migrate:,}"
    except NotReady:
        return "not counted: there is no flag"
