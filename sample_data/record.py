"""Record the migration in `migration/`: some months of invented users at the rehearsal tenant.

    python sample_data/record.py

sets a tenant up as the notebooks do, plays the scenario below through the tenant's own sign-in and the kit's own
endpoint, and rewrites the three tables next to this file. The scenario, its seed and this script always make the same
rows; `README.md` says what is in them, and which stories were planted.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import tempfile
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from helpers import kit, settings
from helpers.legacy_export import write_legacy_users
from helpers.play import in_process
from jitkit.progress.assemble import assemble
from jitkit.progress.collect import users_from_graph
from jitkit.progress.log_analytics import audits_from_graph, sign_ins_from_graph
from jitkit.progress.table_files import read_table
from jitkit.rehearsal.population import Campaign, PasswordSpray, Person, Plan, Trouble, add_accounts, play
from jitkit.rehearsal.tenant import RehearsalTenant

FOLDER: Final = Path(__file__).parent / "migration"


@dataclass(frozen=True)
class App:
    """An app that users sign in to.

    Args:
        name: its display name.
        share: of the users, who use this app and no other.
        covered: whether the listener includes it. If not, its users read that their password is wrong.
    """

    name: str
    share: float
    covered: bool = True


@dataclass(frozen=True)
class Scenario:
    """A migration to record.

    Args:
        plan: what happens. It names its first day.
        people: how many users there are.
        apps: what they sign in to; the shares sum to one. The first one is the test client of the notebooks.
        reached: the share of the users that each campaign reaches; as many again are its control group.
        weak: the share of users whose password the tenant does not accept.
        weak_hashes: the share of users whose legacy hash is unsalted MD5.
        damaged: the share of users whose legacy hash cannot be read.
    """

    plan: Plan
    people: int
    apps: tuple[App, ...]
    reached: float = 0.25
    weak: float = 0.09
    weak_hashes: float = 0.15
    damaged: float = 0.005


SCENARIO: Final = Scenario(
    Plan(
        seed=20260601,
        days=120,
        start=datetime(2026, 6, 1, tzinfo=UTC),
        troubles=(
            Trouble("store away", day=11 + 8 / 24, hours=9),
            Trouble("lull", day=24, hours=9 * 24),
            Trouble("certificate ended", day=75, hours=57),
        ),
        campaigns=(Campaign(day=50, answers=0.2, within_days=6),),
        sprays=(PasswordSpray(day=96.5, hours=30, tries=1500, addresses=3),),
    ),
    people=10_000,
    apps=(
        App("Webshop", 0.5),
        App("Mobile app", 0.3),
        App("Loyalty club", 0.08),
        App("Partner portal", 0.12, covered=False),
    ),
)

_COUNTRIES: Final = {"DE": 0.3, "FR": 0.2, "GB": 0.2, "NL": 0.1, "PL": 0.15, "SE": 0.05}
# How long before the first day the old system saw a user last. Dates would say more about people than is needed.
_BANDS: Final = {30: "0-30 days before", 90: "31-90 days before", 365: "91-365 days before", 10_000: "earlier"}
# Real app ids are random; a recording has to repeat itself.
_NAMES: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "woodgrove.example")
_STAGED_BEFORE: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Played:
    """What a played scenario left in its folder.

    Args:
        tenant: the rehearsal tenant's file.
        ledger: the endpoint's ledger.
        flag: the migration flag's full name.
        app_ids: the ids of the scenario's apps, in its order.
        people: the users, as `invent` returns them.
        ends: how many sign-ins ended in which way.
    """

    tenant: Path
    ledger: Path
    flag: str
    app_ids: list[str]
    people: pd.DataFrame
    ends: dict[str, int]


@dataclass(frozen=True)
class Recording:
    """A recorded migration.

    Args:
        users: the table of users.
        sign_ins: the table of sign-ins.
        ledger: the table of the endpoint's answers.
        log: the tenant's sign-in log, oldest first, as Graph's beta `signIn` objects.
        audits: its audit log, likewise.
        ends: how many sign-ins ended in which way.
    """

    users: pd.DataFrame
    sign_ins: pd.DataFrame
    ledger: pd.DataFrame
    log: list[dict[str, Any]]
    audits: list[dict[str, Any]]
    ends: dict[str, int]


def record(scenario: Scenario, *, each_day: Callable[[int], object] | None = None) -> Recording:
    """Play a scenario and read what it left, as a collector would: users, logs and ledger.

    Args:
        scenario: what happens.
        each_day: called with the number of each day that has passed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _read(scenario, play_scenario(scenario, Path(folder), each_day=each_day))


