"""The profile: kept for its owner alone, whole or not at all, and refused when it cannot be used."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import kit, settings
from helpers.settings import Names, Profile
from jitkit.errors import SettingsError
from jitkit.files import others_may_read, write_private


def test_no_profile_means_the_rehearsal(tmp_path: Path) -> None:
    assert settings.load(tmp_path) == Profile()
    assert Profile().mode == "rehearsal"


def test_a_rehearsal_takes_any_free_port_and_a_real_tenant_the_one_that_a_tunnel_leads_to() -> None:
    assert Profile().endpoint_port == 0
    assert Profile(mode="live", tenant="contoso.onmicrosoft.com").endpoint_port == 7071
    assert Profile(endpoint_port=7200).endpoint_port == 7200


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    profile = Profile(
        mode="live",
        tenant="contoso.onmicrosoft.com",
        credential="azure-cli",
        endpoint_host="jit.contoso.com",
        names=Names(attribute="x"),
    )
    path = settings.save(tmp_path / "new", profile)
    assert settings.load(tmp_path / "new") == profile
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"mode": "production"}', '{"unknown": 1}', '{"names": {"unknown": "x"}}', '{"names": 3}'],
)
def test_a_stale_or_broken_profile_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(SettingsError) as caught:
        settings.load(tmp_path)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"mode": "live"}, "tenant"),
        ({"credential": "magic"}, "credential"),
        ({"endpoint_host": "https://x.example/y"}, "host"),
        ({"endpoint_host": "localhost"}, "host"),
        ({"endpoint_port": 70000}, "port"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, object], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        Profile(**values)  # type: ignore[arg-type]


def test_a_failed_write_leaves_the_old_file_and_no_crumbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "a", b"old")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fdopen", refuse)
    with pytest.raises(SettingsError, match="cannot be written"):
        write_private(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_home_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        settings.save(tmp_path / "file", Profile())


def test_choosing_twice_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    assert kit.choose("rehearsal").status == "chosen"
    before = (tmp_path / "profile.json").stat().st_mtime_ns
    assert kit.choose("rehearsal").status == "unchanged"
    assert (tmp_path / "profile.json").stat().st_mtime_ns == before


def test_each_world_keeps_its_own_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    kit.choose("rehearsal", endpoint_port=7200)
    kit.choose("live", tenant="contoso.onmicrosoft.com", export="real-users.csv", endpoint_host="jit.contoso.com")
    assert kit.choose("rehearsal").status == "chosen"
    rehearsal = settings.load(tmp_path)
    assert (rehearsal.export, rehearsal.endpoint_port) == ("", 7200)
    assert rehearsal.endpoint_host == Profile().endpoint_host
    assert kit.choose("live").status == "chosen"
    assert settings.load(tmp_path).export == "real-users.csv"


def test_choosing_an_unknown_field_names_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="no tennant"):
        kit.choose("live", tennant="contoso.onmicrosoft.com")


def test_the_machine_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "home"))
    table = kit.environment()
    assert {"Python", "msgraph-sdk", "State folder"} <= {str(row[0]) for row in table.rows}


@pytest.mark.parametrize(
    "values",
    [
        {"endpoint_port": "7071"},
        {"endpoint_port": True},
        {"endpoint_host": 5},
        {"export": 5},
        {"names": "x"},
        {"names": {"attribut": "x"}},
        {"names": {"attribute": " "}},
        {"names": {"attribute": 5}},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_changes_nothing(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    with pytest.raises(SettingsError) as caught:
        kit.choose("rehearsal", **values)
    assert caught.value.next_step
    assert not (tmp_path / "profile.json").exists()


@pytest.mark.parametrize(
    "tenant", ["no such tenant!", "..", "../../etc", "rehearsal", "https://contoso.onmicrosoft.com", "a/b", 5]
)
def test_what_cannot_be_a_tenant_is_refused(tenant: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Profile(mode="live", tenant=tenant)
    assert str(tenant) in str(caught.value)


def test_a_path_may_be_given_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    kit.choose("rehearsal", export=tmp_path / "users.csv")
    assert settings.load(tmp_path).export == str(tmp_path / "users.csv")


@pytest.mark.parametrize(
    "values",
    [
        [1],
        {"colour": "red"},
        {"endpoint_port": "7071"},
        {"names": {"x": "y"}},
        {"endpoint_host": 5},
        {"names": {"listener": ""}},
    ],
)
def test_a_kept_world_that_cannot_be_used_is_never_chosen_over(
    values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    text = json.dumps({"mode": "rehearsal", "worlds": {"rehearsal": values}})
    (tmp_path / "profile.json").write_text(text)
    for attempt in (lambda: settings.load(tmp_path), lambda: kit.choose("rehearsal", endpoint_port=0)):
        with pytest.raises(SettingsError, match="Delete that file"):
            attempt()
    assert (tmp_path / "profile.json").read_text() == text


def test_a_real_tenant_needs_the_host_of_a_real_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M2: the rehearsal's host name never gets into a real tenant; a profile of before can be completed."""
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="host name") as caught:
        kit.choose("live", tenant="contoso.onmicrosoft.com")
    assert "endpoint_host=" in caught.value.next_step
    assert not (tmp_path / "profile.json").exists()
    settings.save(tmp_path, Profile(mode="live", tenant="contoso.onmicrosoft.com", client_id="kept"))
    with pytest.raises(SettingsError, match="host name"):
        settings.load(tmp_path)
    assert kit.choose("live", endpoint_host="jit.contoso.com").status == "chosen"
    assert settings.load(tmp_path).client_id == "kept"


