"""The suite's own issuer: two OpenID documents with different keys, and the bearer tokens signed with them.

Sources: [observed] an external tenant's callout is signed with keys of the ciamlogin.com document, and its bearer is
encrypted once the app has an encryption key; [overview] for the caller and the version 1 form.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.config import Config
from jitkit.conformance.server import Exchange, Server
from jitkit.entra_tokens import EncryptionKey, Entra, SigningKey, encrypted, signed

_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_key = cache(SigningKey.make)


class Issuer:
    """Signs tokens, and publishes the keys.

    Args:
        config: whose tenant and app the tokens name, and where to listen.
    """

    def __init__(self, config: Config) -> None:
        pinned = {"listener_id": config.listener_id, "extension_id": config.extension_id}
        pinned = {name: value for name, value in pinned.items() if value}
        self.entra = Entra(config.tenant_id, config.app_id, config.identifier_uri, **pinned)
        self.ciam, self.login = _key("suite-ciam"), _key("suite-login")
        self.next_key, self.stranger = _key("suite-next"), _key("suite-stranger")
        self.published = [self.ciam]  # in the ciamlogin document; the next key follows, the stranger's never does
        self.away = False  # whether the documents cannot be had
        self.ahead = 0  # seconds by which the issuer's clock is ahead of this machine's
        self.fetched: list[str] = []  # the paths that were asked for
        self._encryption_key = config.certificate
        self.server = Server(self._answer, config.listen, config.issuer_url)

    @property
    def documents(self) -> tuple[str, str]:
        """The two metadata URLs."""
        return f"{self.server.url}/ciam{_WELL_KNOWN}", f"{self.server.url}/login{_WELL_KNOWN}"

    async def _answer(self, exchange: Exchange) -> None:
        self.fetched.append(exchange.path)
        if self.away:
            return
        host, _, rest = exchange.path.lstrip("/").partition("/")
        base = f"{self.server.url}/{host}"
        if host not in ("ciam", "login") or exchange.method != "GET":
            await exchange.answer(404)
        elif f"/{rest}" == _WELL_KNOWN:
            await exchange.json(
                # All that OpenID Connect Discovery 1.0, section 3, requires: some libraries insist on it.
                {
                    "issuer": self.entra.issuer(host),
                    "authorization_endpoint": f"{base}/authorize",
                    "token_endpoint": f"{base}/token",
                    "jwks_uri": f"{base}/keys",
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
        return self.entra.token_claims(ahead=self.ahead, **changes)

    def bearer(self, key: SigningKey | None = None, **changes: Any) -> str:
        """Sign a good bearer token, with changed claims."""
        return signed(self.claims(**changes), key or self.ciam)

    def first_version(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a version 1 token: `appid` in place of `azp`, the identifier URI as audience."""
        old = {"ver": "1.0", "azp": None, "appid": protocol.CALLER_APP_ID, "aud": self.entra.identifier_uri}
        old["iss"] = f"https://sts.windows.net/{self.entra.tenant_id}/"
        return self.claims(**old | changes)

    def encrypted(self, token: str, key: EncryptionKey | None = None) -> str:
        """Encrypt a bearer token as Entra does, with header members that no library knows [observed]."""
        return encrypted(token, key or self._encryption_key, xms_hd_uti="suite", xms_hd_iat=int(time.time()))
