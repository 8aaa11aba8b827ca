"""Sign-in names: how they are compared, what is cleaned off them, and which of them nobody could type."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

__all__ = ["BLANKS", "clean_name", "name_problem", "normalise"]

BLANKS: Final = " \t\r\n\v\f"  # of ASCII

# What stands around a name that was pasted, quoted, or protected from being read as a formula.
_IN_FRONT: Final = re.compile(r"""mailto:|smtp:|[='"`‘’‚“”„«»<(,;:]""", re.IGNORECASE)
_BEHIND: Final = """='"`‘’‚“”„«»>),;:."""
_WITH_DISPLAY_NAME: Final = re.compile(r"[^<>]*<([^<>]+)>\W*")
# Besides the categories of control and format characters: letters and marks that show nothing.
_SHOW_NOTHING: Final = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
_CALLED: Final = {"\0": "NUL", "'": "apostrophe", '"': "quotation mark", "\ufeff": "byte order mark"}

_LONGEST_LOCAL, _LONGEST_DOMAIN, _LONGEST_LABEL, _LONGEST_USER_NAME = 64, 253, 63, 64
_LOCAL_SYMBOLS, _DOMAIN_SYMBOLS, _USER_NAME_SYMBOLS = "!#$%&'*+-/=?^_`{|}~.", "-.", "-_"


def normalise(username: str) -> str:
    """Return the key under which a sign-in name is found: NFC, without ASCII blanks around it, in lower case.

    Dots and plus tags stay, because most stores keep different people apart by them.
    """
    return unicodedata.normalize("NFC", username).strip(BLANKS).lower()


def clean_name(exported: str) -> tuple[str, str]:
    """Take off a sign-in name what belongs to no name; return the name, and in words what was taken off."""
    name, off = exported.strip(BLANKS), list[str]()
    if found := _WITH_DISPLAY_NAME.fullmatch(name):
        name = found[1]
        off.append("angle brackets" if exported.strip(BLANKS).startswith("<") else "display name and angle brackets")
    while name and (front := _in_front(name)):
        name = name[len(front) :]
        off.append(front if len(front) > 1 else _called(front))
    while name and (name[-1] in _BEHIND or _unseen(name[-1])):
        off.append(_called(name[-1]))
        name = name[:-1].rstrip(BLANKS)
    inside = [each for each in name if _unseen(each) and unicodedata.category(each) in ("Cf", "Lo", "Mn", "So")]
    rest = "".join(each for each in name if each not in inside)
    if inside and rest.isascii():
        # In scripts that join letters, such a character may be part of a name; in ASCII it is part of none.
        name, off = rest, [*off, *map(_called, inside)]
    return (name, f"Taken off the sign-in name: {', '.join(dict.fromkeys(off))}.") if off else (exported, "")


def _in_front(name: str) -> str:
    found = _IN_FRONT.match(name)
    return found[0] if found else name[0] if name[0] in BLANKS or _unseen(name[0]) else ""


def _unseen(letter: str) -> bool:
    """Return whether a character shows nothing, or as little as a blank that keyboards do not have."""
    return letter not in BLANKS and (
        unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Zs") or letter in _SHOW_NOTHING
    )


def _called(letter: str) -> str:
    """Name a character so that one that cannot be seen is named as well."""
    name = _CALLED.get(letter) or unicodedata.name(letter, "control character").lower()
    return f"{name} (U+{ord(letter):04X})"


def name_problem(name: str, sign_in_type: str) -> str:
    """Return why nobody could sign in with a normalised name of this type; empty when somebody could.

    Args:
        name: the name.
        sign_in_type: `emailAddress` or `userName`.
    """
    if letter := next((each for each in name if _unseen(each)), ""):
        return f"The sign-in name holds a character that cannot be seen: {_called(letter)}."
    if letter := next((each for each in name if unicodedata.normalize("NFKC", each) != each), ""):
        return f"The sign-in name holds a character that looks like another one: {_called(letter)}."
    if sign_in_type == "userName":
        # Source: Graph v1.0, objectIdentity.
        letter = next(
            (each for each in name if not (each.isascii() and each.isalnum()) and each not in _USER_NAME_SYMBOLS), ""
        )
        if letter == "@":
            return "The sign-in name is an e-mail address, and sign_in_type calls it a user name."
        if letter:
            return f"A user name has letters a to z, digits, - and _ only, not {_called(letter)}."
        if name[:1] in _USER_NAME_SYMBOLS:
            return "A user name begins with a letter or a digit." if name else ""
        long = len(name) > _LONGEST_USER_NAME
        return f"The user name is longer than {_LONGEST_USER_NAME} characters." if long else ""
    if sign_in_type != "emailAddress":
        return "sign_in_type is neither email nor username."
    return next((f"The sign-in name is not an e-mail address: {cause}." for cause in _email_problems(name)), "")


def _email_problems(name: str) -> Iterator[str]:
    local, _, domain = name.partition("@")
    labels = domain.split(".")
    if not local or not domain:
        yield "something is missing before or behind the @"
    if "@" in domain:
        yield "it holds more than one @"
    for part, symbols in ((local, _LOCAL_SYMBOLS), (domain, _DOMAIN_SYMBOLS)):
        for letter in part:
            if letter.isascii() and not letter.isalnum() and letter not in symbols:
                yield f"it holds {_called(letter)}"
    if not all(local.split(".")) or not all(labels):
        yield "a dot has nothing before it or behind it"
    if len(local) > _LONGEST_LOCAL or len(domain) > _LONGEST_DOMAIN or max(map(len, labels)) > _LONGEST_LABEL:
        yield "one of its parts is too long"
    if len(labels) == 1:
        yield "its domain has no dot"
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        yield "a part of its domain begins or ends with a hyphen"
