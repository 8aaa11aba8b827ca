"""Smart lockout, by the tenant's clock."""

from __future__ import annotations

from rehearsal.support import LEGACY, NEW, STORED, ScriptedEndpoint, World


async def guess(world: World, *numbers: int) -> list[int]:
    """Type wrong passwords that differ, and list the codes."""
    return [(await world.sign_in(f"Wrong#Password-{number}")).code for number in numbers]


async def test_ten_different_wrong_passwords_refuse_even_the_right_one_for_sixty_seconds(world: World) -> None:
    user = world.add_user(flag=False)
    world.directory.clock.hold(1_800_000_000)
    assert await guess(world, *range(10)) == [50126] * 10
    assert (await world.sign_in(STORED)).code == 50053
    world.directory.clock.forward(59)
    assert (await world.sign_in(STORED)).code == 50053
    world.directory.clock.forward(2)
    assert (await world.sign_in(STORED)).outcome == "signed in"
    found = world.directory.user(user.id)
    assert found
    assert found.failed == 0


async def test_the_same_wrong_password_again_does_not_count_while_it_is_among_the_last_three(world: World) -> None:
    world.add_user(flag=False)
    assert await guess(world, *([1, 2, 3] * 10)) == [50126] * 30
    assert (await world.sign_in(STORED)).outcome == "signed in"


async def test_a_fourth_wrong_password_makes_the_first_count_again(world: World) -> None:
    world.add_user(flag=False)
    await guess(world, *([1, 2, 3, 4] * 2), 1, 2)
    assert (await world.sign_in(STORED)).code == 50053


async def test_each_further_wrong_password_locks_again_and_for_longer(world: World) -> None:
    world.add_user(flag=False)
    world.directory.clock.hold(1_800_000_000)
    await guess(world, *range(10))
    world.directory.clock.forward(61)
    assert await guess(world, 10) == [50126]
    world.directory.clock.forward(61)
    assert (await world.sign_in(STORED)).code == 50053
    world.directory.clock.forward(60)
    assert (await world.sign_in(STORED)).outcome == "signed in"


async def test_a_locked_account_is_not_asked_about_at_the_endpoint(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    world.directory.update_user(user.id, locked_until=world.directory.clock.now() + 60)
    assert (await world.sign_in(LEGACY)).code == 50053
    assert not endpoint.received


async def test_a_self_service_reset_opens_a_locked_account(world: World) -> None:
    world.add_user(flag=False)
    await guess(world, *range(10))
    assert (await world.tenant.reset_password("ada@woodgrove.example", NEW)).outcome == "password reset"
    assert (await world.sign_in(NEW)).outcome == "signed in"
