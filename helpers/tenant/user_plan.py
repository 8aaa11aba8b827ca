"""What would happen to each person of a legacy export: worked out before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from helpers.legacy_export import LegacyUser, normalise
from jitkit.display import Sent, Table, fold

if TYPE_CHECKING:
    from helpers.legacy_export import Problem

__all__ = ["Aside", "Here", "Plan", "here", "make_plan"]

_FEDERATED = "An account with this e-mail address is there, but it signs in elsewhere, with no local password."
_DISABLED = "Disabled in the legacy store; the account that is there already stays as it is."


@dataclass(frozen=True)
class Here:
    """A user whom the tenant has already.

    Args:
        user_id: the object id.
        flag: the migration flag, or None when it was never set.
        local: whether they can sign in with e-mail and password.
    """

    user_id: str
    flag: bool | None
    local: bool


@dataclass(frozen=True)
class Aside:
    """Somebody who is left out.

    Args:
        username: the sign-in name as exported; it may be empty.
        reason: why, in words.
        line: the line of the export, or None when it is not known.
    """

    username: str
    reason: str
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan(Table):
    """What `apply` would do. Nothing was written.

    Args:
        create: who would be created.
        mark: who is there without the flag and would get it: object id to sign-in name.
        marked: how many have the flag set already.
        migrated: how many have migrated already; their flag stays false.
        aside: who is left out, and why.
        flag: the full name of the migration flag.
        issuer: the tenant's initial domain, which issues the sign-in names.
    """

    create: tuple[LegacyUser, ...] = field(repr=False)
    mark: Mapping[str, str] = field(repr=False)
    marked: int
    migrated: int
    aside: tuple[Aside, ...] = field(repr=False)
    flag: str
    issuer: str

    def __repr__(self) -> str:
        return (
            f"<Plan: create {len(self.create):,}, mark {len(self.mark):,}, leave {self.marked + self.migrated:,},"
            f" set aside {len(self.aside):,}>"
        )

    def _repr_html_(self) -> str:
        names = "".join(
            fold(caption, Table(caption=caption, columns=columns, rows=rows)._repr_html_())
            for caption, columns, rows in (
                ("Who would be marked", ("Sign-in name", "Object id"), [(name, id) for id, name in self.mark.items()]),
                ("Who is set aside", ("Line", "Sign-in name", "Why"), [_row(each) for each in self.aside]),
            )
            if rows
        )
        return super()._repr_html_() + names


def here(rows: Iterable[Mapping[str, Any]], flag: str) -> dict[str, Here]:
    """Index the tenant's users by sign-in name; by mail address those who sign in elsewhere.

    Args:
        rows: users as Graph shows them, with id, identities, mail and the flag.
        flag: the flag's full name.
    """
    found: dict[str, Here] = {}
    for row in rows:
        names = [each for each in row.get("identities") or [] if each.get("signInType") == "emailAddress"]
        for each in names:
            found[normalise(each.get("issuerAssignedId") or "")] = Here(row["id"], row.get(flag), True)
        if not names and row.get("mail"):
            found.setdefault(normalise(row["mail"]), Here(row["id"], row.get(flag), False))
    return found


def make_plan(
    people: Iterable[LegacyUser],
    problems: Iterable[Problem],
    tenant: Mapping[str, Here],
    *,
    flag: str,
    issuer: str,
    sent: Iterable[Sent] = (),
) -> Plan:
    """Sort everybody into create, mark, leave and set aside.

    Args:
        people: the usable rows of the export.
        problems: what is wrong with the export.
        tenant: who is there, by sign-in name.
        flag: the flag's full name.
        issuer: the tenant's initial domain.
        sent: the requests behind it.
    """
    aside = [Aside(each.username, each.cause, each.line) for each in problems if each.set_aside]
    create: dict[str, LegacyUser] = {}
    mark: dict[str, str] = {}
    flags: Counter[bool] = Counter()
    for person in people:
        there = tenant.get(person.username)
        if there is None:
            create.setdefault(person.username, person)
        elif there.flag is not None:
            flags[there.flag] += 1
        elif not there.local or person.status == "disabled":
            aside.append(Aside(person.username, _DISABLED if there.local else _FEDERATED))
        else:
            mark[there.user_id] = person.username
    new = tuple(create.values())
    return Plan(
        caption="What would happen",
        columns=("What", "People", "In words"),
        rows=_summary(new, len(mark), flags[True], flags[False], aside),
        note="Nothing was written. `await s.users.apply(plan)` does it.",
        sent=tuple(sent),
        create=new,
        mark=mark,
        marked=flags[True],
        migrated=flags[False],
        aside=tuple(aside),
        flag=flag,
        issuer=issuer,
    )


def _summary(
    create: tuple[LegacyUser, ...], mark: int, marked: int, migrated: int, aside: list[Aside]
) -> list[tuple[str, str, str]]:
    disabled = sum(person.status == "disabled" for person in create)
    created = "Not in the tenant: created with a temporary password that nobody knows, and the flag."
    if disabled:
        created += f" {disabled:,} are disabled in the legacy store and are created disabled."
    rows = [
        ("create", f"{len(create):,}", created),
        (
            "mark",
            f"{mark:,}",
            "There without the flag: they get it. Their present password goes on working; look through them first, for"
            " somebody may have signed up anew."
            if mark
            else "There without the flag: nobody.",
        ),
        ("leave", f"{marked:,}", "The flag is set already."),
        ("leave", f"{migrated:,}", "Migrated already: the flag stays false."),
    ]
    reasons = Counter(each.reason for each in aside)
    return rows + [("set aside", f"{count:,}", reason) for reason, count in reasons.most_common()]


def _row(each: Aside) -> tuple[object, ...]:
    return each.line if each.line is not None else "", each.username, each.reason
