"""From a request to its route: who may call it, what it costs, and several requests in one `$batch`.

Requests that no route serves are answered 501 "not simulated", never with an empty success. Batches: Graph
documentation, "Combine multiple HTTP requests using JSON batching". Figures, costs and headers of throttling:
"Microsoft Graph service-specific throttling limits"; the body of the refusal: "Microsoft Graph throttling guidance".
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from jitkit.protocol import BATCH_SIZE
from jitkit.rehearsal import identity, switches
from jitkit.rehearsal.directory import Body, Directory, new_id
from jitkit.rehearsal.graph import applications, consent, groups, logs, odata, policies, users
from jitkit.rehearsal.graph.wire import Answer, Call, Caller, GraphError, GraphRoute, refusal

_PLACEHOLDER: Final = re.compile(r"\\\{(\w+)\\\}")
_KEY: Final = re.compile(r"\('((?:[^']|'')*)'\)")
# A function or a type cast of a collection, which must not be read as an object's id.
_ID: Final = r"(?P<\1>(?!(?:microsoft\.)?graph\.|delta(?:\(\))?(?:/|$))[^/]+?)"


def all_routes() -> list[GraphRoute]:
    """List every operation that the rehearsal tenant simulates, `$batch` apart."""
    resources = (
        applications.APPLICATIONS,
        applications.SERVICE_PRINCIPALS,
        applications.ExtensionProperties(),
        consent.Assignments(),
        consent.Grants(),
        users.USERS,
        groups.Groups(),
        groups.Memberships(),
        groups.Domains(),
        groups.Organizations(),
        groups.DeletedItems(),
        policies.CustomExtensions(),
        policies.Listeners(),
        policies.UserFlows(),
        policies.IdentityProviders(),
        policies.Attributes(),
        policies.MethodsPolicy(),
        policies.AuthenticationMethods(),
        policies.SignInIdentifiers(),
        logs.DirectoryAudits(),
        logs.SignIns(),
    )
    return [route for each in resources for route in each.routes()]


class Router:
    """Answers Graph requests.

    `intercept` carries a request out, unless a fault that is switched on refuses it; `observe` is called with method,
    path and answer of every request.
    """

    def __init__(
        self,
        directory: Directory,
        intercept: Callable[[Callable[[], Awaitable[Answer]]], Awaitable[Answer]],
        observe: Callable[[str, str, Answer], None],
    ) -> None:
        self._directory, self._intercept, self._observe = directory, intercept, observe
        self._throttle = Throttle()
        # Literal segments win over placeholders: "{" sorts after every letter and "$".
        self._routes: dict[str, list[tuple[re.Pattern[str], GraphRoute]]] = {}
        for route in sorted(all_routes(), key=lambda route: route.path.lower()):
            pattern = re.compile(_PLACEHOLDER.sub(_ID, re.escape(route.path)), re.IGNORECASE)
            self._routes.setdefault(route.method, []).append((pattern, route))

    async def respond(
        self,
        method: str,
        base: str,
        version: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any,
    ) -> Answer:
        """Answer one request, or a batch. The path is decoded, header names are in lower case."""
        ids = _ids(headers)
        try:
            caller = _caller(self._directory, headers.get("authorization", ""))
            call = Call(self._directory, method, base, version, path, {}, query, headers, caller, body)
            if path.lower() != "/$batch" or method != "POST":
                return await self._send(call)
            return replace(await self._respond_to_batch(call), headers=ids)
        except GraphError as error:
            return error.answer(ids)

    async def _send(self, call: Call) -> Answer:
        """Answer one request, alone or of a batch."""
        ids, spent = _ids(call.headers), {}
        try:
            spent = self._throttle.spend(self._directory, call.caller.app_id, call.method, call.path, call.query)
            answer = await self._intercept(lambda: self._answer(call))
        except GraphError as error:
            answer = error.answer(ids)
        self._observe(call.method, call.path, answer)
        return replace(answer, headers={**answer.headers, **spent, **ids})

    def unreadable(self, headers: Mapping[str, str]) -> Answer:
        """Answer a request whose body is not JSON."""
        return refusal("body-unreadable").answer(_ids(headers))

    async def _answer(self, call: Call) -> Answer:
        path = _KEY.sub(r"/\1", call.path).rstrip("/")
        for pattern, route in self._routes.get(call.method, []):
            if found := pattern.fullmatch(path):
                groups.check_allowed(call, route.permissions)
                if call.method == "GET":
                    odata.check_options(call.query)
                return await _run(route, replace(call, path=path, ids=found.groupdict()))
        raise refusal("not-simulated", what=f"{call.method} {call.path}")

    async def _respond_to_batch(self, call: Call) -> Answer:
        """Answer a batch with every inner answer, last request first.

        The service documents no order, so a caller that relies on one fails here.
        """
        running: dict[str, asyncio.Task[Body]] = {}
        for request in _checked_batch(call.body):
            before = [running[id] for id in request.get("dependsOn") or []]
            running[request["id"]] = asyncio.create_task(self._inner(call, request, before))
        answers = await asyncio.gather(*running.values())
        return Answer(200, {"responses": list(reversed(answers))})

    async def _inner(self, call: Call, request: Body, before: list[asyncio.Task[Body]]) -> Body:
        def refused(error: GraphError) -> Body:
            return {"id": request["id"], "status": error.status, "headers": {}, "body": error.answer({}).body}

        for earlier in before:
            if (await earlier)["status"] >= 400:
                return refused(refusal("batch-failed"))
        try:
            url = urlsplit(request["url"])
        except ValueError:
            return refused(refusal("batch-url", url=request["url"]))
        headers = {name.lower(): str(value) for name, value in (request.get("headers") or {}).items()}
        if request.get("body") is not None and "application/json" not in headers.get("content-type", ""):
            return refused(refusal("batch-untyped", id=request["id"]))
        answer = await self._send(
            replace(
                call,
                method=request["method"].upper(),
                path="/" + unquote(url.path).lstrip("/"),
                query=dict(parse_qsl(url.query, keep_blank_values=True)),
                headers=headers,
                body=request.get("body"),
            )
        )
        inner: Body = {"id": request["id"], "status": answer.status, "headers": dict(answer.headers)}
        if answer.text is not None:
            return {**inner, "body": int(answer.text)}
        if answer.body is not None:
            return {**inner, "headers": {**inner["headers"], "Content-Type": "application/json"}, "body": answer.body}
        return inner


async def _run(route: GraphRoute, call: Call) -> Answer:
    """Run a handler; a write that does not wait for anything is applied as a whole or not at all."""
    if call.method == "GET" or inspect.iscoroutinefunction(route.handler):
        answer = route.handler(call)
        return await answer if inspect.isawaitable(answer) else answer
    with call.directory.transaction():
        answer = route.handler(call)
    assert isinstance(answer, Answer)
    return answer


def _caller(directory: Directory, authorization: str) -> Caller:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise refusal("token-empty")
    claims = identity.read_access_token(directory, token.strip())
    if claims is None:
        raise refusal("token-invalid")
    delegated = claims.get("scp", "").split()
    permissions = frozenset([*claims.get("roles", []), *delegated])
    user_id = claims["oid"] if delegated else None
    roles = groups.roles_of(directory, user_id) if user_id else frozenset[str]()
    return Caller(permissions, claims.get("appid", ""), user_id, roles)


def _ids(headers: Mapping[str, str]) -> dict[str, str]:
    own = new_id()
    return {"request-id": own, "client-request-id": headers.get("client-request-id") or own}


# --- $batch ----------------------------------------------------------------------------------------------------------


def _checked_batch(body: Any) -> list[Body]:
    requests = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(requests, list) or not requests:
        raise refusal("batch-empty")
    if len(requests) > BATCH_SIZE:
        raise refusal("batch-size", most=BATCH_SIZE)
    seen: set[str] = set()
    for request in requests:
        named = isinstance(request, dict) and [request.get(name) for name in ("id", "method", "url")]
        if not named or not all(isinstance(each, str) and each for each in named):
            raise refusal("batch-parts")
        if request["id"] in seen:
            raise refusal("batch-duplicate")
        before, headers = request.get("dependsOn") or [], request.get("headers") or {}
        if not isinstance(headers, dict) or not isinstance(before, list):
            raise refusal("batch-types")
        # A dependency on a later request could only wait for ever.
        if not all(isinstance(id, str) and id in seen for id in before):
            raise refusal("batch-dependency")
        seen.add(request["id"])
    return requests


# --- throttling ------------------------------------------------------------------------------------------------------

# At most so many users, and the resource units that such a tenant has in ten seconds.
_SIZES: Final = ((49, 3_500), (500, 5_000), (math.inf, 8_000))
_COSTS_TWO: Final = re.compile(
    r"/(?:users|applications|oauth2PermissionGrants"
    r"|applications/[^/]+/extensionProperties|servicePrincipals/[^/]+/appRoleAssignments)",
    re.IGNORECASE,
)
_POLICIES: Final = re.compile(
    r"/identity/(?:customAuthenticationExtensions|authenticationEventListeners)\b", re.IGNORECASE
)
_REPORTS: Final = re.compile(r"/auditLogs/", re.IGNORECASE)
# `x-ms-throttle-limit-percentage` is sent from the first of these on and is never above the second.
_NEAR, _MOST = 0.8, 1.8


@dataclass(frozen=True)
class _Limit:
    """So many units in so many seconds, for one app in the tenant or for all of them together."""

    name: str
    units: float
    seconds: float
    whole_tenant: bool = False
    information: str = ""


_WRITES: Final = (
    _Limit("Write", 3_000, 150, information="WriteLimitExceeded"),
    _Limit("Write", 18_000, 300, whole_tenant=True, information="WriteLimitExceeded"),
)
_MANAGEMENT: Final = (_Limit("Management", 200, 60), _Limit("Management", 300, 60, whole_tenant=True))
_REPORTING: Final = (_Limit("Reports", 5, 10),)


@dataclass
class _Bucket:
    """What is left of a limit; it refills evenly, and refused requests take it below zero."""

    left: float
    at: float

    def take(self, limit: _Limit, units: float, now: float) -> float:
        """Spend units; return how much of the limit is used then, where more than 1 means refused."""
        refilled = self.left + max(0.0, now - self.at) * limit.units / limit.seconds
        self.left, self.at = min(limit.units, refilled), now
        used = 1 - (self.left - units) / limit.units
        self.left = max(self.left - units, limit.units * (1 - _MOST))
        return used


class Throttle:
    """Counts what every app asks for, in memory and by the tenant's clock. Refused requests count too."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, _Limit], _Bucket] = {}

    def spend(
        self, directory: Directory, app_id: str, method: str, path: str, query: Mapping[str, str]
    ) -> dict[str, str]:
        """Count one request of an app; return the headers that say what it cost. Raises GraphError 429."""
        if not switches.is_on(directory, "graph_throttling"):
            return {}
        if _REPORTS.match(path):
            return self._count(directory, app_id, dict.fromkeys(_REPORTING, 1))
        if _POLICIES.match(path):
            return self._count(directory, app_id, dict.fromkeys(_MANAGEMENT, 1))
        cost = resource_units(method, path, query)
        spent = {_unit_limit(directory): cost} | (dict.fromkeys(_WRITES, 1) if method != "GET" else {})
        return {"x-ms-resource-unit": str(cost), **self._count(directory, app_id, spent)}

    def _count(self, directory: Directory, app_id: str, spent: Mapping[_Limit, int]) -> dict[str, str]:
        now, used, refused = directory.clock.now(), 0.0, None
        for limit, amount in spent.items():
            who = "" if limit.whole_tenant else app_id
            bucket = self._buckets.setdefault((who, limit), _Bucket(limit.units, now))
            share = bucket.take(limit, amount, now)
            used = max(used, share) if limit.information else used
            if share > 1 and refused is None:
                refused = (limit, max(1, math.ceil((1 - bucket.left) * limit.seconds / limit.units)))
        near = {"x-ms-throttle-limit-percentage": f"{min(used, _MOST):.2f}"} if used >= _NEAR else {}
        if refused is None:
            return near
        limit, wait = refused
        throttled = refusal("throttled")
        throttled.inner = {"code": "429", "message": "Please retry after", "status": "429"}
        throttled.headers = {"Retry-After": str(wait)}
        if limit.information:
            scope = "Tenant" if limit.whole_tenant else "Tenant_Application"
            where = f"{scope}/{limit.name}/{app_id}/{directory.meta('tenant_id')}"
            throttled.headers |= {"x-ms-throttle-scope": where, "x-ms-throttle-information": limit.information, **near}
        raise throttled


def resource_units(method: str, path: str, query: Mapping[str, str]) -> int:
    """Return what a request costs."""
    if method != "GET":
        return 1
    cost = 2 if _COSTS_TWO.fullmatch(path) else 1
    cost += ("$expand" in query) - ("$select" in query)
    top = query.get("$top", "")
    cost -= top.isdigit() and int(top) < 20
    return max(1, cost)


def _unit_limit(directory: Directory) -> _Limit:
    """The limit on resource units goes by how many users the tenant has."""
    users = directory.rows("SELECT count(*) AS n FROM (SELECT 1 FROM users LIMIT 501)")[0]["n"]
    allowed = next(allowed for most, allowed in _SIZES if users <= most)
    return _Limit("ReadWrite", allowed, 10, information="ResourceUnitLimitExceeded")
