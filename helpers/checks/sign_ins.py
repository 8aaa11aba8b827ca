"""The newest sign-ins: what became of the calls since the last one that worked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from helpers.checks.finding import Finding, fault, fine, read
from helpers.graph import explained
from jitkit.explanations import callout_cause, fix, meaning
from jitkit.protocol import TIMEOUT_MS

if TYPE_CHECKING:
    from helpers.kit import Session

_WHAT: Final = "calls since the last one that worked"
_NEWEST: Final = 200
# The ledger's line is written when the answer is; two clocks may differ a little.
_MARGIN: Final = timedelta(seconds=0.5)
_AT_THE_TIME: Final = timedelta(milliseconds=TIMEOUT_MS)
# These come of the configuration, which the other checks read as it is now: in the log they may be long mended.
_CONFIGURED: Final = range(1003011, 1003024)
_SINCE: Final = " If you have mended it since, sign somebody in and check again."


async def look(s: Session) -> list[Finding]:
    """Read them.

    Args:
        s: the open session.
    """
    rows, problems = await read(_WHAT, lambda: _newest(s))
    if rows is None:
        return problems
    failed: dict[int, tuple[str, dict[str, Any]]] = {}
    for row in rows:
        result = _called(row)
        if result and not result.get("errorCode"):
            break
        if result:
            failed.setdefault(int(result["errorCode"]), (row["correlationId"], result))
    open_ones = {code: one for code, one in failed.items() if code not in _CONFIGURED}
    if not open_ones:
        codes = ", ".join(map(str, failed))
        return [fine(_WHAT, f"{codes}: its cause is in a row above, or mended" if failed else "none failed")]
    return [_failure(s, code, *one) for code, one in open_ones.items()]


def _failure(s: Session, code: int, correlation_id: str, result: dict[str, Any]) -> Finding:
    cause = callout_cause(code)
    words = f"{cause}: {meaning(cause)}"
    advice = fix(cause)
    lines = s.endpoint.ledger_lines()
    line = next((each for each in reversed(lines) if _is_of(each, correlation_id, result)), None)
    if result.get("httpStatus") not in (0, 200, None):
        words += f" (status {result['httpStatus']})"
    if line and line.get("cause"):
        words += f". The endpoint's ledger says {line['cause']}: {meaning(line['cause'])}"
        advice = fix(line["cause"])
    elif lines and code == 1003002 and line is None:
        words += ". The endpoint on this machine has no line of that time: something in front of it answered"
    return fault(_WHAT, f"{words}.", f"{advice}{_SINCE}")


def _is_of(line: dict[str, Any], correlation_id: str, result: dict[str, Any]) -> bool:
    """Tell whether a line of the ledger is about a call; one that was refused early has the time alone."""
    if line.get("correlation_id"):
        return bool(line["correlation_id"] == correlation_id)
    try:
        apart = datetime.fromisoformat(line["time"]) - datetime.fromisoformat(result["calloutDateTime"])
    except (KeyError, TypeError, ValueError):
        return False
    return bool(result.get("httpStatus")) and timedelta() <= apart + _MARGIN <= _AT_THE_TIME


def _called(row: dict[str, Any]) -> dict[str, Any] | None:
    # The event has this other name for callers who do not ask for values newer than the published ones.
    for applied in row.get("appliedEventListeners") or ():
        if applied.get("eventType") in ("passwordSubmit", "unknownFutureValue"):
            result: dict[str, Any] = applied.get("handlerResult") or {}
            return result
    return None


async def _newest(s: Session) -> list[dict[str, Any]]:
    newer = {"Prefer": "include-unknown-enum-members"}
    with explained("read the newest sign-ins"):
        page = await s.world.graph.send("GET", f"/auditLogs/signIns?$top={_NEWEST}", headers=newer, version="beta")
    rows: list[dict[str, Any]] = page["value"]
    return rows
