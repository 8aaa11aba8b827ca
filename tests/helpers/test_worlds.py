"""What invented people type, read from the file next to the export; and what a real tenant never gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import Opening

from helpers import settings
from helpers.settings import Profile
from helpers.worlds import LiveWorld, enter
from jitkit.errors import BadTable, NotReady, SettingsError

ADA = "ada@woodgrove.example"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"username,password\r\na@b.example,p,\r\n", {"a@b.example": "p"}),
        ("\ufeffusername,password\na@b.example,pä\n".encode(), {"a@b.example": "pä"}),
        (b"username,password\na@b.example\n", {"a@b.example": ""}),
        (b"username,password\n", {}),
    ],
)
async def test_files_as_programs_write_them_are_read(
    content: bytes, expected: dict[str, str], home: Path, opening: Opening
) -> None:
    s = await opening(home)
    s.world.export().with_name("people.csv").write_bytes(content)
    assert s.world.people == expected


@pytest.mark.parametrize(
    "content", [None, b"", b"name,password\na,b\n", b"username\na\n", b"username,password\n\xff,\xe4\n"]
)
async def test_a_file_that_says_nothing_is_named(content: bytes | None, home: Path, opening: Opening) -> None:
    s = await opening(home)
    path = s.world.export().with_name("people.csv")
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(BadTable, match=r"people\.csv"):
        await s.sign_in(ADA)


async def test_somebody_who_was_not_invented_needs_a_password(home: Path, opening: Opening) -> None:
    s = await opening(home)
    with pytest.raises(NotReady, match="not among the invented people") as caught:
        await s.sign_in("nobody@woodgrove.example")
    assert "password=" in caught.value.next_step
    assert (await s.sign_in("nobody@woodgrove.example", password="Any-1")).outcome == "unknown user"


async def test_an_invented_person_is_known_by_the_name_in_any_case(home: Path, opening: Opening) -> None:
    s = await opening(home)
    assert s.world.password_of(ADA.upper()) == s.world.people[ADA]
    assert s.world.password_of("nobody@woodgrove.example") is None


async def test_a_real_tenant_gets_no_sample_data_and_no_typed_password(tmp_path: Path) -> None:
    profile = Profile(mode="live", tenant="contoso.onmicrosoft.com")
    world = enter(profile, tmp_path)
    assert isinstance(world, LiveWorld)
    assert world.people == {} and world.documents() == ""
    with pytest.raises(SettingsError, match="No user export"):
        world.export()
    assert await world.compose(ADA, "Any-Password-1") is None
    assert "port 7071" in world.publish("jit.contoso.example", "http://127.0.0.1:7071")
    assert not list(tmp_path.iterdir()), "nothing is written before it is needed"  # noqa: ASYNC240
    await world.close()


async def test_each_world_keeps_its_own_export(tmp_path: Path) -> None:
    real = Profile(mode="live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com", export="~/users.csv")
    settings.save(tmp_path, real)
    settings.save(tmp_path, Profile(endpoint_port=0))
    assert settings.load(tmp_path).export == ""
    assert settings.load(tmp_path, "live").export == "~/users.csv"
    world = enter(real, tmp_path)
    assert world.export() == Path.home() / "users.csv"
    await world.close()
