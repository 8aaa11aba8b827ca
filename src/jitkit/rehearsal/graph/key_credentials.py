"""The certificates of an application: what a PATCH of `keyCredentials` does, and what a reader gets to see.

Sources: Graph v1.0, keyCredential and application resources ("tokenEncryptionKeyId"); Microsoft Learn, "Just-in-time
password migration", section on the encryption key.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph.wire import bad_request, new_id

_TYPES = {"AsymmetricX509Cert", "X509CertAndPassword", "Symmetric"}
_USAGES = {"Sign", "Verify", "Encrypt"}


def hidden(app: Body) -> Body:
    """Return an application as a list or an ordinary GET shows it: every `key` is null."""
    return {**app, "keyCredentials": [{**item, "key": None} for item in app["keyCredentials"]]}


def public(value: Any) -> Any:
    """Return a property's value without the bytes of certificates, for the audit log."""
    if not isinstance(value, list):
        return value
    return [{k: v for k, v in item.items() if k != "key"} if isinstance(item, dict) else item for item in value]


def replaced(sent: list[Body], present: list[Body]) -> list[Body]:
    """Work out the list of keys after a PATCH: what was sent, and nothing else.

    Args:
        sent: the whole new list.
        present: the list before.

    Returns:
        The list to store. An entry that names a present key and carries no `key` keeps the stored one: the reference
        does not say so, it is what clients that read, append and write back rely on.

    Raises:
        GraphError: 400, for a key that is no certificate, or for one that repeats a keyId.
    """
    known = {item["keyId"]: item for item in present}
    result = [
        {**known[item["keyId"]], **{k: v for k, v in item.items() if v is not None and not k.startswith("@odata")}}
        if not item.get("key") and item.get("keyId") in known
        else _entry(item)
        for item in sent
    ]
    if len({item["keyId"] for item in result}) != len(result):
        raise bad_request("Property keyCredentials has two entries with the same keyId.")
    return result


def check_token_encryption(app: Body) -> None:
    """Refuse a `tokenEncryptionKeyId` that names no stored key of usage Encrypt."""
    wanted = app.get("tokenEncryptionKeyId")
    if wanted is None:
        return
    if not any(
        item["keyId"].lower() == wanted.lower() and item["usage"] == "Encrypt" for item in app["keyCredentials"]
    ):
        raise bad_request(
            f"The tokenEncryptionKeyId '{wanted}' does not match the keyId of a key with usage 'Encrypt'."
        )


def _entry(item: Body) -> Body:
    if item.get("type") not in _TYPES or item.get("usage") not in _USAGES:
        raise bad_request("Key credential has an invalid type or usage.")
    if not item.get("key"):
        raise bad_request("A value is required for property 'key' of a new key credential.")
    if item["type"] != "AsymmetricX509Cert":
        raise bad_request(f"Key credentials of type '{item['type']}' cannot be set with this request; use addKey.")
    subject, thumbprint, starts, ends = _certificate(item["key"])
    return {
        "customKeyIdentifier": item.get("customKeyIdentifier") or thumbprint,
        "displayName": item.get("displayName") or subject,
        "endDateTime": _within(item.get("endDateTime"), starts, ends) or _text(ends),
        "key": item["key"],
        "keyId": (item.get("keyId") or new_id()).lower(),
        "startDateTime": _within(item.get("startDateTime"), starts, ends) or _text(starts),
        "type": item["type"],
        "usage": item["usage"],
    }


def _certificate(key: str) -> tuple[str, str, datetime, datetime]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(key))
    except ValueError:
        raise bad_request("Key credential is not a valid X.509 certificate.") from None
    thumbprint = base64.b64encode(certificate.fingerprint(hashes.SHA1()).hex().upper().encode()).decode()  # noqa: S303
    return (
        certificate.subject.rfc4514_string(),
        thumbprint,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _within(text: str | None, starts: datetime, ends: datetime) -> str | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # Certificates carry whole seconds; a caller may send fractions of one.
    if not starts.timestamp() - 1 <= moment.timestamp() <= ends.timestamp() + 1:
        raise bad_request("Key credential start or end date is outside the validity of its certificate.")
    return _text(moment)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
