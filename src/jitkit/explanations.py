"""Explains causes in the ledger, codes in the sign-in log, refusals of Microsoft Graph and failed connections.

The texts are data: `causes.toml` and `refusals.toml` next to this file.
"""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Any, Final

__all__ = [
    "CALLOUT_ERRORS",
    "callout_cause",
    "connection_failure",
    "fix",
    "fix_for_warning",
    "meaning",
    "refused",
    "sign_in_result",
]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((files("jitkit") / name).read_text(encoding="utf-8"))


_TABLES: Final[dict[str, dict[str, dict[str, str]]]] = _read("causes.toml")
_REFUSALS: Final[dict[str, list[dict[str, Any]]]] = _read("refusals.toml")
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


def refused(status: int, code: str, message: str, call: str) -> tuple[str, str]:
    """Explain why Microsoft Graph refused a call.

    Args:
        status: the HTTP status of its answer.
        code: the code in the answer's error.
        message: the message in the answer's error.
        call: its method and path, such as `GET /auditLogs/signIns`; empty if that is not known.

    Returns:
        The cause, as a phrase, and what to do; both are empty where only the message says it.
    """
    said, takes = f"{code} {message}", _call(call)
    for each in _REFUSALS["refusal"]:
        fits = each["status"] == status and each.get("code", code) == code
        if fits and re.search(each.get("message", ""), said, re.IGNORECASE):
            roles = _listed("the directory role", "one of the directory roles", takes["roles"], "or")
            permissions = _listed("the permission", "the permissions", takes["permissions"], "and")
            advice = each["next"].format(what=takes["what"], roles=roles, permissions=permissions)
            return each.get("cause", ""), advice
    return "", ""


def _call(call: str) -> dict[str, Any]:
    return next(each for each in _REFUSALS["call"] if re.search(each["call"], call))


def _listed(one: str, several: str, names: list[str], word: str) -> str:
    return f"{one} {names[0]}" if len(names) == 1 else f"{several} {', '.join(names[:-1])} {word} {names[-1]}"


def connection_failure(message: str, credential: str = "", tenant: str = "") -> tuple[str, str] | None:
    """Explain why there is no token or no connection: what happened, and the fix; None when the table has no reason."""
    for each in _REFUSALS["connection"]:
        if re.search(each["pattern"], message):
            texts = (each["happened"], each.get("fix_for", {}).get(credential, each["fix"]))
            happened, advice = (text.format(credential=credential, tenant=tenant) for text in texts)
            return happened, advice
    return None


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
