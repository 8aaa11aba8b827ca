"""Every figure, counted by hand on a migration of six people."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from story import ledger, sign_ins, told, told_twice_and_shuffled, users

from jitkit.explanations import CALLOUT_ERRORS, callout_cause, fix, meaning
from jitkit.progress import figures, states
from jitkit.progress.tables import Tables

COUNTED = {
    "as_of": "2026-11-02T09:05:30Z",
    "in_scope": 6,
    "migrated": 3,
    "remaining": 3,
    "migrated_share": 0.5,
    "by_path": {"callout": 1, "silent": 1, "reset": 1},
    "failures": {"1003005 CustomExtensionTimedOut": 1, "locked": 1},
    "latency_ms": {"p50": 30.0, "p95": 2380.0, "p99": 2476.0},
    "states": dict.fromkeys(states.STATES, 0)
    | {
        "migrated_by_call": 1,
        "migrated_silently": 1,
        "migrated_by_reset": 1,
        "blocked": 1,
        "attempted": 1,
        "never_seen": 1,
    },
    "confirmed": 3,
    "confirmed_at_least": 3,
    "cannot_migrate": 0,
    "locked": 1,
    "health": {
        "over_limit_share": 0.285714,
        "retry_share": 0.4,
        "near_limit_seconds": 0,
        "over_limit_seconds": 0,
        "outages": 0,
        "outages_at_least": 0,
        "outage_minutes": 0.0,
        "certificate_days": None,
    },
    "missing_days": [],
    "not_read": {},
    "coverage": {
        name: {"rows": rows, "since": f"2026-11-02T09:{since}Z", "until": f"2026-11-02T09:{until}Z"}
        | {"complete": True, "unknown": ""}
        for name, rows, since, until in (
            ("users", 6, "00:00", "03:00"),
            ("sign_ins", 7, "00:59", "05:30"),
            ("ledger", 7, "00:59.100000", "05:01"),
        )
    },
}


def test_the_summary_is_what_one_counts_by_hand() -> None:
    assert states.summary(told()) == COUNTED
    assert json.loads(json.dumps(states.summary(told()), allow_nan=False)) == COUNTED


@pytest.mark.parametrize("seed", range(5))
def test_order_and_doubles_change_nothing(seed: int) -> None:
    mixed = told_twice_and_shuffled(seed)
    assert states.summary(mixed) == COUNTED
    for figure in (figures.curve, figures.outcomes, figures.failures, figures.durations, states.remaining):
        pd.testing.assert_frame_equal(figure(mixed), figure(told()))


def test_the_curve_grows_at_the_end_of_each_step() -> None:
    curve = figures.curve(told())
    assert [f"{time:%H:%M:%S}" for time in curve["time"]] == [
        "09:00:00",
        "09:01:00",
        "09:02:00",
        "09:03:00",
        "09:05:30",
    ]
    assert list(curve["migrated"]) == [0, 1, 2, 3, 3]
    assert list(curve["silent"]) == [0, 0, 1, 1, 1]
    assert (curve[["callout", "silent", "reset", "unknown"]].sum(axis=1) == curve["migrated"]).all()


def test_a_long_curve_has_a_row_a_day() -> None:
    days = pd.date_range("2026-01-01T08:00", periods=60, freq="12h", tz="UTC")
    frame = pd.DataFrame({"user_id": map(str, range(60)), "flagged_at": days[0], "migrated_at": days})
    curve = figures.curve(Tables(users=frame.assign(path="callout")))
    assert (curve["time"].iloc[1:-1].dt.strftime("%H:%M") == "00:00").all()
    assert len(curve) == 1 + 29 + 1
    assert curve["migrated"].iloc[-1] == 60


def test_outcomes_count_a_sign_in_once_though_entra_asked_twice() -> None:
    found = figures.outcomes(told())
    assert dict(zip(found["action"], found["count"], strict=True)) == {
        "Retry": 2,
        "Block": 1,
        "MigratePassword": 1,
        "UpdatePassword": 1,
        "refused": 1,
    }


def test_several_tries_under_one_correlation_id_are_several_calls() -> None:
    again = ledger().assign(correlation_id="same", attempt=1)
    assert len(figures.calls(Tables(ledger=again))) == len(again)


def test_failures_without_a_sign_in_log_are_the_ledgers() -> None:
    found = figures.failures(Tables(ledger=ledger()))
    assert dict(zip(found["cause"], found["count"], strict=True)) == {"locked": 1, "no_token": 1}


def test_failures_without_a_ledger_are_the_sign_in_logs() -> None:
    found = figures.failures(Tables(sign_ins=sign_ins()))
    assert list(found["cause"]) == ["1003005 CustomExtensionTimedOut"]


def test_a_refusal_is_named_by_the_endpoint_and_not_counted_again() -> None:
    log = sign_ins().head(1).assign(callout_error=1003002, callout_status=400, result_code=1100001)
    line = ledger().head(1).assign(action=None, cause="decrypt_failed")
    found = figures.failures(Tables(sign_ins=log, ledger=line))
    assert list(found.itertuples(index=False, name=None)) == [
        ("decrypt_failed", 1, meaning("decrypt_failed"), fix("decrypt_failed"))
    ]


def test_latency_is_measured_on_every_call() -> None:
    assert figures.latency(told()) == {"p50": 30.0, "p95": 2380.0, "p99": 2476.0, "calls": 7, "over_limit": 2}
    found = figures.durations(told())
    assert list(found["count"]) == [3, 2, 0, 0, 0, 0, 0, 0, 2]
    exactly = Tables(ledger=ledger().head(1).assign(duration_ms=2000.0))
    assert figures.latency(exactly)["over_limit"] == 0
    assert figures.durations(exactly)["count"].iloc[-2] == 1


def test_everybody_who_remains_has_one_reason_the_latest() -> None:
    assert states.reasons(told()).to_dict() == {
        "dora": "blocked: locked",
        "eli": "typed a password that the legacy system does not know",
        "fay": "never tried to sign in",
    }
    assert states.count_states(told())["states"]["blocked"] == 1
    found = states.remaining(told())
    assert dict(zip(found["reason"], found["users"], strict=True)) == {
        "blocked: the legacy account is locked": 1,
        "never tried to sign in": 1,
        "typed a password that the legacy system does not know": 1,
    }
    assert list(found["fix"])[:2] == [fix("locked"), "Wait, or send a reminder."]


def test_reasons_without_a_ledger_come_from_the_log() -> None:
    found = states.reasons(Tables(users=users(), sign_ins=sign_ins().head(5)))
    assert found["eli"] == "failed: 1003005 CustomExtensionTimedOut"
    assert found["dora"] == "tried, and no ledger shows what the endpoint answered"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (50126, "tried, and the endpoint was not asked"),
        (50057, "tried, and the account is disabled in the tenant"),
        (50053, "tried, and the tenant had locked the account for a while"),
    ],
)
def test_reasons_of_who_was_stopped_before_any_call(code: int, reason: str) -> None:
    unasked = sign_ins().tail(1).assign(user_id="fay", result_code=code)
    found = states.remaining(Tables(users=users().tail(1), sign_ins=unasked))
    assert list(found["reason"]) == [reason]
    assert found["fix"][0]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("UpdatePassword", "was asked for a new password and has not chosen one"),
        ("MigratePassword", "the endpoint said yes, and the flag is still set"),
        (None, "refused: token_expired"),
        ("Block", "blocked: token_expired"),
    ],
)
def test_reasons_follow_the_answer(action: str | None, reason: str) -> None:
    line = ledger().head(1).assign(user_id="fay", action=action, cause="token_expired", correlation_id="c9")
    assert states.reasons(Tables(users=users(), ledger=line))["fay"] == reason


def test_causes_that_mean_the_same_are_one_reason() -> None:
    lines = pd.concat([ledger().head(1)] * 2).assign(
        user_id=["fay", "eli"], action=None, cause=["token_expired", "token_issuer"], correlation_id=["c8", "c9"]
    )
    found = states.remaining(Tables(users=users(), ledger=lines))
    assert next(zip(found["reason"], found["users"], strict=True)) == ("refused: the caller's token was refused", 2)


def test_a_later_sign_in_replaces_an_earlier_reason() -> None:
    later = (
        ledger()
        .head(1)
        .assign(user_id="dora", action="Retry", cause="wrong", time="2026-11-02T10:00Z", correlation_id="c9")
    )
    found = states.reasons(Tables(users=users(), sign_ins=sign_ins(), ledger=pd.concat([ledger(), later])))
    assert found["dora"] == "typed a password that the legacy system does not know"


def test_what_does_not_fit_together_is_listed() -> None:
    assert figures.quality(told()).empty
    odd = users().assign(flagged_at="2026-11-02T09:02:30Z", path=[None, *users()["path"][1:]])
    log = pd.concat([sign_ins(), sign_ins().head(1).assign(user_id="gus", correlation_id="c8")])
    found = figures.quality(Tables(users=odd, sign_ins=log, ledger=ledger().assign(correlation_id="c99")))
    assert dict(zip(found["finding"], found["rows"], strict=True)) == {
        "users migrated before they were flagged": 2,
        "users migrated, and no log shows how": 1,
        "callouts for users who are not in scope": 1,
        "calls in the ledger without a sign-in in the log": 7,
        "answered callouts in the log without a call in the ledger": 5,
    }


def test_somebody_moved_nobody_knows_how_still_counts() -> None:
    totals = figures.totals(Tables(users=users().assign(path=None)))
    assert totals["by_path"] == {"callout": 0, "silent": 0, "reset": 0, "unknown": 3}


def test_nothing_at_all_and_one_user_work() -> None:
    nothing = states.summary(Tables())
    assert (nothing["as_of"], nothing["in_scope"], nothing["migrated_share"]) == (None, 0, None)
    assert figures.curve(Tables()).empty
    assert states.remaining(Tables()).empty
    one = Tables(users=users().head(1))
    assert figures.totals(one)["migrated_share"] == 1.0
    assert list(figures.curve(one)["migrated"]) == [0, 1]
    waiting = Tables(users=users().tail(1))
    assert list(figures.curve(waiting)["migrated"]) == [0]


def test_every_cause_has_a_meaning_and_a_fix() -> None:
    for cause in (
        "locked",
        "token_audience",
        "jwe_form",
        "context_nonce",
        "1003005 X",
        "1003099 unknown error",
        "other",
    ):
        assert meaning(cause)
        assert fix(cause)


def test_every_error_that_the_service_documents_is_explained_on_its_own() -> None:
    documented = {meaning(callout_cause(code)) for code in CALLOUT_ERRORS}
    assert len(documented) == len(CALLOUT_ERRORS)
    assert meaning("1003099 unknown error") not in documented
