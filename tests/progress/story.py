"""A migration small enough to count by hand.

Six users, flagged at 09:00. ann is moved by a call at 09:01, bob silently at 09:02, cem by a new password at 09:03
after a second attempt of Entra. dora is locked; eli mistyped at 09:05; fay never tried. gus is not in scope.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from jitkit.progress.tables import Tables

DAY = "2026-11-02T09:"


def users() -> pd.DataFrame:
    rows = [
        ("ann", "01:00Z", "callout", "DE"),
        ("bob", "02:00Z", "silent", "DE"),
        ("cem", "03:00Z", "reset", "FR"),
        ("dora", None, None, "FR"),
        ("eli", None, None, "FR"),
        ("fay", None, None, "IT"),
    ]
    return pd.DataFrame(
        [(name, f"{DAY}00:00Z", at and DAY + at, path, country) for name, at, path, country in rows],
        columns=["user_id", "flagged_at", "migrated_at", "path", "country"],
    )


def sign_ins() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = [
        ("00:59Z", "ann", "c1", 0, 0, 200, 1),
        ("01:59Z", "bob", "c2", 0, None, None, None),
        ("02:50Z", "cem", "c3", 0, 0, 200, 2),
        ("04:00Z", "dora", "c4", 1100001, 0, 200, 1),
        ("04:30Z", "eli", "c5", 1100001, 1003005, 0, 2),
        ("05:00Z", "eli", "c6", 50126, 0, 200, 1),
        ("05:30Z", "ann", "c7", 0, None, None, None),
    ]
    names = ["time", "user_id", "correlation_id", "result_code", "callout_error", "callout_status", "attempts"]
    return pd.DataFrame([(DAY + row[0], *row[1:]) for row in rows], columns=names).assign(app_id="app")


def ledger() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = [
        ("00:59.1Z", "ann", "c1", "MigratePassword", "right", 40.0, 1),
        ("02:50.1Z", "cem", "c3", "UpdatePassword", "weak", 2100.0, 1),
        ("02:52.2Z", "cem", "c3", "UpdatePassword", "weak", 10.0, 2),
        ("04:00.1Z", "dora", "c4", "Block", "locked", 30.0, 1),
        ("04:30.1Z", "eli", "c5", "Retry", "wrong", 2500.0, 1),
        ("05:00.1Z", "eli", "c6", "Retry", "wrong", 20.0, 1),
        ("05:01Z", None, None, None, "no_token", 1.0, None),
    ]
    names = ["time", "user_id", "correlation_id", "action", "cause", "duration_ms", "attempt"]
    return pd.DataFrame([(DAY + row[0], *row[1:]) for row in rows], columns=names)


def told() -> Tables:
    return Tables(users=users(), sign_ins=sign_ins(), ledger=ledger())


def told_twice_and_shuffled(seed: int) -> Tables:
    def mixed(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([frame, frame]).sample(frac=1, random_state=seed, ignore_index=True)

    return Tables(users=mixed(users()), sign_ins=mixed(sign_ins()), ledger=mixed(ledger()))
