"""`jitkit check --self`: the kit's own endpoint, with settings and keys for the suite."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from jitkit.conformance.case import Outcome
from jitkit.conformance.config import FEATURES, Config
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.keys import EncryptionKey
from jitkit.conformance.launcher import Launcher, settings_for
from jitkit.conformance.legacy import Legacy
from jitkit.conformance.run import check_started

__all__ = ["check_own", "fresh_config"]

_APP = "5d1f7c2e-8b3a-4e69-a0c4-9f2b6d7e1c55"


def fresh_config() -> Config:
    """Make a configuration with new keys: an invented tenant, a current and a previous certificate."""
    return Config(
        tenant_id="c0ffee00-1a2b-4c3d-8e4f-5a6b7c8d9e66",
        app_id=_APP,
        identifier_uri=f"api://login.conformance.example/{_APP}",
        key=EncryptionKey.make("JIT conformance, current"),
        previous=EncryptionKey.make("JIT conformance, previous"),
        extension_id="b8a6d4c2-0e1f-4a3b-9c5d-7e8f9a0b1c77",
        listener_id="d2c4b6a8-3f5e-4d7c-8b9a-1c2d3e4f5a88",
        features={**FEATURES, "user_mapping": True},
    )


async def check_own(only: Collection[str], tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Start the kit's own endpoint and run the cases against it, those of its start-up too.

    Args:
        only: ids of cases; all when empty.
        tell: hears of every outcome at once.

    Raises:
        KitError: the endpoint does not start.
    """
    with tempfile.TemporaryDirectory(prefix="jitkit-check-") as name:
        folder = Path(name)
        config = replace(fresh_config(), logs=(folder,), load_seconds=6)

        def launcher(issuer: Issuer, legacy: Legacy | None) -> Launcher:
            return Launcher(settings_for(config, issuer, legacy) | own_settings(config), folder)

        return await check_started(config, launcher, only, tell)


def own_settings(config: Config) -> dict[str, str]:
    """Return what the kit's endpoint needs beyond what every endpoint under test needs: keys and strictness."""
    settings = {
        "DecryptionPrivateKey": config.key.pem(),
        "JIT_CONTEXT_ISSUER": "require",
        "JIT_FLAT_CONTEXT": "0",
        "JIT_EXTENSION_IDS": config.extension_id,
        "JIT_LISTENER_IDS": config.listener_id,
    }
    return settings | ({"DecryptionPrivateKeyPrevious": config.previous.pem()} if config.previous else {})
