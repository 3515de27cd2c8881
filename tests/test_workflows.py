"""The workflows: what they run is pinned, and they may do no more than they need."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.lint import clean

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
USES = re.compile(r"^\s*(?:- )?uses:\s*(.*)$", re.MULTILINE)
PINNED = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(path.read_text())["jobs"])


def test_actionlint_has_no_complaint() -> None:
    clean("actionlint", *WORKFLOWS)


def test_zizmor_has_no_complaint() -> None:
    clean("zizmor", "--offline", "--no-progress", ".github")


@every_workflow
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = USES.findall(path.read_text())
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


def test_a_pin_is_the_same_everywhere() -> None:
    used = {line for path in WORKFLOWS for line in USES.findall(path.read_text())}
    assert len({line.partition("@")[0] for line in used}) == len(used), sorted(used)


@every_workflow
def test_rights_are_given_to_single_jobs(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}


@every_workflow
def test_no_job_runs_for_ever(path: Path) -> None:
    assert [name for name, job in jobs(path).items() if "timeout-minutes" not in job] == []


def test_what_builds_can_neither_publish_nor_sign() -> None:
    """Code of dependencies runs there."""
    rights = {name: job["permissions"] for name, job in jobs(ROOT / ".github/workflows/release.yml").items()}
    assert rights == {
        "build": {"contents": "read"},
        "image": {"contents": "read"},
        "attest": {"attestations": "write", "id-token": "write"},
        "pypi": {"id-token": "write"},
        "release": {"contents": "write"},
    }


@pytest.mark.parametrize(("name", "job"), [("ci.yml", "run"), ("release.yml", "build")])
def test_what_tests_has_the_version_before(name: str, job: str) -> None:
    steps = jobs(ROOT / ".github/workflows" / name)[job]["steps"]
    (checkout,) = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["fetch-depth"] == 0


def test_ci_runs_what_changes_have_to_pass() -> None:
    steps = jobs(ROOT / ".github/workflows/ci.yml")["run"]["steps"]
    assert any(step.get("run", "").endswith(" .ci/run") for step in steps)
