"""Graph's rows, as Graph serves them, become the three tables."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from jitkit.progress import assemble as assembling
from jitkit.progress.collect import users_from_graph
from jitkit.progress.log_analytics import audits_from_graph, sign_ins_from_graph
from jitkit.progress.tables import Tables

FLAG = "extension_0123456789abcdef0123456789abcdef_toBeMigrated"
SEEN = pd.Timestamp("2026-11-02T12:00:00Z")


def assemble(
    users: list[dict[str, Any]],
    *,
    flag: str,
    seen_at: pd.Timestamp,
    audits: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Tables:
    told = audits_from_graph(audits or [], flag)
    return assembling.assemble(users_from_graph(users, flag, seen_at), seen_at=seen_at, audits=told, **more)


def sign_in(user: str, time: str, *, code: int = 0, event: str = "passwordSubmit", **result: Any) -> dict[str, Any]:
    """A row of the beta sign-in log; `result` is the callout's, left out where the endpoint was not asked."""
    ran = {
        "@odata.type": "#microsoft.graph.appliedAuthenticationEventListener",
        "eventType": event,
        "executedListenerId": "listener",
        "handlerResult": {"@odata.type": "#microsoft.graph.customExtensionCalloutResult", **result},
    }
    return {
        "id": f"{user}{time}",
        "createdDateTime": f"2026-11-02T{time}Z",
        "userId": user,
        "appId": "app",
        "correlationId": f"{user}-{time}",
        "status": {"errorCode": code, "failureReason": None},
        "appliedEventListeners": [ran] if result else [],
    }


def called(user: str, time: str, **more: Any) -> dict[str, Any]:
    return sign_in(user, time, **{"errorCode": 0, "httpStatus": 200, "numberOfAttempts": 1} | more)


def audit(user: str, time: str, activity: str = "Update user", new: str | None = "[false]") -> dict[str, Any]:
    change = {"displayName": FLAG, "oldValue": "[true]", "newValue": new}
    return {
        "activityDisplayName": activity,
        "activityDateTime": f"2026-11-02T{time}Z",
        "targetResources": [{"id": user, "type": "User", "modifiedProperties": [change] if new else []}],
    }


def user(name: str, flag: bool | None = False) -> dict[str, Any]:
    row = {"id": name, "createdDateTime": "2026-11-02T08:00:00Z"}
    return row if flag is None else row | {FLAG: flag}


def path_of(tables: Tables) -> object:
    (path,) = tables.users["path"].astype("object").where(tables.users["path"].notna(), None)
    return path


def test_a_callout_is_read_from_the_beta_log() -> None:
    rows = [
        called("ann", "09:00:00.7215374"),
        sign_in("bob", "09:01:00", code=50126),
        called("cem", "09:02:00", code=1100001, errorCode=1003005, httpStatus=0, numberOfAttempts=2),
        called("dora", "09:03:00", event="unknownFutureValue"),
        called("eli", "09:04:00", event="tokenIssuanceStart"),
        {"createdDateTime": "2026-11-02T09:05:00Z", "userId": "fay", "status": None, "appliedEventListeners": None},
    ]
    table = sign_ins_from_graph(rows)
    assert list(table["user_id"]) == ["ann", "bob", "cem", "dora", "eli", "fay"]
    found = table["callout_error"].astype("object").where(table["callout_error"].notna(), None)
    assert list(found) == [0, None, 1003005, 0, None, None]
    assert list(table["attempts"].dropna()) == [1, 2, 1]
    assert sign_ins_from_graph([]).empty


def test_only_flagged_users_are_in_scope_and_false_is_migrated() -> None:
    tables = assemble([user("a"), user("b", True), user("c", None)], flag=FLAG, seen_at=SEEN)
    assert list(tables.users["user_id"]) == ["a", "b"]
    assert list(tables.users["migrated_at"].notna()) == [True, False]
    assert tables.as_of == SEEN


def test_the_time_comes_from_the_audit_else_from_the_first_success_else_it_is_now() -> None:
    log = sign_ins_from_graph([called("A", "09:00:00"), called("b", "09:30:00", code=50126), called("b", "10:00:00")])
    audits = [audit("a", "09:00:01"), audit("a", "08:30:00", new="[true]"), audit("a", "09:05:00", "Delete user")]
    tables = assemble([user("a"), user("b"), user("c")], flag=FLAG, seen_at=SEEN, sign_ins=log, audits=audits)
    assert [f"{time:%H:%M:%S}" for time in tables.users["migrated_at"]] == ["09:00:01", "10:00:00", "12:00:00"]


