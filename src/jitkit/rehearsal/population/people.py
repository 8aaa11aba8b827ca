"""The people of a plan: what each is like, what each types, and how each stands in the tenant and in the old store."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from jitkit.rehearsal.accounts import hash_password
from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import User
from jitkit.rehearsal.population.plan import Plan

__all__ = ["TREATED", "People"]

TREATED: Final = 1
_CONTROL: Final = 2
_GROUPS: Final = ("", "reminded", "not reminded")
_COUNTRIES: Final = ("DE", "FR", "GB", "NL", "PL", "SE")
_COUNTRY_SHARES: Final = (0.3, 0.2, 0.2, 0.1, 0.15, 0.05)
_STAGED_BEFORE: Final = 3600.0


class People:
    """Know everybody of a plan. People are numbered from 0; everything about them follows from the plan.

    Arrays hold what differs, one number a person; names, passwords and ids are worked out when they are needed.

    Args:
        plan: the plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        dice = np.random.default_rng([plan.seed, 1])
        count = plan.people
        self.habit = _drawn(dice, [habit.share for habit in plan.habits], count)
        self.app = _drawn(dice, [app.share for app in plan.apps], count)
        self.weak = dice.random(count) < plan.weak
        self._weak_hash = dice.random(count) < plan.weak_hashes
        self._damaged = dice.random(count) < plan.damaged
        self._country = _drawn(dice, list(_COUNTRY_SHARES), count)
        self._absent = self._days_absent(dice)
        self._group = _groups(dice, plan)
        # How many passwords of their own choice each has had since the start.
        self.chosen = np.zeros(count, dtype=np.uint8)

    def name(self, who: int) -> str:
        """Return the e-mail address that somebody signs in with."""
        return f"person{who:06d}@woodgrove.example"

    def password(self, who: int, chosen: int | None = None) -> str:
        """Return what somebody takes for their password.

        Args:
            who: the person.
            chosen: the number of the password; None for the newest.
        """
        number = int(self.chosen[who]) if chosen is None else chosen
        word = self._word("password", who, number)
        return f"sunflower{word[:4]}" if number == 0 and self.weak[who] else f"Aa1-{word[:12]}"

    def user_id(self, who: int) -> str:
        """Return somebody's object id."""
        return str(uuid.UUID(self._word("id", who), version=4))

    def treated(self, campaign: int) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return who gets the mail of a campaign.

        Args:
            campaign: its place in the plan.
        """
        return np.flatnonzero(self._group == 2 * campaign + TREATED)

    def users(self, domain: str, flag: str) -> Iterator[User]:
        """Make everybody's account, as a bulk creation through Graph leaves it: an unguessable password and the flag.

        Args:
            domain: the tenant's domain.
            flag: the flag's full name.
        """
        made = self.plan.moment(0) - _STAGED_BEFORE
        for who in range(self.plan.people):
            id, name = self.user_id(who), self.name(who)
            upn, secret = f"{id}@{domain}", self._word("stored", who)
            identities = [
                {"signInType": "emailAddress", "issuer": domain, "issuerAssignedId": name},
                {"signInType": "userPrincipalName", "issuer": domain, "issuerAssignedId": upn},
            ]
            body = {
                "displayName": f"Person {who}",
                "mail": name,
                "creationType": "LocalAccount",
                "passwordPolicies": "DisablePasswordExpiration",
                flag: True,
                "identities": identities,
                "createdDateTime": timestamp(made),
                "lastPasswordChangeDateTime": timestamp(made),
            }
            yield User(
                id=id,
                upn=upn,
                sign_in_name=name,
                password_hash=hash_password(f"Aa1-{secret}", invented=True),
                force_change=False,
                enabled=True,
                failed=0,
                locked_until=0,
                body=body,
                created=made,
            )

    def legacy_rows(self) -> Iterator[tuple[str, str, str, int]]:
        """Make everybody's row of the old store: username, password_hash, status, must_change."""
        for who in range(self.plan.people):
            yield self.name(who), self._legacy_hash(who), "active", 0

    def dimensions(self) -> Iterator[dict[str, str]]:
        """Tell of everybody what figures may be grouped by; names and passwords are not among it."""
        for who in range(self.plan.people):
            seen = datetime.fromtimestamp(self.plan.moment(0), UTC) - timedelta(days=int(self._absent[who]))
            yield {
                "user_id": self.user_id(who),
                "app": self.plan.apps[self.app[who]].name,
                "country": _COUNTRIES[self._country[who]],
                "hash_scheme": "md5" if self._weak_hash[who] else "ssha256",
                "last_legacy_sign_in": seen.date().isoformat(),
                "habit": self.plan.habits[self.habit[who]].name,
                "campaign": self._campaign(who),
            }

    def _campaign(self, who: int) -> str:
        group = int(self._group[who])
        if not group:
            return ""
        number, kind = divmod(group - 1, 2)
        return f"{_GROUPS[kind + 1]} on day {self.plan.campaigns[number].day:g}"

    def _legacy_hash(self, who: int) -> str:
        password = self.password(who, 0).encode()
        if self._weak_hash[who]:
            digest = hashlib.md5(password, usedforsecurity=False).digest()
            text = f"{{MD5}}{base64.b64encode(digest).decode()}"
        else:
            salt = bytes.fromhex(self._word("legacy salt", who))[:8]
            text = f"{{SSHA256}}{base64.b64encode(hashlib.sha256(password + salt).digest() + salt).decode()}"
        return text[:20] if self._damaged[who] else text

    def _days_absent(self, dice: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Draw how long ago each was last seen by the old store: the rarer somebody comes, the longer."""
        usual = np.array([1 / habit.a_day if habit.a_day else 900.0 for habit in self.plan.habits])
        days: np.ndarray[Any, np.dtype[np.float64]] = np.minimum(dice.exponential(usual[self.habit]), 3000.0)
        return days

    def _word(self, purpose: str, who: int, number: int = 0) -> str:
        """Return 32 hexadecimal digits that follow from the seed."""
        text = f"{self.plan.seed} {purpose} {who} {number}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _drawn(dice: np.random.Generator, shares: list[float], count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    edges = np.cumsum(shares)
    return np.minimum(np.searchsorted(edges, dice.random(count), side="right"), len(shares) - 1).astype(np.uint8)


def _groups(dice: np.random.Generator, plan: Plan) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Draw who belongs to which campaign: 1 and 2 are treated and control of the first, 3 and 4 of the second."""
    shares = [campaign.treated for campaign in plan.campaigns for _ in (TREATED, _CONTROL)]
    if not shares:
        return np.zeros(plan.people, dtype=np.uint8)
    return (_drawn(dice, [1 - sum(shares), *shares], plan.people)).astype(np.uint8)
