"""Faults that show when an endpoint starts or ends, and the cases meant for them."""

from __future__ import annotations

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
