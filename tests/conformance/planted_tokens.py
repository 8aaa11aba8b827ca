"""How the planted endpoint opens tokens: right when no fault is planted, wrong in one way for each fault."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

SKEW = 300
CALLER = "99045fe1-7639-4a75-9d4a-577b6ca3810f"


class Refused(Exception):
    def __init__(self, status: int, detail: str = "", cause: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.status = status
        self.detail = detail


def decode(part: str) -> bytes:
    if not part.isascii() or set(part) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def read_object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def read_once(data: bytes) -> dict[str, Any]:
    """Read an object that gives no member twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    value = json.loads(data, object_pairs_hook=unique)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


@dataclass
class Key:
    """One decryption key with its certificate."""

    private: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def read(cls, pem: str) -> Key:
        private = load_pem_private_key(pem.encode(), None)
        certificate = x509.load_pem_x509_certificate(pem[pem.index("-----BEGIN CERT") :].encode())
        if private.public_key() != certificate.public_key():
            raise ValueError("the certificate belongs to another key")
        return cls(private, certificate)

    @property
    def x5t(self) -> str:
        digest = hashlib.sha1(self.certificate.public_bytes(Encoding.DER)).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass
class Opener:
    """Decrypt compact JWE."""

    keys: list[Key]
    faults: frozenset[str]

    def open(self, token: str, status: int) -> bytes:
        if "JSON form accepted" in self.faults and token.startswith("{"):
            members = json.loads(token)
            token = ".".join(members[name] for name in ("protected", "encrypted_key", "iv", "ciphertext", "tag"))
        parts = token.split(".")
        stage = "form"
        try:
            if len(parts) != 5:
                raise ValueError("five parts")
            head = read_object(decode(parts[0]))
            self._check(head)
            key = self._key(head)
            wrapped, iv, ciphertext, tag = map(decode, parts[1:])
            stage = "key"
            content_key = key.private.decrypt(wrapped, self._padding(head["alg"]))
            stage = "tag"
            data = _open_content(content_key, iv, ciphertext, tag, parts[0].encode())
            return self._inflated(data, head)
        except (ValueError, KeyError, TypeError, InvalidTag, zlib.error) as error:
            if "500 on a bad JWE" in self.faults:
                raise RuntimeError("bad JWE") from error
            if "a wrong tag takes its time" in self.faults and stage == "tag":
                time.sleep(0.08)
            raise Refused(status, stage if "bad parts told apart" in self.faults else "") from None

    def _check(self, head: dict[str, Any]) -> None:
        if "crit" in head and "crit ignored" not in self.faults:
            raise ValueError("crit")
        if head.get("zip", "DEF") != "DEF" and "unknown compression ignored" not in self.faults:
            raise ValueError("zip")
        if "unknown header members refused" in self.faults and set(head) - {"alg", "enc", "zip", "x5t", "cty", "typ"}:
            raise ValueError("unknown member")
        if "jku followed" in self.faults and "jku" in head:
            httpx.get(head["jku"])
        allowed = {"RSA-OAEP"} | ({"RSA1_5"} if "RSA1_5 accepted" in self.faults else set())
        if "500 on another algorithm" in self.faults and head.get("enc") != "A128CBC-HS256":
            raise RuntimeError("unknown algorithm")
        if head.get("alg") not in allowed or head.get("enc") != "A128CBC-HS256":
            raise ValueError("algorithm")

    def _key(self, head: dict[str, Any]) -> Key:
        keys = self.keys[:1] if "previous key forgotten" in self.faults else self.keys
        keys = keys[-1:] if "current key forgotten" in self.faults else keys
        found = [key for key in keys if key.x5t == head.get("x5t")]
        if not found and ("x5t ignored" in self.faults or "x5t" not in head):
            found = keys
        if not found:
            if "500 for another key" in self.faults:
                raise RuntimeError("no key")
            raise ValueError("unknown key")
        return found[0]

    @staticmethod
    def _padding(alg: str) -> rsa_padding.AsymmetricPadding:
        if alg == "RSA1_5":
            return rsa_padding.PKCS1v15()
        return rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)

    def _inflated(self, data: bytes, head: dict[str, Any]) -> bytes:
        if head.get("zip") != "DEF" and "always inflates" not in self.faults:
            return data
        if "never inflates" in self.faults:
            return data
        if "no limit to inflation" in self.faults:
            return zlib.decompress(data, -15)
        inflate = zlib.decompressobj(-15)
        plain = inflate.decompress(data, 65536)
        if inflate.unconsumed_tail:
            raise ValueError("too large")
        return plain


