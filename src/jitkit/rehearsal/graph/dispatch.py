"""From a request to its route: who may call it, which ids the answer carries, what is refused.

Anything the routes do not know is answered 501, so that a notebook never mistakes silence for success.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jitkit.rehearsal import identity, sign_in_log
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.graph import (
    applications,
    batch,
    consent,
    custom_extensions,
    deleted_items,
    extension_properties,
    groups,
    identity_providers,
    listeners,
    odata,
    organization,
    service_principals,
    user_delta,
    user_flow_attributes,
    user_flows,
    users,
)
from jitkit.rehearsal.graph.throttle import Throttle
from jitkit.rehearsal.graph.wire import Answer, Call, Caller, GraphError, GraphRoute, new_id

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

_PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")

# A function of the directory, which must not be read as somebody's id; its name has a long and a short form.
_FUNCTION = "delta"
_LONG_FUNCTION = re.compile(rf"/(?:microsoft\.graph\.)?{_FUNCTION}(?:\(\))?$", re.IGNORECASE)
_KEY = re.compile(r"\('((?:[^']|'')*)'\)")


def all_routes() -> list[GraphRoute]:
    """Every operation the stand-in tenant simulates, `$batch` apart."""
    modules = (
        applications,
        extension_properties,
        service_principals,
        consent,
        custom_extensions,
        listeners,
        user_flows,
        user_flow_attributes,
        identity_providers,
        organization,
        groups,
        users,
        user_delta,
        deleted_items,
    )
    return [*(route for module in modules for route in module.routes()), *sign_in_log.graph_routes()]


class Dispatcher:
    """Answer Graph requests.

    Args:
        routes: the operations it knows.
    """

    def __init__(self, routes: Iterable[GraphRoute]) -> None:
        # Literal segments win over placeholders: "{" sorts after every letter and "$".
        self._routes: dict[str, list[tuple[re.Pattern[str], GraphRoute]]] = {}
        for route in sorted(routes, key=lambda route: route.path.lower()):
            self._routes.setdefault(route.method, []).append((_pattern(route.path), route))
        self._throttle = Throttle()

    async def respond(
        self,
        tenant: RehearsalTenant,
        *,
        method: str,
        base: str,
        version: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any,
    ) -> Answer:
        """Answer one request, or a batch.

        Args:
            tenant: the tenant it is for.
            method: the HTTP method.
            base: scheme and host it was sent to.
            version: `v1.0` or `beta`.
            path: the decoded path after the version.
            query: the query options.
            headers: the headers, names in lower case.
            body: the JSON body, or None.
        """
        ids = _ids(headers)
        try:
            caller = _caller(tenant.directory, headers.get("authorization", ""))
        except GraphError as error:
            return error.answer(ids)

        async def send(
            method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any
        ) -> Answer:
            call = Call(tenant, method, base, version, path, {}, query, headers, caller, body)
            ids, spent = _ids(headers), {}
            try:
                spent = self._throttle.spend(tenant.directory, caller.app_id, method, path, query)
                answer = await tenant.faults.intercept(path) or await self._answer(call)
            except GraphError as error:
                answer = error.answer(ids)
            tenant.observe(method, path, answer)
            return replace(answer, headers={**answer.headers, **spent, **ids})

        if path.lower() != "/$batch" or method != "POST":
            return await send(method, path, query, headers, body)
        try:
            return replace(await batch.respond(body, send), headers=ids)
        except GraphError as error:
            return error.answer(ids)

    def unreadable(self, headers: Mapping[str, str]) -> Answer:
        """Answer a request whose body is not JSON."""
        message = (
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid "
            "JSON format."
        )
        return GraphError(400, "BadRequest", message).answer(_ids(headers))

    async def _answer(self, call: Call) -> Answer:
        path = _LONG_FUNCTION.sub(f"/{_FUNCTION}", _KEY.sub(r"/\1", call.path).rstrip("/"))
        for pattern, route in self._routes.get(call.method, []):
            found = pattern.fullmatch(path)
            if found:
                call = replace(call, path=path, ids=found.groupdict())
                _authorise(route, call.caller.permissions)
                if call.method == "GET" and not path.endswith(f"/{_FUNCTION}"):
                    odata.check_options(call.query)
                return await _run(route, call)
        raise GraphError(501, "NotImplemented", f"not simulated: {call.method} {call.path}")


async def _run(route: GraphRoute, call: Call) -> Answer:
    """Run a handler; a write that does not wait for anything is applied as a whole or not at all."""
    if call.method == "GET" or inspect.iscoroutinefunction(route.handler):
        answer = route.handler(call)
        return await answer if inspect.isawaitable(answer) else answer
    with call.directory.transaction():
        answer = route.handler(call)
    assert isinstance(answer, Answer)
    return answer


def _pattern(path: str) -> re.Pattern[str]:
    placeholder = rf"(?P<\1>(?!{_FUNCTION}(?:/|$))[^/]+?)"
    return re.compile(_PLACEHOLDER.sub(placeholder, re.escape(path)), re.IGNORECASE)


def _caller(directory: Directory, authorization: str) -> Caller:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise GraphError(401, "InvalidAuthenticationToken", "Access token is empty.")
    claims = identity.read_access_token(directory, token.strip())
    if claims is None:
        raise GraphError(
            401, "InvalidAuthenticationToken", "Access token validation failure. Invalid or expired token."
        )
    delegated = claims.get("scp", "").split()
    permissions = frozenset([*claims.get("roles", []), *delegated])
    return Caller(permissions, claims.get("appid", ""), claims["oid"] if delegated else None)


def _authorise(route: GraphRoute, held: frozenset[str]) -> None:
    if route.permissions and not any(set(one.split(" + ")) <= held for one in route.permissions):
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def _ids(headers: Mapping[str, str]) -> dict[str, str]:
    own = new_id()
    return {"request-id": own, "client-request-id": headers.get("client-request-id") or own}
