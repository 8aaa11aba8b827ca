"""`jitkit check`: runs the suite against an endpoint at a URL, or against the kit's own, and reports."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from jitkit.conformance.catalogue import Case
from jitkit.conformance.config import Config, Features, is_url
from jitkit.conformance.endpoint import Call, Endpoint, Reply, Untrusted
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import Launcher, own_settings, settings_for
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.conformance.plugin import Opened, run_cases
from jitkit.conformance.results import FAIL, Outcome, failed, line, summary, write_json, write_junit
from jitkit.endpoint_process import own_command
from jitkit.entra_tokens import EncryptionKey
from jitkit.errors import EndpointDown, SettingsError

_APP: Final = "5d1f7c2e-8b3a-4e69-a0c4-9f2b6d7e1c55"
GOOD_CALL: Final = Case(
    "G1",
    "Before the rest",
    "a good call is decided; until it is, a refusal proves nothing",
    "Microsoft's how-to",
)
_BETWEEN: Final = 0.5
# An endpoint that was started before the suite answers these until it looks for signing keys again.
_NO_KEYS_YET: Final = (401, 503)
_LOOK_AT: Final = {
    400: "is its private key the one of the certificate in the configuration?",
    401: "are its OpenID documents and its app id those above?",
    403: "are its tenant, extension and listener ids those of the configuration?",
    404: "is the path in the URL right?",
    405: "is the path in the URL right?",
    415: "does it take application/json?",
    503: "can it reach the OpenID documents above?",
}
_TEMPLATE: Final = Path(__file__).with_name("config_template.toml")


def check(
    url: str | None,
    config: Path | None,
    *,
    only: Sequence[str],
    json_file: Path | None,
    junit_file: Path | None,
    say: Callable[[str], None],
) -> int:
    """Run the suite and report.

    Args:
        url: the endpoint; None for the kit's own, which the suite starts.
        config: the configuration file; needed with a URL.
        only: ids of cases; all when empty.
        json_file: where to write JSON, or None.
        junit_file: where to write JUnit XML, or None.
        say: gets the lines of the table.

    Returns:
        0, or 1 when a required case failed.

    Raises:
        KitError: the suite could not run.
    """
    if not __debug__:
        raise SettingsError(
            "Python runs with -O, which leaves out every check of the suite.",
            next_step="Unset PYTHONOPTIMIZE, or leave out -O, and run the same command.",
        )
    areas: list[str] = []
    outcomes: list[Outcome] = []

    def show(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.case.area not in areas:
            areas.append(outcome.case.area)
            say(f"\n{outcome.case.area}")
        say(line(outcome))

    if url is None:
        with tempfile.TemporaryDirectory(prefix="jitkit-check-") as folder:
            own = fresh_config(logs=[Path(folder)], load_seconds=6)
            run_cases(started(own, own_settings(own), Path(folder)), only, show)
    else:
        _check_address(url)
        if config is None:
            raise SettingsError(
                "The suite must know which tenant and app the endpoint serves.",
                next_step="Run `jitkit check --write-config check.toml`, adapt the file, and name it with --config.",
            )
        read = Config.read(config)
        say(_announcement(read))
        run_cases(at_url(read, url, show), only, show)
    say(f"\n{summary(outcomes)}")
    if json_file:
        write_json(outcomes, json_file, (url or "started by the suite").partition("?")[0])
    if junit_file:
        write_junit(outcomes, junit_file)
    return 1 if failed(outcomes) else 0


@asynccontextmanager
async def serving(config: Config, url: str = "") -> AsyncIterator[Endpoint]:
    """Serve the issuer and the legacy store for an endpoint, which may get its URL later."""
    issuer = Issuer(config)
    legacy = None if config.accounts else LegacyStore(config)
    endpoint = Endpoint(config, url, issuer, legacy)
    async with AsyncExitStack() as stack:
        for served in (issuer, legacy):
            if served is not None:
                await served.server.start()
                stack.push_async_callback(served.server.stop)
        await stack.enter_async_context(endpoint.http)
        yield endpoint


@asynccontextmanager
async def at_url(config: Config, url: str, on_outcome: Callable[[Outcome], None]) -> AsyncIterator[Opened]:
    """Open an endpoint that the user started; one that decides no good call fails the case G1."""
    async with serving(config, url) as endpoint:
        begun = time.perf_counter()
        try:
            await decides_a_good_call(endpoint)
        except AssertionError as problem:
            endpoint.well = False
            on_outcome(Outcome(GOOD_CALL, FAIL, str(problem), time.perf_counter() - begun))
        yield endpoint, None


@asynccontextmanager
async def started(
    config: Config, settings: dict[str, str], folder: Path, command: Sequence[str] = own_command()
) -> AsyncIterator[Opened]:
    """Start an endpoint with settings for the suite; the kit's own without a command."""
    async with serving(config) as endpoint, AsyncExitStack() as stack:
        launcher = Launcher(settings_for(config, endpoint.issuer, endpoint.legacy) | settings, folder, command)
        stack.push_async_callback(launcher.close)
        endpoint.url = (await launcher.start()).url
        yield endpoint, launcher


