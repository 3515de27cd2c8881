"""Prometheus' own judge of metrics and rules; the test is skipped where it is not installed."""

import subprocess
from pathlib import Path

from tests.support.neighbours import tool


def check_metrics(text: str) -> None:
    """Fails on what cannot be parsed, and on names and help texts that Prometheus advises against."""
    _run("check", "metrics", text=text)


def check_rules(path: Path) -> None:
    """Fails on a file of alert or recording rules that Prometheus would not load, or has two of one name in."""
    _run("check", "rules", "--lint=all", "--lint-fatal", str(path))


def try_rules(path: Path) -> None:
    """Runs promtool's own kind of tests of rules: series in, alerts out."""
    _run("test", "rules", str(path))


def _run(*argv: str, text: str | None = None) -> None:
    done = subprocess.run(
        [tool("promtool"), *argv], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
