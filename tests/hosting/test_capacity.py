"""The calculation of what a migration needs, beside what was measured and what Microsoft documents."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from helpers import kit
from jitkit.errors import SettingsError
from jitkit.hosting.capacity import calls_of_an_instance, capacity

ROOT = Path(__file__).parents[2]
GIVEN: dict[str, Any] = {"verification_ms": 294, "hashes_here": True}
# The whole of the users in one hour, evenly: the calls a second are then users / 3,600.
EVEN: dict[str, Any] = {"busiest_day": 1, "busiest_hour": 1, "burst": 1, "calls_per_user": 1}


def test_fifty_a_second_with_hashes_need_the_instances_that_the_load_test_measured() -> None:
    measured = re.search(
        r"instances of one core for 50 sign-ins a second .*\*\*(\d+)\*\*", (ROOT / "benchmarks/RESULTS.md").read_text()
    )
    assert measured is not None
    assert capacity(180_000, **GIVEN, **EVEN).instances == int(measured[1])


def test_fifty_a_second_with_the_store_elsewhere_are_few_instances_work() -> None:
    """The load test answered all 3,078 calls of such a minute on one core."""
    assert calls_of_an_instance(294, hashes_here=False) >= 50
    assert capacity(180_000, verification_ms=294, hashes_here=False, **EVEN).instances == 2


def test_two_hundred_thousand_users() -> None:
    found = capacity(200_000, **GIVEN, lock_after=10)
    # 200,000 x 10 % x 15 % x 1.3 calls / 3,600 s x 3
    assert math.isclose(found.calls_a_second, 3.25)
    assert found.share_of_limit == pytest.approx(0.065)
    assert found.users_at_limit == pytest.approx(200_000 * 50 / 3.25, rel=0.01)
    # A core half busy does 0.5 / (0.294 + 0.0007) = 1.70 a second.
    assert (found.instances, found.memory_mb) == (2, 2_048)
    assert found.guesses == 4, "two instances with 4 guesses each stay below 10"
    assert found.import_hours == pytest.approx(200_000 / 20 / 3_600)


def test_guesses_are_divided_by_the_instances() -> None:
    for lock_after in range(3, 40):
        found = capacity(2_000_000, **GIVEN, lock_after=lock_after)
        assert found.guesses is not None and found.guesses * found.instances < lock_after
        assert (found.guesses + 1) * found.instances >= lock_after, "a larger number would be low enough too"
    assert "fewer and larger" in str(capacity(2_000_000, **GIVEN, lock_after=5).rows)
    assert "counts for itself" in str(capacity(1_000, **GIVEN).rows)


def test_more_cores_take_fewer_instances_and_slower_hashes_more() -> None:
    base = capacity(2_000_000, **GIVEN).instances
    assert capacity(2_000_000, **GIVEN, cores=2).instances == math.ceil(base / 2)
    assert capacity(2_000_000, verification_ms=588, hashes_here=True).instances in (2 * base - 1, 2 * base)


def test_a_store_that_takes_few_calls_at_once_limits_an_instance() -> None:
    assert calls_of_an_instance(1_000, hashes_here=False, at_once=4) == pytest.approx(3)


def test_memory_of_hashes_takes_a_larger_instance() -> None:
    assert capacity(1_000, **GIVEN, hash_megabytes=64).memory_mb == 2_048
    assert capacity(1_000, **GIVEN, hash_megabytes=1_200).memory_mb == 4_096


@pytest.mark.parametrize(
    ("users", "words"), [(400_000, "would reach it"), (2_000_000, "call twice"), (4_000_000, "too many")]
)
def test_the_distance_to_fifty_a_second_is_said(users: int, words: str) -> None:
    rows = {row[0]: str(row[2]) for row in capacity(users, **GIVEN).rows}
    assert words in rows["Of 50 a second for the whole tenant"]
    assert ("Directory objects" in rows) == (users > 300_000)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"users": 0}, "users"),
        ({"busiest_day": 1.5}, "busiest_day"),
        ({"busiest_hour": 0}, "busiest_hour"),
        ({"burst": 0.5}, "burst"),
        ({"calls_per_user": float("nan")}, "calls_per_user"),
        ({"cores": -1}, "cores"),
        ({"verification_ms": 1_500}, "longer than the endpoint waits"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        capacity(**{"users": 1_000, **GIVEN, **changes})


def test_notebooks_call_it_by_the_kit() -> None:
    assert kit.capacity is capacity
