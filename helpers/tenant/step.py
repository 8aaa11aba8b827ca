"""Base of the tenant steps: ensure, show and remove one object, and wait for a tenant whose replicas lag behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import httpx
from kiota_abstractions.api_error import APIError
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.serialization import Parsable, ParsableFactory
from kiota_serialization_json.json_parse_node import JsonParseNode

from helpers.graph import Change, Graph, explained, outcome_unknown, recording
from helpers.settings import Profile, state
from jitkit.display import Card, Sent
from jitkit.errors import KitError, NotReady, SettingsError, Stopped, Taken
from jitkit.files import write_private

if TYPE_CHECKING:
    from msgraph.graph_service_client import GraphServiceClient

TAG: Final = "JitMigrationKit"
MADE_BY: Final = f"Made by the JIT migration kit ({TAG})."

# Seconds to wait for an object that was created a moment ago and that another replica does not know yet.
# Public tools wait 5, 10, 15 … seconds up to five times; starting lower costs nothing.
LAG_WAITS: Final = [1.0, 2.0, 5.0, 10.0, 15.0]

T = TypeVar("T")
AnyStep = TypeVar("AnyStep", bound="Step")
Around = TypeVar("Around")
Found = TypeVar("Found")
Model = TypeVar("Model", bound=Parsable)
Shown = TypeVar("Shown", bound=Card)


class CoveredApp(NamedTuple):
    """An application that a listener or a user flow names."""

    name: str  # its display name; its client id where the name cannot be read
    ours: bool  # whether it carries the kit's tag
    there: bool  # whether it is still in the tenant


class Record:
    """Which objects without a mark of the kit it made, by what they are, in an owner-only file of the state folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, what: str, id: str = "") -> None:
        """Note what is about to be made, and that the tenant did not have it; then its id."""
        write_private(self._path, json.dumps({**self.read(), what: id}, indent=2).encode())

    def holds(self, what: str, id: str) -> bool:
        """Return whether the kit made it; what was found where it was about to make something counts."""
        if self.read().get(what) == "":
            self.note(what, id)
        return self.read().get(what) == id

    def read(self) -> dict[str, str]:
        """Return the ids; the empty text stands for what was about to be made."""
        try:
            return {str(what): str(id) for what, id in json.loads(self._path.read_text(encoding="utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as problem:
            raise SettingsError(
                f"{self._path}, where the kit notes what it made, cannot be read.",
                service=type(problem).__name__,
                next_step="Put a good copy back, or move it away: what cannot be proven to be the kit's then stays.",
            ) from None


class Step:
    """Hold the tenant, the profile and the state folder that every step works with."""

    def __init__(self, graph: Graph, profile: Profile, folder: Path) -> None:
        self._graph = graph
        self._profile = profile
        self._folder = folder
        self._state = state(folder, profile)
        self._record = Record(self._state / "made.json")

    @property
    def _client(self) -> GraphServiceClient:
        return self._graph.client

    def _other(self, kind: type[AnyStep]) -> AnyStep:
        return kind(self._graph, self._profile, self._folder)

    async def _covered(self, app_ids: Iterable[str]) -> dict[str, CoveredApp]:
        """Read the names of applications by their client ids."""
        found = {}
        for each in app_ids:
            try:
                principal = await none_if_absent(self._client.service_principals_with_app_id(each).get())
            except APIError:
                found[each] = CoveredApp(each, ours=False, there=True)
                continue
            ours = TAG in ((principal and principal.tags) or [])
            name = (principal and principal.display_name) or each
            found[each] = CoveredApp(name, ours=ours, there=principal is not None)
        return found


class ObjectStep(Step, ABC, Generic[Around, Found, Shown]):
    """Ensure, show and remove one object. Subclasses say how to find, create, update, delete and display it.

    `Around` is what `_find` reads besides the object itself and what the other hooks need, such as its owner.
    """

    _kind: ClassVar[str]
    _named: ClassVar[str]  # the field of the profile's names that holds its name
    _notebook: ClassVar[str]
    _marked: ClassVar[bool] = True  # whether a member of the object says that the kit made it

    async def ensure(self) -> Shown:
        """Create the object, or find it and fix what differs.

        Returns:
            What is in the tenant now; status `created`, `reused` or `updated`.

        Raises:
            NotReady: something that it needs is missing, or the tenant does not show it yet.
            Taken: its name belongs to an object that the kit did not make, or to several objects.
        """
        with recording_errors(f"set up {self._what}") as sent:
            around, found = await self._find()
            status, unknown = "reused", False
            if found is None:
                try:
                    found = await self._make(around)
                except (APIError, httpx.TransportError) as error:
                    if not (unknown := outcome_unknown(error)):
                        raise
                status = "created" if found is not None else status
                await wait_until_visible(self.show)
            if found is None:
                around, found = await self._find()
            if found is None and unknown:
                found = await self._make(around)
            if found is None:
                raise NotReady(
                    f"The tenant has {self._what}, but does not show it yet.",
                    next_step="Wait a minute and run this cell again.",
                )
            if status == "reused" and not self._marked:
                self._record.holds(self._what, str(dig(found, "id")))  # a creation that was interrupted is noted now
            if status == "reused" and (changed := await self._update(around, found)) is not None:
                found, status = changed, "updated"
                await wait_until_visible(self.show)
            status = "created" if unknown else status
            return replace(self._card(around, found), status=status, sent=tuple(sent))

    async def show(self) -> Shown:
        """Read the object from the tenant.

        Raises:
            NotReady: it is not there, or not complete.
        """
        with recording_errors(f"read {self._what}") as sent:
            around, found = await self._find()
            return replace(self._card(around, self._complete(around, found)), sent=tuple(sent))

    async def to_remove(self) -> Shown:
        """Read the object as `show` does, if `remove` may delete it once the kit's objects before it are gone.

        Raises:
            NotReady: it is not there.
            Taken: it has to stay.
        """
        with recording_errors(f"read {self._what}") as sent:
            those = await self._removable()
            for around, found in those:
                await self._require_removable(around, found, ours_gone=True)
            return replace(self._card(*those[0]), sent=tuple(sent))

    async def remove(self) -> Card:
        """Remove the object, if the kit made it.

        Returns:
            A card; status `removed`, `missing`, or `left alone` when the kit did not make it or something still uses
            it. A user flow may also be `kept`.
        """
        with recording_errors(f"remove {self._what}") as sent:
            try:
                status, facts = await self._remove()
            except Taken as theirs:
                status, facts = "left alone", {"Why": theirs.happened, "What is there": theirs.service or ""}
            return Card(title=self._title, status=status, facts=facts, sent=tuple(sent))

    async def _remove(self) -> tuple[str, dict[str, str]]:
        try:
            [(around, found)] = await self._removable()
        except NotReady:
            return "missing", {}
        return "removed", await self._remove_found(around, found)

    async def _removable(self) -> list[tuple[Around, Found]]:
        """Look up what `remove` would delete; raise NotReady when there is nothing."""
        around, found = await self._find()
        return [(around, self._complete(around, found))]

    async def _remove_found(self, around: Around, found: Found) -> dict[str, str]:
        await self._require_removable(around, found)
        affected = await self._affected(around, found)
        async with self._changing(f"Delete {self._what}", (), affected, answer=self._name):
            return await self._delete(around, found)

    def _changing(
        self, what: str, values: Sequence[tuple[str, str, str]], affected: str = "", answer: str = ""
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Announce a change to the object; what has to be typed before it, if anything, is its name."""
        return self._graph.changing(Change(what, values, affected, answer, self._asks if answer else ""))

    async def _make(self, around: Around) -> Found | None:
        """Have the creation allowed, create the object, and note that the kit made it if no mark on it can say so."""
        async with self._changing(f"Create {self._what}", self._new_values(around)):
            if self._marked:
                return await self._create(around)
            self._record.note(self._what)
            try:
                found = await self._create(around)
            except (APIError, httpx.TransportError, KitError) as error:
                if not outcome_unknown(error):
                    self._record.note(self._what, "not made")
                raise
            if found is not None:
                self._record.note(self._what, str(dig(found, "id")))
            return found

    @property
    def _name(self) -> str:
        return str(getattr(self._profile.names, self._named))

    @property
    def _title(self) -> str:
        return f"{self._kind[0].upper()}{self._kind[1:]} {self._name}"

    @property
    def _asks(self) -> str:
        return f"the name of the {self._kind}"

    @property
    def _what(self) -> str:
        return f"the {self._kind} {self._name!r}"

    @abstractmethod
    async def _find(self) -> tuple[Around, Found | None]:
        """Look the object up; raise Taken when the kit must not use what has its name."""

    @abstractmethod
    async def _create(self, around: Around) -> Found | None:
        """Create the object; return None when the tenant says that it exists already."""

    async def _delete(self, around: Around, found: Found) -> dict[str, str]:
        """Delete the object and return the facts to show; steps with a `_remove` of their own need none."""
        raise NotImplementedError

    def _new_values(self, around: Around) -> list[tuple[str, str, str]]:
        """Say what a new object is about: a label, nothing, the value."""
        return []

    async def _affected(self, around: Around, found: Found) -> str:
        """Say who is affected when the object goes or changes: applications by name, people by number."""
        return ""

    async def _require_removable(self, around: Around, found: Found, *, ours_gone: bool = False) -> None:
        """Raise Taken when the object has to stay; `ours_gone` takes the kit's objects that use it as gone already."""

    @abstractmethod
    def _card(self, around: Around, found: Found) -> Shown:
        """Show the object, as it was read."""

    async def _update(self, around: Around, found: Found) -> Found | None:
        """Fix what differs and return the object as it is then; None when nothing differs."""
        return None

    def _complete(self, around: Around, found: Found | None) -> Found:
        """Return the object; raise NotReady when it, or something that belongs to it, is missing."""
        if found is None:
            raise missing(self._what, self._notebook)
        return found


@contextlib.contextmanager
def recording_errors(doing: str) -> Iterator[list[Sent]]:
    """Collect the requests that are sent inside the block, and explain errors of Graph and interruptions."""
    with recording(doing) as sent, explained(doing):
        try:
            yield sent
        except asyncio.CancelledError:
            raise Stopped(doing) from None


@dataclass
class _Query:
    filter: str | None
    select: list[str] | None

    def get_query_parameter(self, name: str) -> str:
        return f"%24{name}"


def query(*, filter: str | None = None, select: list[str] | None = None) -> RequestConfiguration[Any]:
    """Return the SDK's request configuration for `$filter` and `$select`."""
    parameters: Any = _Query(filter, select)
    return RequestConfiguration(query_parameters=parameters)


def model(kind: ParsableFactory[Model], body: Mapping[str, Any]) -> Model:
    """Build an object of the SDK from a body as Graph's reference shows it."""
    return JsonParseNode(body).get_object_value(kind)


def dig(found: Any, path: str) -> Any:
    """Follow attributes from an object of the SDK; return None when one of them is missing."""
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a change is about: the label, the value now and the value afterwards, where these differ."""
    words = {label: "" if value is None else str(value) for label, value in now.items()}
    return [(label, words[label], str(value)) for label, value in then.items() if now[label] != value]


def client_ids(found: Any) -> tuple[str, ...]:
    """Return the client ids of the applications that a listener or a user flow names."""
    return tuple(each.app_id or "" for each in dig(found, "conditions.applications.include_applications") or [])


def calls(listener: Any) -> str:
    """Return the id of the extension that a listener calls."""
    return dig(listener, "handler.custom_extension.id") or ""


async def all_pages(builder: Any, *, filter: str | None = None, select: list[str] | None = None) -> list[Any]:
    """Read a collection to its last page."""
    items: list[Any] = []
    page = await builder.get(request_configuration=query(filter=filter, select=select))
    while page is not None:
        items += page.value or []
        if not page.odata_next_link:
            break
        page = await builder.with_url(page.odata_next_link).get()
    return items


async def none_if_absent(call: Awaitable[T]) -> T | None:
    """Await a call; return None when the tenant has no such object."""
    try:
        return await call
    except APIError as error:
        if error.response_status_code == 404:
            return None
        raise


async def none_if_exists(call: Awaitable[T]) -> T | None:
    """Await a call that creates something; return None when the tenant says that it exists already."""
    try:
        return await call
    except APIError as error:
        # Graph answers a duplicate with 400 or 409; the words are the same.
        if "already exists" in _message(error):
            return None
        raise


async def retry_while_unknown(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that needs an object created a moment ago; repeat it while the tenant does not know that object."""
    for wait in LAG_WAITS:
        try:
            return await call()
        except APIError as error:
            # A principal whose application is not known yet is answered 400 [observed].
            if error.response_status_code != 404 and "does not reference a valid" not in _message(error):
                raise
        await asyncio.sleep(wait)
    return await call()


async def wait_until_visible(show: Callable[[], Awaitable[object]]) -> None:
    """Wait up to 33 seconds until the tenant shows what was created; else the next step would create it again."""
    for wait in (0.0, *LAG_WAITS):
        await asyncio.sleep(wait)
        with contextlib.suppress(NotReady):
            await show()
            return


def _message(error: Any) -> str:
    return str(getattr(getattr(error, "error", None), "message", None) or error.message or "")


def quoted(text: str) -> str:
    """Write a text as an OData literal."""
    return "'" + text.replace("'", "''") + "'"


def true_or_false(name: str, value: object) -> bool:
    """Return the value if it is True or False; raise SettingsError for all else: `"no"` would count as yes."""
    if value is True or value is False:
        return value
    raise SettingsError(
        f"{name} is {value!r}, which is neither True nor False. Nothing was changed.",
        next_step=f"Give {name}=True or {name}=False, without quotes.",
    )


def missing(what: str, notebook: str) -> NotReady:
    """Return the error for an object that is not in the tenant; it names the notebook that creates it."""
    return NotReady(
        f"{what[0].upper()}{what[1:]} is not in this tenant.",
        next_step=f"Run notebook {notebook} from its first cell, then this cell again.",
    )


def taken(happened: str, *, found: str, next_step: str) -> Taken:
    """Return the error for a name that belongs to something that the kit must not change."""
    return Taken(happened, status=0, code="", service=f"Graph lists {found}", next_step=next_step)
