"""A client for Microsoft Graph: records what is sent, has each change allowed before it, and explains refusals."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import httpx

from jitkit import protocol
from jitkit.display import Sent, Table
from jitkit.errors import GraphRefused, KitError, PermissionMissing, Taken
from jitkit.explanations import connection_failure, refused

if TYPE_CHECKING:
    from msgraph.graph_service_client import GraphServiceClient

__all__ = ["BatchAnswer", "BatchItem", "Change", "Graph", "explained", "outcome_unknown", "recording", "refusal"]

HOST: Final = "graph.microsoft.com"
ROOT: Final = f"https://{HOST}"
# Seconds to wait where Graph names none: in all, more than the 150 seconds in which it counts an application's writes.
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)
PATIENCE: Final = sum(PAUSES)
_LONGEST_PAUSE: Final = 600.0
# While Graph is busy, a request is sent again at least so often; after another failure, at most so often.
_REPEATS, _FEW_REPEATS = 5, 4
_BUSY: Final = (429, 503, 504)
# After these the service may have done what it was asked to.
_UNKNOWN: Final = (500, 502, 503, 504)
_REPEATABLE: Final = ("PUT", "PATCH", "DELETE")
# A connection that broke after the request had left; one that was never made is the network's fault.
_BROKEN: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.ReadTimeout, httpx.WriteTimeout)
_HIDDEN: Final = "••••••"
_UNREACHED: Final = "Check the network and any proxy settings, then run this cell again; nothing is lost."
# What a user's body may show of a real person; every other text in it could name them.
_NO_NAMES: Final = ("creationType", "passwordPolicies", "signInType", "issuer", "userType")
_QUOTED: Final = re.compile(r"""('|%27|"|%22)((?:\1\1|(?!\1).)*)\1""")
_recorder: contextvars.ContextVar[list[Sent] | None] = contextvars.ContextVar("recorder", default=None)
_allowed: contextvars.ContextVar[bool] = contextvars.ContextVar("allowed", default=False)
# The name of what is shown at once, such as a card, for as long as it has read nothing.
_unread: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("unread", default=None)
_REQUEST: Final = "a request to Graph"


def import_models() -> None:
    """Import the SDK's models now; otherwise the first object that is read imports some 1,200 modules."""
    from msgraph.generated.models.application import Application

    Application().get_field_deserializers()


@dataclass(frozen=True)
class Change:
    """A change to a tenant, as a person sees it before it is made."""

    what: str  # what happens to which object, such as `Create the app registration 'JIT password check'`
    values: Sequence[tuple[str, str, str]] = ()  # what it is about: a label, the value now, the value afterwards
    affected: str = ""  # who is affected: applications by name, people by number
    # What has to be typed before it is made: the number or the name concerned. Empty for an ordinary creation.
    answer: str = field(default="", repr=False)
    asks: str = ""  # what the question asks for, such as `the number of people concerned`; never the answer itself

    def __str__(self) -> str:
        lines = [self.what, *(f"  {label}: {now or '-'} -> {then or '-'}" for label, now, then in self.values)]
        return "\n".join(lines + ([f"  Affected: {self.affected}"] if self.affected else []))

    def _repr_html_(self) -> str:
        note = f"Affected: {self.affected}" if self.affected else ""
        return Table(caption=self.what, columns=("What", "Now", "Then"), rows=self.values, note=note)._repr_html_()


# Awaited before a change; raises WriteNotConfirmed to keep the tenant as it is.
Allow = Callable[[Change], Awaitable[None]]


class TokenCredential(Protocol):
    """What azure-identity's asynchronous credentials offer."""

    async def get_token(self, *scopes: str, **options: Any) -> Any: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class BatchItem:
    """One request inside a JSON batch; its URL is relative to the version, such as `/users`."""

    method: str
    url: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_id(self, number: int) -> dict[str, Any]:
        """Return the request as the batch body lists it."""
        request: dict[str, Any] = {"id": str(number), "method": self.method, "url": self.url}
        headers = dict(self.headers)
        if self.body is not None:
            request["body"] = self.body
            headers["Content-Type"] = "application/json"
        return {**request, "headers": headers} if headers else request


@dataclass(frozen=True)
class BatchAnswer:
    """The answer to one request of a JSON batch."""

    status: int
    body: Any = field(default=None, repr=False)
    pressed: bool = False  # Graph throttled the request before, or says that a limit is near
    wait: float | None = None  # the seconds that it asks to wait

    @property
    def code(self) -> str:
        """The error code, or an empty string."""
        return str(_error_of(self.body).get("code", ""))

    @property
    def message(self) -> str:
        """The error message, or an empty string."""
        return str(_error_of(self.body).get("message", ""))

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have been carried out all the same."""
        return self.status in _UNKNOWN


class Graph:
    """Send requests to one tenant's Microsoft Graph, over the network or to the rehearsal tenant in this process.

    `before_write` is awaited with each change before it is made: those that `changing` names, and every other request
    that is not a read. Raise in it to keep the tenant unchanged. A read takes a token for `read_scopes`; `scopes` are
    asked for when a write is about to be sent. With `hide_people`, what was sent shows no names and addresses of users.

    What can be repeated without harm is sent again when it fails in passing, `patience` seconds long and no shorter
    than Graph asks. What creates something is sent again only when Graph says that it did nothing: otherwise the
    caller looks the object up first, as `outcome_unknown` tells. `on_look` is called with the name of
    each thing that is shown, once.
    """

    def __init__(
        self,
        credential: TokenCredential,
        transport: httpx.AsyncBaseTransport,
        *,
        before_write: Allow | None = None,
        scopes: Sequence[str] = (f"{ROOT}/.default",),
        read_scopes: Sequence[str] = (),
        hide_people: bool = False,
        patience: float = PATIENCE,
        on_look: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._credential = credential
        self._before_write = before_write
        self._patience = patience

        async def token(writes: bool) -> str:
            text: str = (await credential.get_token(*(scopes if writes else read_scopes or scopes))).token
            return text

        self._transport = RecordingTransport(transport, before_write, token, hide_people, patience, on_look)
        self._http: httpx.AsyncClient | None = None
        self._client: GraphServiceClient | None = None

    @contextlib.asynccontextmanager
    async def changing(self, change: Change) -> AsyncIterator[None]:
        """Have a change allowed; the requests inside the block are part of it and are not asked about again.

        Raises:
            WriteNotConfirmed: the person at the keyboard did not allow it.
        """
        if self._before_write is not None:
            await self._before_write(change)
        token = _allowed.set(True)
        try:
            yield
        finally:
            _allowed.reset(token)

    @property
    def client(self) -> GraphServiceClient:
        """The Microsoft Graph SDK's own client. It is made at first use, because the SDK takes a while to load."""
        if self._client is None:
            from kiota_abstractions.authentication import AnonymousAuthenticationProvider
            from kiota_http.middleware.options import RetryHandlerOption
            from msgraph.graph_request_adapter import GraphRequestAdapter, options
            from msgraph.graph_service_client import GraphServiceClient
            from msgraph_core import GraphClientFactory

            # The transport repeats requests, and knows which of them it may.
            retries = RetryHandlerOption(delay=0, max_retries=0, should_retry=False)
            client = GraphClientFactory.create_with_default_middleware(
                client=httpx.AsyncClient(transport=self._transport, timeout=100),
                options={**options, retries.get_key(): retries},
            )
            # The transport adds the token.
            adapter = GraphRequestAdapter(AnonymousAuthenticationProvider(), client=client)
            adapter.base_url = f"{ROOT}/v1.0"
            self._client = GraphServiceClient(request_adapter=adapter)
        return self._client

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = "v1.0",
    ) -> Any:
        """Send one request without the SDK: for JSON batches, counts and the beta sign-in log, where the SDK has gaps.

        Args:
            method: the HTTP method.
            path: starts with a slash; or a whole `@odata.nextLink`.
            body: the JSON body, or None.
            headers: further headers.
            version: `v1.0` or `beta`.

        Returns:
            The parsed JSON, the text of a plain answer, or None for an empty one.

        Raises:
            httpx.HTTPStatusError: Graph answered with an error; `explained` turns it into plain words.
        """
        if self._http is None:
            self._http = httpx.AsyncClient(transport=self._transport, timeout=100)
        url = path if path.startswith(f"{ROOT}/") else f"{ROOT}/{version}{path}"
        answer = await self._http.request(method, url, json=body, headers=headers)
        answer.raise_for_status()
        if not answer.content:
            return None
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text

    async def pages(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a collection, page by page."""
        link: str | None = path
        while link:
            page = await self.send("GET", link)
            for item in page["value"]:
                yield item
            link = page.get("@odata.nextLink")

    async def batch(self, items: Sequence[BatchItem]) -> list[BatchAnswer]:
        """Send up to 20 independent requests as one JSON batch; repeat those that failed in passing.

        The answers are in the order of the items. One that creates something is not repeated when its outcome is
        unknown. The SDK's own batch client loses bodies and dependencies (msgraph-core 1.5.2), so this one is by hand.
        """
        if not 1 <= len(items) <= protocol.BATCH_SIZE:
            raise ValueError(f"a batch holds 1 to {protocol.BATCH_SIZE} requests, not {len(items)}")
        answers: dict[int, BatchAnswer] = {}
        waiting, tries = list(range(len(items))), _Tries(self._patience)
        while True:
            replies = await self._replies({n: items[n] for n in waiting})
            answers |= {n: replace(each, pressed=each.pressed or tries.made > 0) for n, each in replies.items()}
            harmless = [n for n in waiting if answers[n].outcome_unknown and items[n].method != "POST"]
            waiting = [n for n in waiting if answers[n].status == 429 or n in harmless]
            named = [seconds for n in waiting if (seconds := answers[n].wait) is not None]
            busy = any(answers[n].status in _BUSY for n in waiting)
            if not waiting or not await tries.again(max(named, default=None), busy):
                return [answers[n] for n in range(len(items))]

    async def _replies(self, items: Mapping[int, BatchItem]) -> dict[int, BatchAnswer]:
        """Send a batch once; when nothing says what became of it, that is the answer to each of its requests."""
        try:
            body = {"requests": [item.with_id(n) for n, item in items.items()]}
            reply = await self.send("POST", "/$batch", body=body)
        except (httpx.HTTPStatusError, *_BROKEN) as error:
            if not outcome_unknown(error) or all(item.method == "GET" for item in items.values()):
                raise
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 504
            lost = BatchAnswer(status, {"error": {"code": type(error).__name__, "message": str(error)}}, pressed=True)
            return dict.fromkeys(items, lost)
        found = dict.fromkeys(items, BatchAnswer(504))
        for each in reply["responses"]:
            headers = {name.lower(): value for name, value in (each.get("headers") or {}).items()}
            # The percentage is sent from 0.8 of a limit on.
            pressed = each["status"] == 429 or "x-ms-throttle-limit-percentage" in headers
            found[int(each["id"])] = BatchAnswer(each["status"], each.get("body"), pressed, retry_after(headers))
        return found

    async def close(self) -> None:
        """Close the connections and the credential."""
        await self._transport.aclose()
        await self._credential.close()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that an answer names, as a number, as two of them, or as a date; None if it does not.

    Microsoft's throttling page prints a decimal, and public reports show two numbers in one header.
    """
    text = headers.get("retry-after", "").strip()
    with contextlib.suppress(ValueError):
        return min(_LONGEST_PAUSE, max(0.0, *(float(each) for each in text.split(","))))
    with contextlib.suppress(ValueError):
        moment = parsedate_to_datetime(text)
        left = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return min(_LONGEST_PAUSE, max(0.0, left))
    return None


def outcome_unknown(error: BaseException) -> bool:
    """Return whether a request that ended in this error may have been carried out all the same."""
    status = getattr(error, "response_status_code", None)
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
    return status in _UNKNOWN or isinstance(error, _BROKEN)


@dataclass
class _Tries:
    """How often a request was sent again, and how long that took."""

    patience: float
    made: int = 0
    waited: float = 0.0

    async def again(self, seconds: float | None, busy: bool) -> bool:
        """Wait before another try; return False when it is time to give up. `busy`: the service asks to wait."""
        if self.made >= (_REPEATS if busy else _FEW_REPEATS) and (not busy or self.waited >= self.patience):
            return False
        pause = PAUSES[min(self.made, len(PAUSES) - 1)] if seconds is None else seconds
        self.made += 1
        self.waited += max(pause, 1.0)
        await asyncio.sleep(pause)
        return True


@contextlib.contextmanager
def recording(what: str = _REQUEST) -> Iterator[list[Sent]]:
    """Collect the requests that are sent inside the block, without passwords and tokens, to show them.

    The outermost block is one look, of that name.
    """
    collected: list[Sent] = []
    token, name = _recorder.set(collected), _unread.get()
    look = _unread.set([what] if name is None else name)
    try:
        yield collected
    finally:
        _recorder.reset(token)
        _unread.reset(look)
        outer = _recorder.get()
        if outer is not None:
            outer.extend(collected)


class RecordingTransport(httpx.AsyncBaseTransport):
    """Passes requests on, repeats and records them, and has each write allowed that no change named.

    `token` returns an access token for a write (True) or a read. It is added to a request as it leaves, for Graph's own
    address alone: so it is in no variable that a verbose traceback would show, and a write has been allowed before the
    administrator is asked for its scopes.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        before_write: Allow | None,
        token: Callable[[bool], Awaitable[str]] | None = None,
        hide_people: bool = False,
        patience: float = PATIENCE,
        on_look: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._inner = inner
        self._before_write = before_write
        self._token = token
        self._hide = hide_people
        self._patience = patience
        self._on_look = on_look

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        writes = not _reads(request, body)
        if writes and self._before_write is not None and not _allowed.get():
            await self._before_write(_unnamed(request, body, _sent(request, body, self._hide)))
        harmless, unknown, tries = not writes or request.method in _REPEATABLE, False, _Tries(self._patience)
        while True:
            if self._token is not None and (request.url.scheme, request.url.host) == ("https", HOST):
                request.headers["Authorization"] = f"Bearer {await self._token(writes)}"
            try:
                answer = await self._send(request, body)
            except _BROKEN:
                if not harmless or not await tries.again(None, busy=False):
                    raise
                unknown = True
                continue
            status = answer.status_code
            if status == 404 and request.method == "DELETE" and unknown:
                return httpx.Response(204, request=request)  # an earlier try was carried out
            passing = status == 429 or (harmless and status in _UNKNOWN)
            if not passing or not await tries.again(retry_after(answer.headers), status in _BUSY):
                return answer
            unknown = unknown or status != 429
            await answer.aclose()

    async def _send(self, request: httpx.Request, body: bytes) -> httpx.Response:
        collected, name = _recorder.get(), _unread.get()
        if name != []:
            self._on_look(name.pop() if name else _REQUEST)
        if collected is None:
            return await self._inner.handle_async_request(request)
        position, sent = len(collected), _sent(request, body, self._hide)
        collected.append(sent)
        answer = await self._inner.handle_async_request(request)
        collected[position] = replace(sent, status=answer.status_code)
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


def _reads(request: httpx.Request, body: bytes) -> bool:
    if request.method in ("GET", "HEAD"):
        return True
    if request.url.path.endswith("/$batch"):
        return all(each.get("method") == "GET" for each in json.loads(body)["requests"])
    return request.url.path.endswith("/validateAuthenticationConfiguration")


def _unnamed(request: httpx.Request, body: bytes, shown: Sent) -> Change:
    """Describe a write that no step named: what a POST makes is ordinary, anything else asks for its object's id."""
    what = f"{request.method} {shown.url.removeprefix(ROOT)}"
    values = [("Body", "", shown.body or "")]
    if request.url.path.endswith("/$batch"):
        writes = [each for each in json.loads(body)["requests"] if each.get("method") != "GET"]
        creates, answer = all(each.get("method") == "POST" for each in writes), str(len(writes))
        asks = "the number of requests in it that change something"
    else:
        creates, answer = request.method == "POST", request.url.path.rstrip("/").rsplit("/", 1)[-1]
        asks = "the last part of that path"
    return Change(what, values, answer="" if creates else answer, asks="" if creates else asks)


def _sent(request: httpx.Request, body: bytes, hide: bool) -> Sent:
    content = json.loads(body) if body else None
    if isinstance(content, dict) and content.get("requests"):
        first, *others = content["requests"]
        more = [f"… and {len(others)} more like it"] if len(others) > 1 else [_inner(each, hide) for each in others]
        content = {"requests": [_inner(first, hide), *more]}
    url, content = _nameless(str(request.url), content, hide)
    return Sent(request.method, url, json.dumps(content, indent=2, ensure_ascii=False) if body else None)


def _inner(request: Mapping[str, Any], hide: bool) -> dict[str, Any]:
    url, body = _nameless(str(request.get("url", "")), request.get("body"), hide)
    return {**request, "url": url} | ({"body": body} if "body" in request else {})


def _nameless(url: str, body: Any, hide: bool) -> tuple[str, Any]:
    """Return a URL and its body without secrets and, where people are hidden, without what may name a user."""
    people = hide and re.search(r"/(users|me)\b", url) is not None
    if hide:
        url = _QUOTED.sub(lambda m: f"{m[1]}{_HIDDEN}{m[1]}" if people or "@" in unquote(m[2]) else m[0], url)
        url = re.sub(r"(?<=/)[^/?]+(@|%40)[^/?]+", _HIDDEN, url)
    return url, _redacted(body, people=people)


def _redacted(value: Any, name: str = "", *, people: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _redacted(inner, key, people=people) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, name, people=people) for inner in value]
    if name in ("password", "secretText") and value is not None:
        return _HIDDEN
    if name == "key" and isinstance(value, str) and len(value) > 60:
        return f"{value[:24]}… (the certificate's public half, {len(value)} characters)"
    if people and isinstance(value, str) and name not in _NO_NAMES and not name.startswith("@"):
        return _HIDDEN
    return value


