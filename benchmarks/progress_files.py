"""Make the tables of a large migration as JSON lines and Parquet: seeded, a hundred thousand rows at a time.

Of the users a fifth never comes. The others come now and then for 120 days after their flag was set; each fails now and
then before the endpoint moves them, and signs in without a call from then on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jitkit.protocol import BLOCK, MIGRATE, RETRY, UPDATE

SIGN_INS = 10  # a user, on average
START = np.datetime64("2026-06-01T00:00:00", "ms")
DAYS = 120
_DAY = 86_400_000  # milliseconds
_ROWS = 100_000

# What a call that does not move anybody ends in: action, cause, callout error, result code; and how often.
FAILED = pd.DataFrame(
    [
        (RETRY, "wrong", 0, 50126, 0.55),
        (UPDATE, "weak", 0, 50126, 0.15),
        (BLOCK, "locked", 0, 1100001, 0.10),
        (BLOCK, "down", 0, 1100001, 0.08),
        (None, "decrypt_failed", 1003002, 1100001, 0.02),
        (None, None, 1003005, 1100001, 0.06),
        (None, None, 1003027, 1100001, 0.04),
    ],
    columns=["action", "cause", "error", "result", "share"],
)
_MOVED = len(FAILED)
_SILENT = _MOVED + 1
_LATER = _MOVED + 2


def write_files(folder: Path, users: int) -> dict[str, int]:
    """Write `users`, `sign_ins` and `ledger`, each as `.jsonl` and `.parquet`.

    Args:
        folder: where to; made if it is not there.
        users: how many users; ten times as many sign-ins.

    Returns:
        table to number of rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(users)
    who, time, flagged = _visits(dice, users)
    ends = _ends(dice, who, users)
    names, apps = _ids(dice, users), _ids(dice, 5)
    app = dice.integers(0, len(apps), users)
    moving = (ends == _MOVED) | (ends == _SILENT)
    migrated = np.full(users, np.datetime64("NaT"), dtype="M8[ms]")
    migrated[who[moving]] = time[moving] + dice.integers(200, 1500, int(moving.sum()))
    path = np.full(users, None, dtype=object)
    path[who[ends == _MOVED]] = "callout"
    path[who[ends == _SILENT]] = "silent"
    people = {"user_id": names, "flagged_at": flagged, "migrated_at": migrated, "path": path}
    people |= {"country": np.array(["DE", "FR", "IT", "PL"])[dice.integers(0, 4, users)], "app": apps[app]}
    order = np.argsort(time, kind="stable")
    who, time, ends = who[order], time[order], ends[order]
    sign_ins = _sign_ins(dice, time, ends) | {"user_id": (names, who), "app_id": (apps, app[who])}
    tables = {"users": people, "sign_ins": sign_ins, "ledger": _ledger(dice, sign_ins, ends)}
    return {name: _write(folder / f"{name}.jsonl", columns) for name, columns in tables.items()}


