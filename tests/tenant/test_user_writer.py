from __future__ import annotations

import asyncio
import functools
import json
import random
import re
import stat
import string
from pathlib import Path

import httpx
import pytest

from helpers.graph import Change, Graph
from helpers.tenant import user_writer
from helpers.tenant.user_writer import IdMap, Pace, temporary_password
from helpers.tenant.users import Users
from jitkit.errors import GraphRefused, PermissionMissing, SettingsError, WriteNotConfirmed
from jitkit.rehearsal import accounts, switches
from tenant.support import (
    PEOPLE,
    Between,
    Forward,
    Interfere,
    Kit,
    everybody,
    journal_of,
    made_by_hand,
    moves_once_listed,
    narrow,
    person,
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

    moves_once_listed(ready, between, moves)
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


def _replace_content(request: httpx.Request, content: object) -> None:
    raw = json.dumps(content).encode()
    request.stream = httpx.ByteStream(raw)
    del request._content
    request.headers["Content-Length"] = str(len(raw))


async def test_throttled_requests_are_sent_again_and_nobody_is_doubled(ready: Kit, between: Between) -> None:
    throttled = 0

    async def throttle(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal throttled
        if not request.url.path.endswith("/$batch") or throttled >= 2:
            return None
        throttled += 1
        content = json.loads(request.content)
        kept, held = content["requests"][:5], content["requests"][5:]
        _replace_content(request, {"requests": kept})
        answer = await forward()
        body = json.loads(await answer.aread())
        error = {"error": {"code": "TooManyRequests", "message": "Too many requests."}}
        late = [{"id": each["id"], "status": 429, "headers": {"Retry-After": "0"}, "body": error} for each in held]
        return httpx.Response(200, json={"responses": late + body["responses"]}, request=request)

    between.interfere = throttle
    applied = await ready.users.apply(await ready.users.plan(users=PEOPLE[:60]))
    assert (throttled, applied.created, applied.there) == (2, 60, 0)
    assert len(await everybody(ready)) == 60


def is_batch(request: httpx.Request) -> bool:
    return request.url.path.endswith("/$batch")


def creates(request: httpx.Request) -> bool:
    return is_batch(request) and json.loads(request.content)["requests"][0]["method"] == "POST"


def losing_the_first_answer() -> Interfere:
    """Let the first batch that creates users be carried out, and answer 504 in place of what it said."""
    lost = False

    async def lose(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal lost
        if lost or not creates(request):
            return None
        lost = True
        await forward()
        return httpx.Response(504, json={}, request=request)

    return lose


LOST = {
    "504": 504,
    "503": 503,
    "502": 502,
    "500": 500,
    "terminated": httpx.RemoteProtocolError("<ConnectionTerminated error_code:0, last_stream_id:19>"),
    "reset": httpx.ReadError("[Errno 104] Connection reset by peer"),
    "late": httpx.ReadTimeout(""),
}


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_a_batch_whose_answer_is_lost_leaves_nobody_out_of_the_journal(
    lost: int | httpx.TransportError, carried_out: bool, ready: Kit, between: Between, waits: list[float]
) -> None:
    """H10, and case 9 of the public ones: the second batch's answer is lost, carried out or not."""
    batches = 0

    async def lose(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal batches
        batches += creates(request)
        if not creates(request) or batches != 2:
            return None
        if carried_out:
            await forward()
        if isinstance(lost, int):
            return httpx.Response(lost, json={"error": {"code": "UnknownError"}}, request=request)
        raise lost

    between.interfere = lose
    applied = await ready.users.apply(await ready.users.plan(users=PEOPLE[:60]))
    assert (applied.status, applied.created, applied.there, applied.refused) == ("done", 60, 0, ())
    there = {each["id"] for each in await everybody(ready)}
    assert (len(there), journal_of(ready).read()) == (60, dict.fromkeys(there, "created"))
    assert (await ready.users.remove(confirm=60)).status == "removed"
    assert await everybody(ready) == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_request_inside_a_batch_whose_outcome_is_unknown_is_looked_up(
    status: int, carried_out: bool, ready: Kit, between: Between, waits: list[float]
) -> None:
    """H10: the same inside a batch, for five of its twenty requests."""
    done = False

    async def lose(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal done
        if done or not creates(request):
            return None
        done = True
        sent = json.loads(request.content)["requests"]
        if not carried_out:
            _replace_content(request, {"requests": sent[5:]})
        answers = json.loads(await (await forward()).aread())["responses"]
        lost = [{"id": each["id"], "status": status, "body": {"error": {"code": "x"}}} for each in sent[:5]]
        kept = [each for each in answers if each["id"] not in {each["id"] for each in lost}]
        return httpx.Response(200, json={"responses": [*kept, *lost]}, request=request)

    between.interfere = lose
    applied = await ready.users.apply(await ready.users.plan(users=PEOPLE[:20]))
    assert (applied.created, applied.there, applied.refused) == (20, 0, ())
    there = {each["id"] for each in await everybody(ready)}
    assert (len(there), set(journal_of(ready).read())) == (20, there)


async def test_who_is_created_by_others_meanwhile_is_not_taken_for_the_kits(
    ready: Kit, between: Between, waits: list[float]
) -> None:
    plan = await ready.users.plan(users=PEOPLE[:3])
    theirs = await made_by_hand(ready, "person1@shop.example")
    between.interfere = losing_the_first_answer()
    applied = await ready.users.apply(plan)
    assert (applied.created, applied.there) == (2, 1)
    assert theirs not in journal_of(ready).read()


async def test_a_tenant_that_does_not_show_yet_what_it_made_is_asked_again(
    ready: Kit, between: Between, waits: list[float]
) -> None:
    switches.write(ready.tenant.directory, "replication_delay", 10.0)
    between.interfere = losing_the_first_answer()
    applied = await ready.users.apply(await ready.users.plan(users=PEOPLE[:20]))
    assert (applied.created, applied.there) == (20, 0)
    ready.tenant.directory.clock.forward(60)
    assert set(journal_of(ready).read()) == {each["id"] for each in await everybody(ready)}


async def test_a_service_that_stays_away_ends_the_run_and_the_next_one_finds_who_was_created(
    ready: Kit, between: Between, waits: list[float]
) -> None:
    """H10: the answers are lost for longer than the write window; nobody is lost from the journal all the same."""

    async def lose(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        if not is_batch(request):
            return None
        if creates(request):
            await forward()
        return httpx.Response(504, json={}, request=request)

    plan = await ready.users.plan(users=PEOPLE[:20])
    between.interfere = lose
    with pytest.raises(GraphRefused, match="Wait a few minutes"):
        await ready.users.apply(plan)
    assert sum(waits) > 150
    assert journal_of(ready).read() == {}
    between.interfere = None
    assert (await ready.users.apply(plan)).there == 20
    assert set(journal_of(ready).read()) == {each["id"] for each in await everybody(ready)}


async def test_a_reset_in_a_read_is_no_end(ready: Kit, between: Between, waits: list[float]) -> None:
    """Case 9 of the public ones: the connection is reset once, while users are counted."""
    await ready.users.apply(await ready.users.plan(users=PEOPLE[:4]))
    resets = [httpx.ReadError("[Errno 104] Connection reset by peer"), httpx.RemoteProtocolError("GOAWAY")]

    async def reset(request: httpx.Request, _: Forward) -> httpx.Response | None:
        if resets and request.url.path.endswith("/$count"):
            raise resets.pop()
        return None

    between.interfere = reset
    assert (await ready.users.counts()).to_migrate == 4
    assert resets == []


class PowerCut(BaseException):
    """What a process that is ended is to the code: from then on, it neither sends nor writes anything."""


class Socket:
    """Cuts the power at a random moment, in the tenant's time: before a request, after it, or before a journal line."""

    def __init__(self, dice: random.Random, between: Between, patch: pytest.MonkeyPatch) -> None:
        self._dice, self._left, self._off = dice, 0, False
        between.interfere = self._send
        really = user_writer.append_private

        def append(path: Path, lines: list[str]) -> None:
            self._tick()
            if self._off:
                raise PowerCut
            really(path, lines)

        patch.setattr(user_writer, "append_private", append)

    def on(self, most: int = 0) -> None:
        """Switch the power on; it lasts for a random number of steps, or for ever."""
        self._off, self._left = False, self._dice.randint(1, most) if most else -1

    def _tick(self) -> None:
        self._left -= 1
        self._off = self._off or self._left == 0

    async def _send(self, request: httpx.Request, forward: Forward) -> httpx.Response | None:
        if self._off:
            raise PowerCut
        if not is_batch(request):
            return None
        self._tick()
        if self._off and self._dice.random() < 0.5:
            raise PowerCut
        answer = await forward()
        if self._off:
            raise PowerCut
        if self._dice.random() < 0.02:
            return httpx.Response(self._dice.choice((502, 503, 504)), json={}, request=request)
        return answer


@pytest.mark.parametrize(
    ("people", "stops"), [(1_000, 20), pytest.param(50_000, 20, marks=pytest.mark.slow)], ids=["1,000", "50,000"]
)
async def test_an_import_that_is_stopped_anywhere_goes_on_with_nobody_doubled_lost_or_unrecorded(
    people: int, stops: int, ready: Kit, between: Between, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty stops at random moments, lost answers in between; in the end counts, journal and tenant agree."""
    monkeypatch.setattr(
        accounts, "hash_password", functools.partial(accounts.hash_password, invented=True)
    )  # scrypt for 50,000 people takes minutes
    everyone = [person(f"person{number}@shop.example", old_id=f"no-{number}") for number in range(people)]
    socket = Socket(random.Random(20), between, monkeypatch)
    for _ in range(stops):
        socket.on(people // 10 // stops)
        with pytest.raises(PowerCut):
            await ready.users.apply(await ready.users.plan(users=everyone))
    socket.on()
    await ready.users.apply(await ready.users.plan(users=everyone))
    rows = await everybody(ready)
    there = {each["id"]: each["mail"] for each in rows}
    assert len(rows) == len(set(there.values())) == people
    assert journal_of(ready).read() == dict.fromkeys(there, "created")
    assert (await ready.users.counts()).to_migrate == people
    await ready.users.apply(await ready.users.plan(users=everyone))
    ids = IdMap(ready.folder / "rehearsal" / "user-ids.csv").read()
    assert {there[user_id]: old for old, user_id in ids.items()} == {each.username: each.old_id for each in everyone}


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
