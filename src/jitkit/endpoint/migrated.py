"""Whom the endpoint told Entra to migrate before: a second time means that the flag did not change."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from hashlib import blake2b
from pathlib import Path
from typing import Final

from jitkit.protocol import MIGRATE

__all__ = ["Migrated"]

_USERS: Final = 20_000
_TAIL: Final = 4 * 1024 * 1024


class Migrated:
    """Remember the object ids that were answered MigratePassword, from the end of the ledger and since the start.

    It is a hint for the operator and decides nothing: without a ledger it begins empty.

    Args:
        ledger: the ledger's path, or `-`.
    """

    def __init__(self, ledger: str) -> None:
        self._users: OrderedDict[bytes, None] = OrderedDict()
        if ledger != "-":
            self._read(Path(ledger))

    def again(self, user_id: str | None) -> bool:
        """Note a migration, and tell whether the same customer was migrated before."""
        if user_id is None:
            return False
        name = _name(user_id)
        known = name in self._users
        self._users[name] = None
        self._users.move_to_end(name)
        if len(self._users) > _USERS:
            self._users.popitem(last=False)
        return known

    def _read(self, ledger: Path) -> None:
        try:
            with ledger.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # the first line may be half of one
                continue
            if isinstance(entry, dict) and entry.get("action") == MIGRATE and isinstance(entry.get("user_id"), str):
                self.again(entry["user_id"])


def _name(user_id: str) -> bytes:
    return blake2b(user_id.lower().encode(), digest_size=16).digest()
