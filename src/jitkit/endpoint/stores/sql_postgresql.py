"""PostgreSQL by psycopg: read-only, encrypted on a network, and never waited for longer than there is time."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

__all__ = ["open_engine"]


def open_engine(url: URL, *, connections: int, seconds: float) -> Engine:
    """Open a pool of connections; none is made before the first one is needed.

    The server cancels a statement when time is up. A server that is frozen or cut off cannot: then the client closes
    the connection, so that no thread waits for it. On a network TLS is required unless the URL sets `sslmode`; set
    `sslmode=verify-full` and `sslrootcert` in it to verify the server too.

    Args:
        url: `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`, with any parameter of libpq.
        connections: the most connections at once.
        seconds: the most that a statement takes.
    """
    milliseconds = int(seconds * 1000)
    arguments: dict[str, Any] = {
        "connect_timeout": 2,  # the least that libpq knows
        "options": f"-c statement_timeout={milliseconds} -c default_transaction_read_only=on",
        # What goes between, a load balancer say, forgets silent connections after a few minutes and tells nobody.
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "prepare_threshold": None,  # a connection pooler between would mix prepared statements up
    }
    if url.host not in (None, "localhost", "127.0.0.1", "::1") and "sslmode" not in url.query:
        arguments["sslmode"] = "require"
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=seconds,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    class Connection(_Impatient):
        patience = seconds

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> psycopg.Connection[Any]:
        return Connection.connect(*arguments, **options)

    return engine


class _Impatient(psycopg.Connection[Any]):
    """Close itself when the server does not answer one request in time."""

    patience: float

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        return super().wait(self._until(gen, time.monotonic() + self.patience), *arguments, **options)

    def _until(self, steps: Generator[Any, Any, Any], due: float) -> Generator[Any, Any, Any]:
        """Run the steps of a request; psycopg asks for the next one ten times a second."""
        ready = None
        while True:
            try:
                wanted = steps.send(ready)
            except StopIteration as end:
                return end.value
            ready = yield wanted
            if not ready and time.monotonic() > due:
                self.pgconn.finish()
                raise psycopg.OperationalError("the server did not answer in time")
