"""Hashes of identity products: Keycloak's credential as JSON, and Firebase's scrypt as Ory and Supabase write it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from jitkit.endpoint.stores.hashes_bounds import (
    Unusable,
    Verifier,
    bound_argon2,
    bounded,
    decoded,
    pbkdf2_matches,
    same,
    scrypt,
)

__all__ = ["PRODUCTS", "keycloak_cost"]

_KEYCLOAK_PBKDF2: Final = {"pbkdf2": "sha1", "pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}
_ARGON2_TYPES: Final = {"d": Type.D, "i": Type.I, "id": Type.ID}
_ARGON2_VERSIONS: Final = {"1.0": 16, "1.3": 19}

_ORY: Final = re.compile(
    r"\$firescrypt\$ln=(?P<n>\d{1,2}),r=(?P<r>\d{1,5}),p=(?P<p>\d{1,3})"
    r"\$(?P<salt>[^$]+)\$(?P<digest>[^$]+)\$(?P<separator>[^$]*)\$(?P<key>[^$]+)"
)
_SUPABASE: Final = re.compile(
    r"\$fbscrypt\$v=1,n=(?P<n>\d{1,2}),r=(?P<r>\d{1,5}),p=(?P<p>\d{1,3})"
    r"(?:,ss=(?P<separator>[^,$]*))?,sk=(?P<key>[^,$]+)\$(?P<salt>[^$]+)\$(?P<digest>[^$]+)"
)


def keycloak_cost(text: str) -> str:
    """Name the algorithm and the cost of a Keycloak credential."""
    try:
        data = _part(json.loads(text), "credentialData")
        memory = (data.get("additionalParameters") or {}).get("memory") or [""]
        return f"keycloak {data['algorithm']} {data['hashIterations']} {memory[0]}".strip()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "keycloak"  # broken, and so without a cost


def _keycloak(text: str, password: str) -> bool:
    """Verify a credential with `secretData` and `credentialData`, as a realm export holds it.

    Both are JSON, usually inside a string. From Keycloak's own table, in PostgreSQL:
    `json_build_object('secretData', secret_data, 'credentialData', credential_data)::text`.
    """
    credential = json.loads(text)
    secret, data = _part(credential, "secretData"), _part(credential, "credentialData")
    digest, salt, rounds = decoded(secret["value"]), decoded(secret["salt"]), data["hashIterations"]
    algorithm = data["algorithm"]
    if algorithm in _KEYCLOAK_PBKDF2:
        return pbkdf2_matches(_KEYCLOAK_PBKDF2[algorithm], password, salt, rounds, digest)
    if algorithm != "argon2":
        raise Unusable("Keycloak algorithm")
    more = {name: values[0] for name, values in data["additionalParameters"].items()}
    memory, lanes = int(more["memory"]), int(more["parallelism"])
    bound_argon2(memory, int(rounds), lanes)
    made = hash_secret_raw(
        password.encode(),
        salt,
        time_cost=int(rounds),
        memory_cost=memory,
        parallelism=lanes,
        hash_len=bounded(len(digest), 1024),
        type=_ARGON2_TYPES[more["type"]],
        version=_ARGON2_VERSIONS[more["version"]],
    )
    return same(made, digest)


def _part(credential: dict[str, Any], name: str) -> dict[str, Any]:
    value = credential[name]
    part = json.loads(value) if isinstance(value, str) else value
    if not isinstance(part, dict):
        raise Unusable("Keycloak form")
    return part


def _firebase(text: str, password: str) -> bool:
    """Verify Firebase's scrypt: the derived key encrypts the project's signer key [firebase/scrypt]."""
    match = (_ORY if text.startswith("$firescrypt$") else _SUPABASE).fullmatch(text)
    if not match:
        raise Unusable("Firebase form")
    salt = decoded(match["salt"]) + decoded(match["separator"] or "")
    n, r, p = 1 << bounded(match["n"], 31), int(match["r"]), int(match["p"])
    key = scrypt(password, salt, n=n, r=r, p=p, length=32)
    encryptor = Cipher(AES256(key), CTR(bytes(16))).encryptor()
    return same(encryptor.update(decoded(match["key"])) + encryptor.finalize(), decoded(match["digest"]))


PRODUCTS: Final[dict[str, Verifier]] = {
    '{"': _keycloak,
    "{ ": _keycloak,
    "{\n": _keycloak,
    "$firescrypt$": _firebase,
    "$fbscrypt$": _firebase,
}