@pytest.mark.parametrize(
    ("typed", "tenant"),
    [
        ("contoso.ciamlogin.com", "contoso.onmicrosoft.com"),
        ("Contoso.CIAMlogin.com", "Contoso.onmicrosoft.com"),
        ("b1f1a2c3-0000-4000-8000-123456789abc.ciamlogin.com", "b1f1a2c3-0000-4000-8000-123456789abc"),
        ("login.contoso.com", "login.contoso.com"),
    ],
)
def test_a_sign_in_host_is_resolved_to_its_tenant(typed: str, tenant: str) -> None:
    """M14: the name in a sign-in page's address is the one that people have at hand."""
    assert Profile(mode="live", tenant=typed).tenant == tenant


@pytest.mark.parametrize(
    "tenant",
    [
        "contoso.onmicrosoft.us",
        "contoso.onmicrosoft.de",
        "contoso.partner.onmschina.cn",
        "contoso.onmicrosoft.cn",
        "contoso.ciamlogin.us",
    ],
)
def test_national_clouds_are_refused_in_words(tenant: str) -> None:
    """M14: the kit's addresses are those of the worldwide cloud."""
    with pytest.raises(SettingsError, match="national cloud"):
        Profile(mode="live", tenant=tenant)


def test_real_people_are_named_on_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H11: one switch shows names; only True means yes."""
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    assert not Profile().hides_people
    real = kit.choose("live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com")
    assert real.facts["People in outputs"] == "ids only"
    assert settings.load(tmp_path).hides_people
    with pytest.raises(SettingsError, match="show_people"):
        kit.choose("live", show_people="yes")
    assert kit.choose("live", show_people=True).facts["People in outputs"] == "names and addresses"
    assert not settings.load(tmp_path).hides_people


TENANT_ID = "b1f1a2c3-0000-4000-8000-123456789abc"


@pytest.mark.parametrize("typed", ["contoso.onmicrosoft.com", "Shop.Contoso.com", TENANT_ID.upper()])
def test_a_tenant_has_one_state_folder_however_it_was_named(tmp_path: Path, typed: str) -> None:
    """M4: by its domain, by another of its domains, or by its id: the key and the journal are found."""
    typed_first = Profile(mode="live", tenant="shop.contoso.com")
    write_private(settings.state(tmp_path, typed_first) / "jit-key.pem", b"key")
    found = settings.named_by_id(
        tmp_path, Profile(mode="live", tenant=typed), TENANT_ID, ["contoso.onmicrosoft.com", "shop.contoso.com"]
    )
    assert settings.state(tmp_path, found) == tmp_path / TENANT_ID
    assert (tmp_path / TENANT_ID / "jit-key.pem").read_bytes() == b"key"
    assert [path.name for path in tmp_path.iterdir()] == [TENANT_ID]


def test_two_state_folders_of_a_tenant_become_one_or_are_named(tmp_path: Path) -> None:
    """M4: two halves are put together, and nothing is overwritten."""
    real = Profile(mode="live", tenant="contoso.onmicrosoft.com")
    old, new = tmp_path / "contoso.onmicrosoft.com", tmp_path / TENANT_ID
    write_private(old / "jit-key.pem", b"key")
    write_private(new / "users.jsonl", b"journal")
    settings.named_by_id(tmp_path, real, TENANT_ID, [])
    assert sorted(path.name for path in new.iterdir()) == ["jit-key.pem", "users.jsonl"]
    assert not old.exists()
    write_private(old / "jit-key.pem", b"another key")
    write_private(old / "endpoint.log", b"")
    with pytest.raises(SettingsError, match=r"both hold jit-key\.pem"):
        settings.named_by_id(tmp_path, real, TENANT_ID, [])
    assert (new / "jit-key.pem").read_bytes() == b"key"
    assert len(list(old.iterdir())) == 2


def test_the_rehearsal_keeps_its_folder(tmp_path: Path) -> None:
    write_private(settings.state(tmp_path, Profile()) / "jit-key.pem", b"key")
    assert settings.named_by_id(tmp_path, Profile(), TENANT_ID, ["rehearsal"]) == Profile()
    assert (tmp_path / "rehearsal" / "jit-key.pem").is_file()


def test_who_can_read_the_state_folder_is_looked_at_or_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M7: nothing is said of permissions that were not read."""
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "home"))

    def said() -> str:
        return next(str(row[2]) for row in kit.environment().rows if row[0] == "State folder")

    assert "for your account only" in said()
    (tmp_path / "home").chmod(0o755)
    assert "see its file names" in said()
    file = tmp_path / "home" / "file"
    file.write_text("")
    file.chmod(0o644)
    assert "can read its files" in others_may_read(tmp_path, file)
    monkeypatch.setattr("jitkit.files.os.name", "nt")
    windows = others_may_read(tmp_path, file)
    monkeypatch.undo()
    assert "not checked" in windows and "only" not in windows


def test_each_tenant_has_its_own_state(tmp_path: Path) -> None:
    real = Profile(mode="live", tenant="Contoso.onmicrosoft.com")
    assert settings.state(tmp_path, Profile()) == tmp_path / "rehearsal"
    assert settings.state(tmp_path, real) == tmp_path / "contoso.onmicrosoft.com"


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("helpers.kit", ["httpx", "ipywidgets", "kiota_abstractions", "msgraph", "pandas", "psutil", "pydantic"]),
        ("helpers.legacy_export", ["pandas"]),
        ("helpers.__main__", ["httpx", "nbclient", "pandas", "pydantic"]),
    ],
)
def test_importing_loads_nothing_slow(module: str, slow: list[str]) -> None:
    code = f"import sys, {module}; sys.exit(', '.join(sys.modules.keys() & {slow!r}))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.stderr.strip() == ""
