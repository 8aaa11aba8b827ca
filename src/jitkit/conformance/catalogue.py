"""The cases as `cases.toml` lists them: what each one asks, where that is written, and what is sent for it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, eq=False)
class Case:
    """One question to an endpoint.

    Args:
        id: a letter for the subject, and a number.
        area: the heading that it stands under.
        why: what the endpoint must do, in one line.
        source: where that is written: a document, an RFC, or "safest" where the documents are silent.
        required: whether a failure fails the run; if not, it is a choice of policy to know about.
        needs: what the case is skipped without.
        calls: how the calls of the case differ from a good call, each with a name.
        refused: the statuses that may refuse them.
        decided: the actions that may decide them.
        message: whether the action must come with a message.
        faults: what the legacy store does to a good call, which must be neither let in nor called wrong.
    """

    id: str
    area: str
    why: str
    source: str
    required: bool = True
    needs: tuple[str, ...] = ()
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: tuple[int, ...] = ()
    decided: tuple[str, ...] = ()
    message: bool = False
    faults: tuple[str, ...] = ()


_AREAS: Final = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))
CASES: Final = {id: Case(id, area, **row) for area, rows in _AREAS.items() for id, row in rows.items()}
