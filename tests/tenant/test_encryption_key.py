from __future__ import annotations

import base64
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from helpers.settings import Profile
from helpers.tenant import encryption_key
from helpers.tenant.encryption_key import EncryptionKey, make_pair, restrict_permissions
from jitkit.endpoint.keys import parse_key
from jitkit.errors import KitError, NotReady, SettingsError, Taken, WriteNotConfirmed
from tenant.support import Asked, Between, Kit, writes

pytestmark = pytest.mark.usefixtures("ready_made_pairs")


@pytest.fixture(scope="session")
def seeded(registered: Path) -> Path:
    return registered


@pytest.fixture
def ready(kit: Kit) -> Kit:
    return kit


async def registered(kit: Kit) -> dict[str, Any]:
    app = await kit.app.show()
    return dict(await kit.send("GET", f"/applications/{app.object_id}?$select=keyCredentials,tokenEncryptionKeyId"))


def certificate(name: str, *, ends: datetime) -> str:
    private = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(ends - timedelta(days=100))
        .not_valid_after(ends)
        .sign(private, SHA256())
    )
    return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


async def test_the_pair_is_made_uploaded_and_found_the_second_time(ready: Kit) -> None:
    made = await ready.key.ensure()
    app = await registered(ready)
    content = made.path.read_bytes()
    der = x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
    assert made.status == "created"
    assert [base64.b64decode(each["key"]) for each in app["keyCredentials"]] == [der]
    assert app["keyCredentials"][0]["usage"] == "Encrypt"
    assert app["keyCredentials"][0]["type"] == "AsymmetricX509Cert"
    assert app["tokenEncryptionKeyId"] == app["keyCredentials"][0]["keyId"] == made.key_id
    assert (made.days_left, made.previous_path) == (364, None)

    again = await ready.key.ensure()
    assert (again.status, writes(again), again.thumbprint) == ("reused", [], made.thumbprint)
    assert (await ready.key.show()).thumbprint == made.thumbprint
    assert made.path.read_bytes() == content


async def test_the_endpoint_reads_the_file_and_knows_the_key_by_the_same_thumbprint(ready: Kit) -> None:
    made = await ready.key.ensure()
    key = parse_key(ready.key.private_key_path.read_text(), "DecryptionPrivateKey")
    assert key.thumbprint == made.x5t


