"""`s.check()`: it finds each of the ten commonest mistakes, two at once, and nothing where nothing is wrong."""

from __future__ import annotations

import inspect
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sessions import DENIED, NO_LICENCE, Opening, answering

from helpers.checks import Checked
from helpers.kit import Session
from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS, wrong_now
from jitkit.rehearsal.tenant import RehearsalTenant

ADA = "ada@woodgrove.example"
BEN = "ben@woodgrove.example"

# Mistake -> what the check names, and a word of how it names it. Where the tenant alone cannot tell, a user signs in.
NAMED = {
    "consent-missing": ("consent to receive payloads", "Receive.Payload"),
    "host-moved": ("the tenant's validation of it", "DomainNameDoesNotMatch"),
    "principal-disabled": ("service principal of the extension's app", "disabled"),
    "gateway-in-front": ("the endpoint at its public address", "401"),
    "key-mismatch": ("encryption key", "private half is not on this machine"),
    "too-slow": ("the endpoint at its public address", "Entra waits 2,000 ms"),
    "app-not-included": ("listener: which apps", "does not include the test client"),
    "flag-misspelt": ("listener: which flag", "the flag is extension_"),
    "flag-not-set": ("people of the export without the flag", "in the tenant without it"),
    "change-forced": ("users who must change their password", "forceChangePasswordNextSignIn"),
}


def words_of(checked: Checked, what: str) -> str:
    return " ".join(f"{each.found} {each.fix}" for each in checked.faults if each.what == what)


async def healthy(opening: Opening, home: Path) -> Session:
    s = await opening(home)
    await s.endpoint.ensure()
    assert (await s.sign_in(BEN)).migrated
    return s


def test_every_mistake_has_its_row() -> None:
    assert list(NAMED) == [each.name for each in MISCONFIGURATIONS]
    assert [each.case for each in MISCONFIGURATIONS] == list(range(1, 11))


def test_every_finding_has_its_words_and_is_made() -> None:
    source = Path(inspect.getfile(Checked)).read_text(encoding="utf-8")
    named = tomllib.loads(Path(inspect.getfile(Checked)).with_name("findings.toml").read_text(encoding="utf-8"))
    assert set(re.findall(r'(?:_finding\(|_error\(\w+, )"([a-z-]+)"', source)) == set(named)


