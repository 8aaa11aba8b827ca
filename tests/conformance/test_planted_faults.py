"""The suite can fail: every case is failed by an endpoint with the fault that it is meant for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jitkit.conformance import plugin
from jitkit.conformance.catalogue import CASES
from jitkit.conformance.check import started
from jitkit.conformance.launcher import own_settings
from jitkit.conformance.plugin import run_cases
from jitkit.conformance.results import Outcome

from .conftest import short_config, too_busy, with_fault

# Fault -> the cases meant for it.
FAULTS = {
    "health tells all": "T1",
    "any method": "T2",
    "an empty body is decided": "T3",
    "any content type": "T4",
    "no size limit": "T5 T6",
    "waits for the body": "T7",
    "a repeated nonce refused": "T8 C14 F16",
    "anonymous": "A1 A2 A3 A5 A7 A8 A10 A13 A15 A22",
    "another scheme is let in": "A2",
    "the first of two headers taken": "A2",
    "algorithm none accepted": "A3",
    "HS256 accepted": "A4",
    "signature unchecked": "A5",
    "the token's own key": "A6",
    "the token's own certificate": "A6",
    "expired accepted": "A7",
    "audience unchecked": "A8",
    "one audience": "A9",
    "tenant unchecked": "A10",
    "an issuer by its beginning": "A10",
    "one issuer": "A11",
    "only the login document": "A12",
    "azp unchecked": "A13",
    "azp or appid, whichever fits": "A13",
    "appid unknown": "A14",
    "a person's token accepted": "A15",
    "any RSA algorithm": "A16",
    "keys fetched each time": "A17 A20",
    "a fetch for every unknown key": "A20",
    "crit ignored": "A23 J8",
    "500 on a bad token": "A25",
    "no encrypted bearer": "B1",
    "no bare bearer": "B2",
    "an encrypted token is good": "A22 B3",
    "previous key forgotten": "B4 J15",
    "current key forgotten": "J16",
    "remembers a token by its beginning": "B5",
    "remembers a token past its end": "A26",
    "no limit to inflation": "B6 J10",
    "null members refused": "E1",
    "every member needed": "E2",
    "unknown members refused": "E3",
    "any event": "E4",
    "any data type": "E5",
    "any tenant in the body": "E6",
    "pins unchecked": "E7",
    "no user needed": "E8",
    "500 without a context": "E9",
    "plain text accepted": "E10",
    "mapping unchecked": "E13",
    "500 on bad JSON": "E11",
    "500 on members of another type": "E14",
    "doubled members read": "E15",
    "the principal name looked up": "E12",
    "never inflates": "J1",
    "always inflates": "J2",
    "500 on another algorithm": "J3 J5",
    "RSA1_5 accepted": "J4",
    "JSON form accepted": "J6",
    "500 on a bad JWE": "J6 J7 J14",
    "unknown compression ignored": "J9",
    "bad parts told apart": "J11",
    "a wrong tag takes its time": "J11",
    "jku followed": "J12",
    "500 for another key": "J14 J17",
    "x5t ignored": "J19",
    "unknown header members refused": "J18",
    "inner signature wanted": "C1",
    "what is inside unchecked": "C2",
    "flat JSON accepted": "C3",
    "context times unchecked": "C4 C6 C16",
    "an endless context accepted": "C5",
    "context audience unchecked": "C7",
    "context issuer unchecked": "C8",
    "an empty password asked": "C9",
    "the principal name instead": "C11",
    "plus tags cut": "C12",
    "nonce unchecked": "C13",
    "asks twice": "C14 F16",
    "keeps answers for a second": "C14",
    "a nonce with another password accepted": "C15",
    "a password with other blanks": "C18",
    "500 on an odd password": "C19",
    "always Retry": "O1",
    "weak migrates": "O2",
    "wrong is Block": "O3",
    "unknown takes its time": "O4",
    "unknown is a little faster": "O4",
    "locked is Retry": "O5",
    "disabled is Retry": "O6",
    "must change ignored": "O7",
    "mfa is Retry": "O8",
    "seven characters are enough": "O9",
    "no_password migrates": "O10",
    "an answer about anybody": "O12",
    "a second migration refused": "O13",
    "remembers passwords": "O13 O14",
    "status 201": "R1",
    "text/plain": "R1",
    "two actions": "R2",
    "wrong spelling": "R3",
    "nonce missing": "R4",
    "nonce in small letters": "R4",
    "title on Retry": "R5",
    "Block without a text": "R5 O5",
    "a large answer": "R6",
    "username in a header": "R8",
    "no correlation id": "R9",
    "a body for each refusal": "R10",
    "no connection is Retry": "F1",
    "status 502 is Retry": "F2",
    "status 429 is Retry": "F3",
    "status 403 is Retry": "F23",
    "status 200 is right": "F4",
    "an unreadable answer is Retry": "F5 F19",
    "500 on an odd answer": "F19",
    "201 is right": "F6",
    "redirect followed": "F7",
    "too short a deadline": "F8",
    "no deadline": "F9",
    "timeout is Retry": "F9",
    "calls not let go": "F10",
    "no breaker": "F11",
    "no limit to guesses": "F14",
    "guesses counted by the name as typed": "F14",
    "guesses counted after the answer": "F14",
    "forgets an outage answer": "F24",
    "a second attempt waits longer": "F22",
    "one in ten fails": "F12",
    "status 503 is Retry": "F13",
    "always slow": "F21",
    "never fetches again": "K1",
    "password logged": "P1",
    "username logged": "P2",
    "nonce logged": "P3",
    "token logged": "P6",
    "a log for everybody": "P7",
}

# Faults that show when an endpoint starts or ends, and the cases meant for them.
STARTS = {
    "plain HTTP in production": "T9",
    "everybody, when there are no keys": "A18",
    "keys fetched with the first call": "A19",
    "a slow first call": "F15",
    "starts with a bypass": "A21",
    "starts without a key": "J20",
    "the key in the message": "J20",
    "expired certificate refused": "J21",
    "a damaged hash is wrong": "O15",
    "a line in two halves": "F17",
    "drops its calls": "F20",
    "trusts its memory": "C17",
    "slow hashes not reported": "O17",
    "an unnamed clock": "F18",
    "every attempt is the first": "P4",
    "strangers not counted": "P4",
    "remembers by the ledger": "P5",
}

# One of each kind; the others run with the slow tests.
ALWAYS = {
    "no size limit",
    "signature unchecked",
    "audience unchecked",
    "no encrypted bearer",
    "any tenant in the body",
    "plain text accepted",
    "RSA1_5 accepted",
    "bad parts told apart",
    "context times unchecked",
    "asks twice",
    "always Retry",
    "an answer about anybody",
    "two actions",
    "nonce missing",
    "status 502 is Retry",
    "timeout is Retry",
    "no breaker",
    "status 503 is Retry",
    "never fetches again",
    "password logged",
    "starts with a bypass",
    "a line in two halves",
    "every attempt is the first",
}

_NEEDS_TRAFFIC = ("E1", "O5")


def _rows(faults: Mapping[str, str]) -> list[Any]:
    return [
        pytest.param(
            fault, meant.split(), id=fault.replace(" ", "-"), marks=() if fault in ALWAYS else pytest.mark.slow
        )
        for fault, meant in faults.items()
    ]


def _check_process(fault: str, only: list[str], folder: Path) -> list[Outcome]:
    config = short_config(folder)
    command = [sys.executable, "-m", "tests.conformance.planted"]
    return run_cases(started(config, own_settings(config) | {"PLANTED": fault}, folder, command), only)


@pytest.mark.parametrize(("fault", "meant"), _rows(FAULTS))
def test_a_planted_fault_is_found_by_the_case_meant_for_it(fault: str, meant: list[str], tmp_path: Path) -> None:
    for _ in range(3):
        outcomes = run_cases(with_fault(fault, tmp_path), [*meant, *(_NEEDS_TRAFFIC if meant[0][0] == "P" else ())])
        # Where other work takes the processors, it hides 30 ms.
        hidden = [(each.case.id, each.result) for each in outcomes] == [("O4", "pass")]
        busy = hidden and plugin._share_of_two_processors() < plugin._QUIET
        if busy or any(map(too_busy, outcomes)):
            pytest.skip("this machine is too busy to judge time")
        if not hidden:
            break
    found = {outcome.case.id: outcome.reason for outcome in outcomes if outcome.result == "fail"}
    assert set(found) >= set(meant), [(outcome.case.id, outcome.result) for outcome in outcomes]
    assert not [reason for reason in found.values() if "could not be read" in reason]


@pytest.mark.parametrize(("fault", "meant"), _rows(STARTS))
def test_a_fault_at_the_start_is_found(fault: str, meant: list[str], tmp_path: Path) -> None:
    outcomes = _check_process(fault, meant, tmp_path)
    if any(map(too_busy, outcomes)):
        pytest.skip("this machine is too busy to judge time")
    assert [(outcome.case.id, outcome.result) for outcome in outcomes] == [(case, "fail") for case in meant]


@pytest.mark.slow
@pytest.mark.usefixtures("no_verdict_on_time")
def test_without_a_fault_every_case_passes(tmp_path: Path) -> None:
    outcomes = _check_process("", [], tmp_path)
    judged = [outcome for outcome in outcomes if not too_busy(outcome)]
    assert [(outcome.case.id, outcome.reason) for outcome in judged if outcome.result != "pass"] == []


def test_every_case_has_a_fault_that_it_finds() -> None:
    ids = set(CASES)
    meant = {name for text in (*FAULTS.values(), *STARTS.values()) for name in text.split()}
    assert ids - meant == set()
    assert meant - ids == set()
    assert set(FAULTS) | set(STARTS) >= ALWAYS