def _open_content(key: bytes, iv: bytes, ciphertext: bytes, tag: bytes, aad: bytes) -> bytes:
    mac = hmac.digest(key[:16], aad + iv + ciphertext + (len(aad) * 8).to_bytes(8), "sha256")[:16]
    if len(key) != 32 or not hmac.compare_digest(mac, tag):
        raise InvalidTag
    decryptor = Cipher(algorithms.AES(key[16:]), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


@dataclass
class Gate:
    """Say who is calling."""

    settings: dict[str, str]
    opener: Opener
    faults: frozenset[str]
    keys: dict[str, rsa.RSAPublicKey] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)  # token -> when it ends
    fetched: float = float("-inf")

    async def fetch(self) -> None:
        self.fetched = time.monotonic()
        urls = self.settings["JIT_OPENID_CONFIGURATION"].split(",")
        for url in urls[1:] if "only the login document" in self.faults else urls:
            try:
                async with httpx.AsyncClient(trust_env=False, timeout=1) as http:
                    document = (await http.get(url)).json()
                    for entry in (await http.get(document["jwks_uri"])).json()["keys"]:
                        n, e = (int.from_bytes(decode(entry[name])) for name in ("n", "e"))
                        self.keys[entry["kid"]] = rsa.RSAPublicNumbers(e, n).public_key()
            except httpx.HTTPError:
                continue

    async def admit(self, values: list[str]) -> None:
        if "anonymous" in self.faults:
            return
        one = len(values) == 1 or (values and "the first of two headers taken" in self.faults)
        scheme, _, token = values[0].partition(" ") if one else ("", "", "")
        if "another scheme is let in" in self.faults and scheme and scheme != "Bearer":
            return
        if scheme != "Bearer" or not token:
            raise Refused(401)
        remembered = token[:200] if "remembers a token by its beginning" in self.faults else token
        if "remembers a token past its end" not in self.faults and self.passed.get(remembered, 0) < time.time() - SKEW:
            self.passed.pop(remembered, None)
        if remembered in self.passed:
            return
        try:
            ends = await self._verify(token)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
            if "500 on a bad token" in self.faults:
                raise RuntimeError("bad token") from error
            raise Refused(401) from None
        self.passed[remembered] = ends

    async def _verify(self, token: str) -> float:
        if token.count(".") == 4:
            if "no encrypted bearer" in self.faults:
                raise Refused(401)
            token = self.opener.open(token, 401).decode()
            if "an encrypted token is good" in self.faults:
                return time.time()
        elif "no bare bearer" in self.faults:
            raise Refused(401)
        read = read_object if "doubled members read" in self.faults else read_once
        head, claims = (read(decode(part)) for part in token.split(".")[:2])
        await self._signature(token, head)
        self._claims(claims)
        return float(claims["exp"])

    async def _signature(self, token: str, head: dict[str, Any]) -> None:
        content, _, signature = token.rpartition(".")
        alg, kid = head.get("alg"), head.get("kid")
        if str(alg).lower() == "none" and "algorithm none accepted" in self.faults:
            return
        if "crit" in head and "crit ignored" not in self.faults:
            raise Refused(401)
        if "keys fetched each time" in self.faults:
            self.keys.clear()
            await self.fetch()
        wait = 0.0 if "a fetch for every unknown key" in self.faults else 1.0
        if kid not in self.keys and time.monotonic() - self.fetched > wait and "never fetches again" not in self.faults:
            await self.fetch()
        if not self.keys:
            if "everybody, when there are no keys" in self.faults:
                return
            raise Refused(503)
        if "the token's own key" in self.faults and "jwk" in head:
            n, e = (int.from_bytes(decode(head["jwk"][name])) for name in ("n", "e"))
            self.keys[str(kid)] = rsa.RSAPublicNumbers(e, n).public_key()
        if "the token's own certificate" in self.faults and "x5c" in head:
            certificate = x509.load_der_x509_certificate(base64.b64decode(head["x5c"][0]))
            self.keys[str(kid)] = certificate.public_key()  # type: ignore[assignment]
        key = self.keys[str(kid)]
        if alg == "HS256" and "HS256 accepted" in self.faults:
            pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            if hmac.compare_digest(hmac.digest(pem, content.encode(), "sha256"), decode(signature)):
                return
        schemes: dict[Any, Any] = {"RS256": (rsa_padding.PKCS1v15(), hashes.SHA256())}
        if "any RSA algorithm" in self.faults:
            schemes["RS512"] = (rsa_padding.PKCS1v15(), hashes.SHA512())
        if "signature unchecked" not in self.faults:
            key.verify(decode(signature), content.encode(), *schemes[alg])

    def _claims(self, claims: dict[str, Any]) -> None:
        now, tenant = time.time(), self.settings["JIT_TENANT_ID"]
        times = claims.get("exp", 0) < now - SKEW or claims.get("nbf", 0) > now + SKEW
        if times and "expired accepted" not in self.faults:
            early = claims.get("nbf", 0) > now + SKEW
            raise Refused(401, cause="clock" if early and "an unnamed clock" not in self.faults else "")
        issuers = [f"https://{tenant}.ciamlogin.com/{tenant}/v2.0", f"https://sts.windows.net/{tenant}/"]
        if "one issuer" not in self.faults:
            issuers.append(f"https://login.microsoftonline.com/{tenant}/v2.0")
        issuer = claims.get("iss")
        if "an issuer by its beginning" in self.faults and isinstance(issuer, str):
            issuer = next((each for each in issuers if issuer.startswith(each)), issuer)
        foreign = issuer not in issuers or claims.get("tid") != tenant
        if foreign and "tenant unchecked" not in self.faults:
            raise Refused(401)
        audiences = [self.settings["JIT_EXTENSION_APP_ID"], self.settings["JIT_IDENTIFIER_URI"]]
        accepted = audiences[:1] if "one audience" in self.faults else audiences
        if claims.get("aud") not in accepted and "audience unchecked" not in self.faults:
            raise Refused(401)
        names = [claims[name] for name in ("azp", "appid") if name in claims]
        if "appid unknown" in self.faults:
            names = [claims.get("azp")]
        fits = [name == CALLER for name in names]
        right = any(fits) if "azp or appid, whichever fits" in self.faults else bool(fits) and all(fits)
        if not right and "azp unchecked" not in self.faults:
            raise Refused(403)
        if "scp" in claims and "a person's token accepted" not in self.faults:
            raise Refused(403)
