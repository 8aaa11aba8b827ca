"""`jitkit check` as people use it: a configuration, an endpoint in its own process, a table, files for machines."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from passlib.hash import (
    argon2,
    bcrypt,
    django_pbkdf2_sha256,
    ldap_md5,
    ldap_salted_sha1,
    ldap_sha1,
    pbkdf2_sha256,
    phpass,
)

import jitkit.conformance
from helpers.__main__ import main
from jitkit.conformance.catalogue import CASES
from jitkit.conformance.check import fresh_config, serving, started
from jitkit.conformance.config import Accounts, Config, Features
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import own_settings, settings_for
from jitkit.conformance.legacy_store import Account, LegacyStore
from jitkit.conformance.plugin import Opened, run_cases
from jitkit.conformance.results import line
from jitkit.errors import SettingsError

from . import planted
from .conftest import short_config, too_busy

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "check.toml"
    assert main(["check", "--write-config", str(path)]) == 0
    text = path.read_text().replace(":7081", f":{free_port()}").replace(":7082", f":{free_port()}")
    path.write_text(text.replace("logs = []", 'logs = ["written"]'))
    (tmp_path / "written").mkdir()
    return path


Start = Callable[[str], str]


@pytest.fixture
def start(config: Path, tmp_path: Path) -> Iterator[Start]:
    processes = []

    def starter(fault: str) -> str:
        read = Config.read(config)
        settings = settings_for(read, Issuer(read), LegacyStore(read)) | {
            "PLANTED": fault,
            "JIT_LEDGER": str(tmp_path / "written" / "ledger"),
            "DecryptionPrivateKey": (tmp_path / "check-keys" / "current.pem").read_text(),
            "DecryptionPrivateKeyPrevious": (tmp_path / "check-keys" / "previous.pem").read_text(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.planted"],
            env=dict(os.environ) | settings,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        return str(json.loads(process.stdout.readline())["url"])

    yield starter
    for process in processes:
        process.terminate()
        process.communicate(timeout=60)


def test_a_good_endpoint_passes(start: Start, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"--json": tmp_path / "results.json", "--junit": tmp_path / "results.xml"}
    words = [str(word) for pair in files.items() for word in pair]
    assert main(["check", start(""), "--config", str(config), "--only", "a1,R2,T9,P1", *words]) == 0
    said = capsys.readouterr().out
    assert "JIT_OPENID_CONFIGURATION=http://127.0.0.1:" in said
    assert "3 passed; 0 failed; 1 skipped" in said
    results = json.loads(files["--json"].read_text())
    assert results["passed"] and [case["id"] for case in results["cases"]] == ["A1", "R2", "T9", "P1"]
    suite = ElementTree.parse(files["--junit"]).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "0", "1")


def test_a_bad_one_fails_and_is_told_why(
    start: Start, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "results.xml"
    words = ["--config", str(config), "--only", "A1,R2,R9", "--junit", str(junit)]
    assert main(["check", start("two actions|no correlation id"), *words]) == 1
    said = capsys.readouterr().out
    assert "FAIL     exactly one action" in said and "2 actions [Troubleshoot" in said
    assert "differs" in said, "what is a choice of policy is not called a failure"
    failures = ElementTree.parse(junit).getroot().findall("testcase/failure")
    assert ["2 actions" in str(failure.get("message")) for failure in failures] == [True]


def test_a_choice_of_policy_does_not_fail_the_run(start: Start, config: Path) -> None:
    assert main(["check", start("no correlation id"), "--config", str(config), "--only", "R9"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["http://127.0.0.1:9/"], "--write-config"),
        (["http://127.0.0.1:9/", "--config", "nowhere.toml"], "nowhere.toml"),
        (["--self", "--only", "Z9"], "no case Z9"),
    ],
)
def test_what_it_cannot_do_it_says(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 1
    assert told in capsys.readouterr().err


def test_a_written_configuration_can_be_read_and_is_not_overwritten(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "check-keys"
    assert [stat.S_IMODE((keys / name).stat().st_mode) for name in ("current.pem", "previous.pem")] == [0o600] * 2
    assert "PRIVATE KEY" not in capsys.readouterr().out
    before = (keys / "current.pem").read_text()
    assert main(["check", "--write-config", str(config)]) == 1
    assert (keys / "current.pem").read_text() == before
    read = Config.read(config)
    assert read.previous_certificate is not None and read.certificate.x5t != read.previous_certificate.x5t
    assert read.logs == [tmp_path / "written"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("tenant_id = ", "tennant_id = ", "tennant_id"),
        ("breaker = true", "braker = true", "braker"),
        ('tenant_id = "', 'tenant_id = "x', "tenant_id is not a GUID"),
        ("current.pem", "absent.pem", "absent.pem"),
        ("[features]", "[features", "does not parse"),
        ("breaker = true", 'breaker = "no"', "breaker under features is neither true nor false"),
        ("[features]", "[[features]]", "features is not a table"),
        ('logs = ["written"]', 'logs = "written"', "logs is not a list of paths"),
        ('logs = ["written"]', "logs = [7]", "logs is not a list of paths"),
        ("[features]", 'load_seconds = "10"\n[features]', "load_seconds is not a whole number"),
        ("[features]", "load_seconds = 0\n[features]", "load_seconds is not a whole number from"),
        ("[features]", 'extension_id = "mine"\n[features]', "extension_id is not a GUID"),
        ("previous.pem", "current.pem", "previous_certificate is the same as certificate"),
        ('issuer_url = "http://', 'issuer_url = "', "issuer_url is not an http: URL with a port"),
        ('issuer_url = "http://127', 'issuer_url = "http://127.0.0.1:99999" # ', "issuer_url is not an http: URL"),
        ('issuer_url = "http://', 'issuer_url = "http://127.0.0.1:7/ciam" # ', "issuer_url holds more than"),
        ("/verify", '/verify"\nissuer = "', "holds issuer"),
        ("[features]", "accounts = {}\n[features]", "names nobody as right"),
        ("[features]", "accounts = []\n[features]", "accounts is not a table"),
        ("[features]", 'accounts = { rihgt = "ann" }\n[features]', "holds rihgt; its kinds are disabled"),
        ("[features]", 'accounts = { right = "ann" }\n[features]', "right under accounts needs a username"),
        ("[features]", "accounts.right = { username = 7, password = 8 }\n[features]", "both as text"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(config: Path, before: str, after: str, told: str) -> None:
    config.write_text(config.read_text().replace(before, after))
    with pytest.raises(SettingsError, match=told):
        Config.read(config)


def test_both_servers_on_one_port_is_a_mistake_too(config: Path) -> None:
    issuer = next(line for line in config.read_text().splitlines() if line.startswith("issuer_url"))
    legacy = issuer.replace("issuer_url", "legacy_url")
    lines = [legacy if line.startswith("legacy_url") else line for line in config.read_text().splitlines()]
    config.write_text("\n".join(lines))
    with pytest.raises(SettingsError, match="the same port"):
        Config.read(config)


def test_what_editors_and_people_add_does_no_harm(config: Path) -> None:
    """Windows editors write a byte order mark, URLs are copied with a slash at the end, ids in capitals."""
    text = config.read_text().splitlines()
    lines = [line[:-1] + '/"' if line.startswith("issuer_url") else line for line in text]
    lines.insert(0, 'extension_id = "B8A6D4C2-0E1F-4A3B-9C5D-7E8F9A0B1C77"')
    config.write_text("\n".join(lines), encoding="utf-8-sig")
    read = Config.read(config)
    assert read.extension_id.startswith("b8a6d4c2")
    assert Issuer(read).documents[0].count("//") == 1


def test_the_page_names_every_setting_and_every_area() -> None:
    page = (ROOT / "notebooks" / "check-your-endpoint.md").read_text(encoding="utf-8")
    members = (*Config.model_fields, *Features.model_fields)
    missing = [name for name in members if f"`{name}`" not in page and f"`[{name}]`" not in page]
    assert missing == []
    assert [kind for kind in Accounts.model_fields if f"`{kind}`" not in page and f"{kind} = " not in page] == []
    for letter in {case[0] for case in CASES}:
        assert f" {letter} " in page, letter


def test_json_does_as_well(config: Path, tmp_path: Path) -> None:
    read = Config.read(config)
    other = tmp_path / "check.json"
    values = {"tenant_id": read.tenant_id, "app_id": read.app_id, "identifier_uri": read.identifier_uri}
    accounts = {"right": {"username": "ann", "password": "Canary-of-Ann-1!"}}
    other.write_text(json.dumps(values | {"certificate": "check-keys/current.pem", "accounts": accounts}))
    again = Config.read(other)
    assert again.tenant_id == read.tenant_id and again.accounts is not None
    assert again.accounts.model_dump(exclude_none=True) == accounts
    assert "Canary" not in repr(again)


async def test_the_issuers_documents_hold_what_libraries_ask_for() -> None:
    """OpenID Connect Discovery 1.0, section 3, requires these; a strict reader refuses a document without them."""
    async with serving(short_config()) as endpoint, httpx.AsyncClient() as http:
        for url in endpoint.issuer.documents:
            document = (await http.get(url)).json()
            needed = {"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported"}
            assert needed | {"subject_types_supported", "id_token_signing_alg_values_supported"} <= set(document)


def test_an_endpoint_with_its_own_store_is_asked_with_accounts_from_the_configuration(tmp_path: Path) -> None:
    config = fresh_config()
    logins = {
        "right": {"username": "ann@store.example", "password": "Canary-of-Ann-1!"},
        "wrong": {"username": "ben@store.example", "password": "Canary-not-Bens-1!"},
        "locked": {"username": "dan@store.example", "password": "Canary-of-Dan-1!"},
    }
    own = config.model_copy(update={"accounts": Accounts.model_validate(logins)})
    ann = Account("ann@store.example", "Canary-of-Ann-1!")

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        async with serving(config) as endpoint:
            store = endpoint.legacy
            assert store is not None
            store.add(ann)
            store.add(Account("ben@store.example", "Canary-of-Ben-1!"))
            store.add(Account("dan@store.example", "Canary-of-Dan-1!", says="locked"))
            settings = settings_for(config, endpoint.issuer, store) | own_settings(config)
            async with planted.served(settings | {"JIT_LEDGER": str(tmp_path / "ledger")}) as endpoint.url:
                endpoint.config, endpoint.legacy = own, None
                yield endpoint, None

    outcomes = run_cases(opening(), ["A1", "O1", "O3", "O5", "O6", "R1", "F2"])
    assert set(ann.asked) == {"Canary-of-Ann-1!"}, "a store may lock an account after a wrong password: not Ann's"
    assert [(o.case.id, o.result) for o in outcomes if o.result != "pass"] == [("O6", "skipped"), ("F2", "skipped")]


@pytest.mark.usefixtures("no_verdict_on_time")
def test_the_kits_endpoint_passes_every_case(tmp_path: Path) -> None:
    config = short_config(tmp_path).model_copy(update={"load_seconds": 3})
    reported: list[str] = []
    outcomes = run_cases(started(config, own_settings(config), tmp_path), (), lambda o: reported.append(o.case.id))
    assert [line(outcome) for outcome in outcomes if outcome.result != "pass" and not too_busy(outcome)] == []
    assert reported == [outcome.case.id for outcome in outcomes] == list(CASES)


def test_the_users_own_pytest_changes_nothing(
    start: Start, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('conftest')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only -k nothing")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    assert main(["check", start("two actions"), "--config", str(config), "--only", "R2"]) == 1
    assert os.environ["PYTEST_PLUGINS"] == "no_such_plugin"


def test_libraries_read_the_stored_hashes() -> None:
    password = "Canary-of-hashes-1!"
    rows = json.loads((Path(jitkit.conformance.__file__).parent / "stored_hashes.json").read_text(encoding="utf-8"))
    readers = {
        "bcrypt": bcrypt,
        "bcrypt-php": bcrypt,
        "argon2id": argon2,
        "phpass": phpass,
        "md5": ldap_md5,
        "sha": ldap_sha1,
        "ssha": ldap_salted_sha1,
        "pbkdf2": pbkdf2_sha256,
        "django": django_pbkdf2_sha256,
    }
    for name, reader in readers.items():
        assert reader.verify(password, rows[name]), name
        assert not reader.verify(password[:-1] + "?", rows[name]), name
    assert {"plain", "scrypt", "drupal", "aspnet-2", "aspnet-3"} <= set(rows)
    assert sum(name.startswith("damaged") for name in rows) >= 5
