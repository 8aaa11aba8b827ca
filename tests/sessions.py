"""How tests get sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from helpers.kit import Session

Opening = Callable[[Path], Awaitable[Session]]
