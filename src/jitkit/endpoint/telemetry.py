"""Sends ledger lines to Application Insights by OpenTelemetry, as traces; nobody is named unless a setting says so.

Nothing else of the process is instrumented: libraries would report URLs and statements, and a store's may hold names.
Lines wait in memory and are sent by a thread; what cannot be sent is lost, and no sign-in waits for it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import ExitStack
from typing import Any, Final

from jitkit.endpoint.ledger import Entry
from jitkit.errors import SettingsError

__all__ = ["Telemetry"]

_CLOSING_SECONDS: Final = 3
# What the exporter would send about itself, or fetch, besides the lines.
_OFF: Final = (
    *("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "APPLICATIONINSIGHTS_SDKSTATS_DISABLED"),
    *("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED", "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED"),
)
_CLIENT_ID: Final = re.compile(r"ClientId=([0-9a-fA-F-]{36})")


class Telemetry:
    """One trace a ledger line, and one request a call where no host reports it."""

    def __init__(self, connection: str, route: str, *, names_users: bool, sends_requests: bool) -> None:
        """Get ready to send.

        Args:
            connection: Application Insights' connection string; it is no secret where local authentication is off.
            route: the path that requests are reported with.
            names_users: whether a line has the user's object id; the sign-in log has it under the same correlation id.
            sends_requests: whether calls are reported as requests.

        Raises:
            SettingsError: the packages are not installed, or the connection string is not one.
        """
        for name in _OFF:
            os.environ.setdefault(name, "true")
        try:
            from azure.monitor.opentelemetry.exporter import AzureMonitorLogExporter, AzureMonitorTraceExporter
            from opentelemetry import trace
            from opentelemetry._logs import SeverityNumber
            from opentelemetry.context import Context
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        except ImportError:
            raise SettingsError(
                "JIT_TELEMETRY is set, and the packages that send telemetry are not installed.",
                next_step='Run: pip install -e ".[telemetry]"',
            ) from None
        options: dict[str, Any] = {"connection_string": connection, "disable_offline_storage": True, **_identity()}
        resource = Resource({"service.name": "jit-endpoint"})
        self._logs = LoggerProvider(resource, shutdown_on_exit=False)
        self._spans = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        try:
            self._logs.add_log_record_processor(BatchLogRecordProcessor(AzureMonitorLogExporter(**options)))
            if sends_requests:
                self._spans.add_span_processor(BatchSpanProcessor(AzureMonitorTraceExporter(**options)))
        except ValueError:
            raise SettingsError(
                "APPLICATIONINSIGHTS_CONNECTION_STRING is not a connection string.",
                next_step="Copy it from the overview of Application Insights.",
            ) from None
        self._logger, self._tracer = self._logs.get_logger("jitkit.endpoint"), self._spans.get_tracer("jitkit.endpoint")
        self._route, self._hidden = route, () if names_users else ("user_id",)
        self._kind, self._nothing, self._in_context = trace.SpanKind.SERVER, Context(), trace.set_span_in_context
        self._severities = {True: SeverityNumber.INFO, False: SeverityNumber.WARN}

    def write(self, entry: Entry, status: int, days_left: int | None) -> None:
        """Report one call: its line, the status of its answer, and how many days the certificate has left."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"POST {self._route}",
            self._nothing,
            self._kind,
            {"http.request.method": "POST", "http.route": self._route, "http.response.status_code": status},
            start_time=ended - int(entry.duration_ms * 1e6),
        )
        line = vars(entry) | {"certificate_days_left": days_left}
        told = {name: value for name, value in line.items() if value is not None and name not in self._hidden}
        self._logger.emit(
            timestamp=ended,
            context=self._in_context(span, self._nothing),
            severity_number=self._severities[entry.action is not None],
            body=f"{entry.action or 'refused'}: {entry.cause}",
            # As text: numbers would become measurements, which the queries do not read.
            attributes={name: str(value) for name, value in told.items()},
        )
        span.end(ended)

    async def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with ExitStack() as stack:
            for provider in (self._logs, self._spans):
                stack.callback(provider.shutdown)
                provider.force_flush(_CLOSING_SECONDS * 1000)


def _identity() -> dict[str, Any]:
    """Make the credential that Azure Functions' own setting asks for; none where the connection string is enough."""
    wanted = os.environ.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
    if "Authorization=AAD" not in wanted:
        return {}
    from azure.identity import DefaultAzureCredential

    client = _CLIENT_ID.search(wanted)
    return {"credential": DefaultAzureCredential(managed_identity_client_id=client[1] if client else None)}
