from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.errors import BadTable, KitError, NotReady
from tenant.support import (
    PEOPLE,
    Between,
    Forward,
    Kit,
    everybody,
    flag_of,
    made_by_hand,
    person,
    set_flag,
)


@pytest.fixture(scope="session")
def seeded(registered: Path) -> Path:
    return registered


@pytest.fixture
def ready(kit: Kit) -> Kit:
    return kit


async def test_a_created_user_is_whole(ready: Kit) -> None:
    plan = await ready.users.plan(users=[person("ada@shop.example", display_name="Ada Lindqvist")])
    applied = await ready.users.apply(plan)
    (ada,) = await everybody(ready)
    assert (applied.status, applied.created, applied.refused) == ("done", 1, ())
    assert (ada["displayName"], ada["mail"], ada["accountEnabled"]) == ("Ada Lindqvist", "ada@shop.example", True)
    assert (ada["creationType"], ada["passwordPolicies"]) == ("LocalAccount", "DisablePasswordExpiration")
    assert ada[await flag_of(ready)] is True
    assert {"signInType": "emailAddress", "issuer": ready.tenant.domain, "issuerAssignedId": "ada@shop.example"} in ada[
        "identities"
    ]
    stored = ready.tenant.directory.user_by_sign_in_name("ada@shop.example")
    assert stored is not None
    assert stored.force_change is False


