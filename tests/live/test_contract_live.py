"""The contract checks against a real tenant: they make, read and remove only what carries their tag."""

from __future__ import annotations

import pytest

from live.checks import CHECKS
from live.tagged import Tagged

pytestmark = [pytest.mark.real_tenant, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("id", CHECKS)
async def test_an_example_of_the_reference_at_a_real_tenant(real: Tagged, id: str) -> None:
    await CHECKS[id](real)
