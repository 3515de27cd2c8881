"""Markdown tables and JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence

from tests.bench.goals import GOALS, Goal
from tests.bench.peers import PEERS
from tests.bench.results import Results
from tests.bench.works import WORKS, Metric, Work


def markdown(results: Results) -> str:
    """A table for each work, the goals, and the notes."""
    parts = ["# rport beside other tunnels", "Medians of all rounds, smallest and largest in parentheses."]
    parts += [work_table(results, work) for work in WORKS.values() if _happened(results, work)]
    parts.append(goals_table(results))
    parts += [f"- {note}" for note in results.notes]
    return "\n\n".join(parts) + "\n"


def as_json(results: Results) -> dict[str, object]:
    """All numbers, the goals with what was reached, and the machine's kind."""
    machine = {"system": platform.release(), "architecture": platform.machine(), "processors": os.cpu_count()}
    return {**results.as_json(), "goals": [_goal_json(results, goal) for goal in GOALS], "machine": machine}


def work_table(results: Results, work: Work) -> str:
    """One row for each peer, with its ratio to the baseline where that makes sense."""
    titles = ["peer"]
    for metric in work.metrics:
        titles += [metric.title, f"x {work.baseline}"] if metric.ratio else [metric.title]
    peers = results.samples.get(work.name, {})
    rows = [[PEERS[peer].label, *_cells(results, work, peer)] for peer in peers]
    for peer, reason in results.failures.get(work.name, {}).items():
        rows.append([PEERS[peer].label, f"failed: {_one_line(reason)}", *[""] * (len(titles) - 2)])
    return f"## {work.name}\n\n{work.title}\n\n" + _table(titles, rows)


def goals_table(results: Results) -> str:
    """What must be reached and what was, for the works of this run."""
    rows = []
    for goal in GOALS:
        if goal.work not in results.samples:
            continue
        actual = goal.actual(results)
        shown, verdict = ("not measured", "") if actual is None else (f"{actual:.3g}", _verdict(goal, actual))
        rows.append([goal.work, goal.metric.title, goal.target, shown, verdict])
    return "## Must reach\n\n" + _table(["work", "measure", "target", "actual", "ok"], rows)


def _happened(results: Results, work: Work) -> bool:
    return work.name in results.samples or work.name in results.failures


def _verdict(goal: Goal, actual: float) -> str:
    return "yes" if goal.reached(actual) else "NO"


def _cells(results: Results, work: Work, peer: str) -> Iterator[str]:
    for metric in work.metrics:
        yield _spread(results.values(work.name, peer, metric.key), results.median(work.name, peer, metric.key), metric)
        if metric.ratio:
            ratio = results.ratio(work.name, peer, metric.key, work.baseline)
            yield "" if ratio is None else f"{ratio:.2f}"


def _spread(values: Sequence[float], median: float | None, metric: Metric) -> str:
    if median is None:
        return ""
    digits = metric.digits
    if len(values) == 1:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _one_line(text: str) -> str:
    """The last line of a failure fits into a cell; the rest is in the JSON."""
    last = text.strip().splitlines()[-1] if text.strip() else "no reason given"
    return " ".join(last.replace("|", "/").split())[:200]


def _goal_json(results: Results, goal: Goal) -> dict[str, object]:
    actual = goal.actual(results)
    return {
        "work": goal.work,
        "metric": goal.metric.key,
        "target": goal.target,
        "actual": actual,
        "ok": None if actual is None else goal.reached(actual),
    }
