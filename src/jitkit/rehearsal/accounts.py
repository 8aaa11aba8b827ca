"""What a sign-in or a reset does to an account: hashes, password rules, smart lockout, and the migration flag."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import string
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from jitkit.rehearsal.audit_log import BY_THE_SERVICE, audit
from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, User
from jitkit.rehearsal.state import State

# --- hashes ------------------------------------------------------------------------------------------------------

# Cheap enough for thousands of sign-ins on a laptop. Passwords that a program invented for simulated users need no
# protection and are kept at next to no cost, so that a hundred thousand of them can sign in for a hundred days.
_N, _R, _P, _DIGEST_LENGTH = 2**10, 8, 1, 32
_SCRYPT, _INVENTED = "scrypt", "invented"


def hash_password(password: str, *, invented: bool = False) -> str:
    """Hash a password for the directory."""
    kind, salt = _INVENTED if invented else _SCRYPT, os.urandom(16)
    return f"{kind}${salt.hex()}${_digest(kind, password, salt).hex()}"


def matches(password: str, stored: str) -> bool:
    """Compare a password with a stored hash in constant time; an account without a password has an empty hash."""
    if not stored:
        return False
    kind, salt, digest = stored.split("$")
    return hmac.compare_digest(_digest(kind, password, bytes.fromhex(salt)), bytes.fromhex(digest))


def is_invented(stored: str) -> bool:
    """Return whether a hash is that of an invented password, so quick that comparing needs no thread."""
    return stored.startswith(_INVENTED)


def decoy(like: str) -> str:
    """Make a hash that takes as long to compare as another one, and that no password matches."""
    return f"{_INVENTED if is_invented(like) else _SCRYPT}${'00' * 16}${'00' * _DIGEST_LENGTH}"


def _digest(kind: str, password: str, salt: bytes) -> bytes:
    clear = password.encode()
    if kind == _INVENTED:
        return hashlib.sha256(salt + clear).digest()
    return hashlib.scrypt(clear, salt=salt, n=_N, r=_R, p=_P, dklen=_DIGEST_LENGTH)


# --- password rules ----------------------------------------------------------------------------------------------

# [Microsoft Learn, "Self-service password reset policies", 2026-05]
_LENGTH: Final = range(8, 257)
_CLASSES: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation + " ")

# [Microsoft Learn, "Eliminate bad passwords using Microsoft Entra Password Protection"] Documented: characters are
# normalised, names are not allowed, each banned term counts one point as each other character does, and five points
# are needed. The global list is not published; these terms take its place. That a migrated password is checked as well
# is assumed.
_BANNED: Final = (
    *("abcdef", "admin", "changeme", "contoso", "dragon", "football", "iloveyou", "letmein", "login", "monkey"),
    *("password", "passw", "princess", "qwerty", "secret", "spring", "summer", "autumn", "winter", "sunshine"),
    *("welcome", "123456", "hello", "master", "shadow"),
)
_SUBSTITUTES: Final = str.maketrans("01$@", "olsa")
_SHORTEST_NAME: Final = 4
_POINTS_NEEDED: Final = 5


def password_problem(password: str, *, complexity: bool = True) -> str | None:
    """Return why a password may not be stored, or None."""
    if len(password) < _LENGTH.start:
        return f"A password has at least {_LENGTH.start} characters."
    if len(password) not in _LENGTH:
        return f"A password has at most {_LENGTH.stop - 1} characters."
    if any(character not in "".join(_CLASSES) for character in password):
        return "A password has letters a to z, digits, blanks and the symbols of an English keyboard only."
    if complexity and sum(any(character in group for character in password) for group in _CLASSES) < 3:
        return "A password mixes at least three of lower case, upper case, digits and symbols."
    return None


def problem_with(state: State, user: User, password: str, *, complexity: bool = True) -> str | None:
    """Return why a password may not be stored for a user, or None; the banned terms and names count as well."""
    if problem := password_problem(password, complexity=complexity):
        return problem
    organizations = state.once("organizations", "", lambda: state.directory.all("organization"))
    names = [user.body.get("givenName"), user.body.get("surname"), *(each.get("displayName") for each in organizations)]
    if _is_banned(password, (str(name) for name in names if name)):
        return "This password contains a word, phrase or pattern that makes it easy to guess."
    return None


def _is_banned(password: str, names: Iterable[str]) -> bool:
    text = _normalised(password)
    if any(len(name) >= _SHORTEST_NAME and _normalised(name) in text for name in names):
        return True
    return len(_ANY_BANNED.sub("*", text)) < _POINTS_NEEDED


def _normalised(text: str) -> str:
    return text.lower().translate(_SUBSTITUTES)


_ANY_BANNED: Final = re.compile("|".join(re.escape(each) for each in sorted(map(_normalised, _BANNED), key=len)[::-1]))


# --- what is written ---------------------------------------------------------------------------------------------


def store_password(
    state: State, user: User, stored: str, *, activity: str, flag: str = "", by: Body = BY_THE_SERVICE
) -> None:
    """Store a new password, unlock the account and, where a flag is named, mark the user as migrated."""
    body = {**user.body, "lastPasswordChangeDateTime": f"{timestamp(state.clock.now())[:19]}Z"}
    state.directory.update_user(user.id, password_hash=stored, force_change=False, failed=0, locked_until=0, body=body)
    audit(state.directory, activity, target_id=user.id, target_name=user.upn, by=by)
    if flag:
        mark_migrated(state, user, flag)


def mark_migrated(state: State, user: User, flag: str) -> None:
    """Set the migration flag of an account to false; call this inside a transaction."""
    due = state.clock.now() + float(state.switch("replication_delay"))
    state.directory.set_user_value(user.id, flag, False, due=due)
    changed = {flag: (True, False)}
    audit(state.directory, "Update user", target_id=user.id, target_name=user.upn, changed=changed, by=BY_THE_SERVICE)


# --- smart lockout -----------------------------------------------------------------------------------------------

# [Microsoft Learn, "Prevent attacks using smart lockout", 2026-06] Documented: ten failures, a minute, longer each
# further time. By how much longer is not disclosed.
_THRESHOLD: Final = 10
_FIRST_LOCK_SECONDS: Final = 60.0
_GROWTH: Final = 2.0
_LONGEST_LOCK_SECONDS: Final = 86_400.0
_REMEMBERED: Final = 3
_USERS_AT_MOST: Final = 20_000


class Lockout:
    """Counts wrong passwords and locks accounts.

    The same wrong password typed again does not count: the last three are remembered, here as keyed digests in memory,
    for as long as this process runs. That familiar and unfamiliar locations have counters of their own is not imitated.
    """

    def __init__(self, state: State) -> None:
        self._directory = state.directory
        self._key = secrets.token_bytes(32)
        self._wrong: OrderedDict[str, deque[bytes]] = OrderedDict()

    def is_locked(self, user: User) -> bool:
        """Return whether an account is locked now."""
        return user.locked_until > self._directory.clock.now()

    def count(self, user: User, password: str) -> None:
        """Count a wrong password, unless it is one of the last three, and lock the account at the threshold."""
        if self._seen(user.id, password):
            return
        with self._directory.transaction():
            failed = (self._directory.user(user.id) or user).failed + 1
            until = 0.0
            if failed >= _THRESHOLD:
                seconds = _FIRST_LOCK_SECONDS * _GROWTH ** min(failed - _THRESHOLD, 40)
                until = self._directory.clock.now() + min(seconds, _LONGEST_LOCK_SECONDS)
            self._directory.update_user(user.id, failed=failed, locked_until=until)

    def forgive(self, user: User) -> None:
        """Start counting from zero: the user signed in."""
        self._wrong.pop(user.id, None)
        if user.failed:
            self._directory.update_user(user.id, failed=0, locked_until=0)

    def _seen(self, user_id: str, password: str) -> bool:
        digest = hmac.digest(self._key, f"{user_id}:{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        last = self._wrong.pop(user_id, None) or deque(maxlen=_REMEMBERED)
        self._wrong[user_id] = last
        if len(self._wrong) > _USERS_AT_MOST:
            self._wrong.popitem(last=False)
        if digest in last:
            return True
        last.append(digest)
        return False