def _visits(dice: np.random.Generator, users: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Say who comes when, by user and time, and when the flags were set: within the first ten days."""
    often = dice.gamma(0.7, 1.0, users) * (dice.random(users) > 0.2)
    who = np.repeat(np.arange(users), dice.multinomial(SIGN_INS * users, often / often.sum()))
    flagged = START + dice.integers(0, 10 * _DAY, users)
    time = flagged[who] + dice.integers(_DAY // 24, DAYS * _DAY, len(who))
    order = np.lexsort((time, who))
    return who, time[order], flagged


def _ends(dice: np.random.Generator, who: np.ndarray, users: int) -> np.ndarray:
    """Say what each sign-in ends in, given in the order of user and time."""
    first = np.flatnonzero(np.diff(who, prepend=-1))
    nth = np.arange(len(who)) - np.repeat(first, np.diff(np.append(first, len(who))))
    fails = dice.geometric(0.8, users)[who] - 1
    ends = np.full(len(who), _LATER)
    failing = nth < fails
    ends[failing] = dice.choice(_MOVED, int(failing.sum()), p=FAILED["share"])
    moving = nth == fails
    ends[moving] = np.where(dice.random(int(moving.sum())) < 0.03, _SILENT, _MOVED)
    return ends


def _sign_ins(dice: np.random.Generator, time: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    errors = np.append(FAILED["error"], [0, 0, 0])[ends]
    attempts = 1 + ((errors > 0) | (dice.random(len(ends)) < 0.01))
    mistyped = (ends == _LATER) & (dice.random(len(ends)) < 0.02)
    return {
        "time": time,
        "correlation_id": _ids(dice, len(ends)),
        "result_code": np.where(mistyped, 50126, np.append(FAILED["result"], [0, 0, 0])[ends]),
        "callout_error": _where(ends <= _MOVED, errors),
        "callout_status": _where(ends <= _MOVED, np.where(errors == 0, 200, 0)),
        "attempts": _where(ends <= _MOVED, attempts),
    }


def _ledger(dice: np.random.Generator, sign_ins: dict[str, Any], ends: np.ndarray) -> dict[str, Any]:
    """Write a line for each attempt of each call that reached the endpoint."""
    answered = np.flatnonzero((ends <= _MOVED) & (np.append(FAILED["error"], [0, 0, 0])[ends] < 1003005))
    again = sign_ins["attempts"][answered].to_numpy(dtype="int64")
    row = np.repeat(answered, again)
    second = np.diff(row, prepend=-1) == 0
    time = sign_ins["time"][row] + dice.integers(50, 400, len(row)) + 2000 * second
    order = np.argsort(time, kind="stable")
    row, ended = row[order], ends[row[order]]
    return {
        "time": time[order],
        "correlation_id": (sign_ins["correlation_id"], row),
        "user_id": (sign_ins["user_id"][0], sign_ins["user_id"][1][row]),
        "app_id": (sign_ins["app_id"][0], sign_ins["app_id"][1][row]),
        "action": np.append(FAILED["action"], [MIGRATE])[ended],
        "cause": np.append(FAILED["cause"], ["right"])[ended],
        "legacy": np.full(len(row), "sql", dtype=object),
        "duration_ms": dice.lognormal(5, 0.5, len(row)).round(1),
        "key": np.full(len(row), "qnazBDmzj_OaYbGy8UI2dTxQw4c", dtype=object),
        "attempt": 1 + second[order],
    }


def _where(rows: np.ndarray, values: np.ndarray) -> Any:
    return pd.arrays.IntegerArray(values.astype("int64"), ~rows)


def _ids(dice: np.random.Generator, count: int) -> np.ndarray:
    """Make ids in the form of GUIDs, as bytes of text."""
    digits = np.frombuffer(dice.bytes(16 * count).hex().encode(), dtype="u1").reshape(count, 32)
    text = np.full((count, 36), ord("-"), dtype="u1")
    text[:, [*range(8), *range(9, 13), *range(14, 18), *range(19, 23), *range(24, 36)]] = digits
    return text.reshape(-1).view("S36")


def _write(path: Path, columns: dict[str, Any]) -> int:
    """Write columns, some of them as values and where to take them; returns the number of rows."""
    rows = len(next(iter(columns.values())))
    with path.open("wb") as file:
        for begin in range(0, rows, _ROWS):
            parts: list[Any] = []
            for name, column in columns.items():
                parts += [f'{"," if parts else "{"}"{name}":', _json(column, slice(begin, begin + _ROWS))]
            lines = pc.binary_join_element_wise(*parts, "}\n", "")
            file.write(lines.buffers()[2])
    duckdb.execute("SET enable_progress_bar = false")
    table = duckdb.read_json(str(path))
    ids = ", ".join(
        f"{name}::VARCHAR AS {name}" for name, each in zip(table.columns, table.types, strict=True) if each == "UUID"
    )
    table.project(f"* REPLACE ({ids})").to_parquet(str(path.with_suffix(".parquet")))
    return rows


def _json(column: Any, rows: slice) -> pa.Array:
    values = column[0][column[1][rows]] if isinstance(column, tuple) else column[rows]
    kind = getattr(values.dtype, "kind", "")
    if kind == "S":
        texts = pa.Array.from_buffers(pa.binary(values.itemsize), len(values), [None, pa.py_buffer(values)])
        texts = texts.cast(pa.binary()).cast(pa.string())
    elif kind == "M":
        texts = pc.strftime(pa.array(values), "%Y-%m-%dT%H:%M:%SZ")
    else:
        texts = pa.array(values, from_pandas=True).cast(pa.string())
    if kind in "SMOU":
        texts = pc.binary_join_element_wise('"', texts, '"', "")
    return texts.fill_null("null")
