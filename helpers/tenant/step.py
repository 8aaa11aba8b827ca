"""What every tenant step shares: where it works, how it finds things, and patience with a tenant that lags behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from helpers.graph import Graph, explained, recording
from helpers.settings import Profile, state
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, Stopped, Taken

if TYPE_CHECKING:
    from msgraph.graph_service_client import GraphServiceClient

__all__ = [
    "TAG",
    "Step",
    "everything",
    "left_alone",
    "missing",
    "or_none",
    "patiently",
    "quoted",
    "taken",
    "told",
    "unless_there",
    "until_shown",
]

TAG: Final = "JitMigrationKit"
MADE_BY: Final = f"Made by the JIT migration kit ({TAG})."

# How long to wait, in seconds, for an object that was made a moment ago and that another replica does not know yet.
# Public tools wait 5, 10, 15 … seconds up to five times; starting lower costs nothing.
LAG_WAITS: Final = (1.0, 2.0, 5.0, 10.0, 15.0)

T = TypeVar("T")


class Step:
    """Know the tenant, the names and the state folder.

    Args:
        graph: the way to the tenant.
        profile: which tenant, which names.
        folder: the kit's state folder.
    """

    def __init__(self, graph: Graph, profile: Profile, folder: Path) -> None:
        self._graph = graph
        self._profile = profile
        self._folder = folder

    @property
    def _state(self) -> Path:
        return state(self._folder, self._profile)

    @property
    def _client(self) -> GraphServiceClient:
        return self._graph.client

    @property
    def _place(self) -> tuple[Graph, Profile, Path]:
        return self._graph, self._profile, self._folder


@contextlib.contextmanager
def told(doing: str, *, next_step: str | None = None) -> Iterator[list[Sent]]:
    """Collect what is sent inside the block and put refusals into plain words.

    Args:
        doing: what the block does, to follow "could not".
        next_step: what to do when Graph refuses for an unusual reason.

    Yields:
        The list of requests, which fills up.
    """
    with recording() as sent, explained(doing, next_step=next_step):
        try:
            yield sent
        except asyncio.CancelledError:
            raise Stopped(doing) from None


async def everything(builder: Any, configuration: Any = None) -> list[Any]:
    """Read a collection to its last page.

    Args:
        builder: the SDK's request builder of the collection.
        configuration: the SDK's request configuration of the first page, or None.
    """
    items: list[Any] = []
    page = await builder.get(request_configuration=configuration)
    while page is not None:
        items += page.value or []
        if not page.odata_next_link:
            break
        page = await builder.with_url(page.odata_next_link).get()
    return items


async def or_none(call: Awaitable[T]) -> T | None:
    """Await a call and answer None when the tenant has no such object."""
    from kiota_abstractions.api_error import APIError

    try:
        return await call
    except APIError as error:
        if error.response_status_code == 404:
            return None
        raise


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that needs an object made a moment ago, and try again while the tenant does not know that object.

    Args:
        call: makes the call; it is called up to six times within 33 seconds.
    """
    from kiota_abstractions.api_error import APIError

    for wait in LAG_WAITS:
        try:
            return await call()
        except APIError as error:
            # A principal whose application is not known yet is answered 400 [observed].
            if error.response_status_code != 404 and "does not reference a valid" not in _words(error):
                raise
        await asyncio.sleep(wait)
    return await call()


async def until_shown(show: Callable[[], Awaitable[object]]) -> None:
    """Wait until the tenant shows what was made a moment ago: the next step looks it up, or would make it again.

    Args:
        show: reads it, and raises NotReady while it is not there; it is called up to six times within 33 seconds.
    """
    for wait in (0.0, *LAG_WAITS):
        await asyncio.sleep(wait)
        with contextlib.suppress(NotReady):
            await show()
            return


async def unless_there(call: Callable[[], Awaitable[T]]) -> T | None:
    """Make a call that creates something, and answer None when the tenant says that it exists already.

    Args:
        call: makes the call. Graph answers a duplicate with 400 or 409; the words are the same.
    """
    from kiota_abstractions.api_error import APIError

    try:
        return await call()
    except APIError as error:
        if "already exists" in _words(error):
            return None
        raise


def _words(error: Any) -> str:
    return str(getattr(getattr(error, "error", None), "message", None) or error.message or "")


def quoted(text: str) -> str:
    """Write a text as an OData literal."""
    return "'" + text.replace("'", "''") + "'"


def missing(what: str, notebook: str) -> NotReady:
    """Say that something is not in the tenant, and which notebook makes it."""
    return NotReady(
        f"{what} is not in this tenant.",
        next_step=f"Run notebook {notebook} from its first cell, then this cell again.",
    )


def left_alone(title: str, theirs: Taken, sent: list[Sent]) -> Card:
    """Say that something was not removed because it is not the kit's.

    Args:
        title: what was to be removed.
        theirs: why it is not.
        sent: the requests behind it.
    """
    facts = {"Why": theirs.happened, "What is there": theirs.service or ""}
    return Card(title=title, status="left alone", facts=facts, sent=tuple(sent))


def taken(happened: str, *, found: str, next_step: str) -> Taken:
    """Say that a name belongs to something that the kit must not touch.

    Args:
        happened: one sentence.
        found: what Graph lists under that name.
        next_step: what to do now.
    """
    return Taken(happened, status=0, code="", service=f"Graph lists {found}", next_step=next_step)
