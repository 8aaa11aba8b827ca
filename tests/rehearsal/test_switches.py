"""Switches: what they take, what they read as, and that a reset sets them back."""

from __future__ import annotations

from pathlib import Path

import pytest

from jitkit.errors import KitError
from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant


def test_every_switch_reads_as_its_default_takes_another_value_and_is_set_back_by_a_reset(tmp_path: Path) -> None:
    tenant = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    for switch in switches.SWITCHES.values():
        assert switches.read(tenant.directory, switch.name) == switch.default
        other: switches.Value = f"{switch.default}2"
        if not isinstance(switch.default, str):
            other = (not switch.default) if isinstance(switch.default, bool) else switch.default + 1.5
        switches.write(tenant.directory, switch.name, other)
        assert switches.read(tenant.directory, switch.name) == other
    tenant.reset()
    for switch in switches.SWITCHES.values():
        assert switches.read(tenant.directory, switch.name) == switch.default
    tenant.close()


@pytest.mark.parametrize(
    ("name", "value"), [("nonsense", True), ("log_delay", True), ("allow_loopback", 1), ("tenant_type", 1.0)]
)
def test_an_unknown_switch_or_a_value_of_another_kind_is_refused(
    tmp_path: Path, name: str, value: switches.Value
) -> None:
    tenant = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    with pytest.raises(KitError):
        switches.write(tenant.directory, name, value)
    tenant.close()
