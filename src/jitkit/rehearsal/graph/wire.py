"""A Graph request, its answer and its errors, whether it came alone or inside a `$batch`.

Error bodies: Microsoft Graph documentation, "Microsoft Graph error responses and resource types".
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant


@dataclass(frozen=True)
class Answer:
    """What Graph sends back: a JSON body, or plain text for `$count`, or nothing."""

    status: int
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class GraphError(Exception):
    """Refuse a request the way Graph does.

    Args:
        status: the HTTP status.
        code: Graph's error code, such as `Request_BadRequest`.
        message: Graph's sentence.
        headers: further headers of the answer.
        inner: further members of `innerError`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        inner: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.inner = dict(inner or {})

    def answer(self, ids: Mapping[str, str]) -> Answer:
        """Build the answer.

        Args:
            ids: the answer's `request-id` and `client-request-id`.
        """
        inner = {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), **ids, **self.inner}
        body = {"error": {"code": self.code, "message": self.message, "innerError": inner}}
        return Answer(self.status, body, headers={**self.headers, **ids})


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Args:
        permissions: what the token allows.
        app_id: the app it was issued to.
        user_id: the user it speaks for; None for an app on its own.
    """

    permissions: frozenset[str]
    app_id: str
    user_id: str | None = None


@dataclass(frozen=True)
class Call:
    """One request to Graph.

    Args:
        tenant: the stand-in tenant it is for.
        method: the HTTP method.
        base: scheme and host it was sent to, for links back.
        version: `v1.0` or `beta`.
        path: the path after the version.
        ids: the values of the route's placeholders.
        query: the query options, with their `$`.
        headers: the request headers, names in lower case.
        caller: whose token it carries.
        body: the JSON body; None when there is none.
    """

    tenant: RehearsalTenant
    method: str
    base: str
    version: str
    path: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    caller: Caller
    body: Any = field(default=None, repr=False)

    @property
    def directory(self) -> Directory:
        """The tenant's directory."""
        return self.tenant.directory

    @property
    def eventual(self) -> bool:
        """Whether the caller asked for advanced query capabilities."""
        return self.headers.get("consistencylevel", "").lower() == "eventual"

    @property
    def advanced(self) -> bool:
        """Whether both things that advanced query capabilities take are there: the header and `$count=true`."""
        return self.eventual and self.query.get("$count", "").lower() == "true"

    @property
    def creates_missing(self) -> bool:
        """Whether a PATCH by a client's own key may make what it does not find."""
        return "create-if-missing" in self.headers.get("prefer", "").lower()

    @property
    def settled(self) -> float:
        """The moment before which an object has to be made to be seen already: now, but for the replication delay."""
        return self.directory.clock.now() - float(switches.read(self.directory, "replication_delay"))

    def read(self, kind: str, id: str) -> Body | None:
        """Read an object as any replica knows it; None when there is none or it is too new.

        Args:
            kind: the directory's kind, such as `application`.
            id: its object id.
        """
        return self.directory.get(kind, id, made_by=self.settled)

    def read_by_key(self, kind: str, key: str) -> Body | None:
        """Read an object by its second name, such as the appId; otherwise as `read`."""
        return self.directory.by_key(kind, key, made_by=self.settled)

    @property
    def now(self) -> str:
        """The tenant's time as Graph writes it."""
        return written(self.directory.clock.now())

    def context(self, what: str) -> str:
        """Build the `@odata.context` of an answer.

        Args:
            what: the part after `$metadata#`.
        """
        return f"{self.base}/{self.version}/$metadata#{what}"

    def entity(self, status: int, what: str, body: Mapping[str, Any]) -> Answer:
        """Answer with one object.

        Args:
            status: 200 or 201.
            what: the collection it belongs to, for `@odata.context`.
            body: the object.
        """
        return Answer(status, {"@odata.context": self.context(f"{what}/$entity"), **body})

    def json(self) -> Body:
        """Return the request's JSON object. Raises GraphError when there is none."""
        if self.body is None:
            raise GraphError(400, "BadRequest", "Empty Payload. JSON content expected.")
        if not isinstance(self.body, dict):
            raise GraphError(400, "BadRequest", "Unable to read JSON request payload: a JSON object is expected.")
        return self.body


Grade = Literal["documented", "observed", "assumed"]
Handler = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class GraphRoute:
    """One operation of Graph.

    Args:
        method: the HTTP method.
        path: the path after the version, with `{placeholders}`.
        handler: what answers it.
        permissions: any one of these lets a caller in; `A + B` means both. Empty: any valid token.
        source: the title of the page in the Microsoft Graph reference that it comes from.
        grade: how it is known: `documented`, `observed` at a real tenant, or `assumed`.
    """

    method: str
    path: str
    handler: Handler
    permissions: tuple[str, ...]
    source: str
    grade: Grade = "documented"


def written(moment: float) -> str:
    """Write seconds since the epoch as Graph does for directory objects."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id() -> str:
    """A new object id."""
    return str(uuid.uuid4())


def not_found(id: str) -> GraphError:
    """The refusal for an id that names no directory object."""
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{id}' does not exist or one of its queried reference-property objects are not present.",
    )


def bad_request(message: str) -> GraphError:
    """The refusal of a directory object whose values are wrong."""
    return GraphError(400, "Request_BadRequest", message)
