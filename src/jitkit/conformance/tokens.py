"""Tokens as Entra makes them, and with every defect that an endpoint must notice; made with cryptography alone.

Sources: RFC 7515, RFC 7516, RFC 7518, RFC 7519.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from typing import Any

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jitkit.conformance.keys import EncryptionKey, SigningKey, b64, b64json

__all__ = ["broken", "deflated", "encrypt", "hs256", "signed", "unsigned"]

_SIGNATURES = {
    "RS256": (rsa_padding.PKCS1v15(), hashes.SHA256()),
    "RS512": (rsa_padding.PKCS1v15(), hashes.SHA512()),
    "PS256": (rsa_padding.PSS(rsa_padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
}


def signed(claims: object, key: SigningKey, **header: Any) -> str:
    """Sign claims; named header members replace the usual ones, and None leaves one out."""
    head = {"alg": "RS256", "typ": "JWT", "kid": key.kid} | header
    text = f"{b64json({name: value for name, value in head.items() if value is not None})}.{b64json(claims)}"
    scheme, digest = _SIGNATURES[str(head["alg"])]
    return f"{text}.{b64(key.private.sign(text.encode(), scheme, digest))}"


def hs256(claims: object, key: SigningKey) -> str:
    """Sign with HMAC, and the public key as the secret: the attack of RFC 8725 section 2.1."""
    secret = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{b64json({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{b64json(claims)}"
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(claims: object, signature: str = "", **header: Any) -> str:
    """Write a token with algorithm none; a text may stand where the signature is."""
    return f"{b64json({'alg': 'none', 'typ': 'JWT'} | header)}.{b64json(claims)}.{signature}"


def deflated(data: bytes) -> bytes:
    """Compress as `zip: DEF` means it [RFC 7516 section 4.1.3]."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush()


def encrypt(
    plaintext: bytes | str, key: EncryptionKey, *, drop: tuple[str, ...] = (), ready: bool = False, **header: Any
) -> str:
    """Encrypt as Entra does.

    Args:
        plaintext: what goes inside.
        key: whom it is for.
        drop: header members to leave out.
        ready: whether the plaintext is compressed already.
        header: members that replace the usual ones or stand beside them.

    Returns:
        A compact JWE.
    """
    head = {"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "x5t": key.x5t, "zip": "DEF"} | header
    head = {name: value for name, value in head.items() if name not in drop}
    data = plaintext.encode() if isinstance(plaintext, str) else plaintext
    if head.get("zip") == "DEF" and not ready:
        data = deflated(data)
    aad = b64json(head)
    content_key = os.urandom(64 if head["enc"] == "A256CBC-HS512" else 32)
    iv, ciphertext, tag = _seal(str(head["enc"]), content_key, data, aad.encode())
    return ".".join((aad, b64(_wrap(str(head["alg"]), content_key, key.public)), b64(iv), b64(ciphertext), b64(tag)))


def _wrap(alg: str, content_key: bytes, key: rsa.RSAPublicKey) -> bytes:
    if alg == "dir":
        return b""
    if alg == "RSA1_5":
        return key.encrypt(content_key, rsa_padding.PKCS1v15())
    digest: hashes.HashAlgorithm = hashes.SHA256() if alg == "RSA-OAEP-256" else hashes.SHA1()  # noqa: S303
    return key.encrypt(content_key, rsa_padding.OAEP(rsa_padding.MGF1(digest), digest, None))


def _seal(enc: str, key: bytes, data: bytes, aad: bytes) -> tuple[bytes, bytes, bytes]:
    if enc == "A256GCM":
        iv = os.urandom(12)
        sealed = AESGCM(key).encrypt(iv, data, aad)
        return iv, sealed[:-16], sealed[-16:]
    half, iv = len(key) // 2, os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key[half:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()
    mac = hmac.new(key[:half], digestmod=hashlib.sha512 if half == 32 else hashlib.sha256)
    mac.update(aad + iv + ciphertext + (len(aad) * 8).to_bytes(8))
    return iv, ciphertext, mac.digest()[:half]


def broken(token: str, part: int) -> str:
    """Change one bit in one part of a compact token, and leave its form alone."""
    parts = token.split(".")
    text = parts[part]
    middle = len(text) // 2
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    parts[part] = text[:middle] + alphabet[alphabet.index(text[middle]) ^ 1] + text[middle + 1 :]
    return ".".join(parts)