async def test_the_private_half_is_the_owners_alone_and_shown_nowhere(ready: Kit) -> None:
    made = await ready.key.ensure()
    rotated = await ready.key.rotate()
    for path in (ready.key.private_key_path, ready.key.previous_key_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        secret = path.read_text().split("-----")[2].split()
        for card in (made, rotated, await ready.key.show()):
            shown = repr(card) + card._repr_html_() + "".join(str(each) for each in card.sent)
            assert "PRIVATE" not in shown
            assert not any(line in shown for line in secret)


async def test_wider_permissions_are_fixed_and_reported(ready: Kit) -> None:
    await ready.key.ensure()
    ready.key.private_key_path.chmod(0o644)
    seen = await ready.key.show()
    assert stat.S_IMODE(ready.key.private_key_path.stat().st_mode) == 0o600
    assert "644" in seen.facts["Permissions"]
    assert "644" not in (await ready.key.show()).facts["Permissions"]


def test_permissions_of_a_key_file_are_looked_at_or_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M7: on Windows, and on a drive that keeps no permissions, nothing is claimed."""
    path = tmp_path / "key.pem"
    path.write_text("")
    path.chmod(0o644)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    assert "other accounts can read it" in restrict_permissions(path)
    monkeypatch.setattr("os.name", "nt")
    words = restrict_permissions(path)
    monkeypatch.undo()
    assert "not checked" in words and "alone" not in words


async def test_keys_that_are_there_survive_and_expired_ones_are_reported(ready: Kit) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    theirs = [
        {"type": "AsymmetricX509Cert", "usage": "Verify", "key": certificate("theirs", ends=now + timedelta(days=50))},
        {"type": "AsymmetricX509Cert", "usage": "Encrypt", "key": certificate("old", ends=now - timedelta(days=1))},
    ]
    app = await ready.app.show()
    await ready.send("PATCH", f"/applications/{app.object_id}", {"keyCredentials": theirs})
    before = (await registered(ready))["keyCredentials"]

    made = await ready.key.ensure()
    after = (await registered(ready))["keyCredentials"]
    assert after[:2] == before
    assert len(after) == 3
    others = made.facts["Other keys of the registration"]
    assert "CN=theirs (Verify, until" in others
    assert "CN=old (Encrypt, expired on" in others

    await ready.key.rotate()
    assert (await registered(ready))["keyCredentials"][:3] == after
    await ready.key.remove()
    assert (await registered(ready))["keyCredentials"] == before


async def test_a_file_without_its_certificate_in_the_tenant_is_uploaded(ready: Kit) -> None:
    made = await ready.key.ensure()
    app = await ready.app.show()
    await ready.send("PATCH", f"/applications/{app.object_id}", {"tokenEncryptionKeyId": None})
    with pytest.raises(NotReady, match="04-key-pair"):
        await ready.key.show()
    again = await ready.key.ensure()
    assert (again.status, again.thumbprint, again.key_id) == ("updated", made.thumbprint, made.key_id)

    await ready.send("PATCH", f"/applications/{app.object_id}", {"tokenEncryptionKeyId": None, "keyCredentials": []})
    anew = await ready.key.ensure()
    assert (anew.status, anew.thumbprint) == ("updated", made.thumbprint)
    assert len((await registered(ready))["keyCredentials"]) == 1


async def test_a_key_whose_private_half_is_elsewhere_is_replaced_only_on_request(ready: Kit) -> None:
    made = await ready.key.ensure()
    ready.key.private_key_path.unlink()
    before = await registered(ready)
    for verb in (ready.key.ensure, ready.key.show, ready.key.rotate):
        with pytest.raises(NotReady, match=made.thumbprint) as refused:
            await verb()
        assert "replace=True" in refused.value.next_step
        assert "switches to it once the endpoint has it" in refused.value.next_step
    assert await registered(ready) == before
    assert not ready.key.private_key_path.exists()

    replaced = await ready.key.ensure(replace=True)
    after = await registered(ready)
    assert replaced.status == "created"
    assert replaced.thumbprint != made.thumbprint
    assert after["keyCredentials"][:1] == before["keyCredentials"]
    assert after["tokenEncryptionKeyId"] == replaced.key_id
    assert (await ready.key.ensure()).status == "reused"


async def test_rotation_keeps_the_old_pair_here_and_in_the_tenant(ready: Kit) -> None:
    made = await ready.key.ensure()
    old = made.path.read_bytes()
    rotated = await ready.key.rotate()
    assert (rotated.status, rotated.previous_path) == ("updated", ready.key.previous_key_path)
    assert rotated.thumbprint != made.thumbprint
    assert ready.key.previous_key_path.read_bytes() == old
    app = await registered(ready)
    assert [each["keyId"] for each in app["keyCredentials"]] == [made.key_id, rotated.key_id]
    assert app["tokenEncryptionKeyId"] == rotated.key_id


@pytest.mark.parametrize("finish", ["ensure", "rotate"])
async def test_a_rotation_that_broke_off_is_finished_without_losing_the_key_in_use(
    ready: Kit, between: Between, finish: str
) -> None:
    made = await ready.key.ensure()

    async def break_off(request: httpx.Request, _: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        if request.method == "PATCH":
            raise httpx.ConnectError("the cable", request=request)
        return None

    between.interfere = break_off
    with pytest.raises(KitError, match="cannot be reached"):
        await ready.key.rotate()
    between.interfere = None
    begun = parse_key(ready.key.private_key_path.read_text(), "current").thumbprint

    finished = await getattr(ready.key, finish)()
    assert (finished.status, finished.x5t) == ("updated", begun)
    assert parse_key(ready.key.previous_key_path.read_text(), "previous").thumbprint == made.x5t
    assert len((await registered(ready))["keyCredentials"]) == 2


class Endpoint:
    """An endpoint that has these keys, by thumbprint, or that cannot say."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.asked: list[str] = []
        self.speaks = True
        self.has: set[str] = set()

    def take_both(self) -> None:
        for path in (self.kit.key.private_key_path, self.kit.key.previous_key_path):
            if path.exists():
                self.has.add(parse_key(path.read_text(), "a key").thumbprint or "")

    async def reach(self, url: str) -> httpx.Response:
        asked = httpx.URL(url)
        self.asked.append(str(asked.copy_with(query=None)))
        health: dict[str, object] = {"status": "ok"}
        return httpx.Response(200, json=health | ({"has_key": asked.params["x5t"] in self.has} if self.speaks else {}))


@pytest.fixture
async def endpoint(ready: Kit) -> Endpoint:
    """A key that is in use, an extension that names the registration, and the endpoint it leads to."""
    await ready.key.ensure()
    await ready.extension.ensure()
    made = Endpoint(ready)
    made.take_both()
    ready.key.reach = made.reach
    return made


@pytest.mark.parametrize("lost", [False, True])
async def test_the_switch_waits_until_the_endpoint_has_the_new_key(ready: Kit, endpoint: Endpoint, lost: bool) -> None:
    """H7: add, let the endpoint prove that it has it, switch; also where the old private half is not here."""
    if lost:
        ready.key.private_key_path.unlink()
    before = await registered(ready)

    async def change() -> Any:
        return await (ready.key.ensure(replace=True) if lost else ready.key.rotate())

    for _ in range(2):
        with pytest.raises(NotReady, match="does not have the new key") as refused:
            await change()
        assert "s.endpoint.ensure()" in refused.value.next_step
        assert "DecryptionPrivateKeyPrevious" in refused.value.next_step
        # What finishes is the call that began: without the old private half, `rotate` refuses.
        assert f"s.key.{'ensure(replace=True)' if lost else 'rotate()'}` again" in refused.value.next_step
    waiting = await registered(ready)
    assert len(waiting["keyCredentials"]) == 2, "what was begun is not begun again"
    assert waiting["tokenEncryptionKeyId"] == before["tokenEncryptionKeyId"]
    assert set(endpoint.asked) == {ready.profile.target_url}
    if not lost:
        shown = await ready.key.show()
        assert (shown.key_id, shown.path) == (before["tokenEncryptionKeyId"], ready.key.previous_key_path)
        assert "Waits for the endpoint" in shown.facts

    endpoint.take_both()
    switched = await change()
    after = await registered(ready)
    assert after["tokenEncryptionKeyId"] == switched.key_id != before["tokenEncryptionKeyId"]
    assert after["keyCredentials"] == waiting["keyCredentials"]
    assert switched.path == ready.key.private_key_path


async def test_ensure_does_not_switch_to_a_key_that_the_endpoint_lacks(ready: Kit, endpoint: Endpoint) -> None:
    """H7: running notebook 04 again finishes a rotation no earlier than `rotate` does."""
    for _ in range(2):
        with pytest.raises(NotReady, match="does not have the new key"):
            await (ready.key.rotate() if not ready.key.previous_key_path.exists() else ready.key.ensure())
    endpoint.take_both()
    assert (await ready.key.ensure()).status == "updated"


async def test_who_runs_another_endpoint_can_vouch_for_it(ready: Kit, endpoint: Endpoint) -> None:
    """H7: an endpoint that is not the kit's cannot be asked; only True counts as an answer."""
    endpoint.speaks = False
    with pytest.raises(NotReady, match="does not say which keys"):
        await ready.key.rotate()
    for wrong in ("yes", 1, None):
        with pytest.raises(SettingsError, match="neither True nor False"):
            await ready.key.rotate(endpoint_has_key=wrong)  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="neither True nor False"):
            await ready.key.ensure(replace=wrong)  # type: ignore[arg-type]
    assert (await ready.key.rotate(endpoint_has_key=True)).status == "updated"


