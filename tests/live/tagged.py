"""One run against a tenant: everything it makes carries a tag, and only that is ever removed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rehearsal.graph import examples
from rehearsal.graph.examples import EXAMPLES

from jitkit.files import write_private

Body = dict[str, Any]

# New objects take a while to be seen everywhere.
_LOOKS, _PAUSE = 18, 5.0
_BIN = "/directory/deletedItems"
_UNPURGED = "in the recycle bin, and gone from there in 30 days; deleting users for good takes User.DeleteRestore.All"
_NAMED = (
    "/identity/authenticationEventListeners",
    "/identity/customAuthenticationExtensions",
    "/identity/authenticationEventsFlows",
    "/users",
    "/servicePrincipals",
    "/applications",
)
_RECYCLED = ("/users", "/servicePrincipals", "/applications")


@dataclass(frozen=True)
class Made:
    """Something that this run made: the collection it is in, and its id."""

    collection: str
    id: str

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.id}"


class Tagged:
    """Replay examples against a tenant, remember what came into being, and take it away again.

    Args:
        client: a client of the tenant's Graph, with the credential, rooted at v1.0.
        sleep: waits; a test gives one that moves a clock.
        notes: where the tags of runs are kept until they are cleaned, so that a run finds what a killed one left.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        notes: Path | None = None,
    ) -> None:
        self.tag = f"jitkit-contract-{secrets.token_hex(4)}"
        self._notes = notes
        self._tags = [self.tag]
        if notes is not None:
            self._tags += notes.read_text(encoding="utf-8").split() if notes.exists() else []
            write_private(notes, "\n".join(self._tags).encode())
        self.shared: dict[str, Body] = {}
        self._client, self._sleep = client, sleep
        self._made: list[Made] = []

    async def send(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send one request, again after the wait that a throttled answer asks for, and not for ever."""
        for left in reversed(range(_LOOKS)):
            answer = await self._client.request(method, path, json=body, headers=headers)
            if answer.status_code not in (429, 503) or not left:
                break
            await self._sleep(float(answer.headers.get("Retry-After", "10")))
        if method == "POST" and answer.status_code == 201:
            self._made.append(Made(path.partition("?")[0], answer.json()["id"]))
        return answer

    async def replay(
        self, id: str, path: str, *, body: Any = None, until: Callable[[Any], object] | None = None
    ) -> Any:
        """Send what an example shows and hold the answer to what it prints.

        Args:
            id: the example.
            path: its path after the version, with what this run made in it.
            body: its body, likewise.
            until: what the answer has to show as soon as everything is seen everywhere.

        Returns:
            The answer's JSON, or None.
        """
        request, printed = EXAMPLES[id]["request"], EXAMPLES[id]["response"]
        wanted = {"consistencylevel", "prefer"}
        headers = {name: value for name, value in request["headers"].items() if name.lower() in wanted}
        for _ in range(_LOOKS):
            answer = await self.send(request["method"], path, body=body, headers=headers)
            right = answer.status_code == printed["status"]
            if right and (until is None or until(answer.json())):
                break
            if not right and answer.status_code not in (400, 404):
                break
            await self._sleep(_PAUSE)
        assert answer.status_code == printed["status"], f"{id}: {answer.status_code} {answer.text}"
        if not answer.content:
            return None
        if "json" not in answer.headers["Content-Type"]:
            return answer.text
        found = examples.differences(printed["body"], answer.json())
        if printed["status"] == 201:
            found += examples.echoed(body, answer.json())
        assert examples.without_slips(id, found) == [], id
        assert until is None or until(answer.json()), f"{id}: not seen after {_LOOKS * _PAUSE:.0f} seconds"
        return answer.json()

    async def clean(self) -> list[str]:
        """Remove what this run made, the newest first, and what else carries its tag or that of a run that was killed.

        Returns:
            What could not be removed, a line each.
        """
        left = [problem for made in reversed(self._made) for problem in await self._remove(made)]
        for tag in self._tags:
            for collection in _NAMED:
                for item in await self._list(collection, tag):
                    if str(item.get("displayName") or "").startswith(tag):
                        left += await self._remove(Made(collection, item["id"]))
        if self._notes is not None and not left:
            self._notes.unlink(missing_ok=True)
        return left

    async def _list(self, collection: str, tag: str) -> list[Body]:
        query = f"?$filter=startswith(displayName,'{tag}')" if collection in _RECYCLED else ""
        answer = await self.send("GET", f"{collection}{query}")
        items: list[Body] = answer.json()["value"] if answer.status_code == 200 else []
        return items

    async def _remove(self, made: Made) -> list[str]:
        found = await self.send("GET", made.path)
        if found.status_code == 200 and not self._is_ours(found.json()):
            return [f"{made.path}: it does not carry the tag {self.tag}; left alone"]
        removed = await self.send("DELETE", made.path)
        if removed.status_code not in (204, 404):
            return [f"{made.path}: {removed.status_code} {removed.text}"]
        if made.collection not in _RECYCLED:
            return []
        for _ in range(_LOOKS):
            purged = await self.send("DELETE", f"{_BIN}/{made.id}")
            if purged.status_code == 204 or found.status_code == 404:
                return []
            if purged.status_code == 403:
                return [f"{_BIN}/{made.id}: {_UNPURGED}"]
            await self._sleep(_PAUSE)
        return [f"{_BIN}/{made.id}: {purged.status_code} {purged.text}"]

    def _is_ours(self, item: Body) -> bool:
        # A consent has no name; it is this run's when it is given to one of its principals.
        own = {made.id for made in self._made}
        if item.get("principalId") in own or item.get("clientId") in own:
            return True
        marks = [*self._tags, *(tag.replace("-", "_") for tag in self._tags)]
        return any(mark in str(item.get(name)) for mark in marks for name in ("displayName", "name"))
