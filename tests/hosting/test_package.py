"""`jitkit package`: what it writes holds no secret, runs without the rest of the kit, and passes the suite."""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from packaging.requirements import Requirement

from helpers.__main__ import main
from jitkit.certificates import make_certificate
from jitkit.conformance.check import fresh_config, started
from jitkit.conformance.launcher import own_settings
from jitkit.conformance.plugin import run_cases
from jitkit.conformance.results import failed, line
from jitkit.endpoint.app import ROUTE
from jitkit.endpoint.functions import InFunctions
from jitkit.endpoint.settings import Settings
from jitkit.entra_tokens import EncryptionKey
from jitkit.errors import SettingsError
from jitkit.hosting.package import SECRETS, package
from jitkit.hosting.rehearsal_vault import ADMINISTRATOR, ENDPOINT, OFFICER, SECRETS_USER, RehearsalVault, VaultServer

ROOT = Path(__file__).parents[2]
HOST = Path(__file__).with_name("functions_host.py")
# Decisions, refusals, bodies without a length, the first call of a new process, no key, a bypass, a graceful end.
FEW = ("A1", "A19", "A21", "J20", "F20", "R2", "T2", "T6", "T9")


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    package("functions", tmp_path / "app")
    return tmp_path / "app"


def suite(command: list[str], folder: Path, only: tuple[str, ...] = ()) -> None:
    """Run the suite, or some cases of it, against what a command serves."""
    config = fresh_config(logs=[folder], load_seconds=2)
    outcomes = run_cases(started(config, own_settings(config), folder, command), only, lambda _: None)
    assert len(outcomes) >= len(only) and any(each.result == "pass" for each in outcomes)
    assert not failed(outcomes), "\n".join(line(each) for each in outcomes if each.result != "pass")


@pytest.mark.parametrize("kind", ["functions", "container"])
def test_holds_the_endpoint_and_nothing_else_of_the_kit(kind: str, tmp_path: Path) -> None:
    package(kind, tmp_path / "out")
    code = [path.relative_to(tmp_path / "out" / "jitkit") for path in (tmp_path / "out" / "jitkit").rglob("*.py")]
    assert {path.parts[0] for path in code} == {"__init__.py", "errors.py", "protocol.py", "endpoint"}
    assert not list((tmp_path / "out").rglob("__pycache__"))
    assert (tmp_path / "out" / "jitkit" / "endpoint" / "stores" / "answers.toml").is_file()


@pytest.mark.parametrize("kind", ["functions", "container"])
def test_every_version_is_pinned_to_the_one_that_the_tests_run_with(kind: str, tmp_path: Path) -> None:
    package(kind, tmp_path / "out")
    lines = (tmp_path / "out" / "requirements.txt").read_text().splitlines()
    written = [text.lstrip("# ") for text in lines if "==" in text]
    tested = {requirement(text) for text in (ROOT / "constraints.txt").read_text().splitlines() if "==" in text}
    assert {requirement(text) for text in written} <= tested
    assert len(written) > 20


def requirement(text: str) -> tuple[str, str, str]:
    read = Requirement(text)
    return read.name.lower().replace("_", "-"), str(read.specifier), str(read.marker or "")


@pytest.mark.parametrize(
    ("version", "wanted"), [("3.11", "==1."), ("3.12", "==1."), ("3.13", "==2."), ("3.14", "==2.")]
)
def test_each_python_gets_the_azure_functions_that_serves_it(version: str, wanted: str, functions: Path) -> None:
    lines = (functions / "requirements.txt").read_text().splitlines()
    found = [Requirement(text) for text in lines if text.startswith("azure-functions")]
    fitting = [each for each in found if each.marker and each.marker.evaluate({"python_version": version})]
    assert [str(each.specifier).startswith(wanted) for each in fitting] == [True]


def test_every_import_of_the_endpoint_is_among_the_requirements(functions: Path) -> None:
    owners = {"jwt": "pyjwt", "passlib": "libpass", "psycopg2": "psycopg", "opentelemetry": "opentelemetry-api"}
    text = (functions / "requirements.txt").read_text()
    listed = {Requirement(each.lstrip("# ")).name.lower() for each in text.splitlines() if "==" in each}
    imported: set[str] = set()
    for path in [*functions.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
    tops = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"jitkit", "azure"}
    # `serve.py` listens by itself; in a Functions worker nothing loads it.
    missing = {owners.get(name, name) for name in tops} - {name.replace("-", "_") for name in listed} - listed
    assert missing <= {"uvicorn", "argon2"} and "argon2-cffi" in listed


