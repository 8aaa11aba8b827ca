"""Explains the causes in the ledger and the codes in the sign-in log: what each means and how to fix it.

The texts are data: `causes.toml` next to this file.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Final

__all__ = ["CALLOUT_ERRORS", "callout_cause", "fix", "fix_for_warning", "meaning", "sign_in_result"]

_TABLES: Final[dict[str, dict[str, dict[str, str]]]] = tomllib.loads(
    (files("jitkit") / "causes.toml").read_text(encoding="utf-8")
)
_FIXES: Final = {each["warning"]: each["fix"] for each in _TABLES["callout"].values() if "warning" in each}

CALLOUT_ERRORS: Final = {int(code): each["name"] for code, each in _TABLES["callout"].items()}
"""How run-time failures of the callout are named in the sign-in log."""


def callout_cause(code: int) -> str:
    """Name a callout error of the sign-in log, with its code in front."""
    return f"{code} {CALLOUT_ERRORS.get(code, 'unknown error')}"


def meaning(cause: str) -> str:
    """Explain a cause of the ledger, or one that `callout_cause` named; an unknown one is returned as it is."""
    return _explained(cause)["meaning"]


def fix(cause: str) -> str:
    """Say how to fix a cause of the ledger, or one that `callout_cause` named."""
    return _explained(cause)["fix"]


def fix_for_warning(code: str | None) -> str:
    """Say how to fix what Graph's validation of a custom extension warns about."""
    return _FIXES.get(code or "", "Read the message.")


def sign_in_result(code: int) -> tuple[str, str]:
    """Return the meaning and the fix of a result code of the sign-in log; KeyError for one that is not in the table."""
    entry = _TABLES["sign_in"][str(code)]
    return entry["meaning"], entry["fix"]


def _explained(cause: str) -> dict[str, str]:
    if cause in _TABLES["ledger"]:
        return _TABLES["ledger"][cause]
    code = cause.partition(" ")[0]
    if code.isdigit():
        return _TABLES["callout"].get(code) or _TABLES["callout"]["1003000"] | {
            "meaning": "Entra could not use the extension"
        }
    family = next((words for start, words in _TABLES["families"].items() if cause.startswith(start)), None)
    return family or {"meaning": cause, "fix": "Read the endpoint's log for the same time."}
