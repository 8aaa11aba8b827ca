"""Microsoft Graph over one transport: the SDK's client, and the few requests that the SDK has gaps for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from helpers.refusals import error_of
from helpers.sent import RecordingTransport
from jitkit import protocol

if TYPE_CHECKING:
    from msgraph.graph_service_client import GraphServiceClient

__all__ = ["BatchAnswer", "BatchItem", "Graph", "TokenCredential"]

HOST = "graph.microsoft.com"
ROOT = f"https://{HOST}"
_ATTEMPTS = 6
_IN_PASSING = (429, 503, 504)


class TokenCredential(Protocol):
    """What azure-identity's asynchronous credentials offer."""

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return an object with `token` and `expires_on`."""

    async def close(self) -> None:
        """Release what the credential holds."""


@dataclass(frozen=True)
class BatchItem:
    """One request inside a JSON batch.

    Args:
        method: the HTTP method.
        url: relative to the version, such as `/users`.
        body: the JSON body, or None.
        headers: further headers.
    """

    method: str
    url: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchAnswer:
    """The answer to one request of a JSON batch.

    Args:
        status: the HTTP status.
        body: the JSON body, or None.
        pressed: whether Graph throttled the request before, or says that a limit is near.
    """

    status: int
    body: Any = field(default=None, repr=False)
    pressed: bool = False

    @property
    def code(self) -> str:
        """The error code, or an empty string."""
        return str(error_of(self.body).get("code", ""))

    @property
    def message(self) -> str:
        """The error message, or an empty string."""
        return str(error_of(self.body).get("message", ""))


class Graph:
    """Reach one tenant's Microsoft Graph.

    Args:
        credential: where tokens come from.
        transport: carries the requests: the network, or the rehearsal tenant in this process.
        before_write: awaited before every request that is not a read; raise in it to keep the tenant unchanged.
        scopes: the OAuth scopes to ask tokens for.
    """

    def __init__(
        self,
        credential: TokenCredential,
        transport: httpx.AsyncBaseTransport,
        *,
        before_write: Callable[[], Awaitable[None]] | None = None,
        scopes: Sequence[str] = (f"{ROOT}/.default",),
    ) -> None:
        self._credential = credential
        self._scopes = list(scopes)
        self._http = httpx.AsyncClient(transport=RecordingTransport(transport, before_write), timeout=100)
        self._bearer = _Bearer(credential, self._scopes)
        self._client: GraphServiceClient | None = None

    @property
    def client(self) -> GraphServiceClient:
        """The Microsoft Graph SDK's own client. It is made at first use, because the SDK takes a while to load."""
        if self._client is None:
            from kiota_authentication_azure.azure_identity_authentication_provider import (
                AzureIdentityAuthenticationProvider,
            )
            from kiota_http.middleware.options import RetryHandlerOption
            from msgraph.graph_request_adapter import GraphRequestAdapter, options
            from msgraph.graph_service_client import GraphServiceClient
            from msgraph_core import GraphClientFactory

            provider = AzureIdentityAuthenticationProvider(
                self._credential,  # type: ignore[arg-type]
                scopes=self._scopes,
                allowed_hosts=[HOST],
                # azure-identity keeps such tokens apart: a person would sign in twice, here and for `send`.
                is_cae_enabled=False,
            )
            http = httpx.AsyncClient(transport=self._http._transport, timeout=100)
            patience = {RetryHandlerOption.get_key(): RetryHandlerOption(max_retries=_ATTEMPTS - 1)}
            adapter = GraphRequestAdapter(
                provider,
                client=GraphClientFactory.create_with_default_middleware(client=http, options={**options, **patience}),
            )
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
        url = path if path.startswith(f"{ROOT}/") else f"{ROOT}/{version}{path}"
        for attempt in range(_ATTEMPTS):
            answer = await self._http.request(method, url, json=body, headers=headers, auth=self._bearer)
            if answer.status_code not in _IN_PASSING or attempt == _ATTEMPTS - 1:
                break
            await asyncio.sleep(_wait(answer.headers.get("Retry-After"), attempt))
        answer.raise_for_status()
        if not answer.content:
            return None
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text

    async def pages(
        self, path: str, *, headers: Mapping[str, str] | None = None, version: str = "v1.0"
    ) -> AsyncIterator[dict[str, Any]]:
        """Walk through a collection page by page.

        Args:
            path: the first page.
            headers: sent with every page.
            version: `v1.0` or `beta`.

        Yields:
            The items.
        """
        link: str | None = path
        while link:
            page = await self.send("GET", link, headers=headers, version=version)
            for item in page["value"]:
                yield item
            link = page.get("@odata.nextLink")

    async def batch(self, items: Sequence[BatchItem]) -> list[BatchAnswer]:
        """Send up to 20 requests as one JSON batch and send again what was throttled or failed in passing.

        The SDK's own batch client loses bodies and dependencies (msgraph-core 1.5.2), so this one is by hand. The
        items are independent: Graph may run them in any order.

        Args:
            items: 1 to 20 requests.

        Returns:
            One answer per item, in the order given.
        """
        if not 1 <= len(items) <= protocol.BATCH_SIZE:
            raise ValueError(f"a batch holds 1 to {protocol.BATCH_SIZE} requests, not {len(items)}")
        answers: dict[int, BatchAnswer] = {}
        waiting = list(range(len(items)))
        for attempt in range(_ATTEMPTS):
            reply = await self.send("POST", "/$batch", body={"requests": [_inner(n, items[n]) for n in waiting]})
            pause = 0.0
            for each in reply["responses"]:
                headers = {name.lower(): value for name, value in (each.get("headers") or {}).items()}
                # The percentage is sent from 0.8 of a limit on.
                pressed = attempt > 0 or each["status"] == 429 or "x-ms-throttle-limit-percentage" in headers
                answers[int(each["id"])] = BatchAnswer(each["status"], each.get("body"), pressed)
                if each["status"] in _IN_PASSING:
                    pause = max(pause, _wait(headers.get("retry-after"), attempt))
            waiting = [n for n in waiting if n not in answers or answers[n].status in _IN_PASSING]
            if not waiting:
                break
            await asyncio.sleep(pause)
        return [answers.get(n, BatchAnswer(504)) for n in range(len(items))]

    async def close(self) -> None:
        """Close the connections and the credential."""
        await self._http.aclose()
        await self._credential.close()


class _Bearer(httpx.Auth):
    """Put the token on a request as it leaves: it is in no variable that a verbose traceback would show."""

    def __init__(self, credential: TokenCredential, scopes: Sequence[str]) -> None:
        self._credential = credential
        self._scopes = scopes

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {(await self._credential.get_token(*self._scopes)).token}"
        yield request


def _inner(number: int, item: BatchItem) -> dict[str, Any]:
    request: dict[str, Any] = {"id": str(number), "method": item.method, "url": item.url}
    headers = dict(item.headers)
    if item.body is not None:
        request["body"] = item.body
        headers["Content-Type"] = "application/json"
    if headers:
        request["headers"] = headers
    return request


def _wait(retry_after: str | None, attempt: int) -> float:
    return min(float(retry_after), 180.0) if retry_after and retry_after.isdigit() else min(2.0**attempt, 30.0)
