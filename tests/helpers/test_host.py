"""`s.host`: the commands with the reader's names, their run, the rehearsal's host, and when to go."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sessions import Opening

from helpers import host, kit, settings
from helpers.host import HAS_KEY
from helpers.kit import Session
from helpers.settings import Hosting, Profile
from helpers.worlds import LiveWorld
from jitkit.errors import KitError, NotReady, SettingsError

NAMES = {"vault": "kv-jit-tests", "app": "func-jit-tests", "resource_group": "rg-jit-tests"}
HOST = "func-jit-tests.example"
BEN = "ben@woodgrove.example"
TEMPLATE = json.loads(host._TEMPLATE.read_text(encoding="utf-8"))


@pytest.fixture
async def named(home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session with the names of notebook 09, before anything is made."""
    monkeypatch.setenv("JIT_KIT_HOME", str(home))
    kit.choose("rehearsal", hosting=NAMES, endpoint_host=HOST)
    return await opening(home)


@pytest.fixture
async def hosted(named: Session) -> Session:
    """The same with the vault, the host and the moved address."""
    await named.apps.extension.ensure()
    await named.host.grant()
    await named.vault.ensure()
    await named.host.deploy()
    await named.policies.extension.ensure()
    return named


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a program called az first in the path; it notes its arguments and does what the script says."""
    folder.mkdir(exist_ok=True)
    program = folder / "az"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{folder / "asked"}"\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "asked"


async def test_commands_have_the_readers_names_and_nothing_is_run(
    named: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a command was run")

    monkeypatch.setattr(subprocess, "run", never)
    created = await named.host.create(alert_email="a@b.example", address="203.0.113.7")
    tables = [created, await named.host.grant(), await named.host.restrict()]
    shown = "\n".join(str(command) for table in tables for _, command in table.rows)
    for name in (*NAMES.values(), named.tenant.id, (await named.attribute.show()).full_name, "a@b.example"):
        assert name in shown
    assert "{" not in shown
    assert "--email ALERT_EMAIL" in shown, "what is still to be filled in is in capitals"


async def test_the_template_knows_each_parameter_that_the_command_gives_it(named: Session) -> None:
    command = str((await named.host.create(alert_email="a@b.example", address="203.0.113.7")).rows[-1][1])
    words = shlex.split(command)
    given = dict(word.split("=", 1) for word in words[words.index("--parameters") + 1 : words.index("--query")])
    parameters = TEMPLATE["parameters"]
    assert words[words.index("--template-file") + 1] == str(host._TEMPLATE)
    assert set(given) <= set(parameters)
    assert {name for name, each in parameters.items() if "defaultValue" not in each} <= set(given)
    assert json.loads(given["administratorAddresses"]) == ["203.0.113.7"]


async def test_a_command_that_is_run_gets_what_the_one_before_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake(tmp_path / "bin", monkeypatch, "echo an-id")
    host._run([("az ad signed-in-user show", "me"), ("az role assignment create --assignee-object-id $me", "")], None)
    assert asked.read_text().splitlines()[-1] == "role assignment create --assignee-object-id an-id"


async def test_a_command_that_fails_ends_the_run_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake(tmp_path / "bin", monkeypatch, "echo not allowed >&2; exit 3")
    with pytest.raises(KitError, match="az keyvault update") as failed:
        host._run([("az keyvault update", ""), ("az keyvault show", "")], None)
    assert failed.value.service == "not allowed"
    assert len(asked.read_text().splitlines()) == 1


async def test_a_command_that_does_not_end_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "bin", monkeypatch, "exec sleep 60")
    monkeypatch.setattr(host, "_SECONDS", 0.05)
    with pytest.raises(KitError, match="This command failed: az group create") as failed:
        host._run([("az group create", "")], None)
    assert failed.value.service == "TimeoutExpired"


async def test_a_real_vault_is_reached_at_its_own_name_and_the_host_gets_no_token() -> None:
    live = LiveWorld(
        Profile(
            mode="live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com", hosting=Hosting(**NAMES)
        )
    )
    door = live.vault()
    assert door.url == door.certificates.vault_url == "https://kv-jit-tests.vault.azure.net"
    assert door.environment == {"KeyVaultUrl": door.url}
    assert live.provision("grant") == ""
    await live.close()


def test_without_the_command_line_tool_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="az is not installed"):
        host._run([("az group create", "")], None)


async def test_in_a_real_subscription_run_needs_every_name(home: Path, opening: Opening) -> None:
    s = await opening(home)
    live = LiveWorld(Profile(mode="live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com"))
    real = host.Host(s.graph, s.profile, s.folder, live, s.endpoint, s.key, s.vault)
    with pytest.raises(SettingsError, match="need alert_email"):
        await real.grant(run=True)
    shown = await real.restrict()
    assert "shown, not run" in shown.note
    await live.close()


@pytest.mark.parametrize("name", ["jit-live.woodgrove.example", "jit-endpoint.woodgrove.example"])
def test_a_real_tenant_never_gets_a_host_that_nobody_owns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="public host name"):
        kit.choose("live", tenant="contoso.onmicrosoft.com", endpoint_host=name)


@pytest.mark.parametrize(
    "hosting",
    [{"vault": "a vault; rm"}, {"app": "x y"}, {"resource_group": "$(x)"}, {"location": "--help"}, {"no": "x"}],
)
def test_a_name_that_would_be_more_than_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosting: dict[str, str]
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    with pytest.raises(SettingsError):
        kit.choose("rehearsal", hosting=hosting)


async def test_people_sign_in_at_the_new_host_and_the_package_holds_no_secret(hosted: Session) -> None:
    assert (await hosted.sign_in(BEN)).migrated
    health = await hosted.host.health()
    assert (health.facts[HAS_KEY], health.facts["Keys that it holds"]) == ("yes", "2")
    package = hosted.key._state / "functions"
    text = "".join(path.read_text(errors="replace") for path in package.rglob("*") if path.is_file())
    assert hosted.tenant.id in text and "kv-jit-tests" not in text
    assert hosted.key.private_key_path.read_text().splitlines()[1] not in text
    assert await hosted.checkpoint("09")


async def test_a_host_that_is_not_there_is_explained(named: Session) -> None:
    await named.host.grant()
    await named.vault.ensure()
    with pytest.raises(KitError, match="does not say which keys it holds"):
        await named.host.health()


async def test_each_outage_is_tried_and_heals(hosted: Session) -> None:
    rows = {row[0]: str(row[1]) for row in (await hosted.host.outages()).rows}
    assert rows["vault"].startswith("signed in")
    assert rows["legacy store"].startswith("blocked") and "temporarily unavailable" in rows["legacy store"]
    assert "AADSTS1100001" in rows["endpoint"]
    assert (await hosted.host.health()).status == "answers 200"


async def test_a_forgotten_switch_is_found_by_the_checks_while_sign_ins_go_on(hosted: Session) -> None:
    await hosted.key.rotate()
    await hosted.host.forget_the_switch()
    assert (await hosted.sign_in(BEN)).migrated
    for checked in (await hosted.check(), await hosted.check("go-live")):
        assert any("was not switched" in each.found or "newer" in each.found for each in checked.faults)


async def test_going_back_leaves_no_vault_and_the_address_that_the_tenant_calls(
    hosted: Session, opening: Opening, home: Path
) -> None:
    await hosted.host.leave()
    profile = settings.load(home)
    assert (profile.hosting, profile.endpoint_host) == (Hosting(), HOST)
    with pytest.raises(NotReady, match="No vault is chosen"):
        await (await opening(home)).checkpoint("09")


async def test_go_needs_the_pilot_the_key_and_the_answers_of_people(hosted: Session) -> None:
    before = await hosted.go_no_go()
    assert "no go" in before.caption
    assert (await hosted.sign_in(BEN)).migrated
    await hosted.key.rotate()
    questions = [str(row[0]) for row in before.rows if row[1] == "you say"]
    assert len(questions) == 3
    undecided = await hosted.go_no_go()
    assert undecided.caption == "Go or no go: not decided", undecided.rows
    assert (await hosted.go_no_go(answers=dict.fromkeys(questions, True))).caption == "Go or no go: go"
    assert "no go" in (await hosted.go_no_go(answers={questions[0]: False})).caption


async def test_the_old_system_may_go_after_three_quiet_days_when_who_is_left_was_told(hosted: Session) -> None:
    assert (await hosted.sign_in(BEN)).migrated
    assert "Not yet" in (await hosted.switch_off(told=True)).caption
    hosted.rehearsal.forward(hours=71)
    assert "Not yet" in (await hosted.switch_off(told=True)).caption
    hosted.rehearsal.forward(hours=2)
    assert "Not yet" in (await hosted.switch_off()).caption
    assert "Not yet" in (await hosted.switch_off(told=False)).caption
    assert "Yes" in (await hosted.switch_off(told=True)).caption
