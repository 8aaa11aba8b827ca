"""Every user is in exactly one state, and the parts sum to the whole, whatever the tables hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from story import DAY, ledger, sign_ins, told, users

from jitkit.progress import figures, states
from jitkit.progress.report import Figures
from jitkit.progress.states import stragglers
from jitkit.progress.tables import Tables

NAMES = ["ann", "bob", "cem", "dora", "stranger"]


def state_of(user: dict[str, Any], log: list[dict[str, Any]] = [], calls: list[dict[str, Any]] = []) -> str:  # noqa: B006
    """The state of one user, `u`, beside another who is flagged and is of no interest."""
    people = [{"user_id": "u", "flagged_at": f"{DAY}00:00Z"} | user, {"user_id": "v", "flagged_at": f"{DAY}00:00Z"}]
    rows = [{"time": f"{DAY}10:00Z", "user_id": "u", "correlation_id": "c", "result_code": 0} | row for row in log]
    lines = [{"time": f"{DAY}10:00.5Z", "user_id": "u", "correlation_id": "c", "cause": "right"} | row for row in calls]
    tables = Tables(
        users=pd.DataFrame(people, columns=["user_id", "flagged_at", "migrated_at", "path", "status"]),
        sign_ins=pd.DataFrame(rows, columns=["time", "user_id", "correlation_id", "result_code", "callout_error"]),
        ledger=pd.DataFrame(lines, columns=["time", "user_id", "correlation_id", "action", "cause"]),
    )
    return str(states.states(tables)["u"])


MOVED = {"migrated_at": f"{DAY}10:01Z"}
YES, NO, WEAK = {"action": "MigratePassword"}, {"action": "Retry", "cause": "wrong"}, {"action": "UpdatePassword"}


@pytest.mark.parametrize(
    ("user", "log", "calls", "state"),
    [
        (MOVED | {"path": "callout"}, [{"callout_error": 0}], [YES], "migrated_by_call"),
        (MOVED | {"path": "silent"}, [{}], [], "migrated_silently"),
        (MOVED | {"path": "reset"}, [{"callout_error": 0}], [WEAK], "migrated_by_reset"),
        (MOVED, [{}], [], "migrated_unknown"),
        (MOVED, [], [YES], "not_covered"),
        (MOVED, [{"time": f"{DAY}05:00Z"}], [], "unconfirmed"),
        (MOVED, [{"time": f"{DAY}50:00Z"}], [], "migrated_unknown"),
        (MOVED, [{"result_code": 1100001, "callout_error": 1003005}], [YES], "unconfirmed"),
        ({"flagged_at": None}, [], [], "staged"),
        ({}, [], [], "flagged"),
        ({}, [{"user_id": "v"}], [], "never_seen"),
        ({"flagged_at": f"{DAY}30:00Z"}, [{"user_id": "v"}], [], "flagged"),
        ({"flagged_at": f"{DAY}30:00Z"}, [{}, {"user_id": "v", "time": f"{DAY}40:00Z"}], [], "never_seen"),
        ({}, [{"result_code": 50126}], [], "attempted"),
        ({}, [{"result_code": 50053}], [], "attempted"),
        ({}, [{"result_code": 50057}], [], "blocked"),
        ({}, [{}], [], "attempted"),
        ({}, [{"result_code": 50126, "callout_error": 0}], [NO], "attempted"),
        ({}, [{"result_code": 1100001, "callout_error": 1003005}], [YES], "attempted"),
        ({}, [{"callout_error": 0}], [], "stuck"),
        ({}, [{"callout_error": 0}], [YES], "stuck"),
        ({}, [], [YES], "stuck"),
        ({}, [], [{"action": "Block", "cause": "locked"}], "blocked"),
        ({}, [], [{"action": "Block", "cause": "disabled"}], "blocked"),
        ({}, [], [{"action": "Block", "cause": "down"}], "attempted"),
        ({"status": "Disabled"}, [{"user_id": "v"}], [], "blocked"),
        ({"status": "disabled"}, [{"result_code": 50126, "callout_error": 0}], [NO], "attempted"),
        ({"status": "active"}, [{"user_id": "v"}], [], "never_seen"),
    ],
)
def test_where_a_user_stands(user: dict[str, Any], log: list[Any], calls: list[Any], state: str) -> None:
    assert state_of(user, log, calls) == state


def test_without_any_flag_time_nobody_is_staged() -> None:
    frame = pd.DataFrame({"user_id": ["a", "b"], "migrated_at": [None, f"{DAY}01:00Z"]})
    assert list(states.states(Tables(users=frame))) == ["flagged", "not_covered"]


def test_accounts_that_nothing_but_a_person_can_move_are_counted_apart() -> None:
    line = ledger().head(1).assign(user_id="fay", action="Block", cause="disabled", correlation_id="c9")
    both = Tables(users=users(), sign_ins=sign_ins(), ledger=pd.concat([ledger(), line]))
    found = states.count_states(both)
    assert (found["states"]["blocked"], found["cannot_migrate"]) == (2, 1)  # dora is only locked
    assert found["confirmed"] == 3
    assert (
        Figures(both)
        .answers["Who is stuck, and why?"]
        .endswith(" 2 are blocked; 1 of them by a lock that may end by itself.")
    )
    locked, disabled = users()["user_id"] != "fay", users()["user_id"] != "dora"
    for kept, words in ((locked, " 1 is locked; a lock may end by itself."), (disabled, " no sign-in can move them.")):
        some = Tables(users=users()[kept], sign_ins=sign_ins(), ledger=both.ledger)
        assert Figures(some).answers["Who is stuck, and why?"].endswith(words)


def test_the_table_names_every_state_and_says_what_it_means() -> None:
    found = states.state_table(told())
    assert list(found["state"]) == list(states.STATES)
    assert found["users"].sum() == 6
    assert found["share"].sum() == pytest.approx(1)
    assert found["meaning"].str.len().min() > 10
    assert states.state_table(Tables())["users"].sum() == 0


def test_stragglers_are_told_by_id_with_what_hinders_them_and_without_names() -> None:
    tables = Tables(users=users().assign(email="x@example.com"), sign_ins=sign_ins(), ledger=ledger())
    found = stragglers(tables)
    assert list(found.columns) == ["user_id", "state", "last_attempt", "last_cause", "flagged_at", "country"]
    assert list(found["user_id"]) == ["fay", "dora", "eli"]
    assert list(found["state"]) == ["never_seen", "blocked", "attempted"]
    assert list(found["last_cause"])[1] == "blocked: locked"
    assert found["last_attempt"].isna().tolist() == [True, False, False]
    assert stragglers(Tables()).empty


def test_a_column_of_users_that_is_called_as_one_of_the_list_keeps_its_values(tmp_path: Path) -> None:
    """A list of users from Graph has the state in which people live."""
    tables = Tables(users=users().assign(state="Hesse", do_next="call"), sign_ins=sign_ins(), ledger=ledger())
    found = stragglers(tables)
    assert list(found["state"]) == ["never_seen", "blocked", "attempted"]
    assert set(found["user_state"]) == {"Hesse"}
    Figures(tables).report(tmp_path)
    listed = pd.read_csv(tmp_path / "stragglers.csv")
    assert set(listed["user_do_next"]) == {"call"} and listed["do_next"].nunique() == 3


minutes = st.integers(0, 59).map(lambda minute: f"2026-11-02T09:{minute:02}:00Z")
maybe = st.one_of(st.none(), minutes)
people = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(NAMES[:4]),
            "flagged_at": maybe,
            "migrated_at": maybe,
            "path": st.sampled_from(["callout", "silent", "reset", None]),
        }
    ),
    max_size=8,
)
log_rows = st.lists(
    st.fixed_dictionaries(
        {
            "time": minutes,
            "user_id": st.sampled_from(NAMES),
            "correlation_id": st.sampled_from(["c1", "c2", "c3", None]),
            "result_code": st.sampled_from([0, 50126, 50053, 50057, 1100001]),
            "callout_error": st.sampled_from([None, 0, 1003005]),
        }
    ),
    max_size=10,
)
lines = st.lists(
    st.fixed_dictionaries(
        {
            "time": minutes,
            "user_id": st.sampled_from([*NAMES, None]),
            "correlation_id": st.sampled_from(["c1", "c2", "c3", None]),
            "action": st.sampled_from(["MigratePassword", "UpdatePassword", "Retry", "Block", None]),
            "cause": st.sampled_from(["right", "wrong", "locked", "down", None]),
            "attempt": st.sampled_from([1, 2, None]),
        }
    ),
    max_size=10,
)


def tables_of(rows: tuple[list[Any], list[Any], list[Any]], seed: int | None = None) -> Tables:
    parts = []
    names = (
        ["user_id", "flagged_at", "migrated_at", "path"],
        ["time", "user_id", "correlation_id", "result_code", "callout_error"],
        ["time", "user_id", "correlation_id", "action", "cause", "attempt"],
    )
    for part, columns in zip(rows, names, strict=True):
        frame = pd.DataFrame(part, columns=columns)
        if seed is not None:
            frame = pd.concat([frame, frame]).sample(frac=1, random_state=seed, ignore_index=True)
        parts.append(frame)
    return Tables(users=parts[0], sign_ins=parts[1], ledger=parts[2])


ROWS = st.tuples(people, log_rows, lines)


@settings(deadline=None, max_examples=12)
@given(ROWS, st.integers(0, 1000))
def test_the_parts_sum_to_the_whole_in_any_order(rows: tuple[list[Any], list[Any], list[Any]], seed: int) -> None:
    parts_sum(tables_of(rows))
    order_changes_nothing(rows, seed)


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(ROWS, st.integers(0, 1000))
def test_the_parts_sum_for_many_tables(rows: tuple[list[Any], list[Any], list[Any]], seed: int) -> None:
    parts_sum(tables_of(rows))
    order_changes_nothing(rows, seed)


def parts_sum(tables: Tables) -> None:
    totals, found = figures.totals(tables), states.count_states(tables)
    by_state = found["states"]
    assert len(states.states(tables)) == totals["in_scope"] == tables.users["user_id"].nunique()
    assert states.states(tables).notna().all()
    assert sum(by_state.values()) == totals["in_scope"]
    assert sum(by_state[state] for state in states.MOVED) == totals["migrated"] == sum(totals["by_path"].values())
    assert found["locked"] <= by_state["blocked"] <= totals["remaining"]
    assert found["cannot_migrate"] in (None, by_state["blocked"] - found["locked"])
    assert states.remaining(tables)["users"].sum() == totals["remaining"]
    assert len(stragglers(tables)) == totals["remaining"] + by_state["unconfirmed"]
    matrix = states.matrix(tables)
    assert matrix.loc[matrix["flag"] != "not in scope", "users"].sum() == totals["in_scope"]
    curve = figures.curve(tables)
    assert curve.empty or (curve["migrated"].diff().dropna() >= 0).all()


def order_changes_nothing(rows: tuple[list[Any], list[Any], list[Any]], seed: int) -> None:
    once, twice = tables_of(rows), tables_of(rows, seed)
    assert set(once.users["user_id"]) == {row["user_id"] for row in rows[0]}
    for kind in ("users", "sign_ins", "ledger"):
        pd.testing.assert_frame_equal(getattr(once, kind), getattr(twice, kind))
    pd.testing.assert_series_equal(states.states(once), states.states(twice))
    pd.testing.assert_frame_equal(states.matrix(once), states.matrix(twice))
    pd.testing.assert_frame_equal(stragglers(once), stragglers(twice))
