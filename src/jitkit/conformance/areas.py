"""The areas, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jitkit.conformance.case import Case, cases_of
from jitkit.conformance.cases import (
    answer,
    caller,
    claims,
    encrypted,
    envelope,
    faults,
    load,
    memory,
    outcomes,
    privacy,
    rollover,
    start,
    transport,
)

__all__ = ["areas"]


def areas() -> Mapping[str, Sequence[Case]]:
    """Return area to cases. Privacy comes last: it searches for what the others sent."""
    return {
        "Transport": cases_of(transport),
        "Caller": cases_of(caller),
        "Envelope": cases_of(envelope),
        "Encryption": cases_of(encrypted),
        "Claims, nonce and replay": cases_of(claims),
        "Outcomes": cases_of(outcomes),
        "Form of the answer": cases_of(answer),
        "Legacy faults and time": cases_of(faults),
        "Load": cases_of(load),
        "Start-up": cases_of(start),
        "Memory and reports": cases_of(memory),
        "Change of signing keys": cases_of(rollover),
        "Privacy": cases_of(privacy),
    }
