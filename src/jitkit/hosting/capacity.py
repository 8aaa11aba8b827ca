"""Calculates what a migration needs: calls a second, instances, memory, guesses an instance, time of the import."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jitkit.display import Table
from jitkit.errors import SettingsError
from jitkit.protocol import CALLS_PER_SECOND, TIMEOUT_MS

__all__ = ["Capacity", "calls_of_an_instance", "capacity"]

# Measured on one core, benchmarks/RESULTS.md: processor time that the endpoint's own part of a call takes, and the
# memory of a process that had answered 200,000 calls.
_OWN_SECONDS: Final = 1 / 1_414
_OWN_MEGABYTES: Final = 71
# Beyond half of a core, calls that come together wait for each other too long; likewise for the calls that the legacy
# store takes at once.
_BUSY, _TAKEN = 0.5, 0.75
# One instance may be updated, or fail, at any time.
_LEAST_INSTANCES: Final = 2
_WRITES_A_SECOND: Final = 3_000 / 150  # of one application in one tenant [Microsoft Graph throttling limits]
_LARGEST_DIRECTORY: Final = 300_000  # objects, until support raises it [service limits]
# Entra waits TIMEOUT_MS; the endpoint answers by its own deadline.
_LATEST_MS: Final = 1_500
_SIZES: Final = (2_048, 4_096)  # megabytes, of Flex Consumption instances


@dataclass(frozen=True, kw_only=True)
class Capacity(Table):
    """What a migration needs, as a table and as numbers."""

    calls_a_second: float  # callouts in the busiest minute
    share_of_limit: float  # of the 50 a second that the whole tenant gets
    users_at_limit: int  # users at which that minute would reach the 50
    instances: int
    memory_mb: int  # of an instance
    guesses: int | None  # JIT_GUESSES at most; 0 when no number is low enough, None when the store's limit is not known
    import_hours: float


def calls_of_an_instance(verification_ms: float, *, hashes_here: bool, cores: float = 1, at_once: int = 20) -> float:
    """Calculate how many calls a second one instance answers in time.

    Args:
        verification_ms: what one verification takes: of processor time when the endpoint hashes, else of waiting.
        hashes_here: the endpoint compares hashes itself, as it does with a SQL store; another store does its own work.
        cores: processors of an instance.
        at_once: calls that the legacy store gets at once from one instance, JIT_CONCURRENCY.
    """
    seconds = verification_ms / 1_000
    own = _BUSY * cores / (_OWN_SECONDS + (seconds if hashes_here else 0))
    return own if hashes_here else min(own, _TAKEN * at_once / seconds)


def capacity(
    users: int,
    *,
    verification_ms: float,
    hashes_here: bool,
    busiest_day: float = 0.1,
    busiest_hour: float = 0.15,
    burst: float = 3.0,
    calls_per_user: float = 1.3,
    cores: float = 1,
    at_once: int = 20,
    hash_megabytes: float = 0,
    lock_after: int | None = None,
) -> Capacity:
    """Calculate what a migration needs, from your own numbers. The defaults are guesses: replace them.

    Args:
        users: who still has to migrate.
        verification_ms: what one verification takes at the legacy store, or of processor time for a hash.
        hashes_here: the endpoint compares hashes itself (SQL store), instead of asking a service.
        busiest_day: the share of the users that signs in on the busiest day, such as after a mail to everybody.
        busiest_hour: the share of that day's sign-ins in its busiest hour.
        burst: the busiest minute of that hour beside its average.
        calls_per_user: callouts until a user has migrated; mistyped passwords make it more than 1.
        cores: processors of an instance.
        at_once: calls that the legacy store gets at once from one instance, JIT_CONCURRENCY.
        hash_megabytes: memory that one verification takes, as argon2 and scrypt do; 0 for bcrypt and PBKDF2.
        lock_after: the wrong passwords at which the legacy store locks an account, or None.

    Raises:
        SettingsError: a number cannot be, or one verification takes longer than the endpoint waits.
    """
    _require({"users": users, "verification_ms": verification_ms, "cores": cores, "at_once": at_once}, most=math.inf)
    _require({"burst": burst, "calls_per_user": calls_per_user}, most=math.inf, least=1)
    _require({"busiest_day": busiest_day, "busiest_hour": busiest_hour}, most=1)
    if verification_ms >= _LATEST_MS:
        raise SettingsError(
            f"A verification of {verification_ms:,.0f} ms takes longer than the endpoint waits, {_LATEST_MS:,} ms.",
            next_step=f"Make it faster: Entra waits {TIMEOUT_MS:,} ms for everything. No number of instances helps.",
        )
    calls = users * calls_per_user * busiest_day * busiest_hour / 3_600 * burst
    needed = calls / calls_of_an_instance(verification_ms, hashes_here=hashes_here, cores=cores, at_once=at_once)
    instances = max(_LEAST_INSTANCES, math.ceil(needed))
    hashing = hash_megabytes * math.ceil(cores) if hashes_here else 0
    used = _OWN_MEGABYTES + hashing
    memory = next((size for size in _SIZES if used <= size / 2), _SIZES[-1])
    guesses = None if lock_after is None else (lock_after - 1) // instances
    import_hours = users / _WRITES_A_SECOND / 3_600
    share = calls / CALLS_PER_SECOND
    rows = [
        ("Calls a second, busiest minute", f"{calls:,.1f}", f"{users:,} users, {busiest_day:.0%} of them on one day"),
        (f"Of {CALLS_PER_SECOND} a second for the whole tenant", f"{share:.0%}", _distance(share)),
        ("Instances, always ready", f"{instances}", f"{needed:.2f} by the load, and never under {_LEAST_INSTANCES}"),
        ("Memory of an instance", f"{memory:,} MB", f"the process takes {used:,.0f} MB; the host needs the rest"),
        ("JIT_GUESSES at most", "not known" if guesses is None else f"{guesses}", _in_words(guesses, instances)),
        ("Time of the bulk import", f"{import_hours:,.1f} h", f"{_WRITES_A_SECOND:.0f} users a second"),
    ]
    if users > _LARGEST_DIRECTORY:
        rows.append(("Directory objects", f"{users:,}", f"over {_LARGEST_DIRECTORY:,}: ask Microsoft support first"))
    return Capacity(
        caption="What this migration needs",
        columns=("What", "Number", "Why"),
        rows=rows,
        note="From measurements on one core of another machine and from your numbers. `benchmarks/endpoint_load.py`"
        " puts such a load on an endpoint on this machine; processors of a cloud are not these.",
        calls_a_second=calls,
        share_of_limit=share,
        users_at_limit=math.floor(users / share),
        instances=instances,
        memory_mb=memory,
        guesses=guesses,
        import_hours=import_hours,
    )


def _require(values: Mapping[str, float], *, most: float, least: float = 0) -> None:
    for name, value in values.items():
        if not (least or 1e-9) <= value <= most:
            wanted = "a share between 0 and 1" if most == 1 else f"{least} or more" if least else "more than 0"
            raise SettingsError(f"{name} is {value!r}, which cannot be.", next_step=f"Give {wanted}.")


def _distance(share: float) -> str:
    if share > 1:
        return "too many: Entra refuses the rest, and those sign-ins fail. Spread the return of people"
    retried = "" if share * 2 <= 1 else "; over it when slow answers make Entra call twice"
    return f"{1 / share:,.1f} times as many would reach it{retried}"


def _in_words(guesses: int | None, instances: int) -> str:
    each = f"each of {instances} instances counts for itself"
    if guesses is None:
        return f"{each}: (the number at which the store locks - 1) / {instances}"
    if guesses == 0:
        return f"{each}, so even 1 is too many: take fewer and larger instances, or raise the store's limit"
    return f"{each}, and together they stay below the store's limit"