def _check_address(url: str) -> None:
    """Raise a SettingsError unless a URL can be called."""
    if not is_url(url, "http", "https"):
        raise SettingsError(
            "The URL cannot be called.",
            next_step="Give the whole URL, such as http://localhost:7071/api/JitMigrationEndpoint.",
        )


async def decides_a_good_call(endpoint: Endpoint) -> None:
    """Assert that a good call is decided, and say where to look; an EndpointDown is raised when nothing answers."""
    reply, call = await _first_answer(endpoint)
    redirected = 300 <= reply.status < 400
    assert not redirected, f"it redirects with status {reply.status}, to HTTPS perhaps: let it answer plain HTTP here"
    look_at = _LOOK_AT.get(reply.status, "what does its log say?")
    assert reply.status == 200, f"expected status 200, got {reply.status}: {look_at}"
    assert endpoint.legacy is None or call.account.asked, (
        "decided, and the suite's legacy store was not asked about the name in it: does the endpoint POST JSON "
        "with username and password to the address above?"
    )


async def _first_answer(endpoint: Endpoint) -> tuple[Reply, Call]:
    """Send good calls until the answer is not that of an endpoint without signing keys."""
    until, where = time.monotonic() + endpoint.patience, endpoint.url.partition("?")[0]  # a query may hold a key
    while True:
        call = endpoint.call()
        try:
            reply = await endpoint.send(call)
        except Untrusted as problem:
            raise EndpointDown(
                f"The suite cannot talk TLS with {where}.",
                service=str(problem),
                next_step="Let it listen on plain HTTP on this machine, or show a certificate of a public authority.",
            ) from None
        except AssertionError as problem:
            if time.monotonic() > until:
                raise EndpointDown(
                    f"Nothing answers at {where}.",
                    service=str(problem),
                    next_step="Start your endpoint with the settings that the suite printed, then run this again.",
                ) from None
        else:
            if reply.status not in _NO_KEYS_YET or time.monotonic() > until:
                return reply, call
        await asyncio.sleep(_BETWEEN)


def fresh_config(*, logs: Sequence[Path] = (), load_seconds: int = 10) -> Config:
    """Make a configuration with new keys: an invented tenant, a current and a previous certificate."""
    return Config(
        tenant_id="c0ffee00-1a2b-4c3d-8e4f-5a6b7c8d9e66",
        app_id=_APP,
        identifier_uri=f"api://login.conformance.example/{_APP}",
        certificate=EncryptionKey.make("JIT conformance, current"),
        previous_certificate=EncryptionKey.make("JIT conformance, previous"),
        extension_id="b8a6d4c2-0e1f-4a3b-9c5d-7e8f9a0b1c77",
        listener_id="d2c4b6a8-3f5e-4d7c-8b9a-1c2d3e4f5a88",
        logs=list(logs),
        load_seconds=load_seconds,
        features=Features(user_mapping=True),
    )


def _announcement(config: Config) -> str:
    settings = settings_for(config, Issuer(config), None if config.accounts else LegacyStore(config))
    lines = [f"  {name}={value}" for name, value in settings.items()]
    first = "The endpoint must run with these settings, under its own names for them, and with its private keys:"
    return "\n".join((first, *lines, "Start it now if it is not running; the suite waits a minute for a good call."))


def write_config(path: Path) -> str:
    """Write a configuration to start from, and key pairs for tests next to it.

    Args:
        path: the TOML file to write; it must not exist yet.

    Returns:
        What to do next.

    Raises:
        SettingsError: the file exists already, or cannot be written.
    """
    config, folder = fresh_config(), path.with_name(f"{path.stem}-keys")
    text = _TEMPLATE.read_text(encoding="utf-8").format(
        tenant_id=config.tenant_id, app_id=config.app_id, identifier_uri=config.identifier_uri, folder=folder.name
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, key in (("current", config.certificate), ("previous", config.previous_certificate)):
            target = folder / f"{name}.pem"
            target.touch(mode=0o600)
            target.write_text(key.pem() if key else "", encoding="ascii")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written.", service=error.strerror, next_step="Name a new file in an existing folder."
        ) from None
    return (
        f"Wrote {path}, and key pairs for tests in {folder}.\n"
        f"Next: give your endpoint the private key in {folder / 'current.pem'}, and the previous one if it takes two;\n"
        f"then run `jitkit check URL --config {path}`: it says which settings your endpoint needs."
    )
