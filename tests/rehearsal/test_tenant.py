"""The tenant as a file: opened by several, stale, broken, out of reach."""

from __future__ import annotations

import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from jitkit.errors import KitError
from jitkit.rehearsal.tenant import RehearsalTenant


def test_several_who_open_a_new_file_share_one_tenant(tmp_path: Path) -> None:
    def open_and_look(_: int) -> tuple[str, str, int]:
        tenant = RehearsalTenant.open(tmp_path / "new" / "rehearsal.sqlite3")
        try:
            return tenant.tenant_id, tenant.domain, len(tenant.directory.all("application"))
        finally:
            tenant.close()

    with ThreadPoolExecutor(4) as pool:
        seen = set(pool.map(open_and_look, range(4)))
    assert len(seen) == 1
    assert next(iter(seen))[2] == 1


@pytest.mark.parametrize("what", ["not a database", "another version", "a folder"])
def test_a_file_that_is_no_tenant_is_left_alone_and_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / "rehearsal.sqlite3"
    if what == "a folder":
        path.mkdir()
    elif what == "another version":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE users (id TEXT)")
    else:
        path.write_bytes(b"no database, for sure" * 100)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(KitError) as refused:
        RehearsalTenant.open(path)
    assert str(path) in str(refused.value)
    assert "makes a new one" in refused.value.next_step
    assert before is None or path.read_bytes() == before


async def test_a_file_that_breaks_later_is_named_without_what_is_in_it(tenant: RehearsalTenant) -> None:
    key = tenant.directory.meta("signing_keys") or ""
    tenant.directory.rows("UPDATE meta SET value = CAST(x'ff' || value AS TEXT) WHERE name = 'signing_keys'")
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        with pytest.raises(KitError) as refused:
            await client.get(f"https://{tenant.subdomain}.ciamlogin.com/{tenant.tenant_id}/discovery/v2.0/keys")
    assert str(tenant.path) in str(refused.value)
    assert "makes a new one" in refused.value.next_step
    shown = "".join(traceback.format_exception(refused.value))
    assert key and key[20:60] not in shown


async def test_a_file_that_somebody_holds_is_explained(tenant: RehearsalTenant) -> None:
    tenant.directory.rows("PRAGMA busy_timeout = 50")
    token = (await tenant.credential().get_token("x")).token
    with sqlite3.connect(tenant.path) as other:
        other.execute("BEGIN IMMEDIATE")
        async with httpx.AsyncClient(transport=tenant.transport()) as client:
            with pytest.raises(KitError, match="in use") as refused:
                await client.post(
                    "https://graph.microsoft.com/v1.0/applications",
                    json={"displayName": "x"},
                    headers={"Authorization": f"Bearer {token}"},
                )
    assert "Restart the kernels" in refused.value.next_step


def test_a_host_leads_to_one_place_until_it_is_taken_back(tenant: RehearsalTenant) -> None:
    tenant.publish("JIT.example", "http://127.0.0.1:7071/")
    assert tenant.directory.publications()["jit.example"] == "http://127.0.0.1:7071"
    tenant.publish("jit.example", "http://127.0.0.1:7072")
    assert tenant.directory.publications()["jit.example"] == "http://127.0.0.1:7072"
    tenant.directory.publish("jit.example", None)
    assert tenant.directory.publications() == {}
