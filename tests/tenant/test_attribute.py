from __future__ import annotations

from pathlib import Path

import pytest

from jitkit.errors import NotReady, PermissionMissing, Taken
from tenant.support import Kit, narrow, writes


async def owner_of(kit: Kit) -> dict[str, str]:
    found = await kit.send("GET", "/applications?$filter=startswith(displayName,'b2c-extensions-app')")
    return dict(found["value"][0])


async def test_the_flag_is_made_on_the_extensions_app_and_found_the_second_time(kit: Kit) -> None:
    made, owner = await kit.flag.ensure(), await owner_of(kit)
    assert made.status == "created"
    assert made.full_name == f"extension_{owner['appId'].replace('-', '')}_toBeMigrated"
    assert (made.owner_object_id, made.owner_app_id) == (owner["id"], owner["appId"])

    again = await kit.flag.ensure()
    assert (again.status, writes(again), again.property_id) == ("reused", [], made.property_id)
    assert (await kit.flag.show()).full_name == made.full_name


async def test_the_flag_can_be_set_on_a_user(kit: Kit) -> None:
    full_name = (await kit.flag.ensure()).full_name
    body = {
        "displayName": "Ada",
        "accountEnabled": True,
        "identities": [{"signInType": "emailAddress", "issuer": kit.tenant.domain, "issuerAssignedId": "a@x.example"}],
        "passwordProfile": {"password": "Juniper-Ladder-27"},
        full_name: True,
    }
    made = await kit.send("POST", "/users", body)
    assert (await kit.send("GET", f"/users/{made['id']}?$select={full_name}"))[full_name] is True


async def test_removal_says_what_becomes_of_the_values_and_comes_to_nothing_the_second_time(kit: Kit) -> None:
    await kit.flag.ensure()
    removed = await kit.flag.remove()
    assert removed.status == "removed"
    assert "still count" in removed.facts["Values on users"]
    assert (await kit.flag.remove()).status == "missing"
    assert await owner_of(kit), "the tenant's own application stays"
    with pytest.raises(NotReady, match="01-extension-attribute"):
        await kit.flag.show()


async def test_an_attribute_of_another_type_is_not_touched(kit: Kit) -> None:
    owner = await owner_of(kit)
    await kit.send(
        "POST",
        f"/applications/{owner['id']}/extensionProperties",
        {"name": "toBeMigrated", "dataType": "String", "targetObjects": ["User"]},
    )
    with pytest.raises(Taken, match="not a Boolean") as refused:
        await kit.flag.ensure()
    assert "String, for User" in str(refused.value)
    left = await kit.flag.remove()
    assert (left.status, "String" in left.facts["What is there"]) == ("left alone", True)
    assert len((await kit.send("GET", f"/applications/{owner['id']}/extensionProperties"))["value"]) == 2


async def test_another_spelling_of_the_name_is_pointed_out(kit: Kit) -> None:
    await kit.named(attribute="ToBeMigrated").flag.ensure()
    with pytest.raises(Taken, match="other capitals") as refused:
        await kit.flag.ensure()
    assert "_ToBeMigrated" in str(refused.value)


async def test_a_tenant_without_the_extensions_app_is_explained(kit: Kit) -> None:
    await kit.send("DELETE", f"/applications/{(await owner_of(kit))['id']}")
    with pytest.raises(NotReady, match="Deleted applications"):
        await kit.flag.ensure()


async def test_two_extensions_apps_are_not_guessed_between(kit: Kit) -> None:
    made = await kit.send("POST", "/applications", {"displayName": "b2c-extensions-app copy"})
    with pytest.raises(Taken) as refused:
        await kit.flag.ensure()
    assert made["id"] in str(refused.value)
    assert (await owner_of(kit))["id"] in str(refused.value)


async def test_a_missing_permission_names_the_role_and_the_permission(kit: Kit, tmp_path: Path) -> None:
    weak = narrow(kit, ["Application.Read.All"], tmp_path)
    with pytest.raises(PermissionMissing, match="role Application Administrator") as refused:
        await weak.flag.ensure()
    assert "Application.ReadWrite.All" in refused.value.next_step
    assert "Authorization_RequestDenied" in str(refused.value)