async def test_the_switch_has_a_question_of_its_own_and_adding_has_none(
    ready: Kit, endpoint: Endpoint, between: Between
) -> None:
    """H7: the thumbprints of both keys and the number of people are shown; a refusal leaves the old key in use."""
    asked = Asked()
    live = Kit.at(ready.tenant, between, ready.folder, before_write=asked)
    live.key.reach = endpoint.reach
    with pytest.raises(NotReady):
        await live.key.rotate()
    [added] = asked.taken()
    assert (added.answer, "Add a certificate" in added.what) == ("", True)
    endpoint.take_both()
    asked.refuse = True
    before = await registered(ready)
    with pytest.raises(WriteNotConfirmed):
        await live.key.rotate()
    [switch] = asked.taken()
    assert switch.answer == "JIT password check"
    assert switch.answer not in switch.asks
    assert "who have not migrated: 0" in switch.affected
    assert await registered(ready) == before
    await live.graph.close()


async def test_the_key_before_is_dropped_when_the_rotation_is_finished(ready: Kit, endpoint: Endpoint) -> None:
    """H7: the last step; until the switch it refuses."""
    old = await ready.key.show()
    with pytest.raises(NotReady):
        await ready.key.rotate()
    with pytest.raises(NotReady, match="still encrypts with the previous key"):
        await ready.key.drop_previous()
    endpoint.take_both()
    new = await ready.key.rotate()
    dropped = await ready.key.drop_previous()
    assert (dropped.status, dropped.facts["Thumbprint"]) == ("removed", old.thumbprint)
    assert not ready.key.previous_key_path.exists()
    app = await registered(ready)
    assert [each["keyId"] for each in app["keyCredentials"]] == [new.key_id] == [app["tokenEncryptionKeyId"]]
    assert (await ready.key.drop_previous()).status == "missing"
    assert (await ready.key.ensure()).status == "reused"


