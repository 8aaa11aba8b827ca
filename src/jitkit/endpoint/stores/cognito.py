"""A legacy store in an Amazon Cognito user pool: README.md has the URL, `answers.toml` what its answers mean."""

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

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_safe_url, read_answers, refuse_url, typed_name
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

_EXAMPLE: Final = "cognito://:SECRET@REGION/USER_POOL_ID?client_id=ID"
_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")
_CONNECTIONS: Final = 20

# What Cognito takes for a name; others exist nowhere, and sending them would look like a mistake of the endpoint.
_LONGEST_NAME: Final = 128
_ANSWERS: Final = read_answers("cognito")
# What botocore raises when it parses an answer that is no JSON object.
_UNREADABLE: Final = (AttributeError, KeyError, TypeError, ValueError)


class CognitoStore:
    """Sign in to a user pool, and discard the tokens."""

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
        asked = {"USERNAME": name, "PASSWORD": password}
        if self._secret:  # proves that the client knows it: HMAC-SHA256 of the name as it is sent, and the client id
            digest = hmac.digest(self._secret.encode(), (name + self._client_id).encode(), hashlib.sha256)
            asked["SECRET_HASH"] = base64.b64encode(digest).decode()
        flow = "USER_PASSWORD_AUTH"
        try:
            answer = self._client.initiate_auth(AuthFlow=flow, ClientId=self._client_id, AuthParameters=asked)
        except ClientError as error:
            return _judge_error(error.response)
        except (BotoCoreError, ResponseParserError, *_UNREADABLE) as error:
            _log.error("Cognito did not answer: %s", type(error).__name__)
            return Verdict.DOWN
        return _judge(answer)


def _judge(answer: Mapping[str, Any]) -> Verdict:
    if (answer.get("AuthenticationResult") or {}).get("AccessToken"):
        return Verdict.RIGHT
    if word := _ANSWERS["challenges"].get(answer.get("ChallengeName")):
        return Verdict(word)
    _log.error("Cognito answered neither with tokens nor with a challenge that proves the password")
    return Verdict.MALFORMED


def _judge_error(answer: Mapping[str, Any]) -> Verdict:
    error = answer.get("Error", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", "")).lower()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    word = _ANSWERS["errors"].get(code)
    if code == "NotAuthorizedException":
        word = next((word for part, word in _ANSWERS["refusals"].items() if part in message), "unknown words")
    if word == "ours":
        _log.error("Cognito refuses the endpoint's own client (%s): check client_id, its secret and its settings", code)
        return Verdict.DOWN
    if word == "unknown words":
        _log.warning("Cognito refused a password in words that are not known")
        return Verdict.WRONG
    if word or status == 429:
        return Verdict(word or "throttled")
    _log.error("Cognito gave an answer that is not known, with status %s", status)
    return Verdict.MALFORMED if status in (400, 401, 403) else Verdict.DOWN


def _parse(url: str) -> tuple[str, str, str | None]:
    """Read region, client id and secret. The pool's id begins with its region, and a pool elsewhere has other users."""
    refused = (
        "does not name a Cognito user pool, its region and an app client",
        f"Write it as {_EXAMPLE}; the pool's id begins with the region.",
    )
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=True))
        region = parts.hostname or ""
    except ValueError:
        refuse_url(*refused)
    client_id = query.pop("client_id", "")
    pool = re.fullmatch(rf"/{re.escape(region)}_[0-9a-zA-Z]+", parts.path)
    if not _REGION.fullmatch(region) or not pool or not client_id or query or parts.username or parts.fragment:
        refuse_url(*refused)
    return region, client_id, unquote(parts.password) if parts.password else None


def _open(region: str) -> Any:
    # At lower levels botocore logs whole requests, and with them passwords.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # The guard's deadline is 1.9 s at most. A thread cannot be cancelled, so it must not outlive that by much.
    once: dict[str, Any] = {"connect_timeout": 1.0, "read_timeout": 1.5, "retries": {"total_max_attempts": 1}}
    config = Config(signature_version=UNSIGNED, max_pool_connections=_CONNECTIONS, **once)
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
