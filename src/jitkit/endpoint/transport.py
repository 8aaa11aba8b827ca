"""How requests arrive: by TLS that ends here, by TLS that ends at a front end, or, for tests, in the clear."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from jitkit.endpoint.environment import choice, switch
from jitkit.errors import SettingsError

__all__ = ["Transport"]


@dataclass(frozen=True)
class Transport:
    """Hold how requests arrive. Production never takes a password in the clear.

    Args:
        production: real people sign in.
        certificate: the path of a PEM certificate chain, when TLS ends here.
        key: the path of its PEM private key.
        behind_tls: a front end ends TLS (App Service, Container Apps, Functions, a reverse proxy), sets
            `X-Forwarded-Proto` itself, and nobody else can reach this process.
    """

    production: bool = False
    certificate: str | None = None
    key: str | None = None
    behind_tls: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Transport:
        """Read `JIT_PROFILE`, `JIT_TLS_CERTIFICATE`, `JIT_TLS_KEY` and `JIT_BEHIND_TLS`.

        Raises:
            SettingsError: production without TLS, or a certificate that cannot be served with.
        """
        transport = cls(
            choice(environment, "JIT_PROFILE", ("development", "production")) == "production",
            environment.get("JIT_TLS_CERTIFICATE", "").strip() or None,
            environment.get("JIT_TLS_KEY", "").strip() or None,
            switch(environment, "JIT_BEHIND_TLS"),
        )
        if (transport.certificate is None) != (transport.key is None):
            raise SettingsError(
                "Only one of JIT_TLS_CERTIFICATE and JIT_TLS_KEY is set.", next_step="Set both, or neither."
            )
        if transport.certificate and transport.key:
            _check(transport.certificate, transport.key)
        elif transport.production and not transport.behind_tls:
            raise SettingsError(
                "JIT_PROFILE is production, and nothing says where TLS ends: passwords would arrive in the clear.",
                next_step="Set JIT_TLS_CERTIFICATE and JIT_TLS_KEY, or JIT_BEHIND_TLS=1 where a front end ends TLS.",
            )
        return transport

    def in_clear(self, forwarded: list[str]) -> bool:
        """Tell whether a request came without TLS to where TLS should end.

        Args:
            forwarded: the values of the `X-Forwarded-Proto` header.
        """
        if not self.behind_tls or self.certificate:
            return False
        return not forwarded or any(value.strip().lower() != "https" for value in ",".join(forwarded).split(","))


def _check(certificate: str, key: str) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            "JIT_TLS_CERTIFICATE and JIT_TLS_KEY cannot be served with.",
            service=error.reason
            if isinstance(error, ssl.SSLError)
            else error.strerror
            if isinstance(error, OSError)
            else None,
            next_step="Give the paths of a PEM certificate chain and its own PEM private key without a password.",
        ) from None
