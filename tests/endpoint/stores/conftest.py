"""A scriptable HTTP server, and stores that are closed when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from jitkit.endpoint.stores import LegacyStore, open_store

from .stub import Stub, serving

Opens = Callable[[str], LegacyStore]


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as server:
        yield server


@pytest.fixture
async def opens() -> AsyncIterator[Opens]:
    stores: list[LegacyStore] = []

    def opener(url: str) -> LegacyStore:
        stores.append(open_store(url))
        return stores[-1]

    yield opener
    for store in stores:
        await store.close()
