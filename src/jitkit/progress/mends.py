"""What a cause means and what mends it, in words.

Causes are the short words of the endpoint's ledger, and the 1003xxx codes of the sign-in log [Microsoft Learn,
"Troubleshoot custom authentication extensions"].
"""

from __future__ import annotations

from typing import Final

from jitkit.protocol import CALLOUT_ERRORS, TIMEOUT_MS

__all__ = ["callout_cause", "meaning", "mend"]

_LOOK_UP: Final = "Look the code up in Microsoft's list of custom extension errors, and in the sign-in's details."

# Cause -> what it means, what mends it.
_CAUSES: Final = {
    "locked": ("the legacy account is locked", "Unlock it in the legacy system, or let the person reset the password."),
    "disabled": ("the legacy account is disabled", "Decide whether this person may come back; if not, clear the flag."),
    "no_password": (
        "the legacy account has no password",
        "Add the identity provider that this person signed in with, or let them reset the password.",
    ),
    "other_user": (
        "the sign-in name belongs to another account in the legacy mapping",
        "Compare the mapping with the sign-in names in the tenant: one of them names the wrong person.",
    ),
    "malformed": ("the stored hash cannot be read", "Correct the hash in the legacy store, or ask for a reset."),
    "ambiguous": ("two legacy accounts share the sign-in name", "Merge the two accounts in the legacy store."),
    "unknown_user": ("the legacy system knows no such name", "Compare how sign-in names map to the legacy ones."),
    "wrong": ("the typed password is not the legacy one", "Nothing: people mistype. Many for few people is guessing."),
    "weak": ("the old password is too weak for Entra", "See that password reset by e-mail code works."),
    "must_change": ("the legacy system asks for a new password", "See that password reset by e-mail code works."),
    "throttled": ("the legacy system refused the load", "Raise its limit for the endpoint, or spread the return."),
    "down": ("the legacy system did not answer", "Bring the legacy system back; nobody has to be told to try again."),
    "legacy_timeout": ("the legacy system answered too late", "Make the legacy check faster; look at the latency."),
    "busy": ("too many calls at once", "Run more copies of the endpoint."),
    "breaker_open": ("the legacy system failed several times in a row", "Bring the legacy system back; probes go on."),
    "too_many_guesses": ("the legacy system was silent to this person", "Bring the legacy system back; then wait."),
    "mfa": ("the account wants a second factor", "Move it by hand, or set JIT_MFA to migrate."),
    "unexpected": ("something broke in the endpoint", "Read the endpoint's log for the same time."),
    "clock_skew": ("the endpoint's clock is off", "Let the endpoint's machine set its clock by the network."),
    "nonce_replayed": ("an old call came again", "Treat it as an attack; look at who called."),
    "plain_http": ("a call came without TLS", "Let the front end take https alone, and set X-Forwarded-Proto."),
    "plaintext_context": ("a password came without encryption", "Find out who sends it: Entra does not."),
    "extension": ("another extension of the tenant called", "Compare JIT_EXTENSION_IDS with notebook 03."),
    "listener": ("another listener of the tenant called", "Compare JIT_LISTENER_IDS with notebook 03."),
    "tenant": ("a call for another tenant", "Compare JIT_TENANT_ID with the tenant's overview."),
    "crowded": ("too many unknown callers at once", "Limit who reaches the endpoint; look at who called."),
    "request_timeout": ("a request arrived too slowly", "Look at the network between Entra and the endpoint."),
    "disconnected": ("the caller hung up before its request was whole", "Nothing, unless it happens often."),
    "content_type": ("a request that is not JSON", "Nothing: Entra sends JSON; look at who called."),
    "too_large": ("a request larger than a callout can be", "Nothing: look at who called."),
    "envelope": ("a request that is no callout", "Nothing, if it was not Entra; else update the endpoint."),
    "event_type": ("the event of another extension", "Point only the password-submit extension at the endpoint."),
    "no_token": ("a caller without a token", "Nothing, if it was not Entra; else look at the gateway in front."),
    "no_signing_keys": ("Entra's signing keys were not reachable", "Let the endpoint reach the OpenID documents."),
    "nonce_reused": ("one call came twice with another password", "Treat it as an attack; look at who called."),
    "unknown_key": ("encrypted for a key the endpoint lacks", "Give the endpoint the certificate's private key."),
    "decrypt_failed": ("the password could not be decrypted", "Check that certificate and private key are one pair."),
}  # fmt: skip
_FAMILIES: Final = {
    "token_": ("the caller's token was refused", "Compare tenant, audience and issuer with the endpoint's settings."),
    "jwe_": (
        "the encrypted password has a form that is not taken",
        "Check what stands between Entra and the endpoint.",
    ),
    "context_": ("the decrypted password context does not hold", "Check the clock, and the extension app's id."),
}
_FORM: Final = "Compare the answer with the documented schema: jitkit check tests an endpoint for it."
_ENABLE: Final = "Enable it under Enterprise applications, or run notebook 02."
_CALLOUTS: Final = {
    1003000: ("Entra failed before it called", _LOOK_UP),
    1003001: ("Entra failed while it called", _LOOK_UP),
    1003002: ("the endpoint answered with a status other than 200", "Read the endpoint's ledger for the same time."),
    1003003: ("the endpoint's answer has the wrong form", f"{_FORM} Echo the nonce."),
    1003004: ("too many calls a second", "Spread the return of people: the limit counts for the whole tenant."),
    1003005: (f"no answer within {TIMEOUT_MS:,} ms", "Keep the endpoint warm and the legacy check fast."),
    1003006: ("the endpoint's answer is not JSON", "Answer with Content-Type: application/json."),
    1003007: ("the endpoint's answer has null for claims", _FORM),
    1003008: ("the endpoint's answer names another version of the schema", _FORM),
    1003009: ("the endpoint's answer is empty", _FORM),
    1003010: ("the endpoint's answer has not exactly one action", _FORM),
    1003011: ("the listener names an extension that is gone", "Run notebook 03: it makes both anew."),
    1003012: ("the endpoint's answer has an unknown action", _FORM),
    1003014: (
        "the resource id has the wrong form",
        "Use api://{host of the endpoint}/{application id}; run notebook 02.",
    ),
    1003015: ("the endpoint's host is not that of the resource id", "Change both together; run notebooks 02 and 03."),
    1003016: ("the extension's app has no service principal", "Run notebook 02."),
    1003017: ("the calling app has no service principal", _ENABLE),
    1003018: ("the calling app's service principal is disabled", _ENABLE),
    1003019: ("the extension's service principal is disabled", _ENABLE),
    1003020: ("the endpoint's address is not a valid https address", "Correct it in notebook 00; run notebook 03."),
    1003021: ("Receive.Payload is not consented", "Grant admin consent; run notebook 02."),
    1003022: (
        "Microsoft Graph's service principal is missing or disabled",
        "Enable Microsoft Graph under Enterprise applications.",
    ),
    1003023: (
        "the service refuses to call this address",
        "Move the endpoint to another host; run notebooks 02 and 03.",
    ),
    1003024: ("the endpoint's answer is too large", _FORM),
    1003025: ("the claims in the endpoint's answer are too large", _FORM),
    1003026: ("a claim in the endpoint's answer has no name", _FORM),
    1003027: ("the endpoint could not be reached", "Check that it runs, its name and its certificate."),
}


def callout_cause(code: int) -> str:
    """Name a callout error of the sign-in log, with its code in front."""
    return f"{code} {CALLOUT_ERRORS.get(code, 'unknown error')}"


def meaning(cause: str) -> str:
    """Say what a cause means."""
    return _explained(cause)[0]


def mend(cause: str) -> str:
    """Say what to do about a cause."""
    return _explained(cause)[1]


def _explained(cause: str) -> tuple[str, str]:
    if cause in _CAUSES:
        return _CAUSES[cause]
    for beginning, words in _FAMILIES.items():
        if cause.startswith(beginning):
            return words
    code = cause.partition(" ")[0]
    if code.isdigit():
        return _CALLOUTS.get(int(code), ("Entra could not use the extension", _LOOK_UP))
    return cause, "Read the endpoint's log for the same time."
