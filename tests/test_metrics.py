"""Metrics, as Prometheus' own tool judges them; the dashboard and the alerts name such as there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rport.server.event import TYPES
from rport.server.metrics import METHODS, OTHER, Metrics
from tests.support.prom import check_metrics, check_rules, try_rules

ROOT = Path(__file__).parents[1]
TEXT = "text/plain"
OPEN = "application/openmetrics-text; version=1.0.0"


class StubService:
    def statistics(self) -> dict[str, Any]:
        names = ("sessions", "sessions_total", "tunnels", "streams", "streams_total", "memory_bytes", "descriptors")
        numbers = dict(zip(names, range(1, 8), strict=True))
        octets = {"bytes_in": 10, "bytes_out": 20, "carrier_bytes_in": 30, "carrier_bytes_out": 40}
        lags = {"lag_p95_ms": 1.5, "lag_max_ms": 250.0}
        return numbers | octets | lags | {"version": "1.2.3", "descriptors_max": 100}


@pytest.fixture
def metrics() -> Metrics:
    plane: Any = SimpleNamespace(
        service=StubService(),
        inventory=[SimpleNamespace(connected=bool(i)) for i in range(3)],
        tunnels=SimpleNamespace(table=[SimpleNamespace(state=state) for state in ("open", "open", "failed")]),
        journal=SimpleNamespace(
            waiting=5,
            lost=6,
            told=dict.fromkeys(TYPES, 3),
            logins_failed={"client": 7, "api": 8},
            trouble=SimpleNamespace(error=""),
        ),
        events=range(9),
        webhooks=Hooks([SimpleNamespace(waiting=1, dead=2), SimpleNamespace(waiting=10, dead=20)]),
    )
    made = Metrics(plane)
    made.plane = plane  # type: ignore[attr-defined]
    made.answered("GET", "/clients/{client_id}", 200, 0.01)
    made.answered("GET", None, 404, 0.001)
    return made


class Hooks(list[Any]):
    tries = {"ok": 4, "failed": 2}  # noqa: RUF012


def values(metrics: Metrics) -> dict[str, float]:
    """`name{a="b"}` and its number."""
    return {
        sample.name + (json.dumps(sample.labels, sort_keys=True) if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(metrics.page(TEXT).text.decode())
        for sample in family.samples
    }


def test_prometheus_likes_them(metrics: Metrics) -> None:
    check_metrics(metrics.page(TEXT).text.decode())


def test_the_newer_format_is_for_who_asks_for_it(metrics: Metrics) -> None:
    assert metrics.page(TEXT).media_type.startswith("text/plain")
    page = metrics.page(OPEN)
    assert page.media_type.startswith("application/openmetrics-text")
    assert page.text.endswith(b"# EOF\n")


def test_numbers(metrics: Metrics) -> None:
    found = values(metrics)
    assert found['rport_build_info{"version": "1.2.3"}'] == 1
    assert found['rport_clients{"state": "connected"}'] == 2
    assert found['rport_clients{"state": "disconnected"}'] == 1
    assert (found["rport_sessions"], found["rport_sessions_started_total"]) == (1, 2)
    assert found["rport_tunnels"] == 3
    assert found['rport_api_tunnels{"state": "open"}'] == 2
    assert found['rport_api_tunnels{"state": "waiting"}'] == 0
    assert (found["rport_streams"], found["rport_streams_started_total"]) == (4, 5)
    assert found['rport_bytes_total{"direction": "out"}'] == 20
    assert found['rport_carrier_bytes_total{"direction": "in"}'] == 30
    assert (found["rport_loop_lag_seconds"], found["rport_loop_lag_max_seconds"]) == (0.0015, 0.25)
    assert (found["rport_descriptors"], found["rport_descriptors_limit"]) == (7, 100)
    assert found['rport_logins_failed_total{"what": "api"}'] == 8
    assert (found["rport_journal_waiting"], found["rport_journal_lost_total"]) == (5, 6)
    assert found["rport_event_listeners"] == 9
    assert found['rport_webhook_deliveries{"state": "waiting"}'] == 11
    assert found['rport_webhook_deliveries{"state": "dead"}'] == 22
    assert found['rport_webhook_tries_total{"result": "failed"}'] == 2
    assert found["rport_store_up"] == 1
    metrics.plane.journal.trouble.error = "full"  # type: ignore[attr-defined]
    assert values(metrics)["rport_store_up"] == 0


def test_strangers_make_no_series(metrics: Metrics) -> None:
    before = len(values(metrics))
    for i in range(1000):
        metrics.answered(f"METHOD{i}", None, 400 + i % 99, 0.0)
    made = values(metrics).keys()
    assert len(made) - before <= 9 + 1
    assert f'rport_api_requests_total{{"method": "{OTHER}", "route": "{OTHER}", "status": "4xx"}}' in made
    assert "GET" in METHODS


# --- what names them -------------------------------------------------------------------------------------------------


def names(metrics: Metrics) -> set[str]:
    return {name.partition("{")[0] for name in values(metrics)}


def named(text: str) -> set[str]:
    return set(re.findall(r"\brport_[a-z0-9_]+", text))


def dashboard() -> Any:
    return json.loads((ROOT / "docs/grafana.json").read_text())


def queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def test_the_dashboard_asks_for_what_there_is(metrics: Metrics, tmp_path: Path) -> None:
    asked = set().union(*map(named, queries()))
    assert asked <= names(metrics)
    assert all(named(query) for query in queries())
    rules = tmp_path / "rules.yml"  # so that promtool reads the queries
    expressions = [
        query.replace("$__rate_interval", "5m") for query in queries() if not query.startswith("label_values")
    ]
    records = [{"record": f"x:{i}", "expr": expression} for i, expression in enumerate(expressions)]
    rules.write_text(json.dumps({"groups": [{"name": "x", "rules": records}]}))
    check_rules(rules)


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_alerts_are_sound_and_ring(metrics: Metrics) -> None:
    path = ROOT / "docs/alerts.yml"
    check_rules(path)
    try_rules(ROOT / "tests/support/alerts_test.yml")
    text = path.read_text()
    assert named(text) <= names(metrics)
    tried = (ROOT / "tests/support/alerts_test.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", text)
    assert all(tried.count(f"alertname: {alert}") == 2 for alert in alerts)  # it rings, and does not


def test_the_page_names_all_of_them(metrics: Metrics) -> None:
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names(metrics)}
    assert named((ROOT / "docs/metrics.md").read_text()) == families
