from __future__ import annotations

import asyncio
import json
import re
import stat
import string
from pathlib import Path

import httpx
import pytest

from helpers.graph import Change, Graph
from helpers.tenant.user_writer import Pace, temporary_password
from helpers.tenant.users import Users
from jitkit.errors import GraphRefused, PermissionMissing, SettingsError, WriteNotConfirmed
from tenant.support import (
    PEOPLE,
    Between,
    Forward,
    Kit,
    everybody,
    journal_of,
    narrow,
    person,
    set_flag,
)


@pytest.fixture(scope="session")
def seeded(registered: Path) -> Path:
    return registered


@pytest.fixture
def ready(kit: Kit) -> Kit:
    return kit


async def test_an_interruption_loses_and_doubles_nobody(ready: Kit) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await ready.users.apply(await ready.users.plan(users=PEOPLE), progress=stop)
    there = {each["id"] for each in await everybody(ready)}
    assert 40 <= len(there) < len(PEOPLE)
    assert journal_of(ready).read() == dict.fromkeys(there, "created")

    steps: list[tuple[int, int]] = []
    plan = await ready.users.plan(users=PEOPLE)
    rest = await ready.users.apply(plan, progress=lambda done, total: steps.append((done, total)))
    assert rest.created == len(PEOPLE) - len(there)
    assert steps[0] == (0, rest.created)
    assert steps[-1] == (rest.created, rest.created)
    assert len(await everybody(ready)) == len(PEOPLE) == len(journal_of(ready).read())


async def test_a_cancelled_cell_leaves_a_true_journal(ready: Kit, between: Between) -> None:
    plan = await ready.users.plan(users=PEOPLE)
    running = asyncio.create_task(ready.users.apply(plan))
    batches = 0

    async def cancel(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal batches
        if request.url.path.endswith("/$batch"):
            batches += 1
            if batches == 3:
                running.cancel()
        return None

    between.interfere = cancel
    with pytest.raises(asyncio.CancelledError):
        await running
    there = {each["id"] for each in await everybody(ready)}
    assert 0 < len(there) < len(PEOPLE)
    assert set(journal_of(ready).read()) == there


async def test_whoever_moves_while_users_are_removed_stays(ready: Kit, between: Between) -> None:
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:3]))
    moves = (await ready.users.find("person1@shop.example")).user_id

    async def move(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        if not request.url.path.endswith("/users"):
            return None
        answer = await forward()
        between.interfere = None
        await set_flag(ready, moves, False)
        return answer

    between.interfere = move
    removed = await ready.users.remove(confirm=3)
    assert [each["id"] for each in await everybody(ready)] == [moves]
    assert (removed.status, removed.facts["Left after all"][:1]) == ("removed", "1")
    assert journal_of(ready).read()[moves] == "created"


async def test_one_refused_row_does_not_stop_the_others(ready: Kit) -> None:
    people = [person("ada@shop.example"), person("no-dot@localhost"), person("ben@shop.example")]
    applied = await ready.users.apply(await ready.users.plan(users=people))
    assert (applied.status, applied.created) == ("refused in part", 2)
    ((name, words),) = applied.refused
    assert name == "no-dot@localhost"
    assert "400 Request_BadRequest" in words
    assert "no-dot@localhost" in applied._repr_html_()


async def test_throttled_requests_are_sent_again_and_nobody_is_doubled(ready: Kit, between: Between) -> None:
    throttled = 0

    async def throttle(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal throttled
        if not request.url.path.endswith("/$batch") or throttled >= 2:
            return None
        throttled += 1
        content = json.loads(request.content)
        kept, held = content["requests"][:5], content["requests"][5:]
        request.stream = httpx.ByteStream(json.dumps({"requests": kept}).encode())
        del request._content
        request.headers["Content-Length"] = str(len(json.dumps({"requests": kept}).encode()))
        answer = await forward()
        body = json.loads(await answer.aread())
        error = {"error": {"code": "TooManyRequests", "message": "Too many requests."}}
        late = [{"id": each["id"], "status": 429, "headers": {"Retry-After": "0"}, "body": error} for each in held]
        return httpx.Response(200, json={"responses": late + body["responses"]}, request=request)

    between.interfere = throttle
    applied = await ready.users.apply(await ready.users.plan(users=PEOPLE[:60]))
    assert (throttled, applied.created, applied.there) == (2, 60, 0)
    assert len(await everybody(ready)) == 60


async def test_a_tenant_that_stays_throttled_is_explained(ready: Kit, between: Between) -> None:
    async def throttle(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        if not request.url.path.endswith("/$batch"):
            return None
        error = {"error": {"code": "TooManyRequests", "message": "Too many requests."}}
        late = [
            {"id": each["id"], "status": 429, "headers": {"Retry-After": "0"}, "body": error}
            for each in json.loads(request.content)["requests"]
        ]
        return httpx.Response(200, json={"responses": late}, request=request)

    between.interfere = throttle
    with pytest.raises(GraphRefused, match="Wait a few minutes"):
        await ready.users.apply(await ready.users.plan(users=PEOPLE[:60]))


async def test_an_identity_that_may_not_write_stops_at_once(ready: Kit, tmp_path: Path) -> None:
    readers = ["Application.Read.All", "User.Read.All", "Directory.Read.All", "Domain.Read.All"]
    weak = narrow(ready, readers, tmp_path)
    plan = await weak.users.plan(users=PEOPLE)
    with pytest.raises(PermissionMissing, match="User Administrator"):
        await weak.users.apply(plan)
    assert await everybody(ready) == []


async def test_whoever_does_not_confirm_is_asked_once(ready: Kit) -> None:
    asked = 0

    async def refuse(change: Change) -> None:
        nonlocal asked
        asked += 1
        raise WriteNotConfirmed("Nothing was changed.", next_step="Type the domain.")

    gated = Graph(ready.tenant.credential(), ready.tenant.transport(), before_write=refuse)
    users = Users(gated, ready.profile, ready.folder)
    plan = await users.plan(users=PEOPLE)
    assert asked == 0
    with pytest.raises(WriteNotConfirmed):
        await users.apply(plan)
    assert asked == 1
    assert await everybody(ready) == []


async def test_temporary_passwords_end_up_nowhere(ready: Kit, between: Between) -> None:
    plan = await ready.users.plan(users=PEOPLE[:25])
    applied = await ready.users.apply(plan)
    sent = "".join(each.content.decode() for each in between.seen if each.url.path.endswith("/$batch"))
    profiles = [
        each["body"]["passwordProfile"]
        for request in between.seen
        if request.url.path.endswith("/$batch")
        for each in json.loads(request.content)["requests"]
    ]
    passwords = {each["password"] for each in profiles}
    assert len(passwords) == 25
    assert all(json.dumps(each)[1:-1] in sent for each in passwords)
    assert all(each["forceChangePasswordNextSignIn"] is False for each in profiles)
    shown = repr(plan) + plan._repr_html_() + repr(applied) + applied._repr_html_() + str(applied) + str(plan)
    files = [path for path in ready.folder.rglob("*") if path.is_file()]
    files += list(ready.tenant.path.parent.glob("tenant.sqlite3*"))
    content = b"".join(path.read_bytes() for path in files)
    assert len(files) >= 2
    assert not any(each in shown or each.encode() in content for each in passwords)


async def test_the_journal_holds_ids_alone_and_survives_a_torn_line(ready: Kit) -> None:
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:3]))
    path = ready.folder / "rehearsal" / "users.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(set(json.loads(line)) == {"id", "did", "at"} for line in path.read_text().splitlines())
    with path.open("a") as file:
        file.write('{"id": "torn')
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:5]))
    assert set(journal_of(ready).read()) == {each["id"] for each in await everybody(ready)}


