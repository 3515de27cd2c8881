"""OpenTelemetry: off unless it is asked for, then real spans come to a real collector's port."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rport.errors import UsageError
from rport.server import telemetry as module
from rport.server.telemetry import OFF, ON, telemetry
from tests.support.programs import Server, until

SOMEWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


class Collector(ThreadingHTTPServer):
    """Takes whatever is sent, and remembers it by its path."""

    def __init__(self) -> None:
        self.came: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came[self.path] = self.server.came.get(self.path, b"") + body
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running
        running.shutdown()


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert telemetry(False, SOMEWHERE) == OFF
    assert not any(OFF["telemetry"].values())
    assert telemetry(True, SOMEWHERE) == ON
    assert not ON["telemetry"]["logs"]


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("fastapi.telemetry", "this version of FastAPI"),
        ("opentelemetry.sdk", "pip install 'rport"),
        ("opentelemetry.exporter.otlp.proto.http", "pip install 'rport"),
    ],
)
def test_what_it_lacks_is_named(monkeypatch: pytest.MonkeyPatch, missing: str, text: str) -> None:
    there = module._there
    monkeypatch.setattr(module, "_there", lambda name: name != missing and there(name))
    with pytest.raises(UsageError, match=text):
        telemetry(True, SOMEWHERE)


@pytest.mark.parametrize("environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_SERVICE_NAME": "x"}])
def test_without_a_collector_it_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="OTEL_EXPORTER_OTLP_ENDPOINT=http"):
        telemetry(True, environment)


def test_rportd_says_so_in_one_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "rport.server", "-p", "0", "--otel", "--allow-root", "--state-dir", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


def test_spans_and_metrics_come(tmp_path: Path, collector: Collector) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}", "OTEL_SERVICE_NAME": "my-rportd"}
    env |= {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    server = Server(tmp_path, "--otel", env=env)
    try:
        assert server.api("/api/v1/status")[0] == 200
        until(lambda: b"/api/v1/status" in collector.came.get("/v1/traces", b""), "a span")
        assert b"my-rportd" in collector.came["/v1/traces"]
        until(lambda: b"http.server" in collector.came.get("/v1/metrics", b""), "a metric")
        assert "/v1/logs" not in collector.came
        server.process.terminate()
        assert server.exit_code() == 0
    finally:
        server.stop()


def test_nothing_is_sent_without_the_option(tmp_path: Path, collector: Collector) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    env |= {
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
    }
    server = Server(tmp_path, env=env)
    try:
        assert server.api("/api/v1/status")[0] == 200
        server.process.terminate()
        assert server.exit_code() == 0  # by when all would have been sent
        assert not collector.came
    finally:
        server.stop()
