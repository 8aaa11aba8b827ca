"""The one exception for a request that gets no decision."""

from __future__ import annotations

__all__ = ["Refused"]


class Refused(Exception):
    """Refuse a request without a decision and without a hint of the cause.

    Args:
        status: the HTTP status of the answer.
        cause: a short word for the ledger. It never leaves the endpoint.
    """

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
