from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.graph import Change, Graph
from helpers.tenant.user_writer import IdMap
from helpers.tenant.users import Users
from jitkit.errors import BadTable, KitError, NotReady
from tenant.support import (
    PEOPLE,
    Between,
    Forward,
    Kit,
    everybody,
    flag_of,
    journal_of,
    made_by_hand,
    moves_once_listed,
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
    assert repr(plan) == "<Plan: create 2, mark 1, change 1, leave 2, skip 2>"

    assert (await ready.users.apply(plan)).created == 2
    assert (await ready.users.mark(plan, confirm=1)).facts["Marked"] == "1"
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
    marked = await ready.users.mark(plan, confirm=1)
    assert (marked.facts["Marked"], marked.facts["Left after all"][:1]) == ("0", "1")
    assert (await ready.users.find("ada@shop.example")).flag is False


async def test_the_flag_is_taken_off_everybody_who_has_not_moved_and_only_after_their_number(
    ready: Kit, between: Between
) -> None:
    theirs = await made_by_hand(ready, "cleo@shop.example")
    await set_flag(ready, theirs, True)
    people = [person("ada@shop.example"), person("ben@shop.example"), person("dora@shop.example")]
    await ready.users.apply(await ready.users.plan(users=people))
    ada, ben, dora = [(await ready.users.find(each.username)).user_id for each in people]
    await set_flag(ready, ada, False)

    asked = await ready.users.unmark()
    assert (asked.status, asked.facts["To do it"]) == ("would be unmarked", "await s.users.unmark(confirm=3)")
    with pytest.raises(KitError, match="3 users would be unmarked, not 4") as wrong:
        await ready.users.unmark(confirm=4)
    assert "`await s.users.unmark()`" in wrong.value.next_step
    assert (await ready.users.counts()).to_migrate == 3

    moves_once_listed(ready, between, ben)
    done = await ready.users.unmark(confirm=3)
    assert (done.status, done.facts["Unmarked"], done.facts["Left after all"][:1]) == ("unmarked", "2", "1")
    counts = await ready.users.counts()
    assert (counts.to_migrate, counts.migrated) == (0, 2)
    assert (await ready.users.unmark()).status == "nothing to do"

    wave = await ready.users.plan(users=people)
    assert list(wave.mark) == [dora]
    assert (await ready.users.mark(wave, confirm=1)).facts["Marked"] == "1"
    assert (await ready.users.find("dora@shop.example")).flag is True


async def test_a_limit_leaves_the_rest_for_later(ready: Kit) -> None:
    plan = await ready.users.plan(users=PEOPLE[:30])
    first = await ready.users.apply(plan, limit=7)
    assert (first.status, first.created, first.left) == ("done in part", 7, 23)
    assert (await ready.users.apply(await ready.users.plan(users=PEOPLE[:30]))).created == 23


async def test_applying_a_plan_marks_nobody_and_marking_takes_their_number(ready: Kit) -> None:
    """H4: somebody signed up with a password of their own; it is replaced only after their number was given."""
    theirs = await made_by_hand(ready, "ada@shop.example")
    plan = await ready.users.plan(users=[person("ada@shop.example"), person("new@shop.example")])
    assert (await ready.users.apply(plan)).created == 1
    assert (await ready.users.find("ada@shop.example")).flag is None
    asked = await ready.users.mark(plan)
    assert (asked.status, asked.facts["To do it"]) == ("would be marked", "await s.users.mark(plan, confirm=1)")
    for wrong in (0, 2):
        with pytest.raises(KitError, match=f"1 users would be marked, not {wrong}"):
            await ready.users.mark(plan, confirm=wrong)
    assert (await ready.users.find("ada@shop.example")).flag is None
    assert (await ready.users.mark(plan, confirm=1)).status == "marked"
    assert (await ready.users.find("ada@shop.example")).flag is True
    assert journal_of(ready).read()[theirs] == "marked"
    assert (await ready.users.mark(await ready.users.plan(users=[]))).status == "nothing to do"


async def test_what_can_hurt_people_is_asked_about_with_a_number_that_the_question_does_not_name(
    ready: Kit, tmp_path: Path
) -> None:
    """H4: creating is ordinary; marking, updating, removing and unmarking each take the number of people."""
    seen: list[Change] = []

    async def note(change: Change) -> None:
        seen.append(change)

    gated = Graph(ready.tenant.credential(), ready.tenant.transport(), before_write=note)
    users = Users(gated, ready.profile, ready.folder)
    await made_by_hand(ready, "ada@shop.example")
    await users.apply(await users.plan(users=PEOPLE[:25]))
    again = [person(each.username, display_name="Another") for each in PEOPLE[:25]]
    plan = await users.plan(users=[*again, person("ada@shop.example")])
    await users.mark(plan, confirm=1)
    await users.update(plan, confirm=25)
    await users.remove(confirm=26)
    await set_flag(ready, await made_by_hand(ready, "ben@shop.example"), True)
    await users.unmark(confirm=1)
    asked = [(each.answer, bool(each.asks)) for each in seen]
    assert asked == [("", False), ("1", True), ("25", True), ("26", True), ("1", True)]
    assert "25 people" in str(seen[0])
    for each in seen[1:]:
        assert each.answer not in each.asks + each.what + each.affected
    assert len(await everybody(ready)) == 2
    await gated.close()


async def test_a_newer_export_changes_only_who_has_not_migrated(ready: Kit, tmp_path: Path) -> None:
    def export(*lines: str) -> Path:
        path = tmp_path / "export.csv"
        path.write_text("\n".join(("username,status,display_name,given_name,old_id", *lines, "")), encoding="utf-8")
        return path

    names = ("same", "renamed", "off", "gone", "moved", "spoilt", "back")
    status = {"back": "disabled"}
    first = export(*(f"{name}@shop.example,{status.get(name, '')},Ann {name},Ann,{name}-7" for name in names))
    await ready.users.apply(await ready.users.plan(first, carry=["givenName"]))
    await set_flag(ready, (await ready.users.find("moved@shop.example")).user_id, False)
    stranger = await made_by_hand(ready, "stranger@shop.example")
    await set_flag(ready, stranger, True)

    newer = export(
        "same@shop.example,,Ann same,Ann,same-7",
        "renamed@shop.example,,Beth renamed,Beth,renamed-7",
        "off@shop.example,disabled,Ann off,Ann,off-7",
        "moved@shop.example,disabled,Other,Other,moved-7",
        "spoilt@shop.example,suspended,Ann spoilt,Ann,spoilt-7",
        "back@shop.example,active,Ann back,Ann,back-7",
        "new@shop.example,,New,Nea,new-7",
    )
    plan = await ready.users.plan(newer, carry=["givenName"])
    assert [each.username for each in plan.create] == ["new@shop.example"]
    assert sorted(plan.change.values(), key=str) == [
        ("gone@shop.example", {"accountEnabled": False}),
        ("off@shop.example", {"accountEnabled": False}),
        ("renamed@shop.example", {"givenName": "Beth", "displayName": "Beth renamed"}),
    ]
    before = await everybody(ready)
    assert (await ready.users.apply(plan)).created == 1
    assert (await ready.users.update(plan)).facts == {"To do it": "await s.users.update(plan, confirm=3)"}
    assert [each for each in await everybody(ready) if each["mail"] != "new@shop.example"] == before
    assert (await ready.users.update(plan, confirm=3)).facts["Updated"] == "3"
    after = {each["mail"]: (each["displayName"], each["accountEnabled"]) for each in await everybody(ready)}
    assert after["renamed@shop.example"] == ("Beth renamed", True)
    assert after["moved@shop.example"] == ("Ann moved", True)
    assert {name for name, (_, enabled) in after.items() if not enabled} == {
        "off@shop.example", "gone@shop.example", "back@shop.example",
    }  # fmt: skip
    again = await ready.users.plan(newer, carry=["givenName"])
    assert (again.create, again.change) == ((), {})
    ids = IdMap(ready.folder / "rehearsal" / "user-ids.csv")
    assert set(ids.read()) == {f"{name}-7" for name in (*names, "new")}
    assert stat.S_IMODE((ready.folder / "rehearsal" / "user-ids.csv").stat().st_mode) == 0o600


async def test_batches_that_run_at_the_same_time_are_all_counted(ready: Kit) -> None:
    await asyncio.gather(*(made_by_hand(ready, each.username) for each in PEOPLE[:90]))
    plan = await ready.users.plan(users=PEOPLE[:90])
    assert (await ready.users.mark(plan, confirm=90)).facts["Marked"] == "90"
    plan = await ready.users.plan(users=[person(each.username, display_name="Another") for each in PEOPLE[:90]])
    assert (await ready.users.update(plan, confirm=90)).facts["Updated"] == "90"


async def test_who_migrates_while_users_are_updated_stays_as_they_are(ready: Kit) -> None:
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:2]))
    plan = await ready.users.plan(users=[person(each.username, display_name="Another") for each in PEOPLE[:2]])
    await set_flag(ready, (await ready.users.find("person0@shop.example")).user_id, False)
    updated = await ready.users.update(plan, confirm=2)
    assert (updated.facts["Updated"], updated.facts["Left after all"][:1]) == ("1", "1")
    assert [each["displayName"] for each in await everybody(ready)].count("Another") == 1