def play_scenario(scenario: Scenario, folder: Path, *, each_day: Callable[[int], object] | None = None) -> Played:
    """Set a tenant up as the notebooks do, and play a scenario in it.

    Args:
        scenario: what happens.
        folder: where everything is kept.
        each_day: called with the number of each day that has passed.
    """
    return asyncio.run(_play(scenario, folder, each_day))


def write(recording: Recording, scenario: Scenario, folder: Path) -> None:
    """Write the tables as Parquet, with the scenario in their metadata.

    Args:
        recording: the tables.
        scenario: what they were recorded from.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("users", "sign_ins", "ledger"):
        table = pa.Table.from_pandas(getattr(recording, kind), preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), "scenario": repr(scenario)})
        pq.write_table(table, folder / f"{kind}.parquet", compression="zstd", compression_level=19)


def invent(scenario: Scenario) -> pd.DataFrame:
    """Invent the users of a scenario.

    Returns:
        One row a user: username, password, legacy_hash, app, country, hash_scheme, days_absent, campaign (its number)
        and group (`reached`, `control` or None).
    """
    dice, count, plan = np.random.default_rng([scenario.plan.seed, 0]), scenario.people, scenario.plan
    habits = dice.choice(len(plan.habits), count, p=[habit.share for habit in plan.habits])
    usual = np.array([1 / habit.a_day if habit.a_day else 900.0 for habit in plan.habits])
    weak, md5, damaged = (
        dice.random(count) < share for share in (scenario.weak, scenario.weak_hashes, scenario.damaged)
    )
    campaign = dice.integers(0, len(plan.campaigns), count) if plan.campaigns else np.zeros(count, dtype=int)
    chosen = dice.random(count)
    reached = scenario.reached if plan.campaigns else 0.0
    people = pd.DataFrame(
        {
            "username": [f"person{number:06d}@woodgrove.example" for number in range(count)],
            "app": dice.choice(len(scenario.apps), count, p=[app.share for app in scenario.apps]),
            "country": dice.choice([*_COUNTRIES], count, p=[*_COUNTRIES.values()]),
            "hash_scheme": np.where(md5, "md5", "ssha256"),
            "days_absent": np.minimum(dice.exponential(usual[habits]), 3000.0),
            "campaign": campaign,
            "group": np.select([chosen < reached, chosen < 2 * reached], ["reached", "control"], default=""),
        }
    )
    random = Random(f"{plan.seed} passwords")
    words = [f"{random.getrandbits(64):016x}" for _ in range(count)]
    people["password"] = [
        f"sunflower{word[:4]}" if is_weak else f"Aa1-{word[:12]}" for word, is_weak in zip(words, weak, strict=True)
    ]
    people["legacy_hash"] = [
        _legacy_hash(each.password, each.hash_scheme, word)[: 20 if broken else None]
        for each, word, broken in zip(people.itertuples(), words, damaged, strict=True)
    ]
    return people


def _legacy_hash(password: str, scheme: str, word: str) -> str:
    if scheme == "md5":
        digest = hashlib.md5(password.encode(), usedforsecurity=False).digest()
        return f"{{MD5}}{base64.b64encode(digest).decode()}"
    salt = bytes.fromhex(word)
    return f"{{SSHA256}}{base64.b64encode(hashlib.sha256(password.encode() + salt).digest() + salt).decode()}"


async def _play(scenario: Scenario, folder: Path, each_day: Callable[[int], object] | None) -> Played:
    plan, people = scenario.plan, invent(scenario)
    if plan.start is None:
        raise ValueError("The plan of a scenario names its first day.")
    names = settings.Names(client_app=scenario.apps[0].name)
    settings.save(folder, settings.Profile(endpoint_port=0, names=names))
    s = await kit.open(folder)
    try:
        tenant = s.world.rehearsal_tenant
        flag, app_ids = await _set_up(s, scenario)
        store = folder / "legacy.sqlite3"
        write_legacy_users(store, ((each.username, each.legacy_hash, "active", 0) for each in people.itertuples()))
        environment = {**await s.endpoint.settings(), "LegacyApiConnectionString": f"sqlite:///{store}"}
        persons = [
            Person(
                each.username,
                each.password,
                app_ids[each.app],
                each.days_absent,
                each.campaign if each.group == "reached" else None,
            )
            for each in people.itertuples()
        ]
        tenant.directory.clock.hold((plan.start - _STAGED_BEFORE).timestamp())
        add_accounts(tenant, persons, flag, seed=plan.seed)
        ends = await asyncio.to_thread(
            play, tenant.directory.path, persons, plan, in_process(environment), each_day=each_day
        )
        return Played(tenant.directory.path, Path(environment["JIT_LEDGER"]), flag, app_ids, people, dict(ends))
    finally:
        await s.close()


async def _set_up(s: kit.Session, scenario: Scenario) -> tuple[str, list[str]]:
    """Make what the notebooks make, and the other apps; returns the flag's name and the apps' ids."""
    client = s.apps.client
    steps = (s.attribute, s.apps.extension, s.apps.extension_consent, client, s.apps.client_consent, s.apps.user_flow)
    for step in (*steps, s.policies.extension, s.policies.listener, s.key):
        await step.ensure()
    directory = s.world.rehearsal_tenant.directory
    s.world.publish(s.profile.endpoint_host, "http://127.0.0.1")
    ids = [(await client.show()).app_id]
    for app in scenario.apps[1:]:
        made = await s.graph.send("POST", "/applications", body={"displayName": app.name})
        await s.graph.send("POST", "/servicePrincipals", body={"appId": made["appId"]})
        ids.append(made["appId"])
    covered = [id for id, app in zip(ids, scenario.apps, strict=True) if app.covered]
    for kind, included in (("authenticationEventsFlow", ids), ("authenticationEventListener", covered)):
        (policy,) = directory.all(kind)
        policy["conditions"]["applications"]["includeApplications"] = [{"appId": id} for id in included]
        directory.replace(kind, policy)
    return (await s.attribute.show()).full_name, ids


def _read(scenario: Scenario, played: Played) -> Recording:
    plan, flag = scenario.plan, played.flag
    end = (pd.Timestamp(plan.start) + pd.Timedelta(days=plan.days)).as_unit("us")
    with closing(RehearsalTenant.open(played.tenant)) as tenant:
        found = tenant.directory.rows(
            "SELECT id, sign_in_name, created, json_extract(body, ?) AS flag FROM users WHERE sign_in_name IS NOT NULL",
            (f"$.{flag}",),
        )
        log, audits = tenant.sign_in_rows(), tenant.audit_rows()
    users = [
        {
            "id": row["id"],
            "createdDateTime": datetime.fromtimestamp(row["created"], UTC).isoformat(),
            flag: bool(row["flag"]),
        }
        for row in found
    ]
    tables = assemble(
        users_from_graph(users, flag, end),
        seen_at=end,
        sign_ins=sign_ins_from_graph(log),
        audits=audits_from_graph(audits, flag),
        ledger=read_table(played.ledger, "ledger"),
        dimensions=_dimensions(scenario, played.people, {row["sign_in_name"]: row["id"] for row in found}),
    )
    names = {id: str(uuid.uuid5(_NAMES, app.name)) for id, app in zip(played.app_ids, scenario.apps, strict=True)}
    sign_ins, answers = (
        table.assign(app_id=table["app_id"].astype("str").replace(names).astype("category"))
        for table in (tables.sign_ins, tables.ledger.drop(columns="key"))
    )
    return Recording(tables.users, sign_ins, answers, log[::-1], audits[::-1], played.ends)


def _dimensions(scenario: Scenario, people: pd.DataFrame, ids: dict[str, str]) -> pd.DataFrame:
    """Return what figures may be grouped by; the habit is what a real migration does not know."""
    plan, bands = scenario.plan, [*_BANDS.values()]
    sent = [f"{plan.start + timedelta(days=each.day):%Y-%m-%d}" for each in plan.campaigns if plan.start]
    return pd.DataFrame(
        {
            "user_id": people["username"].map(ids),
            "app": [scenario.apps[each].name for each in people["app"]],
            "country": people["country"],
            "hash_scheme": people["hash_scheme"],
            "last_legacy_sign_in": pd.cut(people["days_absent"], [-1, *_BANDS], labels=bands).astype("str"),
            "campaign": [
                f"{group} {sent[number]}" if group else None
                for group, number in zip(people["group"], people["campaign"], strict=True)
            ],
        }
    )


def main() -> None:
    """Record the scenario."""
    parser = argparse.ArgumentParser(description="Record the sample migration.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the three tables")
    with tqdm(total=SCENARIO.plan.days, unit="day") as bar:
        write(record(SCENARIO, each_day=lambda _: bar.update()), SCENARIO, parser.parse_args().out)


if __name__ == "__main__":
    main()