async def test_a_journal_with_rubbish_in_it_still_says_the_rest(ready: Kit) -> None:
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:3]))
    path = ready.folder / "rehearsal" / "users.jsonl"
    before = journal_of(ready).read()
    for rubbish in (b"\xff\xfe\0\n", b"1\n", b"[]\n", b"{}\n", b"null\n"):
        path.write_bytes(rubbish + path.read_bytes())
    assert journal_of(ready).read() == before
    assert (await ready.users.remove()).facts["To delete"].startswith("3 ")


async def test_a_journal_that_cannot_be_read_is_named(ready: Kit) -> None:
    path = ready.folder / "rehearsal" / "users.jsonl"
    path.mkdir(parents=True)
    with pytest.raises(SettingsError, match="do not delete it"):
        await ready.users.remove()


async def test_a_temporary_password_cannot_be_guessed() -> None:
    made = {temporary_password() for _ in range(200)}
    assert len(made) == 200
    for each in made:
        assert len(each) == 32
        assert each.isascii()
        for letters in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
            assert set(each) & set(letters)
        assert re.search(r"[^A-Za-z0-9]", each)


async def test_the_pace_halves_under_pressure_and_recovers() -> None:
    pace = Pace()
    for _ in range(10):
        pace.learn(False)
    fastest = pace.at_once
    pace.learn(True)
    assert pace.at_once == fastest // 2
    for _ in range(5):
        pace.learn(True)
    assert pace.at_once == 1
    pace.learn(False)
    assert pace.at_once == 2
