"""OpenTelemetry for the API: FastAPI has it built in, and what it is to do is said by the variables OTEL_...

It stays off unless it is asked for: spans and metrics for nobody cost a sixth of the API's speed.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from rport.errors import UsageError

NAMES = ("auto_configure", "tracing", "metrics", "logs", "operation_spans")
# A version of FastAPI that knows no telemetry passes the argument over.
OFF: dict[str, Any] = {"telemetry": dict.fromkeys(NAMES, False)}
# Its logs would carry error texts away, and a span for each step of a request is for who writes such programs.
ON: dict[str, Any] = {
    "telemetry": dict.fromkeys(NAMES, False) | {"auto_configure": True, "tracing": True, "metrics": True}
}

SDK = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


def telemetry(wanted: bool, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Arguments for FastAPI. Raises UsageError where nothing would come of it."""
    if not wanted:
        return OFF
    if not _there("fastapi.telemetry"):
        raise UsageError("--otel: this version of FastAPI cannot do it: pip install --upgrade fastapi")
    if not all(map(_there, SDK)):
        raise UsageError("--otel: OpenTelemetry's own parts are not installed: pip install 'rport[otel]'")
    if not any(environment.get(name) for name in ENDPOINTS):
        raise UsageError("--otel: say where to: OTEL_EXPORTER_OTLP_ENDPOINT=http://COLLECTOR:4318")
    return ON


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # of a package above it
        return False
