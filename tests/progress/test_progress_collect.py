"""A tenant is read once, gone on with, and never twice: whatever interrupts it, nothing is lost and nothing doubled."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from jitkit.errors import BadTable, NotReady
from jitkit.files import make_private
from jitkit.progress import collect as collecting
from jitkit.progress.assemble import from_archive
from jitkit.progress.collect import Archive, collect
from jitkit.progress.figures import quality
from jitkit.progress.states import states
from jitkit.progress.tables import Tables

FLAG = "extension_0123456789abcdef0123456789abcdef_toBeMigrated"
NOW = pd.Timestamp("2026-11-10T12:00:00Z")
DAY = pd.Timedelta(days=1)


def refused(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://graph.microsoft.com/")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


class Interrupted(BaseException):
    """Somebody stopped the cell."""


class Tenant:
    """Serves users, sign-ins and audits two a page, the newest row first, and forgets rows after seven days."""

    def __init__(self) -> None:
        self.users: dict[str, bool | None] = {}
        self.log: list[tuple[pd.Timestamp, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.now = NOW
        self.before: Callable[[str], None] = lambda link: None

    def flag(self, name: str, value: bool | None) -> None:
        self.users[name] = value

    def remove(self, name: str) -> None:
        del self.users[name]

    def row(self, name: str) -> dict[str, Any]:
        made = {"id": name, "createdDateTime": "2026-11-01T08:00:00Z"}
        return made if self.users[name] is None else made | {FLAG: self.users[name]}

    def sign_in(self, name: str, at: pd.Timestamp, code: int = 0) -> None:
        time = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        row = {"id": f"{name} {time}", "createdDateTime": time, "userId": name, "correlationId": f"c {name} {time}"}
        self.log.insert(0, (at, row | {"status": {"errorCode": code}, "userPrincipalName": "secret@example.com"}))

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, version: str = "v1.0"
    ) -> Any:
        self.asked.append(path)
        self.before(path)
        link, _, skip = path.partition("#")
        if link.startswith("/users"):
            assert link == f"/users?$top=999&$select=id,createdDateTime,{FLAG}"
            return self._page([self.row(name) for name in self.users], link, int(skip or 0))
        if "directoryAudits" in link:
            return {"value": []}
        assert (version, headers) == ("beta", {"Prefer": "include-unknown-enum-members"})
        since = pd.Timestamp(link.partition(" ge ")[2]) if " ge " in link else NOW - 400 * DAY
        kept = [row for at, row in self.log if at >= max(since, self.now - 7 * DAY)]
        return self._page(kept, link, int(skip or 0))

    def _page(self, rows: list[dict[str, Any]], link: str, skip: int) -> dict[str, Any]:
        more = {"@odata.nextLink": f"{link}#{skip + 2}"} if len(rows) > skip + 2 else {}
        return {"value": rows[skip : skip + 2]} | more


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(collecting, "_AT_ONCE", 2)
    return Archive(tmp_path / "history")


@pytest.fixture
def tenant() -> Tenant:
    made = Tenant()
    for name in ("ann", "bob", "cem", "dora"):
        made.flag(name, True)
    made.flag("outsider", None)
    return made


async def collected(tenant: Tenant, archive: Archive) -> Tables:
    await collect(tenant.send, FLAG, archive, tenant.now)
    return from_archive(archive, tenant.now)


def kept_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def findings(tables: Tables) -> dict[str, int]:
    found = quality(tables)
    return dict(zip(found["finding"], found["rows"], strict=True))


async def test_a_log_that_is_forbidden_is_noted_and_the_others_are_read(tenant: Tenant, archive: Archive) -> None:
    """B3: users and audits were not kept, and nothing was computed."""

    def forbid(link: str) -> None:
        if "signIns" in link:
            raise refused(403)

    tenant.flag("bob", False)
    tenant.before = forbid
    tables = await collected(tenant, archive)
    assert tables.unread.keys() == {"sign_ins"} and tables.blind
    assert states(tables).to_dict() == dict.fromkeys(("ann", "cem", "dora"), "flagged") | {"bob": "not_covered"}
    assert findings(tables)["log that was not read"] == 1
    # What was kept before is not lost, and still does not say that nobody came since.
    tenant.before = lambda link: None
    tenant.sign_in("ann", NOW - DAY, code=50126)
    assert states(await collected(tenant, archive))["ann"] == "attempted"
    tenant.before = forbid
    later = await collected(tenant, archive)
    assert len(later.sign_ins) == 1
    assert states(later).to_dict() == {"ann": "attempted", "bob": "not_covered", "cem": "flagged", "dora": "flagged"}


@pytest.mark.parametrize("status", [401, 500])
async def test_another_failure_of_a_log_stops_the_collection(status: int, tenant: Tenant, archive: Archive) -> None:
    def fail(link: str) -> None:
        if "signIns" in link:
            raise refused(status)

    tenant.before = fail
    with pytest.raises(httpx.HTTPStatusError):
        await collected(tenant, archive)


async def test_both_kinds_of_a_persons_sign_ins_are_asked_for(tenant: Tenant, archive: Archive) -> None:
    """M10: beta lists interactive ones only; native authentication may be missing from every rate."""
    tenant.sign_in("ann", NOW - DAY)
    tenant.sign_in("ann", NOW - DAY / 2)
    tenant.sign_in("bob", NOW - DAY / 3)
    refresh, native = tenant.log[1][1], tenant.log[0][1]
    refresh |= {"isInteractive": False, "authenticationProtocol": "oAuth2"}
    native |= {"isInteractive": False, "authenticationProtocol": "nativeAuth"}
    tables = await collected(tenant, archive)
    [asked] = [link for link in tenant.asked if "signIns" in link and "#" not in link]
    assert "t eq 'interactiveUser' or t eq 'nonInteractiveUser'" in asked
    # A token that was refreshed is no sign-in of a person.
    assert list(tables.sign_ins["user_id"]) == ["ann", "bob"]


async def test_a_tenant_is_read_page_by_page(tenant: Tenant, archive: Archive) -> None:
    for hour in range(5):
        tenant.sign_in("ann", NOW - pd.Timedelta(hours=hour + 1), code=50126)
    tables = await collected(tenant, archive)
    assert list(tables.users["user_id"]) == ["ann", "bob", "cem", "dora"]
    assert len(tables.sign_ins) == 5
    assert states(tables).to_dict() == {
        "ann": "attempted",
        "bob": "flagged",  # before the first day that the service still had
        "cem": "flagged",  # before the first day that the service still had
        "dora": "flagged",  # before the first day that the service still had
    }


async def test_the_second_time_only_what_is_new_is_read_and_nothing_doubles(tenant: Tenant, archive: Archive) -> None:
    tenant.sign_in("ann", NOW - 3 * DAY)
    tenant.sign_in("bob", NOW - pd.Timedelta(hours=1))
    await collected(tenant, archive)
    tenant.now = NOW + DAY
    tenant.flag("bob", False)
    tenant.sign_in("cem", NOW + pd.Timedelta(hours=1))
    tenant.asked.clear()
    tables = await collected(tenant, archive)
    assert len(tables.sign_ins) == 3
    assert tables.users.set_index("user_id")["migrated_at"].notna().to_dict()["bob"]
    logs = [link for link in tenant.asked if "signIns" in link]
    both = "signInEventTypes/any(t: t eq 'interactiveUser' or t eq 'nonInteractiveUser')"
    assert logs == [f"/auditLogs/signIns?$top=999&$filter={both} and createdDateTime ge 2026-11-09T12:00:00Z"]


async def test_a_row_that_comes_late_is_still_found(tenant: Tenant, archive: Archive) -> None:
    await collected(tenant, archive)
    tenant.sign_in("ann", NOW - pd.Timedelta(hours=5))
    tenant.now = NOW + pd.Timedelta(hours=1)
    assert len((await collected(tenant, archive)).sign_ins) == 1


@pytest.mark.parametrize("at", range(1, 8))
async def test_an_interrupted_reading_goes_on_where_it_stopped(tenant: Tenant, archive: Archive, at: int) -> None:
    for hour in range(5):
        tenant.sign_in("ann", NOW - pd.Timedelta(hours=hour + 1), code=50126)

    def stop(link: str) -> None:
        if len(tenant.asked) == at:
            raise Interrupted

    tenant.before = stop
    with pytest.raises(Interrupted):
        await collected(tenant, archive)
    stopped_at = tenant.asked[-1]
    tenant.asked.clear()
    tenant.before = lambda link: None
    tables = await collected(tenant, archive)
    if "#" in stopped_at:
        assert stopped_at in tenant.asked
        assert tenant.asked.count(stopped_at.partition("#")[0]) <= 1
    assert list(tables.users["user_id"]) == ["ann", "bob", "cem", "dora"]
    assert len(tables.sign_ins) == 5


@pytest.mark.parametrize("logged", ["signIns", "users"])
async def test_a_reading_that_was_throttled_for_too_long_goes_on_at_that_page(
    tenant: Tenant, archive: Archive, monkeypatch: pytest.MonkeyPatch, logged: str
) -> None:
    monkeypatch.setattr(collecting, "_AT_ONCE", 20_000)
    for hour in range(5):
        tenant.sign_in("ann", NOW - pd.Timedelta(hours=hour + 1), code=50126)

    def throttle(link: str) -> None:
        if logged in link and link.endswith("#4"):
            raise refused(429)

    tenant.before = throttle
    with pytest.raises(httpx.HTTPStatusError):
        await collected(tenant, archive)
    tenant.asked.clear()
    tenant.before = lambda link: None
    tables = await collected(tenant, archive)
    assert next(link for link in tenant.asked if logged in link).endswith("#4")
    assert list(tables.users["user_id"]) == ["ann", "bob", "cem", "dora"]
    assert len(tables.sign_ins) == 5


@pytest.mark.parametrize("listed", ["signIns", "users"])
async def test_a_link_that_is_too_old_means_to_read_all_again(tenant: Tenant, archive: Archive, listed: str) -> None:
    for hour in range(5):
        tenant.sign_in("ann", NOW - pd.Timedelta(hours=hour + 1), code=50126)

    def stop(link: str) -> None:
        if listed in link and link.endswith("#4"):
            raise Interrupted

    tenant.before = stop
    with pytest.raises(Interrupted):
        await collected(tenant, archive)
    old: list[str] = []

    def too_old(link: str) -> None:
        if listed in link and link.endswith("#4") and not old:
            old.append(link)
            raise refused(410)

    tenant.before = too_old
    tenant.remove("bob")
    tenant.now = NOW + pd.Timedelta(hours=1)
    tables = await collected(tenant, archive)
    assert old
    assert list(tables.users["user_id"]) == ["ann", "cem", "dora"]
    assert len(tables.sign_ins) == 5
    assert findings(tables)["users who were in scope and vanished from the tenant"] == 1


async def test_another_refusal_is_raised(tenant: Tenant, archive: Archive) -> None:
    def no(link: str) -> None:
        raise refused(403)

    tenant.before = no
    with pytest.raises(httpx.HTTPStatusError):
        await collected(tenant, archive)


async def test_users_that_vanish_are_out_of_scope_and_come_back_when_they_do(tenant: Tenant, archive: Archive) -> None:
    await collected(tenant, archive)
    tenant.remove("bob")
    tenant.now = NOW + DAY
    tables = await collected(tenant, archive)
    assert list(tables.users["user_id"]) == ["ann", "cem", "dora"]
    assert findings(tables)["users who were in scope and vanished from the tenant"] == 1
    tenant.now = NOW + 2 * DAY
    tenant.flag("bob", True)
    assert len((await collected(tenant, archive)).users) == 4


async def test_a_flag_that_flips_back_counts_as_remaining_and_is_named(tenant: Tenant, archive: Archive) -> None:
    for day, value in enumerate((True, False, False, True)):
        tenant.now = NOW + day * DAY
        tenant.flag("ann", value)
        tables = await collected(tenant, archive)
    assert tables.users["migrated_at"].isna().all()
    assert findings(tables)["users who were moved and are flagged again"] == 1


async def test_when_somebody_moved_is_when_that_was_first_seen_not_last(tenant: Tenant, archive: Archive) -> None:
    await collected(tenant, archive)
    tenant.flag("ann", False)
    for day in (1, 2, 3):
        tenant.now = NOW + day * DAY
        tables = await collected(tenant, archive)
    assert tables.users["migrated_at"][0] == NOW + DAY


async def test_an_old_success_does_not_date_a_later_migration(tenant: Tenant, archive: Archive) -> None:
    tenant.sign_in("ann", NOW - DAY)
    await collected(tenant, archive)
    tenant.now = NOW + DAY
    tenant.sign_in("ann", NOW + pd.Timedelta(hours=3))
    tenant.flag("ann", False)
    assert (await collected(tenant, archive)).users["migrated_at"][0] == NOW + pd.Timedelta(hours=3)


async def test_days_that_nobody_collected_are_named(tenant: Tenant, archive: Archive) -> None:
    tables = await collected(tenant, archive)
    assert findings(tables)["days of which the sign-in log was not collected"] == 3  # 1, 2 and half of 3 November
    assert archive.missing_days("sign_ins", NOW - 6 * DAY, NOW) == []
    tenant.now = NOW + 6 * DAY
    await collected(tenant, archive)
    assert archive.missing_days("sign_ins", NOW - 6 * DAY, tenant.now) == []
    tenant.now = NOW + 15 * DAY
    tables = await collected(tenant, archive)
    assert archive.missing_days("sign_ins", NOW, tenant.now) == ["2026-11-16", "2026-11-17", "2026-11-18"]
    assert findings(tables)["days of which the sign-in log was not collected"] == 6


async def test_what_is_kept_is_for_its_owner_and_holds_no_names(
    tenant: Tenant, archive: Archive, tmp_path: Path
) -> None:
    tenant.sign_in("ann", NOW - DAY)
    await collected(tenant, archive)
    files = kept_in(tmp_path)
    assert {path.name for path in files} == {"2026-11-09.parquet", "state.json", "users.parquet"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert not any(b"secret" in path.read_bytes() for path in files)
    assert "secret" not in archive.read("sign_ins").to_csv()


def test_a_ledger_is_kept_once_and_in_order(archive: Archive) -> None:
    times = pd.to_datetime(["2026-11-02T10:00Z", "2026-11-01T10:00Z", "2026-11-01T10:00Z"])
    rows = pd.DataFrame({"time": times, "cause": ["wrong", "right", "right"]})
    archive.append("ledger", rows)
    archive.append("ledger", rows.tail(1))
    assert list(archive.read("ledger")["cause"]) == ["right", "wrong"]


@pytest.mark.parametrize("name", ["state.json", "users.parquet"])
async def test_a_damaged_file_is_named_and_never_passed_over(
    tenant: Tenant, archive: Archive, tmp_path: Path, name: str
) -> None:
    await collected(tenant, archive)
    (tmp_path / "history" / name).write_text("{broken")
    with pytest.raises(BadTable, match=name):
        await collected(tenant, archive)


async def test_an_empty_tenant_and_a_tenant_of_one(archive: Archive) -> None:
    tenant = Tenant()
    assert (await collected(tenant, archive)).users.empty
    tenant.flag("ann", False)
    tables = await collected(tenant, archive)
    assert states(tables).to_dict() == {"ann": "unconfirmed"}


def test_in_a_notebook_the_bar_of_a_long_read_is_no_error_output() -> None:
    long_read = """
from jitkit.progress import collect
collect._LONG = 0
with collect._bar("Audits") as bar:
    bar.update(500)
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(long_read)])
    NotebookClient(notebook, timeout=60).execute()
    kinds = [output.output_type for output in notebook.cells[0].outputs]
    assert "display_data" in kinds
    assert "stream" not in kinds


def test_the_lock_of_a_history_is_one_file_for_all_who_begin_at_once(tmp_path: Path) -> None:
    with Archive(tmp_path / "history").alone():
        lock = tmp_path / "history" / "lock.sqlite3"
        before = lock.stat().st_ino
        with pytest.raises(NotReady, match="same history"), Archive(tmp_path / "history").alone():
            pass
        make_private(lock)  # what the other does who has not seen the file yet
        assert lock.stat().st_ino == before