def test_no_file_holds_a_secret_and_the_settings_name_where_each_comes_from(functions: Path) -> None:
    settings = {row["name"]: row["value"] for row in json.loads((functions / "app-settings.json").read_text())}
    assert settings["LegacyApiConnectionString"].startswith("@Microsoft.KeyVault(")
    assert not {"DecryptionPrivateKey", "DecryptionPrivateKeyPrevious"} & set(settings)
    local = json.loads((functions / "local.settings.json").read_text())["Values"]
    assert {local[name] for name in SECRETS if name in local} == {""}
    assert "local.settings.json" in (functions / ".funcignore").read_text().split()
    assert "local.settings.json" in (functions / ".gitignore").read_text().split()
    never = ("FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION", "WEBSITE_RUN_FROM_PACKAGE", "TZ")
    assert not set(never) & set(settings), "these are never set on a Flex Consumption plan"


def test_the_settings_are_the_endpoints_own(functions: Path) -> None:
    settings = {row["name"]: row["value"] for row in json.loads((functions / "app-settings.json").read_text())}
    ours = "11111111-1111-4111-8111-111111111111"
    given = {"JIT_TENANT_ID": ours, "JIT_EXTENSION_APP_ID": ours, "JIT_IDENTIFIER_URI": f"api://x.test/{ours}"}
    key = {"DecryptionPrivateKey": EncryptionKey.make("packaged").pem(), "KeyVaultUrl": ""}
    rest = {"LegacyApiConnectionString": "https://x.test/check", "APPLICATIONINSIGHTS_CONNECTION_STRING": "of the host"}
    read = Settings.from_environment(settings | given | key | rest)
    assert (read.tenant_id, read.behind_tls) == (ours, True)
    assert (read.telemetry, read.ledger) == ("calls", ""), "each line goes one way, and names no user"


def test_values_are_filled_in_and_secrets_refused(tmp_path: Path) -> None:
    ours = "11111111-1111-4111-8111-111111111111"
    package("functions", tmp_path / "app", {"JIT_TENANT_ID": ours})
    rows = json.loads((tmp_path / "app" / "app-settings.json").read_text())
    assert rows[0] == {"name": "JIT_TENANT_ID", "value": ours}
    package("container", tmp_path / "box", {"JIT_TENANT_ID": ours})
    assert f"JIT_TENANT_ID={ours}\n" in (tmp_path / "box" / "endpoint.env").read_text()
    for name in SECRETS:
        with pytest.raises(SettingsError, match="secret"):
            package("functions", tmp_path / "other", {name: "hunter2"})
    with pytest.raises(SettingsError, match="JIT_TENNANT_ID"):
        package("functions", tmp_path / "other", {"JIT_TENNANT_ID": ours})
    assert not (tmp_path / "other").exists()


def test_again_it_replaces_the_endpoint_and_keeps_what_was_changed(functions: Path) -> None:
    (functions / "requirements.txt").write_text("ldap3==2.9.1\n")
    (functions / "jitkit" / "endpoint" / "app.py").write_text("old")
    rows = dict(package("functions", functions).rows)  # type: ignore[arg-type]
    assert rows["jitkit/"] == "replaced" and rows["requirements.txt"] == "kept"
    assert (functions / "requirements.txt").read_text() == "ldap3==2.9.1\n"
    assert "def create_app" in (functions / "jitkit" / "endpoint" / "app.py").read_text()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["package", "functions", "--out", str(tmp_path)]) == 1
    assert "did not write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_says_what_it_wrote_and_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package", "container", "--out", str(tmp_path / "box")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"Dockerfile +written", said) and "README.md" in said


def test_the_host_lets_many_requests_in_and_samples_nothing(functions: Path) -> None:
    host = json.loads((functions / "host.json").read_text())
    assert host["extensions"]["http"]["maxConcurrentRequests"] >= 50
    assert host["logging"]["applicationInsights"]["samplingSettings"]["isEnabled"] is False
    readme = (functions / "README.md").read_text()
    for words in ("perInstanceConcurrency=50", "http=2", "siteUpdateStrategy.type=RollingUpdate"):
        assert words in readme


