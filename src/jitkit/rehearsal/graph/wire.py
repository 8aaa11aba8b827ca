"""A Graph request, its answer and its errors, whether it came alone or inside a `$batch`.

Error bodies: Microsoft Graph documentation, "Microsoft Graph error responses and resource types".
"""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory


@dataclass(frozen=True)
class Answer:
    """What Graph sends back: a JSON body, or plain text for `$count`, or nothing."""

    status: int
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class GraphError(Exception):
    """Refuse a request as Graph does: with a status, a code such as `Request_BadRequest`, and a sentence.

    `headers` are further headers of the answer, `inner` further members of `innerError`.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers: dict[str, str] = {}
        self.inner: dict[str, str] = {}

    def answer(self, ids: Mapping[str, str]) -> Answer:
        """Build the answer with its `request-id` and `client-request-id`."""
        inner = {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), **ids, **self.inner}
        body = {"error": {"code": self.code, "message": self.message, "innerError": inner}}
        return Answer(self.status, body, headers={**self.headers, **ids})


_REFUSALS: Final = {
    name: (int(status), code, sentence)
    for status, codes in tomllib.loads(Path(__file__).with_name("refusals.toml").read_text("utf-8")).items()
    for code, sentences in codes.items()
    for name, sentence in sentences.items()
}


def refusal(name: str, /, **values: Any) -> GraphError:
    """Build a refusal of `refusals.toml` with these values in its sentence."""
    status, code, sentence = _REFUSALS[name]
    return GraphError(status, code, sentence.format(**values))


GLOBAL_ADMINISTRATOR: Final = "Global Administrator"


@dataclass(frozen=True)
class Caller:
    """Who sends a request: what the token allows, the app it was issued to, and the user it speaks for, if any.

    `roles` are the user's directory roles; only a user needs them.
    """

    permissions: frozenset[str]
    app_id: str
    user_id: str | None = None
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Call:
    """One request to Graph.

    The directory brings the tenant's clock and switches with it. `base` is the scheme and host for links back, `path`
    what follows the version, `ids` the values of the route's placeholders; header names are in lower case.
    """

    directory: Directory
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
    def tenant_id(self) -> str:
        """The tenant's id."""
        return self.directory.meta("tenant_id") or ""

    @property
    def domain(self) -> str:
        """The tenant's verified domain."""
        return self.directory.meta("domain") or ""

    @property
    def now(self) -> str:
        """The tenant's time as Graph writes it."""
        return written(self.directory.clock.now())

    @property
    def eventual(self) -> bool:
        """Whether the caller asked for advanced query capabilities."""
        return self.headers.get("consistencylevel", "").lower() == "eventual"

    @property
    def advanced(self) -> bool:
        """Whether the request has both parts of advanced query capabilities: the header and `$count=true`."""
        return self.eventual and self.query.get("$count", "").lower() == "true"

    @property
    def selected(self) -> list[str]:
        """The property names of `$select`; empty when there is none."""
        return [name.strip() for name in self.query.get("$select", "").split(",") if name.strip()]

    @property
    def replicated(self) -> float:
        """Objects made up to this moment can be seen: now, less the replication delay."""
        return self.directory.clock.now() - float(switches.read(self.directory, "replication_delay"))

    def read(self, kind: str, id: str) -> Body | None:
        """Read an object by id as any replica knows it; None when there is none or it is too new."""
        return self.directory.get(kind, id, made_by=self.replicated)

    def read_by_key(self, kind: str, key: str) -> Body | None:
        """Read an object by its second name, such as the appId; otherwise as `read`."""
        return self.directory.by_key(kind, key, made_by=self.replicated)

    def needs_role(self, *names: str, refused: str = "denied") -> None:
        """Refuse a user who has none of these directory roles; an application needs none."""
        if self.caller.user_id is not None and not self.caller.roles & {GLOBAL_ADMINISTRATOR, *names}:
            raise refusal(refused)

    def context(self, what: str) -> str:
        """Build `@odata.context` from the part after `$metadata#`."""
        return f"{self.base}/{self.version}/$metadata#{what}"

    def entity(self, status: int, what: str, body: Mapping[str, Any]) -> Answer:
        """Answer with one object of the collection that `what` names in `@odata.context`."""
        return Answer(status, {"@odata.context": self.context(f"{what}/$entity"), **body})

    def collection(self, what: str, value: list[Body]) -> Answer:
        """Answer with a whole collection, for which query options are not simulated."""
        for name in self.query:
            raise refusal("not-simulated", what=f"the query option {name} for {what}")
        return Answer(200, {"@odata.context": self.context(what), "value": value})

    def json(self) -> Body:
        """Return the request's JSON object. Raises GraphError when there is none."""
        if self.body is None:
            raise refusal("body-empty")
        if not isinstance(self.body, dict):
            raise refusal("body-not-object")
        return self.body


Handler = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class GraphRoute:
    """One operation of Graph: its path after the version has `{placeholders}`.

    Any one of the permissions lets a caller in; `A + B` means both.
    """

    method: str
    path: str
    handler: Handler
    permissions: tuple[str, ...]


def written(moment: float) -> str:
    """Write seconds since the epoch as Graph does for directory objects."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
