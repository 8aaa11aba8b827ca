"""Keeps a row a report in `history.csv` next to it, and says what changed since the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pandas as pd

from jitkit.progress.figures import coverage
from jitkit.progress.findings import Finding, is_over
from jitkit.progress.tables import TEXTS, Tables, records, refusal
from jitkit.progress.wording import say

FILE: Final = "history.csv"
_COUNTED: Final = ("in_scope", "migrated", "confirmed", "unconfirmed", "not_covered", "held_back", "waiting", "blocked")
_ENTRY: Final = itemgetter("kind", "name", "since", "until", "over")  # what a row holds of each finding


@dataclass(frozen=True)
class Changes:
    """What changed since the last report of an earlier moment; in the first one, everything is new."""

    since: pd.Timestamp | None  # the moment of the last report; None in the first one
    counts: dict[str, int]  # by how much each count of the bar differs
    held_back_by: dict[str, int]  # the same, by what holds people back; only what differs
    new: tuple[str, ...]  # what stands out now and did not then
    gone: tuple[str, ...]  # what stood out then, and is over or no longer there
    trouble: tuple[str, ...]  # of what is new, what is not over and asks for somebody to act

    def __str__(self) -> str:
        return say("changes", found=self)


def row(tables: Tables, counted: Mapping[str, Any], found: Sequence[Finding]) -> dict[str, Any]:
    """Make a report's row: the parts of its bar, what stands out, and which tables do not cover the whole time."""
    numbers: dict[str, Any] = {"as_of": _iso(tables.as_of or pd.Timestamp(0, tz="UTC"))}
    numbers |= {name: int(counted.get(name, 0)) for name in _COUNTED}
    for name in ("coming", "unlikely"):
        numbers |= {f"{name}_{end}": number for end, number in counted.get(name, {}).items()}
    covered, names = coverage(tables), TEXTS["coverage"]["names"]
    gaps = [Finding("incomplete", "", subject=names[table]) for table in covered["table"][~covered["complete"]]]
    entries = [
        {"kind": each.kind, "name": each.name, "since": _iso(each.since), "until": _iso(each.until)}
        | {"over": is_over(each, tables.as_of)}
        for each in (*found, *gaps)
    ]
    listed = {"held_back_by": counted["held_back_by"], "findings": entries}
    return numbers | {name: json.dumps(each, ensure_ascii=False) for name, each in listed.items()}


def read(folder: Path) -> pd.DataFrame:
    """Read the history of a folder, the earliest report first; without a file it is empty.

    Raises:
        BadTable: the file is none that a report wrote.
    """
    path = folder / FILE
    try:
        frame = pd.read_csv(path, encoding="utf-8-sig", dtype="str", keep_default_na=False)
        frame["as_of"] = pd.to_datetime(frame["as_of"], utc=True, format="mixed").map(_iso)
        frame = frame.astype(dict.fromkeys(_COUNTED, "int64"))
        frame["held_back_by"].map(json.loads).map(dict.keys)
        frame["findings"].map(lambda listed: [*map(_ENTRY, json.loads(listed))])
    except (FileNotFoundError, NotADirectoryError):
        return pd.DataFrame(columns=["as_of"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise refusal("no_history", path=path) from None
    return frame.sort_values("as_of", ignore_index=True)


def added(history: pd.DataFrame, now: Mapping[str, Any]) -> pd.DataFrame:
    """Add a report's row, in the order of time, in place of one of the same moment."""
    others = records(history[history["as_of"] != now["as_of"]])
    return pd.DataFrame([*others, now]).sort_values("as_of", ignore_index=True)


def compare(history: pd.DataFrame, now: Mapping[str, Any]) -> Changes:
    """Compare a report's row with the last one of an earlier moment."""
    earlier = records(history[history["as_of"] < now["as_of"]].tail(1))
    nothing = dict.fromkeys(_COUNTED, 0) | {"held_back_by": "{}", "findings": "[]"}
    before: Mapping[str, Any] = earlier[0] if earlier else nothing
    held, then = (json.loads(each["held_back_by"]) for each in (now, before))
    causes = {cause: held.get(cause, 0) - then.get(cause, 0) for cause in {**held, **then}}
    found, known = (json.loads(each["findings"]) for each in (now, before))
    new = [each for each in found if not any(_same(each, other) for other in known)]
    still = [each for each in found if not each["over"]]
    gone = [each for each in known if not each["over"] and not any(_same(each, other) for other in still)]
    return Changes(
        since=pd.Timestamp(before["as_of"]) if earlier else None,
        counts={name: int(now[name]) - int(before[name]) for name in _COUNTED},
        held_back_by={cause: number for cause, number in causes.items() if number},
        new=tuple(each["name"] for each in new),
        gone=tuple(each["name"] for each in gone),
        trouble=tuple(each["name"] for each in new if not each["over"] and each["kind"] not in ("campaign", "rush")),
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two findings are of one thing: what lies at a time by its time, which may grow, the others by name."""
    if one["kind"] != other["kind"] or None in (one["since"], other["since"]):
        return bool(one["name"] == other["name"])
    return bool(one["since"] <= (other["until"] or other["since"]) and other["since"] <= (one["until"] or one["since"]))


def _iso(time: pd.Timestamp | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"