@contextlib.contextmanager
def explained(doing: str, *, next_step: str | None = None) -> Iterator[None]:
    """Turn what Graph, the SDK or the network raise inside the block into plain words.

    Args:
        doing: what the block does, to follow "could not", such as `create the migration flag`.
        next_step: what to do when Graph refuses for a reason that is not known.

    Raises:
        PermissionMissing: 401 or 403.
        Taken: a name or identifier is in use.
        GraphRefused: any other refusal.
        KitError: Graph could not be reached.
    """
    from kiota_abstractions.api_error import APIError

    outer = _recorder.get()
    with recording(doing) if outer is None else contextlib.nullcontext(outer) as sent:
        try:
            yield
        except APIError as error:
            raise refusal(doing, *_sdk_error(error), next_step, _last(sent, error.response_status_code)) from error
        except httpx.HTTPStatusError as error:
            request = error.request
            raise refusal(doing, *_http_error(error), next_step, _call(request.method, str(request.url))) from error
        except httpx.TransportError as error:
            known = connection_failure(str(error))
            raise KitError(
                f"Could not {doing}: Microsoft Graph cannot be reached.",
                service=f"{type(error).__name__}: {error}",
                next_step=known[1] if known else _UNREACHED,
            ) from error


def refusal(
    doing: str,
    status: int,
    code: str,
    message: str,
    request_id: str = "",
    next_step: str | None = None,
    call: str = "",
) -> GraphRefused:
    """Return the error that explains an answer of Graph.

    `doing` and `next_step` are those of `explained`, `call` is that of `jitkit.explanations.refused`; the rest is what
    the answer says of itself.
    """
    cause, advice = refused(status, code, message, call)
    kind: type[GraphRefused] = GraphRefused
    if status in (401, 403) and code != "Directory_QuotaExceeded":
        kind = PermissionMissing
    elif status == 409 or "already exists" in message or "already in use" in message:
        kind = Taken
        advice = next_step or "Choose another name in notebook 00, or remove the object that has it, and run again."
    elif not advice:
        advice = next_step or (
            "Read what the service said, fix it, and run this cell again; what is already there is reused."
        )
    service = f"{status} {code}: {message}".strip(": ") + (f" (request-id {request_id})" if request_id else "")
    happened = f"Could not {doing}: {cause}." if cause else f"Could not {doing}."
    return kind(happened, status=status, code=code, service=service, next_step=advice)


def _call(method: str, url: str) -> str:
    """Return what `jitkit.explanations.refused` takes: the method, and the path behind the version."""
    return f"{method} /{httpx.URL(url).path.split('/', 2)[-1]}"


def _last(sent: Sequence[Sent], status: int | None) -> str:
    """Return the newest call that was answered with this status; the SDK's errors do not hold it."""
    return next((_call(each.method, each.url) for each in reversed(sent) if each.status == status), "")


def _error_of(body: Any) -> dict[str, Any]:
    """Return the error object of a Graph answer; an empty dict when there is none."""
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _sdk_error(error: Any) -> tuple[int, str, str, str]:
    main = getattr(error, "error", None)
    headers = {str(name).lower(): value for name, value in (error.response_headers or {}).items()}
    return (
        error.response_status_code or 0,
        getattr(main, "code", None) or "",
        getattr(main, "message", None) or str(error.message or ""),
        str(headers.get("request-id", "")),
    )


def _http_error(error: httpx.HTTPStatusError) -> tuple[int, str, str, str]:
    try:
        body = _error_of(error.response.json())
    except ValueError:
        body = {}
    status = error.response.status_code
    return status, str(body.get("code", "")), str(body.get("message", "")), error.response.headers.get("request-id", "")