def test_the_package_is_written_as_the_kit_is(functions: Path) -> None:
    checked = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "function_app.py"]
    done = subprocess.run(checked, cwd=functions, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(importlib.util.find_spec("azure.functions") is None, reason="azure-functions is not installed")
def test_some_cases_of_the_suite_pass_through_the_azure_functions_library(functions: Path, tmp_path: Path) -> None:
    suite([sys.executable, "-I", str(HOST), str(functions)], tmp_path, FEW)


async def test_a_role_that_is_granted_after_the_start_needs_no_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new role takes minutes to arrive: until then the app answers 503, and then it starts by itself."""
    server = VaultServer(RehearsalVault(tmp_path / "vault.json"), tmp_path / "vault-ca.pem")
    try:
        server.vault.assign(ADMINISTRATOR, OFFICER)
        packed = base64.b64encode(certificate_and_key()).decode()
        body = {"value": packed, "policy": {"secret_props": {"contentType": "application/x-pkcs12"}}}
        path = "/certificates/JitMigrationEncryptionCert/import"
        assert server.vault.answer(ADMINISTRATOR, "POST", path, body)[0] == 200
        ours = "11111111-1111-4111-8111-111111111111"
        for name, value in {
            **server.environment(),
            "CiamJitMigrationEncryptionCertName": "JitMigrationEncryptionCert",
            "JIT_TENANT_ID": ours,
            "JIT_EXTENSION_APP_ID": ours,
            "JIT_IDENTIFIER_URI": f"api://x.test/{ours}",
            "JIT_OPENID_CONFIGURATION": "http://127.0.0.1:9/none",
            "LegacyApiConnectionString": "https://127.0.0.1:9/check",
        }.items():
            monkeypatch.setenv(name, value)
        app = InFunctions(pause=0.05)
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                assert (await client.get(ROUTE)).status_code == 503
                server.vault.assign(ENDPOINT, SECRETS_USER)
                while (answer := await client.get(ROUTE)).status_code == 503:  # noqa: ASYNC110 - in another thread
                    await asyncio.sleep(0.05)
                assert answer.json()["status"] == "ok" and answer.json()["certificate_days_left"] > 300
        finally:
            app.close()
    finally:
        server.stop()


def certificate_and_key() -> bytes:
    private, certificate = make_certificate("JitMigration")
    return pkcs12.serialize_key_and_certificates(None, private, certificate, None, NoEncryption())


@pytest.fixture
def clean(tmp_path: Path) -> Iterator[Callable[[Path, str], str]]:
    """Install a package's own requirements in a new environment of a Python; returns that environment's Python."""

    def make(folder: Path, version: str) -> str:
        python = interpreter(version)
        if python is None:
            pytest.skip(f"there is no Python {version} on this machine")
        where = tmp_path / f"python-{version}"
        subprocess.run([python, "-m", "venv", str(where)], check=True, capture_output=True)
        own = str(where / "bin" / "python")
        install = [own, "-m", "pip", "install", "-q", "-r", str(folder / "requirements.txt")]
        done = subprocess.run(install, capture_output=True, text=True, check=False, env=without_python_path())
        assert done.returncode == 0, done.stderr
        return own

    yield make


def interpreter(version: str) -> str | None:
    """Find a Python of a version: this one, one on the path, or one of pyenv's."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    candidates = [f"python{version}"]
    candidates += map(str, Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for candidate in candidates:
        with contextlib.suppress(OSError):
            done = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.startswith(f"Python {version}."):
                return candidate
    return None


def without_python_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_the_functions_app_passes_the_suite_with_its_own_requirements_alone(
    version: str, functions: Path, clean: Callable[[Path, str], str], tmp_path: Path
) -> None:
    python = clean(functions, version)
    (tmp_path / "logs").mkdir()
    suite([python, "-I", str(HOST), str(functions)], tmp_path / "logs")


@pytest.mark.slow
def test_the_steps_of_the_container_build_lead_to_an_endpoint_that_passes_the_suite(tmp_path: Path) -> None:
    """There may be no container engine: the Dockerfile's steps are carried out in a new environment."""
    source, built = tmp_path / "source", tmp_path / "built"
    package("container", source)
    venv.create(tmp_path / "python", with_pip=True)
    environment = without_python_path() | {"PATH": f"{tmp_path / 'python' / 'bin'}:{os.environ['PATH']}"}
    command: list[str] = []
    for step in (source / "Dockerfile").read_text().splitlines():
        word, _, rest = step.partition(" ")
        match word:
            case "WORKDIR":
                built.mkdir()
            case "COPY":
                what, where = rest.split()
                subprocess.run(["cp", "-r", str(source / what), str(built / where)], check=True)
            case "RUN":
                subprocess.run(rest, shell=True, cwd=built, env=environment, check=True, capture_output=True)
            case "ENV":
                environment |= dict([rest.split("=", 1)])
            case "CMD":
                command = json.loads(rest)
            case _:
                assert word in ("FROM", "USER", "EXPOSE"), f"this test does not know {word}"
    python = str(tmp_path / "python" / "bin" / command[0])
    # Elsewhere nothing outside the container would reach it; here it listens on loopback, at any free port.
    assert command[1:] == ["-m", "jitkit.endpoint", "--host", "0.0.0.0", "--port", "8080"]
    served = ["", "--host", "127.0.0.1", "--port", "0"]
    inside = f"import runpy, sys; sys.path.insert(0, {str(built)!r}); sys.argv = {served!r}; "
    run = [python, "-I", "-c", f"{inside}runpy.run_module('jitkit.endpoint', run_name='__main__')"]
    (tmp_path / "logs").mkdir()
    suite(run, tmp_path / "logs")


def test_the_container_runs_without_root_and_its_image_holds_no_settings(tmp_path: Path) -> None:
    package("container", tmp_path / "box")
    steps = (tmp_path / "box" / "Dockerfile").read_text().splitlines()
    assert any(re.fullmatch(r"USER [1-9]\d*", step) for step in steps)
    copied = [step.split()[1] for step in steps if step.startswith("COPY")]
    assert copied == ["requirements.txt", "jitkit"]
    ignored = (tmp_path / "box" / ".dockerignore").read_text().split()
    assert ignored[0] == "*" and "!endpoint.env" not in ignored
