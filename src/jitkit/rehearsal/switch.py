"""What a switch of the tenant is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Switch", "Value"]

Value = bool | float


@dataclass(frozen=True)
class Switch:
    """One choice.

    Args:
        name: what it is called.
        default: what a new tenant does.
        means: what it changes, in a sentence.
        why: what is documented, or what is not.
    """

    name: str
    default: Value
    means: str
    why: str
