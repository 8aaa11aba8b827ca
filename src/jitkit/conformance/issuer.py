"""The suite's own issuer: two OpenID documents with different keys, which can be taken away, and the tokens.

Sources: [observed] an external tenant's callout is signed with keys of the ciamlogin.com document, and its bearer is
encrypted once the app has an encryption key; [overview] for the caller and the version 1 form.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jitkit import protocol
from jitkit.conformance.config import Config
from jitkit.conformance.keys import EncryptionKey, SigningKey
from jitkit.conformance.loopback import Exchange, LoopbackServer
from jitkit.conformance.tokens import encrypt, signed

__all__ = ["Issuer"]

_WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass
class Issuer:
    """Sign tokens, and publish the keys.

    Args:
        config: whose tenant and app the tokens name.
        key: the encryption key of the app under test.
        ciam: the signing key that the ciamlogin document publishes.
        login: the one that the other document publishes.
        away: whether the documents cannot be had.
        ahead: seconds by which the issuer's clock is ahead of this machine's.
        published: the signing keys in the ciamlogin document.
        fetched: the paths that were asked for.
    """

    config: Config
    key: EncryptionKey
    ciam: SigningKey = field(default_factory=lambda: SigningKey.make("suite-ciam"))
    login: SigningKey = field(default_factory=lambda: SigningKey.make("suite-login"))
    away: bool = False
    ahead: int = 0
    published: list[SigningKey] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.published = [self.ciam]
        host, port = self.config.listen, self.config.port_of(self.config.issuer_url)
        self.server = LoopbackServer(self._handle, host=host, port=port)

    @cached_property
    def rolled(self) -> SigningKey:
        """The key that is published while the endpoint runs."""
        return SigningKey.make("suite-rolled")

    @cached_property
    def stranger(self) -> SigningKey:
        """A key that is never published."""
        return SigningKey.make("suite-stranger")

    @property
    def url(self) -> str:
        """Where the endpoint under test finds the issuer."""
        return self.config.issuer_url or f"http://127.0.0.1:{self.server.port}"

    @property
    def documents(self) -> tuple[str, str]:
        """The two metadata URLs."""
        return f"{self.url}/ciam{_WELL_KNOWN}", f"{self.url}/login{_WELL_KNOWN}"

    def issuer(self, host: str = "ciam") -> str:
        """Return the `iss` of a tenant's tokens under one of the two hosts."""
        tenant = self.config.tenant_id
        name = f"{tenant}.ciamlogin.com" if host == "ciam" else "login.microsoftonline.com"
        return f"https://{name}/{tenant}/v2.0"

    async def _handle(self, exchange: Exchange) -> None:
        self.fetched.append(exchange.path)
        if self.away:
            return
        host, _, rest = exchange.path.lstrip("/").partition("/")
        if host not in ("ciam", "login") or exchange.method != "GET":
            await exchange.answer(404)
        elif f"/{rest}" == _WELL_KNOWN:
            await exchange.json(
                # Whatever OpenID Connect Discovery 1.0, section 3, requires: some libraries refuse less.
                {
                    "issuer": self.issuer(host),
                    "authorization_endpoint": f"{self.url}/{host}/authorize",
                    "token_endpoint": f"{self.url}/{host}/token",
                    "jwks_uri": f"{self.url}/{host}/keys",
                    "response_types_supported": ["code", "id_token"],
                    "subject_types_supported": ["pairwise"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        elif rest == "keys":
            keys = self.published if host == "ciam" else [self.login]
            await exchange.json({"keys": [key.public_jwk() for key in keys]})
        else:
            await exchange.answer(404)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a good bearer token; a change to None leaves one out."""
        now, principal = int(time.time()) + self.ahead, "5aaa1e04-6b3a-4d0f-9c52-7ce2b14bbf01"
        claims = {"aud": self.config.app_id, "iss": self.issuer(), "azp": protocol.CALLER_APP_ID, "ver": "2.0"}
        claims |= {"tid": self.config.tenant_id, "oid": principal, "sub": principal}
        claims |= {"iat": now, "nbf": now, "exp": now + 3600} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def bearer(self, *, key: SigningKey | None = None, **changes: Any) -> str:
        """Sign a good bearer token, with changed claims."""
        return signed(self.claims(**changes), key or self.ciam)

    def first_version(self, **changes: Any) -> str:
        """Sign a version 1 token: `appid` in place of `azp`, the identifier URI as audience."""
        tenant = self.config.tenant_id
        old = {"ver": "1.0", "azp": None, "appid": protocol.CALLER_APP_ID, "iss": f"https://sts.windows.net/{tenant}/"}
        return signed(self.claims(**old | {"aud": self.config.identifier_uri} | changes), self.login)

    def encrypted(self, token: str, key: EncryptionKey | None = None, **header: Any) -> str:
        """Encrypt a bearer token as Entra does, with header members that no library knows."""
        observed: dict[str, Any] = {"xms_hd_uti": "suite", "xms_hd_iat": int(time.time())}
        return encrypt(token, key or self.key, **observed | header)