async def test_a_healthy_tenant_has_no_fault_and_nothing_is_written(home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    checked = await s.check()
    assert checked.faults == ()
    assert {row[1] for row in checked.rows} == {"yes"}
    assert "no faults" in checked.caption
    writes = [each for each in checked.sent if each.method != "GET" and "/validate" not in each.url]
    assert writes == []


async def test_of_a_very_large_tenant_the_first_users_are_read_and_it_says_so(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    strangers = [
        {
            "accountEnabled": True,
            "displayName": "Stranger",
            "identities": [
                {"signInType": "emailAddress", "issuer": s.tenant.domain, "issuerAssignedId": f"{n}@x.test"}
            ],
            "passwordProfile": {"password": "Juniper-Ladder-27", "forceChangePasswordNextSignIn": False},
        }
        for n in range(4)
    ]
    for each in strangers:
        await s.world.graph.send("POST", "/users", body=each)
    monkeypatch.setattr("helpers.checks._USERS_READ", 3)
    checked = await s.check()
    found = {row[0]: (row[1], row[2]) for row in checked.rows}
    assert found["people of the export without the flag"][0] == "not known"
    assert found["users who must change their password"] == ("yes", "none of 3 flagged users who were read")
    # Nobody's list is read without a condition.
    lists = [each.url for each in checked.sent if "/users?" in each.url]
    assert lists and all("filter" in each for each in lists)


async def test_each_mistake_is_named_with_its_fix_and_is_gone_when_it_is_undone(home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    for name, (what, words) in NAMED.items():
        s.rehearsal.misconfigure(name)
        checked = await s.check()
        assert words in words_of(checked, what), (name, checked.faults)
        assert all(each.fix for each in checked.faults), name
        s.rehearsal.undo(name)
        assert (await s.check()).faults == (), name


async def test_two_mistakes_at_once_are_both_named(home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    s.rehearsal.misconfigure("consent-missing")
    s.rehearsal.misconfigure("flag-misspelt")
    checked = await s.check()
    for name in ("consent-missing", "flag-misspelt"):
        what, words = NAMED[name]
        assert words in words_of(checked, what)
    s.rehearsal.undo()
    assert (await s.check()).faults == ()


async def test_a_mistake_is_found_without_the_tenants_note_of_it(home: Path, opening: Opening) -> None:
    """What the drill keeps to take a mistake back is thrown away before the check looks."""
    s = await healthy(opening, home)
    s.rehearsal.misconfigure("principal-disabled")
    tenant = RehearsalTenant.open(home / "rehearsal.sqlite3")
    assert wrong_now(tenant.directory) == ["principal-disabled"]
    tenant.directory.set_meta("edits", "{}")
    tenant.close()
    assert NAMED["principal-disabled"][1] in words_of(await s.check(), NAMED["principal-disabled"][0])


async def test_the_log_and_the_ledger_tell_two_refusals_apart(home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    calls = "calls since the last one that worked"
    with s.rehearsal.misconfigure("gateway-in-front"):
        assert (await s.sign_in(ADA)).callout_error == 1003002
        assert "something in front of it answered" in words_of(await s.check(), calls)
    with s.rehearsal.misconfigure("key-mismatch"):
        assert (await s.sign_in(ADA)).callout_error == 1003002
        assert "ledger says unknown_key" in words_of(await s.check(), calls)
    assert "sign a user in" in words_of(await s.check(), calls)
    assert (await s.sign_in(ADA)).migrated
    assert (await s.check()).faults == ()


async def test_what_may_not_be_read_is_not_called_wrong(home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    with s.rehearsal.fault("permission-missing"):
        checked = await s.check()
    assert checked.faults == ()
    assert "not known" in {row[1] for row in checked.rows}
    assert "yes" not in {row[1] for row in checked.rows}


async def test_a_profile_that_the_tenant_does_not_show_is_not_called_in_order(home: Path, opening: Opening) -> None:
    """M11: passwordProfile may read null, and "none must change it" was false comfort."""
    s = await healthy(opening, home)
    forced = "users who must change their password"

    def hidden(body: Any) -> Any:
        for row in body["value"]:
            row["passwordProfile"] = None
        return body

    between = answering(s)
    between.changed["GET .*passwordProfile"] = hidden
    checked = await s.check()
    [row] = [row for row in checked.rows if row[0] == forced]
    assert row[1] == "not known" and "cannot be told" in str(row[2])
    assert checked.faults == ()

    def mixed(body: Any) -> Any:
        first, second = body["value"][:2]
        first["passwordProfile"] = {"forceChangePasswordNextSignIn": True}
        second["passwordProfile"] = None
        return body

    between.changed["GET .*passwordProfile"] = mixed
    rows = {row[1]: row for row in (await s.check()).rows if row[0] == forced}
    assert rows.keys() == {"no", "not known"}
    assert "User-PasswordProfile.ReadWrite.All" in str(rows["no"][3])


async def test_the_room_for_directory_objects_is_checked(home: Path, opening: Opening) -> None:
    """M1: a tenant that is full answers 403, as a missing role does."""
    s = await healthy(opening, home)
    row = "room for directory objects"
    [found] = [each for each in (await s.check()).rows if each[0] == row]
    assert found[1] == "yes" and "300,000" in str(found[2])
    between, quota = answering(s), {"used": 50_000, "total": 50_000}

    def size(body: Any) -> Any:
        return body | {"value": [each | {"directorySizeQuota": quota} for each in body["value"]]}

    between.changed["GET .*directorySizeQuota"] = size
    assert "50,000 of 50,000" in words_of(await s.check(), row)
    quota.clear()
    [found] = [each for each in (await s.check()).rows if each[0] == row]
    assert found[1] == "not known"


async def test_the_check_goes_on_without_the_sign_in_log(home: Path, opening: Opening) -> None:
    """B3: the licence is named, and everything else is still checked."""
    s = await healthy(opening, home)
    answering(s).refused["GET .*signIns"] = NO_LICENCE
    checked = await s.check()
    assert checked.faults == ()
    [row] = [row for row in checked.rows if row[1] != "yes"]
    assert row[0] == "calls since the last one that worked"
    assert "no licence" in str(row[2]) and "P1 or P2" in str(row[3])


async def test_an_endpoint_that_does_not_run_is_a_fault(home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    await s.endpoint.stop()
    checked = await s.check()
    assert [each.what for each in checked.faults] == ["the endpoint at its public address"]
    assert "s.endpoint.ensure()" in checked.faults[0].fix


async def test_a_changed_path_is_restored_and_what_does_not_answer_is_said_in_one_sentence(
    home: Path, opening: Opening
) -> None:
    s = await healthy(opening, home)
    extension = (await s.policies.extension.show()).extension_id
    address = s.profile.target_url.replace("/api/", "/old/")
    kind = "#microsoft.graph.onPasswordSubmitCustomExtension"
    endpoint = {"@odata.type": "#microsoft.graph.httpRequestEndpoint", "targetUrl": address}
    body = {"@odata.type": kind, "endpointConfiguration": endpoint}
    await s.world.graph.send("PATCH", f"/identity/customAuthenticationExtensions/{extension}", body=body)
    words = words_of(await s.check(), "custom authentication extension")
    assert address in words and "Run notebook 03 again" in words
    words = words_of(await s.check(), "the endpoint at its public address")
    assert "answers 404 to a GET" in words and f"at another path: {s.profile.target_url}" in words
    await s.policies.extension.ensure()
    s.world.rehearsal_tenant.directory.publish(s.profile.endpoint_host, None)  # type: ignore[attr-defined]
    words = words_of(await s.check(), "the endpoint at its public address")
    assert "leads nowhere" in words and ".." not in words


async def test_an_endpoint_that_takes_only_post_is_neither_in_order_nor_a_fault(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await healthy(opening, home)

    async def reach(url: str, method: str = "GET") -> httpx.Response:
        answer = httpx.Response(404, request=httpx.Request(method, url))
        answer.elapsed = timedelta(milliseconds=20)
        return answer

    monkeypatch.setattr(s.world, "reach", reach)
    checked = await s.check()
    [row] = [row for row in checked.rows if row[0] == "the endpoint at its public address"]
    assert row[1] == "not known" and "takes only POST" in str(row[2]) and checked.faults == ()


@pytest.mark.parametrize("fault", ["endpoint-silent", "endpoint-unreachable", "service-throttled"])
async def test_an_endpoint_out_of_reach_is_a_row_and_no_error(fault: str, home: Path, opening: Opening) -> None:
    s = await healthy(opening, home)
    with s.rehearsal.fault(fault):
        checked = await s.check()
    assert "does not answer" in words_of(checked, "the endpoint at its public address")


async def test_without_email_otp_an_asked_for_new_password_is_a_dead_end_and_named(
    home: Path, opening: Opening
) -> None:
    s = await healthy(opening, home)
    row = "a way out for weak passwords: Email OTP"
    path = "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email"

    async def said() -> tuple[str, str]:
        [found] = [each for each in (await s.check()).rows if each[0] == row]
        return str(found[1]), f"{found[2]} {found[3]}"

    assert (await said())[0] == "yes"
    body = {"@odata.type": "#microsoft.graph.emailAuthenticationMethodConfiguration", "state": "disabled"}
    await s.world.graph.send("PATCH", path, body=body)
    verdict, words = await said()
    assert verdict == "no" and "UpdatePassword" in words and "Authentication Policy Administrator" in words
    await s.world.graph.send("PATCH", path, body=body | {"state": "enabled"})
    between = answering(s)

    def groups_only(shown: Any) -> Any:
        return shown | {"includeTargets": [{"targetType": "group", "id": "3f6f1a52-0b5a-4f0d-9c3c-1d6f2a0a7b11"}]}

    between.changed[path] = groups_only
    assert (await said())[0] == "not known"
    between.refused[path] = DENIED
    verdict, words = await said()
    assert verdict == "not known" and "Policy.Read.All" in words
