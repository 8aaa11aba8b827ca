"""New ids for what a sign-in makes: random, unless a simulation wants the same ones each time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random, SystemRandom

__all__ = ["new_id", "seeded"]

_source: ContextVar[Random] = ContextVar("ids", default=SystemRandom())  # noqa: B039 - it keeps no state


def new_id() -> str:
    """Make a GUID, version 4."""
    return str(uuid.UUID(int=_source.get().getrandbits(128), version=4))


@contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Let the ids made inside the block, in this task and in those it starts, follow from a seed."""
    token = _source.set(Random(seed))  # noqa: S311 - ids are no secrets
    try:
        yield
    finally:
        _source.reset(token)
