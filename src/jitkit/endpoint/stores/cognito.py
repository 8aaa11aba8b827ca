"""A legacy store in an Amazon Cognito user pool.

    cognito://:SECRET@REGION/USER_POOL_ID?client_id=ID

The app client must allow `ALLOW_USER_PASSWORD_AUTH`. Its secret, if it has one, is the password in the URL,
percent-encoded. `InitiateAuth` is not signed, so there are no AWS credentials, and none are looked for. Proxies and
certificates are taken from the environment, as is `AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER`, for a private endpoint.

A pool that hides whether users exist answers alike for a wrong password and an unknown name. A user whose second factor
is a text message gets one with every sign-in that reaches this store.

Sources: the Cognito service model in botocore; Amazon Cognito developer guide, "Managing user existence error
responses" and "Authentication flows".
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_safe_url, typed_name
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

_EXAMPLE: Final = "cognito://:SECRET@REGION/USER_POOL_ID?client_id=ID"
_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")

_CONNECTIONS: Final = 20
# The guard's deadline is 1.9 s at most. A thread cannot be cancelled, so it must not outlive that by much.
_CONNECT_SECONDS: Final = 1.0
_READ_SECONDS: Final = 1.5

# What Cognito takes for a name; others exist nowhere, and sending them would look like a mistake of the endpoint.
_LONGEST_NAME: Final = 128

_MFA: Final = ("SMS_MFA", "SOFTWARE_TOKEN_MFA", "EMAIL_OTP", "SELECT_MFA_TYPE", "MFA_SETUP")

# The first part of the message that is found decides; messages are compared in lower case.
_NOT_AUTHORIZED: Final = (
    ("secret hash", Verdict.DOWN),
    ("secret_hash", Verdict.DOWN),
    ("incorrect username or password", Verdict.WRONG),
    ("user is disabled", Verdict.DISABLED),
    ("password attempts exceeded", Verdict.LOCKED),
    # An expired temporary password or account: only an administrator can go on from there.
    ("has expired", Verdict.DISABLED),
)
_ERRORS: Final = {
    "UserNotFoundException": Verdict.UNKNOWN_USER,
    "UserNotConfirmedException": Verdict.DISABLED,
    # An administrator asked for a reset, and the old password is not compared any more.
    "PasswordResetRequiredException": Verdict.DISABLED,
    # A trigger before the sign-in refused it.
    "UserLambdaValidationException": Verdict.DISABLED,
    "TooManyRequestsException": Verdict.THROTTLED,
    "LimitExceededException": Verdict.THROTTLED,
    "InternalErrorException": Verdict.DOWN,
    "UnexpectedLambdaException": Verdict.DOWN,
    "InvalidLambdaResponseException": Verdict.DOWN,
}
# What botocore raises when it parses an answer that is no JSON object.
_UNREADABLE: Final = (AttributeError, KeyError, TypeError, ValueError)
_OURS: Final = (
    "ForbiddenException",
    "InvalidParameterException",
    "InvalidUserPoolConfigurationException",
    "ResourceNotFoundException",
)


class CognitoStore:
    """Sign in to a user pool, and discard the tokens (see the module's text).

    Args:
        url: `cognito://:SECRET@REGION/USER_POOL_ID?client_id=ID`.

    Raises:
        SettingsError: the URL cannot be used, or boto3 is not installed.
    """

    kind = "cognito"

    def __init__(self, url: str) -> None:
        region, self._client_id, self._secret = _parse(url)
        self._client = _open(region)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-cognito")

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password. Nothing is tried again: Cognito counts attempts."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        name = typed_name(username)
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or " " in name:
            return Verdict.UNKNOWN_USER
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, name, password)

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _ask(self, name: str, password: str) -> Verdict:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        parameters = {"USERNAME": name, "PASSWORD": password}
        if self._secret:
            parameters["SECRET_HASH"] = _secret_hash(name, self._client_id, self._secret)
        try:
            answer = self._client.initiate_auth(
                AuthFlow="USER_PASSWORD_AUTH", ClientId=self._client_id, AuthParameters=parameters
            )
        except ClientError as error:
            return _judge_error(error.response)
        except (BotoCoreError, ResponseParserError, *_UNREADABLE) as error:
            _log.error("Cognito did not answer: %s", type(error).__name__)
            return Verdict.DOWN
        return _judge(answer)


def _secret_hash(name: str, client_id: str, secret: str) -> str:
    """Prove that the client knows its secret: HMAC-SHA256 of the name as it is sent, and the client id."""
    return base64.b64encode(hmac.digest(secret.encode(), (name + client_id).encode(), hashlib.sha256)).decode()


def _judge(answer: Mapping[str, Any]) -> Verdict:
    if (answer.get("AuthenticationResult") or {}).get("AccessToken"):
        return Verdict.RIGHT
    challenge = answer.get("ChallengeName")
    if challenge == "NEW_PASSWORD_REQUIRED":
        return Verdict.RIGHT_MUST_CHANGE
    if challenge in _MFA:
        return Verdict.MFA
    # A custom challenge, or one of another flow, comes before any password.
    _log.error("Cognito answered neither with tokens nor with a challenge that proves the password")
    return Verdict.MALFORMED


def _judge_error(answer: Mapping[str, Any]) -> Verdict:
    error = answer.get("Error", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", "")).lower()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _OURS:
        _log.error("Cognito refuses the endpoint's own client (%s): check client_id and its settings", code)
        return Verdict.DOWN
    if code == "NotAuthorizedException":
        return _judge_refusal(message)
    if code in _ERRORS:
        return _ERRORS[code]
    if status == 429:
        return Verdict.THROTTLED
    _log.error("Cognito gave an answer that is not known, with status %s", status)
    return Verdict.MALFORMED if status in (400, 401, 403) else Verdict.DOWN


def _judge_refusal(message: str) -> Verdict:
    for part, verdict in _NOT_AUTHORIZED:
        if part in message:
            if verdict is Verdict.DOWN:
                _log.error("Cognito refuses the endpoint's own client: check its secret")
            return verdict
    _log.warning("Cognito refused a password in words that are not known")
    return Verdict.WRONG


def _parse(url: str) -> tuple[str, str, str | None]:
    """Read region, client id and secret. The pool's id begins with its region, and a pool elsewhere has other users."""
    refused = SettingsError(
        "LegacyApiConnectionString does not name a Cognito user pool, its region and an app client.",
        next_step=f"Write it as {_EXAMPLE}; the pool's id begins with the region.",
    )
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=True))
        region = parts.hostname or ""
    except ValueError:
        raise refused from None
    client_id = query.pop("client_id", "")
    pool = re.fullmatch(rf"/{re.escape(region)}_[0-9a-zA-Z]+", parts.path)
    if not _REGION.fullmatch(region) or not pool or not client_id or query or parts.username or parts.fragment:
        raise refused
    return region, client_id, unquote(parts.password) if parts.password else None


def _open(region: str) -> Any:
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise SettingsError(
            "LegacyApiConnectionString names Cognito, and its client is not installed.",
            next_step='Run: pip install -e ".[cognito]"',
        ) from None
    # At lower levels botocore logs whole requests, and with them passwords.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    config = Config(
        signature_version=UNSIGNED,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=_CONNECTIONS,
    )
    try:
        client = boto3.session.Session().client("cognito-idp", region_name=region, config=config)
        where = client.meta.endpoint_url
        if where.startswith("http:") and is_safe_url(where):
            # In the clear, and so to this machine: a proxy would read what it is handed.
            direct = config.merge(Config(proxies={}))
            client = boto3.session.Session().client("cognito-idp", region_name=region, config=direct)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"The client for Cognito cannot be made: {type(error).__name__}.",
            next_step="Check AWS_PROFILE, AWS_CONFIG_FILE and the AWS_ENDPOINT_URL settings, or remove them.",
        ) from None
    if not is_safe_url(where):
        raise SettingsError(
            "The AWS settings name an address for Cognito that is not an https: URL, nor an http: URL of this machine.",
            next_step="Set AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER to an https: URL, or remove it.",
        )
    return client
