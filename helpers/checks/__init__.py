"""Read everything that a migration rests on, in a tenant of either kind, and name each fault with its mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.checks.finding import Checked, Finding
from helpers.graph import recording

if TYPE_CHECKING:
    from helpers.kit import Session

__all__ = ["Checked", "check"]


async def check(session: Session) -> Checked:
    """Check registrations, consents, policies, key, users, the endpoint and the newest sign-ins. Nothing is written.

    Args:
        session: the open session.

    Returns:
        One row a thing, in the order in which a sign-in meets them.
    """
    from helpers.checks import address, people, policies, registrations, sign_ins

    findings: list[Finding] = []
    with recording() as sent:
        for area in (registrations, policies, people, address, sign_ins):
            findings += await area.look(session)
    return Checked.of(findings, sent)
