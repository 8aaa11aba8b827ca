"""What the steps about users tell: counts, one person, and what a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from jitkit.display import Card, Table

__all__ = ["Applied", "Counts", "Person"]


@dataclass(frozen=True, kw_only=True)
class Counts(Card):
    """How far the tenant says the migration is.

    Args:
        to_migrate: users whose flag is true.
        migrated: users whose flag is false.
        unmarked: users who have no flag.
    """

    to_migrate: int
    migrated: int
    unmarked: int


@dataclass(frozen=True, kw_only=True)
class Person(Card):
    """One user.

    Args:
        user_id: the object id.
        flag: true: to be migrated; false: migrated; None: not part of the migration.
        enabled: whether they may sign in.
    """

    user_id: str
    flag: bool | None
    enabled: bool


@dataclass(frozen=True, kw_only=True)
class Applied(Card):
    """What `apply` came to.

    Args:
        created: how many were created.
        marked: how many got the flag.
        there: how many turned out to be there already.
        left: how many of the plan were left for a later run.
        refused: whom Graph refused, and in which words.
    """

    created: int
    marked: int
    there: int
    left: int
    refused: tuple[tuple[str, str], ...] = field(repr=False)

    def _repr_html_(self) -> str:
        if not self.refused:
            return super()._repr_html_()
        caption = "Whom Graph refused; everybody else is done"
        table = Table(caption=caption, columns=("Sign-in name", "The service said"), rows=self.refused)
        return super()._repr_html_() + table._repr_html_()