@pytest.mark.parametrize("shown", ["[false]", '["False"]', "false"])
def test_the_audited_flag_may_be_written_in_several_ways(shown: str) -> None:
    tables = assemble([user("a")], flag=FLAG, seen_at=SEEN, audits=[audit("a", "09:00:01", new=shown)])
    assert tables.users["migrated_at"][0] == pd.Timestamp("2026-11-02T09:00:01Z")


CALL, PLAIN = called("a", "09:00:00"), sign_in("a", "09:00:00")
FLIP = audit("a", "09:00:01")
RESET = audit("a", "09:00:01", "Reset password", None)
CHANGE = audit("a", "09:00:01", "Change user password", None)


@pytest.mark.parametrize(
    ("log", "audits", "action", "path"),
    [
        ([CALL], [FLIP], None, "callout"),
        ([CALL], [FLIP], "MigratePassword", "callout"),
        ([CALL], [FLIP], "UpdatePassword", "reset"),
        ([CALL], [FLIP, RESET], None, "reset"),
        ([CALL], [FLIP, RESET], "MigratePassword", "reset"),
        ([CALL], [FLIP, CHANGE], None, "callout"),
        ([CALL], [FLIP, audit("a", "08:00:00", "Reset password", None)], None, "callout"),
        ([CALL, sign_in("a", "09:00:02")], [FLIP], None, "callout"),
        ([PLAIN], [FLIP], None, "silent"),
        ([PLAIN], [audit("a", "08:59:59")], None, "silent"),
        ([PLAIN], [], None, "silent"),
        ([PLAIN, called("a", "08:59:00", code=50126)], [], None, "silent"),
        ([PLAIN], [FLIP, CHANGE], None, "reset"),
        ([], [FLIP, RESET], None, "reset"),
        ([], [FLIP], None, None),
        ([sign_in("a", "11:00:00")], [FLIP], None, None),
        ([], [], None, None),
    ],
)
def test_how_somebody_was_moved_is_read_from_the_event_beside_the_flag(
    log: list[dict[str, Any]], audits: list[dict[str, Any]], action: str | None, path: str | None
) -> None:
    lines = [{"time": "2026-11-02T09:00:00.5Z", "correlation_id": "a-09:00:00", "action": action, "cause": "right"}]
    tables = assemble(
        [user("a")],
        flag=FLAG,
        seen_at=SEEN,
        sign_ins=sign_ins_from_graph(log),
        audits=audits,
        ledger=pd.DataFrame(lines) if action else None,
    )
    assert path_of(tables) == path


def test_who_is_not_migrated_has_neither_time_nor_path() -> None:
    log = sign_ins_from_graph([called("a", "09:00:00")])
    tables = assemble([user("a", True)], flag=FLAG, seen_at=SEEN, sign_ins=log)
    assert tables.users["migrated_at"].isna().all()
    assert path_of(tables) is None


def test_dimensions_join_and_strangers_do_not() -> None:
    extra = pd.DataFrame({"user_id": ["A", "A", "z"], "country": ["DE", "DE", "FR"]})
    tables = assemble([user("a"), user("b")], flag=FLAG, seen_at=SEEN, dimensions=extra)
    assert list(tables.users["user_id"]) == ["a", "b"]
    assert list(tables.users["country"].fillna("")) == ["DE", ""]


def test_rows_read_twice_by_paging_change_nothing() -> None:
    rows, log, audits = [user("a"), user("b", True)], [called("a", "09:00:00")], [audit("a", "09:00:01")]
    once = assemble(rows, flag=FLAG, seen_at=SEEN, sign_ins=sign_ins_from_graph(log), audits=audits)
    twice = assemble(
        rows[::-1] + rows, flag=FLAG, seen_at=SEEN, sign_ins=sign_ins_from_graph(log * 2), audits=audits * 2
    )
    pd.testing.assert_frame_equal(once.users, twice.users)
    pd.testing.assert_frame_equal(once.sign_ins, twice.sign_ins)


def test_an_empty_tenant_works() -> None:
    assert assemble([], flag=FLAG, seen_at=SEEN).users.empty
