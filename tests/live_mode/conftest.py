"""Fixtures for tests in live mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
