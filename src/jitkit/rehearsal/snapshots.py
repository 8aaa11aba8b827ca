"""Takes and restores snapshots of a tenant, together with the files that belong to it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jitkit.errors import KitError
from jitkit.rehearsal.tenant import RehearsalTenant

_TENANT: Final = "tenant.sqlite3"
_FILES: Final = "files"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Snapshots:
    """Snapshots of one tenant, each a folder that only its owner can open."""

    def __init__(self, tenant: RehearsalTenant, folder: Path, files: Sequence[Path] = ()) -> None:
        self._tenant, self._folder, self._files = tenant, folder, tuple(files)

    def names(self) -> list[str]:
        """List the snapshots that are there."""
        return sorted(each.name for each in self._folder.glob("*") if (each / _TENANT).is_file())

    def take(self, name: str) -> Path:
        """Keep the tenant under a name. A snapshot of that name is replaced."""
        target = self._at(name)
        fresh = target.with_name(f".{name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.mkdir(mode=0o700)
        copy = fresh / _TENANT
        copy.touch(mode=0o600)
        with sqlite3.connect(copy) as kept:
            self._tenant.directory.copy_to(kept)
        kept.close()
        if self._files:
            (fresh / _FILES).mkdir(mode=0o700)
        for file in self._files:
            if file.is_dir():
                shutil.copytree(file, fresh / _FILES / file.name)
            elif file.is_file():
                shutil.copy2(file, fresh / _FILES / file.name)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        return target

    def restore(self, name: str) -> None:
        """Bring the tenant back as it was, its id, keys and clock included. Faults are switched off."""
        source = self._at(name)
        if not (source / _TENANT).is_file():
            there = ", ".join(self.names()) or "none"
            raise KitError(f"There is no snapshot {name}.", next_step=f"There are these: {there}.")
        kept = sqlite3.connect(source / _TENANT)
        try:
            self._tenant.directory.copy_from(kept)
        finally:
            kept.close()
        if (source / _FILES).is_dir():
            for file in self._files:
                _bring_back(source / _FILES / file.name, file)
        self._tenant.faults.clear()

    def _at(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KitError(
                f"{name!r} is not a name for a snapshot.", next_step="Use small letters, digits and hyphens."
            )
        return self._folder / name


def _bring_back(kept: Path, file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    if kept.is_dir():
        shutil.copytree(kept, file)
    elif kept.is_file():
        # Into the same file: a running endpoint keeps writing to the ledger that it has open.
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(kept.read_bytes())
    else:
        file.unlink(missing_ok=True)
