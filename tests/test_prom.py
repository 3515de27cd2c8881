"""That Prometheus' judge, which the tests of metrics ask, finds what is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.prom import check_metrics, check_rules, try_rules

METRICS = "# HELP rport_sessions Sessions that are open.\n# TYPE rport_sessions gauge\nrport_sessions 3\n"
RULES = """groups:
  - name: rport
    rules:
      - alert: NoClients
        expr: rport_sessions == 0
        for: 5m
"""
TRIAL = """rule_files: [rules.yml]
tests:
  - interval: 1m
    input_series: [{series: rport_sessions, values: "0x10"}]
    alert_rule_test: [{eval_time: 6m, alertname: NoClients, exp_alerts: [{}]}]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    return path


def fails(check: Callable[[], None], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check()


def test_metrics() -> None:
    check_metrics(METRICS)
    fails(lambda: check_metrics(METRICS.replace("rport_sessions", "rportSessions")), "snake_case")
    fails(lambda: check_metrics("rport_sessions{ 3\n"), "parsing error")


def test_rules(rules: Path) -> None:
    check_rules(rules)
    rules.write_text(RULES.replace("==", "=="[:1]))
    fails(lambda: check_rules(rules), "parse error")
    rules.write_text(RULES + RULES[RULES.index("      - alert") :])
    fails(lambda: check_rules(rules), "duplicate")


def test_what_rules_do(rules: Path) -> None:
    trial = rules.with_name("trial.yml")
    trial.write_text(TRIAL)
    try_rules(trial)
    trial.write_text(TRIAL.replace("0x10", "1x10"))
    fails(lambda: try_rules(trial), "NoClients")
