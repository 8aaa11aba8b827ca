"""What the tests of the suite share: one configuration a process, because making keys takes long."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import pytest

from jitkit.conformance import plugin
from jitkit.conformance.check import fresh_config, serving
from jitkit.conformance.config import Config
from jitkit.conformance.launcher import own_settings, settings_for
from jitkit.conformance.plugin import Opened
from jitkit.conformance.results import Outcome

from . import planted

_fresh = cache(fresh_config)


def short_config(*logs: Path) -> Config:
    """A configuration with a short load case."""
    return _fresh().model_copy(update={"load_seconds": 1, "logs": list(logs)})


def too_busy(outcome: Outcome) -> bool:
    """Whether a case could not be judged because this machine has other work."""
    return outcome.result == "skipped" and "too busy" in outcome.reason


@pytest.fixture
def no_verdict_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what is late without a verdict: whether a good endpoint is in time depends on what else runs here."""
    monkeypatch.setattr(plugin, "_QUIET", math.inf)


@asynccontextmanager
async def bare(config: Config, url: str = "http://127.0.0.1:9/") -> AsyncIterator[Opened]:
    """An endpoint at a URL, without a first call."""
    async with serving(config, url) as endpoint:
        yield endpoint, None


@asynccontextmanager
async def with_fault(fault: str, folder: Path) -> AsyncIterator[Opened]:
    """The planted endpoint with a fault, in this process."""
    config = short_config(folder)
    async with bare(config) as (endpoint, _):
        settings = settings_for(config, endpoint.issuer, endpoint.legacy) | own_settings(config)
        async with planted.served(settings | {"JIT_LEDGER": str(folder / "ledger")}, fault) as endpoint.url:
            endpoint.patience = 3.0
            yield endpoint, None