async def test_ids_of_users_who_were_there_already_are_mapped_as_well(ready: Kit, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text('username,old_id\nada@shop.example,"7,""a"\nben@shop.example,\n', encoding="utf-8")
    await ready.users.apply(await ready.users.plan(export))
    path = ready.folder / "rehearsal" / "user-ids.csv"
    ada = (await ready.users.find("ada@shop.example")).user_id
    assert IdMap(path).read() == {'7,"a': ada}
    path.unlink()
    await ready.users.apply(await ready.users.plan(export))
    assert IdMap(path).read() == {'7,"a': ada}
    before = path.read_bytes()
    await ready.users.apply(await ready.users.plan(export))
    assert path.read_bytes() == before


async def test_profile_columns_come_along_by_name_and_no_others(ready: Kit, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text(
        "username,given_name,Surname,preferredLanguage,country,employeeId\n"
        "ada@shop.example,Ada,Lindqvist,sv-SE,SE,7\nben@shop.example,,,NULL,,8\n",
        encoding="utf-8",
    )
    plan = await ready.users.plan(export, carry=["givenName", "preferredLanguage", "country"])
    assert (await ready.users.apply(plan)).refused == ()
    ada = (await ready.users.find("ada@shop.example")).user_id
    shown = await ready.send("GET", f"/users/{ada}?$select=givenName,surname,preferredLanguage,country")
    shown.pop("@odata.context")
    assert shown == {
        "givenName": "Ada", "surname": None, "preferredLanguage": "sv-SE", "country": "SE",
    }  # fmt: skip
    for name, words in (("employeeId", "not carried along"), ("jobTitle", "no value for jobTitle")):
        with pytest.raises(KitError, match=words):
            await ready.users.plan(export, carry=[name])


async def test_people_with_user_names_are_created_found_counted_and_removed(ready: Kit, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text(
        "username,sign_in_type,mail,display_name,country\n"
        "Ada_7,,Ada@Shop.example,Ada L,SE\nben-8,username,,Ben,DE\ncy@shop.example,email,,Cy,DE\n",
        encoding="utf-8",
    )
    plan = await ready.users.plan(export)
    assert any("2 of these" in words and "user name" in words for _, _, words in plan.rows)
    assert (await ready.users.apply(plan)).refused == ()
    rows = {each["displayName"]: each for each in await everybody(ready)}
    assert {"signInType": "userName", "issuer": ready.tenant.domain, "issuerAssignedId": "ada_7"} in rows["Ada L"][
        "identities"
    ]
    assert [rows[name]["mail"] for name in ("Ada L", "Ben", "Cy")] == ["ada@shop.example", None, "cy@shop.example"]
    ada = await ready.users.find(" ADA_7 ")
    assert ada.flag is True
    assert (await ready.users.counts()).to_migrate == 3
    again = await ready.users.plan(export)
    assert (again.create, dict(again.mark), again.marked) == ((), {}, 3)
    dimensions = await ready.users.dimensions(export)
    assert set(dimensions["user_id"]) == {each["id"] for each in rows.values()}
    assert (await ready.users.remove(confirm=3)).status == "removed"
    assert await everybody(ready) == []


@pytest.mark.parametrize(("allowed", "words"), [(True, "allow"), (False, "switched on"), (None, "cannot be read")])
async def test_a_plan_with_user_names_says_whether_the_tenant_lets_them_sign_in(
    allowed: bool | None, words: str, ready: Kit, between: Between
) -> None:
    asked = []

    async def identifiers(request: httpx.Request, _: Forward) -> httpx.Response | None:
        if "signInIdentifiers" not in request.url.path:
            return None
        asked.append(request.url.path)
        body = {"name": "Username", "isEnabled": allowed}
        return httpx.Response(403 if allowed is None else 200, json=body, request=request)

    between.interfere = identifiers
    plan = await ready.users.plan(users=[person("ada_7", sign_in_type="userName"), person("ben@shop.example")])
    ((_, count, said),) = [row for row in plan.rows if "user name" in row[2]]
    assert (count, words in said) == ("1", True)
    assert asked == ["/beta/identity/signInIdentifiers/Username"]
    assert not any("user name" in words for _, _, words in (await ready.users.plan(users=PEOPLE[:2])).rows)
    assert len(asked) == 1


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


@pytest.mark.parametrize("by", ["this kit", "others"])
async def test_a_filter_that_finds_nobody_without_an_error_is_not_believed(
    by: str, ready: Kit, between: Between
) -> None:
    """M12: also where this machine has no journal, because others created the users."""
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:4]))
    if by == "others":
        (ready.folder / "rehearsal" / "users.jsonl").unlink()

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
    assert (await ready.users.find("ZOË@x.example ")).flag is True
    with pytest.raises(NotReady, match=r"nobody@x\.example"):
        await ready.users.find("nobody@x.example")


async def test_removal_is_counted_first_and_spares_whoever_has_migrated(ready: Kit) -> None:
    theirs = await made_by_hand(ready, "theirs@shop.example")
    stranger = await made_by_hand(ready, "stranger@shop.example")
    await set_flag(ready, stranger, True)
    plan = await ready.users.plan(users=[*PEOPLE[:4], person("theirs@shop.example")])
    await ready.users.apply(plan)
    await ready.users.mark(plan, confirm=1)
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
