"""What the tests of the suite share: one set of keys a process, because making keys takes long."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from jitkit.conformance.case import Outcome
from jitkit.conformance.config import Config
from jitkit.conformance.keys import SigningKey
from jitkit.conformance.own import fresh_config

_signing_key = cache(SigningKey.make)


@cache
def short_config() -> Config:
    """A configuration with a short load case."""
    return replace(fresh_config(), load_seconds=1)


def too_busy(outcome: Outcome) -> bool:
    """Whether a case could not be judged because this machine has other work."""
    return outcome.result == "skipped" and "too busy" in outcome.reason


@pytest.fixture(autouse=True)
def the_same_signing_keys_for_every_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SigningKey, "make", _signing_key)