async def test_the_private_key_stays_when_its_registration_is_not_found(ready: Kit) -> None:
    """H5: the tenant may go on encrypting with it."""
    made = await ready.key.ensure()
    renamed = ready.named(extension_app="Renamed by mistake")
    left = await renamed.key.remove()
    assert (left.status, "stay" in left.facts["Why"]) == ("left alone", True)
    assert made.path.exists()
    app = await ready.app.show()
    await ready.send("PATCH", f"/applications/{app.object_id}", {"displayName": "Renamed by others"})
    assert (await ready.key.remove()).status == "left alone"
    assert made.path.exists()


async def test_the_private_key_stays_until_the_tenant_shows_that_it_was_withdrawn(
    ready: Kit, between: Between, impatient: None
) -> None:
    """H5: an answer that says done is not enough."""
    made = await ready.key.ensure()

    async def pretend(request: httpx.Request, _: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        return httpx.Response(204, request=request) if request.method == "PATCH" else None

    between.interfere = pretend
    with pytest.raises(NotReady, match="still shows the key"):
        await ready.key.remove()
    assert made.path.exists()


def without(shown: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Awaitable[httpx.Response | None]]:
    """Change what a read of the registration shows of its keys."""

    async def leave_out(
        request: httpx.Request, forward: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response | None:
        if request.method != "GET" or "keyCredentials" not in str(request.url):
            return None
        answer = await forward()
        await answer.aread()
        body = answer.json()
        body["keyCredentials"] = [shown(each) for each in body["keyCredentials"]]
        return httpx.Response(200, json=body, request=request)

    return leave_out


@pytest.mark.parametrize("form", ["base64 of the digits", "digits", "base64 of the bytes"])
async def test_a_tenant_that_leaves_the_certificate_out_is_understood(ready: Kit, between: Between, form: str) -> None:
    """B5: the thumbprint that is noted beside the key tells which one it is."""

    def leave_out(entry: dict[str, Any]) -> dict[str, Any]:
        digits = base64.b64decode(entry["customKeyIdentifier"]).decode()
        forms = {
            "digits": digits,
            "base64 of the digits": entry["customKeyIdentifier"],
            "base64 of the bytes": base64.b64encode(bytes.fromhex(digits)).decode(),
        }
        return {**entry, "key": None, "customKeyIdentifier": forms[form]}

    between.interfere = without(leave_out)
    made = await ready.key.ensure()
    assert (made.status, (await ready.key.ensure()).status) == ("created", "reused")
    assert (await ready.key.remove()).status == "removed"


async def test_a_key_that_cannot_be_recognised_keeps_its_file(ready: Kit, between: Between) -> None:
    """B5, H5: neither certificate nor thumbprint is shown, so nothing says whose key is in use."""
    between.interfere = without(lambda entry: {**entry, "key": None, "customKeyIdentifier": None})
    made = await ready.key.ensure()
    assert made.status == "created"
    with pytest.raises(Taken, match="does not show the certificate"):
        await ready.key.to_remove()
    left = await ready.key.remove()
    assert (left.status, made.path.exists()) == ("left alone", True)


async def test_a_certificate_that_ran_out_asks_for_a_rotation(ready: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption_key, "make_pair", make_pair)
    monkeypatch.setattr(encryption_key, "VALID_DAYS", 0)
    with pytest.raises(NotReady, match="rotate"):
        await ready.key.ensure()
    assert (await registered(ready))["keyCredentials"] == []
    monkeypatch.undo()
    assert (await ready.key.rotate()).days_left == 364


@pytest.mark.parametrize("broken", ["nothing", "other"])
async def test_a_broken_key_file_is_explained_without_its_content(ready: Kit, broken: str) -> None:
    made = await ready.key.ensure()
    pem = made.path.read_text()
    await ready.key.rotate()
    other = ready.key.private_key_path.read_text()
    mixed = pem.split("-----BEGIN CERTIFICATE")[0] + "-----BEGIN CERTIFICATE" + other.split("-----BEGIN CERTIFICATE")[1]
    ready.key.private_key_path.write_text(pem[:300] if broken == "nothing" else mixed)
    with pytest.raises(SettingsError, match="cannot be used") as refused:
        await ready.key.ensure()
    assert pem.splitlines()[2] not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


async def test_the_state_folder_that_cannot_be_written_is_explained(ready: Kit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    key = EncryptionKey(ready.graph, ready.profile, tmp_path / "file")
    with pytest.raises(SettingsError, match="cannot be"):
        await key.ensure()
    assert (await registered(ready))["keyCredentials"] == []


@pytest.mark.parametrize("name", ["contoso.onmicrosoft.com", "4a1b6d3e-0000-4000-8000-00000000abcd"])
async def test_a_rehearsal_never_shares_its_key_with_a_real_tenant(kit: Kit, name: str) -> None:
    real = EncryptionKey(kit.graph, Profile(mode="live", tenant=name), kit.folder).private_key_path
    assert real != kit.key.private_key_path
    assert real.resolve().is_relative_to(kit.folder.resolve())


async def test_removal_clears_the_tenant_and_the_files(ready: Kit) -> None:
    assert (await ready.key.remove()).status == "missing"
    await ready.key.ensure()
    await ready.key.rotate()
    removed = await ready.key.remove()
    assert removed.status == "removed"
    after = await registered(ready)
    assert (after["keyCredentials"], after["tokenEncryptionKeyId"]) == ([], None)
    assert list(ready.key.private_key_path.parent.glob("jit-key*")) == []
    assert (await ready.key.remove()).status == "missing"


async def test_a_dry_run_finds_a_key_that_the_tenant_does_not_use(ready: Kit) -> None:
    made = await ready.key.ensure()
    app = await ready.app.show()
    await ready.send("PATCH", f"/applications/{app.object_id}", {"tokenEncryptionKeyId": None})
    shown = await ready.key.to_remove()
    assert (shown.thumbprint, shown.key_id) == (made.thumbprint, "")
    assert (await ready.key.remove()).status == "removed"
    assert not made.path.exists()
    with pytest.raises(NotReady, match="encryption key"):
        await ready.key.to_remove()


async def test_the_registration_comes_first(kit: Kit) -> None:
    await kit.app.remove()
    with pytest.raises(NotReady, match="02-app-registrations"):
        await kit.key.ensure()
    assert not kit.key.private_key_path.exists()
