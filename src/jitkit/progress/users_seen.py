"""The users as they were seen time after time: when the flag changed, who was flagged again, who vanished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pandas as pd

__all__ = ["in_scope", "merged", "seen", "without_the_unseen"]

Row = Mapping[str, Any]

_TIMES: Final = ("created_at", "true_at", "false_at", "gone_at", "seen_at")
_TYPES: Final = {"user_id": "str", "flag": "boolean", "again": "bool"} | dict.fromkeys(
    _TIMES, pd.DatetimeTZDtype("us", "UTC")
)


def seen(rows: Iterable[Row], flag: str, at: pd.Timestamp) -> pd.DataFrame:
    """Make a table of Graph's users, as they come from `/users` or `/users/delta`.

    Args:
        rows: `user` objects with `id`, `createdDateTime` and the flag; a removed one carries `@removed`.
        flag: the flag's full name, `extension_…`.
        at: when they were read.

    Returns:
        `user_id`, `flag`, `created_at`, `true_at` (last seen true), `false_at` (first seen false since), `again`
        (whether it became true once more), `gone_at`, `seen_at`; of several rows about one user the last one counts.
    """
    found = [
        (row["id"].lower(), row.get("createdDateTime"), row.get(flag), "@removed" in row)
        for row in rows
        if row.get("id")
    ]
    frame = pd.DataFrame(found, columns=["user_id", "created_at", "flag", "removed"])
    frame = frame.drop_duplicates("user_id", keep="last")
    value, moment = frame["flag"].astype("boolean"), pd.Series(at, index=frame.index)
    return pd.DataFrame(
        {
            "user_id": frame["user_id"],
            "flag": value,
            "again": False,
            "created_at": pd.to_datetime(frame["created_at"], utc=True, format="ISO8601"),
            "true_at": moment.where(value.fillna(False)),
            "false_at": moment.where((~value).fillna(False)),
            "gone_at": moment.where(frame["removed"].astype("bool")),
            "seen_at": moment,
        }
    ).astype(_TYPES)


def merged(before: pd.DataFrame | None, now: pd.DataFrame) -> pd.DataFrame:
    """Bring what was known about users up to what is seen now.

    Args:
        before: the table of earlier times; None before the first.
        now: the table of `seen`, of all users or of some.
    """
    if before is None or before.empty:
        return now.reset_index(drop=True)
    old, new = before.set_index("user_id"), now.set_index("user_id")
    known = old.reindex(new.index)
    was, is_ = known["flag"].astype("boolean"), new["flag"]
    stayed = (was.notna() & ~was.fillna(True) & ~is_.fillna(True)).to_numpy(dtype=bool)
    back = (known["false_at"].notna() & is_.fillna(False)).to_numpy(dtype=bool)
    gone = new["gone_at"].notna()
    fresh = new.assign(
        created_at=new["created_at"].fillna(known["created_at"]),
        true_at=new["true_at"].fillna(known["true_at"]),
        false_at=new["false_at"].mask(stayed, known["false_at"]),
        again=known["again"].astype("boolean").fillna(False).to_numpy(dtype=bool) | back,
    )
    # A removal tells nothing but that: what was known stays.
    fresh.loc[gone, ["flag", "false_at"]] = known.loc[gone, ["flag", "false_at"]]
    rest = old[~old.index.isin(new.index)]
    return pd.concat([rest, fresh]).rename_axis("user_id").reset_index()[[*_TYPES]].astype(_TYPES)


def without_the_unseen(users: pd.DataFrame, since: pd.Timestamp, at: pd.Timestamp) -> pd.DataFrame:
    """Mark as gone who a whole reading of the directory, begun at `since` and ended at `at`, did not show."""
    unseen = (users["seen_at"] < since) & users["gone_at"].isna()
    return users.assign(gone_at=users["gone_at"].mask(unseen, at))


def in_scope(users: pd.DataFrame) -> pd.DataFrame:
    """Keep the users who are in the tenant and have a flag, true or false."""
    return users[users["flag"].notna() & users["gone_at"].isna()].reset_index(drop=True)