async def test_more_people_than_the_tenant_has_room_for_are_not_begun(
    ready: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M1: a full tenant answers 403 in the middle of an import, as a missing role does."""
    plan = await ready.users.plan(users=[person(f"p{n}@shop.example") for n in range(3)])
    used = len(await everybody(ready))
    real = ready.graph.send

    async def crowded(method: str, path: str, **options: Any) -> Any:
        answer = await real(method, path, **options)
        if "directorySizeQuota" in path:
            answer["value"][0]["directorySizeQuota"] = {"used": 9_998, "total": 10_000}
        return answer

    monkeypatch.setattr(ready.graph, "send", crowded)
    with pytest.raises(NotReady, match="room for 2 more") as caught:
        await ready.users.apply(plan)
    assert "limit=2" in caught.value.next_step
    assert len(await everybody(ready)) == used
    assert (await ready.users.apply(plan, limit=2)).created == 2


async def test_the_plan_sorts_everybody_and_writes_nothing(ready: Kit, between: Between) -> None:
    ids = {name: await made_by_hand(ready, f"{name}@shop.example") for name in ("bare", "flagged", "moved", "off")}
    await made_by_hand(ready, "google@shop.example", federated=True)
    await set_flag(ready, ids["flagged"], True)
    await set_flag(ready, ids["moved"], False)
    names = ("new", "bare", "flagged", "moved", "google")
    people = [person(f"{name}@shop.example") for name in names]
    people += [person("off@shop.example", status="disabled"), person("gone@shop.example", status="disabled")]

    between.seen.clear()
    plan = await ready.users.plan(users=people)
    assert {each.method for each in between.seen} == {"GET"}
    assert [each.username for each in plan.create] == ["new@shop.example", "gone@shop.example"]
    assert plan.mark == {ids["bare"]: "bare@shop.example"}
    assert (plan.marked, plan.migrated) == (1, 1)
    assert {each.username for each in plan.skipped} == {"google@shop.example", "off@shop.example"}
    assert repr(plan) == "<Plan: create 2, mark 1, leave 2, skip 2>"

    applied = await ready.users.apply(plan)
    assert (applied.created, applied.marked) == (2, 1)
    flag = await flag_of(ready)
    after = {each["mail"]: (each["accountEnabled"], each.get(flag)) for each in await everybody(ready)}
    assert after == {
        "new@shop.example": (True, True),
        "gone@shop.example": (False, True),
        "bare@shop.example": (True, True),
        "flagged@shop.example": (True, True),
        "moved@shop.example": (True, False),
        "off@shop.example": (True, None),
        "google@shop.example": (True, None),
    }


async def test_a_second_run_finds_nothing_to_do(ready: Kit) -> None:
    await ready.users.apply(await ready.users.plan(users=PEOPLE))
    plan = await ready.users.plan(users=PEOPLE)
    assert (len(plan.create), len(plan.mark), plan.marked) == (0, 0, len(PEOPLE))
    again = await ready.users.apply(plan)
    assert (again.status, again.created, again.sent) == ("nothing to do", 0, ())


async def test_the_same_plan_applied_twice_doubles_nobody(ready: Kit) -> None:
    plan = await ready.users.plan(users=PEOPLE[:25])
    await ready.users.apply(plan)
    again = await ready.users.apply(plan)
    assert (again.created, again.there, again.refused) == (0, 25, ())
    assert len(await everybody(ready)) == 25


async def test_whoever_has_migrated_since_the_plan_is_never_marked_again(ready: Kit) -> None:
    user_id = await made_by_hand(ready, "ada@shop.example")
    plan = await ready.users.plan(users=[person("ada@shop.example")])
    assert list(plan.mark) == [user_id]
    await set_flag(ready, user_id, False)
    applied = await ready.users.apply(plan)
    assert (applied.marked, applied.there) == (0, 1)
    assert (await ready.users.find("ada@shop.example")).flag is False


async def test_a_limit_leaves_the_rest_for_later(ready: Kit) -> None:
    plan = await ready.users.plan(users=PEOPLE[:30])
    first = await ready.users.apply(plan, limit=7)
    assert (first.status, first.created, first.left) == ("done in part", 7, 23)
    assert (await ready.users.apply(await ready.users.plan(users=PEOPLE[:30]))).created == 23


async def test_counts_tell_three_groups_apart(ready: Kit, between: Between) -> None:
    ids = [await made_by_hand(ready, f"p{number}@shop.example") for number in range(6)]
    for each in ids[:3]:
        await set_flag(ready, each, True)
    await set_flag(ready, ids[3], False)
    counts = await ready.users.counts()
    assert (counts.to_migrate, counts.migrated, counts.unmarked) == (3, 1, 2)

    async def no_advanced_queries(request: httpx.Request, _: Forward) -> httpx.Response | None:
        if request.url.path.endswith("/$count"):
            error = {"error": {"code": "Request_UnsupportedQuery", "message": "not supported"}}
            return httpx.Response(400, json=error, request=request)
        return None

    between.interfere = no_advanced_queries
    counts = await ready.users.counts()
    assert (counts.to_migrate, counts.migrated, counts.unmarked) == (3, 1, 2)


async def test_a_filter_that_finds_nobody_without_an_error_is_not_believed(ready: Kit, between: Between) -> None:
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:4]))

    async def find_nobody(request: httpx.Request, _: Forward) -> httpx.Response | None:
        if request.url.path.endswith("/$count") and b"filter" in request.url.query:
            return httpx.Response(200, text="0", request=request)
        return None

    between.interfere = find_nobody
    assert (await ready.users.counts()).to_migrate == 4


async def test_somebody_is_found_by_any_spelling_of_their_name(ready: Kit) -> None:
    names = ["o'brien+shop@x.example", "zoë@x.example"]
    await ready.users.apply(await ready.users.plan(users=[person(each) for each in names]))
    found = await ready.users.find(" O'Brien+Shop@X.example")
    assert (found.status, found.flag, found.enabled) == ("to migrate", True, True)
    assert (await ready.users.find("ZOË@x.example")).flag is True
    with pytest.raises(NotReady, match=r"nobody@x\.example"):
        await ready.users.find("nobody@x.example")


async def test_removal_is_counted_first_and_spares_whoever_has_migrated(ready: Kit) -> None:
    theirs = await made_by_hand(ready, "theirs@shop.example")
    stranger = await made_by_hand(ready, "stranger@shop.example")
    await set_flag(ready, stranger, True)
    await ready.users.apply(await ready.users.plan(users=[*PEOPLE[:4], person("theirs@shop.example")]))
    moved = (await ready.users.find("person0@shop.example")).user_id
    await set_flag(ready, moved, False)

    dry = await ready.users.remove()
    assert (dry.status, "confirm=4" in dry.facts["To do it"]) == ("would be removed", True)
    assert len(await everybody(ready)) == 6
    with pytest.raises(KitError, match="4 users would be removed, not 5"):
        await ready.users.remove(confirm=5)
    assert len(await everybody(ready)) == 6

    assert (await ready.users.remove(confirm=4)).status == "removed"
    flag = await flag_of(ready)
    left = {each["id"]: each.get(flag) for each in await everybody(ready)}
    assert left == {theirs: None, stranger: True, moved: False}
    assert (await ready.users.remove()).status == "missing"


async def test_the_flag_comes_first_and_a_wrong_file_stops_before_anything_is_asked(kit: Kit, tmp_path: Path) -> None:
    await kit.flag.remove()
    with pytest.raises(NotReady, match="01-extension-attribute"):
        await kit.users.plan(users=PEOPLE)
    wrong = tmp_path / "read-me.csv"
    wrong.write_text("name;mail\nAda;ada@shop.example\n")
    with pytest.raises(BadTable, match="username"):
        await kit.users.plan(wrong)


async def test_the_rows_of_a_file_that_cannot_be_used_are_in_the_plan(ready: Kit, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text("username,status\nada@shop.example,active\nBEN@shop.example,\nben@shop.example,\n,active\n")
    plan = await ready.users.plan(export)
    assert [each.username for each in plan.create] == ["ada@shop.example"]
    assert [each.line for each in plan.skipped] == [3, 4, 5]
    assert "BEN@shop.example" in plan._repr_html_()


async def test_what_the_export_knows_is_joined_to_ids_and_names_stay_out(
    ready: Kit, between: Between, tmp_path: Path
) -> None:
    ada = await made_by_hand(ready, "ada@shop.example")
    export = tmp_path / "export.csv"
    export.write_text(
        "username,password_hash,status,display_name,country,app,last_legacy_sign_in,hash_scheme\n"
        f" Ada@Shop.example,$2b$04${'u' * 53},active,Ada L,SE,Webshop,2026-10-28,bcrypt\n"
        "gone@shop.example,,active,Gone,DE,Webshop,,\n",
        encoding="utf-8",
    )
    between.seen.clear()
    found = await ready.users.dimensions(export)
    assert {each.method for each in between.seen} == {"GET"}
    assert found.astype(str).values.tolist() == [[ada, "SE", "Webshop", "bcrypt", "2026-10-28"]]
