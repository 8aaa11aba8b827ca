"""From a request to its route: who may call it, which ids the answer carries, what is refused.

Anything the routes do not know is answered 501, so that a notebook never mistakes silence for success.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from helpers.rehearsal import identity, sign_in_log
from helpers.rehearsal.directory import Directory
from helpers.rehearsal.graph import (
    applications,
    batch,
    consent,
    custom_extensions,
    deleted_items,
    extension_properties,
    listeners,
    organization,
    service_principals,
    user_flow_attributes,
    user_flows,
    users,
)
from helpers.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, new_id

if TYPE_CHECKING:
    from helpers.rehearsal.tenant import RehearsalTenant

_PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")

# Functions of the directory that are not simulated and would otherwise be read as somebody's id.
_FUNCTIONS = {"delta"}


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
        organization,
        users,
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
        ordered = sorted(routes, key=lambda route: route.path.lower())
        self._routes = [(_pattern(route.path), route) for route in ordered]

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
        try:
            permissions = _permissions(tenant.directory, headers.get("authorization", ""))
        except GraphError as error:
            return _identified(error, headers)

        async def send(
            method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any
        ) -> Answer:
            call = Call(tenant, method, base, version, path, {}, query, headers, permissions, body)
            try:
                return _with_ids(await self._answer(call), headers)
            except GraphError as error:
                return _identified(error, headers)

        if path.lower() == "/$batch" and method == "POST":
            try:
                return _with_ids(await batch.respond(body, send), headers)
            except GraphError as error:
                return _identified(error, headers)
        return await send(method, path, query, headers, body)

    def unreadable(self, headers: Mapping[str, str]) -> Answer:
        """Answer a request whose body is not JSON."""
        message = (
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid "
            "JSON format."
        )
        return _identified(GraphError(400, "BadRequest", message), headers)

    async def _answer(self, call: Call) -> Answer:
        path = re.sub(r"\('((?:[^']|'')*)'\)", r"/\1", call.path).rstrip("/")
        known = self._routes if path.rpartition("/")[2].lower() not in _FUNCTIONS else []
        for pattern, route in known:
            found = pattern.fullmatch(path) if route.method == call.method else None
            if found:
                call = replace(call, path=path, ids=found.groupdict())
                _authorise(route, call.permissions)
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
    return re.compile(_PLACEHOLDER.sub(r"(?P<\1>[^/]+?)", re.escape(path)), re.IGNORECASE)


def _permissions(directory: Directory, authorization: str) -> frozenset[str]:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise GraphError(401, "InvalidAuthenticationToken", "Access token is empty.")
    claims = identity.read_access_token(directory, token.strip())
    if claims is None:
        raise GraphError(
            401, "InvalidAuthenticationToken", "Access token validation failure. Invalid or expired token."
        )
    return frozenset([*claims.get("roles", []), *claims.get("scp", "").split()])


def _authorise(route: GraphRoute, held: frozenset[str]) -> None:
    if route.permissions and not any(set(one.split(" + ")) <= held for one in route.permissions):
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def _ids(headers: Mapping[str, str]) -> dict[str, str]:
    own = new_id()
    return {"request-id": own, "client-request-id": headers.get("client-request-id") or own}


def _with_ids(answer: Answer, headers: Mapping[str, str]) -> Answer:
    return replace(answer, headers={**answer.headers, **_ids(headers)})


def _identified(error: GraphError, headers: Mapping[str, str]) -> Answer:
    ids = _ids(headers)
    return replace(error.answer(ids), headers=ids)
