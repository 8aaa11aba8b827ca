"""Change a tenant and be able to take it back: what was there before is kept with the tenant.

Whatever somebody changed again in the meantime stays as they left it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from jitkit.rehearsal import ways
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.ways import Way

__all__ = ["Edit", "apply", "pending", "take_back"]

_META: Final = "edits"


@dataclass(frozen=True)
class Edit:
    """One change.

    Args:
        what: `object`, `way`, or a property of users: the flag's full name or `forceChangePasswordNextSignIn`.
        kind: of an object: its kind.
        ids: the object, the host, or the users.
        before: what was there; of an object or a way the members that change; None for nothing.
        after: what is there now, in the same way.
    """

    what: str
    kind: str
    ids: tuple[str, ...]
    before: Any
    after: Any


def apply(directory: Directory, name: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Change the tenant, and keep what was there. What is so already is not changed, and not taken back later.

    Args:
        directory: the tenant's directory.
        name: under which the changes are taken back.
        edits: the changes.

    Returns:
        Those that changed something.
    """
    with directory.transaction():
        made = tuple(edit for edit in tuple(edits) if _put(directory, edit))
        if made:
            _keep(directory, {**_kept(directory), name: made})
    return made


def take_back(directory: Directory, name: str) -> bool:
    """Undo the changes of one name, but for what was changed again since.

    Returns:
        Whether there were any.
    """
    with directory.transaction():
        kept = _kept(directory)
        edits = kept.pop(name, ())
        for edit in reversed(edits):
            _put(directory, replace(edit, before=edit.after, after=edit.before))
        _keep(directory, kept)
    return bool(edits)


def pending(directory: Directory) -> list[str]:
    """List the names whose changes can be taken back."""
    return list(_kept(directory))


def _put(directory: Directory, edit: Edit) -> bool:
    """Make one change; return whether it changed anything."""
    if edit.before == edit.after:
        return False
    if edit.what == "object":
        return _put_object(directory, edit)
    if edit.what == "way":
        (host,) = edit.ids
        now = asdict(ways.read(directory, host))
        if changes := _has(now, edit.before):
            ways.write(directory, host, Way(**{**now, **edit.after}))
        return changes
    return _put_users(directory, edit)


def _put_object(directory: Directory, edit: Edit) -> bool:
    (id,) = edit.ids
    now = directory.get(edit.kind, id)
    if edit.before is None:
        if now is not None or any(_alike(each, edit.after) for each in directory.all(edit.kind)):
            return False
        directory.add(edit.kind, edit.after)
        return True
    if now is None or not _has(now, edit.before):
        return False
    if edit.after is None:
        directory.discard(edit.kind, id, recycle=False)
    else:
        directory.replace(edit.kind, {**now, **edit.after})
    return True


def _has(now: Body, members: Body) -> bool:
    return all(now.get(name) == value for name, value in members.items())


def _alike(one: Body, other: Body) -> bool:
    apart = ("id", "createdDateTime")
    return {k: v for k, v in one.items() if k not in apart} == {k: v for k, v in other.items() if k not in apart}


def _put_users(directory: Directory, edit: Edit) -> bool:
    changed = False
    for id in edit.ids:
        user = directory.user(id)
        if user is None:
            continue
        if edit.what == "forceChangePasswordNextSignIn":
            if user.force_change == edit.before:
                directory.update_user(id, force_change=edit.after)
                changed = True
        elif user.body.get(edit.what) == edit.before:
            directory.set_user_value(id, edit.what, edit.after)
            changed = True
    return changed


def _kept(directory: Directory) -> dict[str, tuple[Edit, ...]]:
    kept = json.loads(directory.meta(_META) or "{}")
    return {name: tuple(Edit(**{**edit, "ids": tuple(edit["ids"])}) for edit in edits) for name, edits in kept.items()}


def _keep(directory: Directory, kept: dict[str, tuple[Edit, ...]]) -> None:
    directory.set_meta(_META, json.dumps({name: [asdict(edit) for edit in edits] for name, edits in kept.items()}))
