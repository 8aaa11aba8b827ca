"""Play a plan: simulated people sign in at a rehearsal tenant that calls a real endpoint, a hundred days in minutes."""

from __future__ import annotations

import contextlib
import csv
import functools
import heapq
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from helpers.legacy_export.table import write_table
from helpers.simulated_days import live
from helpers.tenant.encryption_key import make_pair, read_pair
from jitkit.errors import KitError
from jitkit.rehearsal.directory import seeded
from jitkit.rehearsal.population.joining import take_over
from jitkit.rehearsal.population.people import People
from jitkit.rehearsal.population.plan import Plan
from jitkit.rehearsal.population.setup import Setup
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Simulation", "simulate"]


@dataclass(frozen=True)
class Simulation:
    """What a simulation left behind.

    Args:
        tenant: the rehearsal tenant's file, with its users and its logs.
        ledger: the endpoint's ledger.
        dimensions: a CSV file: of each user, what figures may be grouped by.
        flag: the flag's full name.
        ends: how many sign-ins ended in which way.
    """

    tenant: Path
    ledger: Path
    dimensions: Path
    flag: str
    ends: Counter[str]


def simulate(
    plan: Plan, folder: Path, *, processes: int = 1, each_day: Callable[[int], object] | None = None
) -> Simulation:
    """Play a plan from its first day to its last.

    Every sign-in goes the way of any other: directory, flag, encrypted callout with a bearer token, the endpoint's
    application, a legacy store in SQLite, its answer, directory and logs. Four things differ. Time is the tenant's:
    nobody waits for it. The callout crosses no socket. The accounts are put into the directory at once, without a
    Graph request and an audit row for each. And their passwords, which nobody real has, are hashed at next to no cost.

    With several processes the people are divided among them. Each has a copy of the tenant and an instance of the
    endpoint; the copies are put together in the end. What the service and the endpoint count over all people, such as
    50 calls a second, is counted in each process then. The same plan, tenant, `key.pem` and number of processes always
    make the same users, logs and ledger.

    Args:
        plan: what happens.
        folder: where everything is kept; a tenant that is there already must be untouched.
        processes: how many to use.
        each_day: called with the number of each day that has passed.

    Raises:
        KitError: the folder cannot be written, or its tenant has users already.
    """
    tenant = folder / "rehearsal.sqlite3"
    setup, environment = _prepare(plan, tenant, folder)
    homes = [folder, *(folder / f"part-{part}" for part in range(1, processes))]
    for home in homes[1:]:
        home.mkdir(exist_ok=True)
        shutil.copy(tenant, home / tenant.name)
    jobs = [
        functools.partial(
            live,
            plan,
            setup,
            environment | {"JIT_LEDGER": str(home / "ledger.jsonl")},
            home / tenant.name,
            part=part,
            parts=processes,
        )
        for part, home in enumerate(homes)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, processes - 1), mp_context=context) as pool:
        others = [pool.submit(job) for job in jobs[1:]]
        ends = jobs[0](each_day=each_day)
        for other in others:
            ends += other.result()
    _join(homes, tenant.name, People(plan))
    return Simulation(tenant, folder / "ledger.jsonl", folder / "people.csv", setup.flag, ends)


def _prepare(plan: Plan, path: Path, folder: Path) -> tuple[Setup, dict[str, str]]:
    """Set the tenant up, put everybody into it and into the old store; return the endpoint's settings as well."""
    people = People(plan)
    tenant = RehearsalTenant.open(path)
    with contextlib.closing(tenant), seeded(f"{plan.seed} setup"):
        if tenant.directory.rows("SELECT 1 FROM users LIMIT 1"):
            raise KitError(f"The tenant in {folder} has users already.", next_step="Give another folder.")
        key = folder / "key.pem"
        setup = Setup.make(tenant, plan, (read_pair(key) or make_pair(key)).public_bytes(Encoding.DER))
        tenant.directory.add_users(people.users(tenant.domain, setup.flag))
        environment = {
            "JIT_TENANT_ID": tenant.tenant_id,
            "JIT_EXTENSION_APP_ID": setup.extension_app["appId"],
            "JIT_IDENTIFIER_URI": setup.extension_app["identifierUris"][0],
            "DecryptionPrivateKey": key.read_text(encoding="utf-8"),
            "LegacyApiConnectionString": f"sqlite:///{folder / 'legacy.sqlite3'}",
        }
    write_table(folder / "legacy.sqlite3", people.legacy_rows())
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        rows = people.dimensions()
        first = next(rows)
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)
    return setup, environment


def _join(homes: list[Path], name: str, people: People) -> None:
    """Put what happened in the other parts into the first one, and remove them."""
    tenant = RehearsalTenant.open(homes[0] / name)
    with contextlib.closing(tenant):
        for part, home in enumerate(homes[1:], 1):
            ids = map(people.user_id, range(part, people.plan.people, len(homes)))
            take_over(tenant.directory, home / name, ids)
    whole = homes[0] / "whole.jsonl"
    with contextlib.ExitStack() as stack, whole.open("wb") as file:
        ledgers = [stack.enter_context((home / "ledger.jsonl").open("rb")) for home in homes]
        file.writelines(heapq.merge(*ledgers))
    whole.replace(homes[0] / "ledger.jsonl")
    for home in homes[1:]:
        shutil.rmtree(home)
