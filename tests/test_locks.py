"""ci/locks fit pyproject.toml, for every Python that it allows, and pin everything by hash."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "ci/locks").glob("*.txt"))
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
HERE = default_environment()["python_version"]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def extras(*names: str) -> list[str]:
    return [line for name in names for line in PROJECT["project"]["optional-dependencies"][name]]


BASE = PROJECT["project"]["dependencies"]
BUILD = PROJECT["build-system"]["requires"]
MADE_FROM = {
    "dev": [*BASE, *BUILD, *extras("server", "dev")],
    "docs": [*BASE, *extras("docs")],
    "image": [*BASE, *extras("server", "postgres")],
    "frozen": [
        *BASE,
        *BUILD,
        *extras("server", "postgres"),
        *(ROOT / "ci/locks/frozen.in").read_text().splitlines(),
    ],
    "build": [*BUILD, *(ROOT / "ci/locks/build.in").read_text().splitlines()],
    "lint": (ROOT / "ci/locks/lint.in").read_text().splitlines(),
    "wheels": [line.partition("#")[0] for line in (ROOT / "ci/locks/wheels.in").read_text().splitlines()],
}
every_lock = pytest.mark.parametrize("name", MADE_FROM)


def entries(name: str) -> Iterator[tuple[Requirement, str]]:
    """Each pin and its hashes."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / f"ci/locks/{name}.txt").read_text(), flags=re.MULTILINE)
    for entry in text.replace("\\\n", "").splitlines():
        requirement, _, hashes = entry.partition(" --hash")
        yield Requirement(requirement.strip()), f"--hash{hashes}"


def applies(requirement: Requirement, python: str) -> bool:
    """On Linux with that Python."""
    here = {"python_version": python, "python_full_version": f"{python}.9", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(here)


def pinned(name: str, python: str) -> dict[str, Version]:
    """By package."""
    found: dict[str, Version] = {}
    for requirement, _ in entries(name):
        if applies(requirement, python):
            package = canonicalize_name(requirement.name)
            assert package not in found, f"{package} twice for {python}"
            (pin,) = requirement.specifier
            assert pin.operator == "==", requirement
            found[package] = Version(pin.version)
    return found


def wanted(lines: list[str], python: str) -> list[Requirement]:
    asked = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [line for line in asked if applies(line, python)]


def test_each_lock_is_known_here() -> None:
    assert {path.stem for path in LOCKS} == set(MADE_FROM)


@every_lock
@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_has_what_is_asked_for(name: str, python: str) -> None:
    pins = pinned(name, python)
    for line in wanted(MADE_FROM[name], python):
        package = canonicalize_name(line.name)
        assert package in pins, f"run ci/lock: {line} is not in ci/locks/{name}.txt"
        assert line.specifier.contains(pins[package], prereleases=True), f"run ci/lock: {line} is {pins[package]}"


@pytest.mark.parametrize("name", ["dev", "image"])
def test_a_lock_has_all_that_these_need(name: str) -> None:
    """As far as it is installed here, which the first lock is."""
    pins = pinned(name, HERE)
    todo = wanted(MADE_FROM[name], HERE)
    seen = set()
    while todo:
        line = todo.pop()
        package = canonicalize_name(line.name)
        assert package in pins, f"run ci/lock: {package} is not in ci/locks/{name}.txt"
        if (package, *sorted(line.extras)) in seen:
            continue
        seen.add((package, *sorted(line.extras)))
        for extra in ("", *line.extras):
            for more in importlib.metadata.requires(package) or ():
                need = Requirement(more)
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    todo.append(need)
    assert len(seen) >= len(wanted(MADE_FROM[name], HERE))


@every_lock
def test_everything_is_pinned_by_hash(name: str) -> None:
    for requirement, hashes in entries(name):
        words = hashes.split()
        assert words, requirement
        assert all(HASH.fullmatch(word) for word in words), requirement


@every_lock
def test_no_lock_says_where_packages_come_from(name: str) -> None:
    """pip's own configuration does."""
    text = (ROOT / f"ci/locks/{name}.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^-|@ ", text, re.MULTILINE)


def test_what_is_installed_here_is_what_is_pinned() -> None:
    for package, version in pinned("dev", HERE).items():
        assert Version(importlib.metadata.version(package)) == version, package


def test_locks_of_one_environment_agree() -> None:
    for python in PYTHONS:
        dev, docs = pinned("dev", python), pinned("docs", python)
        assert [name for name in dev.keys() & docs.keys() if dev[name] != docs[name]] == []
