"""What a directory's answer to a bind says about a password.

Sources: RFC 4511 for the result codes; draft-behera-ldap-password-policy for the control; the sub-codes of Active
Directory are Windows error numbers in hexadecimal. Each was tried against OpenLDAP or Samba's Active Directory, except
525 and 532, which only a real one gives.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

from jitkit.endpoint.stores import Verdict

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyasn1.codec.ber import decoder
    from pyasn1.type import namedtype, namedval, tag, univ

__all__ = ["POLICY_CONTROL", "judge"]

_log = logging.getLogger(__name__)

POLICY_CONTROL: Final = "1.3.6.1.4.1.42.2.27.8.5.1"

_SUCCESS, _CONSTRAINT, _NO_OBJECT, _INVALID_CREDENTIALS, _BUSY, _UNWILLING = 0, 19, 32, 49, 51, 53
_EXPIRED, _LOCKED, _CHANGE_AFTER_RESET = 0, 1, 2

# Only 775 comes for a wrong password too, and 525 and 52e for nothing else; the rest prove the password.
_ACTIVE_DIRECTORY: Final = {
    "525": Verdict.UNKNOWN_USER,
    "52e": Verdict.WRONG,
    "52f": Verdict.DISABLED,  # account restriction
    "530": Verdict.DISABLED,  # outside of logon hours
    "531": Verdict.DISABLED,  # not from this workstation
    "532": Verdict.RIGHT_MUST_CHANGE,  # password expired
    "533": Verdict.DISABLED,
    "701": Verdict.DISABLED,  # account expired
    "773": Verdict.RIGHT_MUST_CHANGE,  # must change at next logon
    "775": Verdict.LOCKED,
}
_SUB_CODE: Final = re.compile(r"AcceptSecurityContext error, data ([0-9a-f]+)", re.IGNORECASE)


def _context(number: int, kind: Any) -> Any:
    return kind.subtype(implicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number))


class _Warning(univ.Choice):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("timeBeforeExpiration", _context(0, univ.Integer())),
        namedtype.NamedType("graceAuthNsRemaining", _context(1, univ.Integer())),
    )


class _PolicyResponse(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        namedtype.OptionalNamedType(
            "warning",
            _Warning().subtype(explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, 0)),
        ),
        namedtype.OptionalNamedType(
            "error",
            _context(1, univ.Enumerated(namedValues=namedval.NamedValues(("passwordExpired", _EXPIRED)))),
        ),
    )


def judge(result: Mapping[str, Any]) -> Verdict:
    """Turn the result of a bind with a name and a password into a verdict.

    Args:
        result: ldap3's `Connection.result`: `result` (code), `message` (diagnostic text), `controls`.

    Raises:
        Exception: the control cannot be decoded.
    """
    code, text = result["result"], str(result.get("message") or "")
    policy = _policy((result.get("controls") or {}).get(POLICY_CONTROL, {}).get("value"))
    if code == _SUCCESS:
        must_change = policy["error"] == _CHANGE_AFTER_RESET or policy["grace"] is not None
        return Verdict.RIGHT_MUST_CHANGE if must_change else Verdict.RIGHT
    if code == _INVALID_CREDENTIALS:
        return _refused(text, policy["error"])
    if code == _NO_OBJECT:
        return Verdict.UNKNOWN_USER
    if code == _BUSY:
        return Verdict.THROTTLED
    # 389 Directory Server's own words for a locked and an inactivated account.
    if code == _CONSTRAINT and "retry limit" in text.lower():
        return Verdict.LOCKED
    if code == _UNWILLING and "inactivated" in text.lower():
        return Verdict.DISABLED
    # A referral, TLS wanted, a name that is no DN …: nothing was said about the password.
    _log.error("the directory answered a bind with result code %d", code)
    return Verdict.DOWN


def _refused(text: str, error: int | None) -> Verdict:
    """Look behind "invalid credentials"."""
    if found := _SUB_CODE.search(text):
        verdict = _ACTIVE_DIRECTORY.get(found[1].lower())
        if verdict is None:
            _log.error("the directory refused a bind with sub-code %s", found[1])
        return verdict or Verdict.DOWN
    if error == _EXPIRED:  # said to the right password alone
        return Verdict.RIGHT_MUST_CHANGE
    return Verdict.LOCKED if error == _LOCKED else Verdict.WRONG


def _policy(value: bytes | None) -> dict[str, int | None]:
    """Decode the password-policy response: its error, and the logins that an expired password still has."""
    if not value:
        return {"error": None, "grace": None}
    response, _ = decoder.decode(value, asn1Spec=_PolicyResponse())
    error, warning = response["error"], response["warning"]
    grace = warning.isValue and warning.getName() == "graceAuthNsRemaining"
    return {
        "error": int(error) if error.isValue else None,
        "grace": int(warning.getComponent()) if grace else None,
    }
