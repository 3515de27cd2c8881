"""The programs that make clients and compile them; got once, by `ci/clients --tools`, while the network is there."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build"
PINS = ROOT / "ci/tools.txt"
VENV = BUILD / "tools/api"
NODE = BUILD / "tools/node"
NODE_PACKAGES = ("typescript@5.9.3", "@types/node@20.19.43")
GO = (1, 23)  # what the generator writes into go.mod


class Missing(Exception):
    """Why a language is left out."""


def program(name: str) -> str:
    """One of the environment of ours."""
    path = VENV / "bin" / name
    if not current():
        raise Missing("run ci/clients --tools first")
    return str(path)


def on_path(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def go() -> str:
    found = on_path("go")
    text = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, env=environment()).stdout
    numbers = re.match(r"go(\d+)\.(\d+)", text)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < GO:
        raise Missing(f"Go {GO[0]}.{GO[1]} is needed, and here is {text.strip() or 'an older one'}")
    return found


def node_program(name: str) -> str:
    on_path("node")
    path = NODE / "node_modules/.bin" / name
    if not path.exists():
        raise Missing("run ci/clients --tools first")
    return str(path)


def jar() -> str:
    """openapi-generator, which a package of PyPI carries."""
    program("openapi-generator-cli")
    return str(next(VENV.glob("lib/python*/site-packages/openapi_generator_cli/openapi-generator.jar")))


def environment() -> dict[str, str]:
    """Compilers fetch nothing: what they make has no dependency, and tests have no network."""
    return {**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "", "GOCACHE": str(BUILD / "go-cache")}


def run(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What it prints. Raises AssertionError with all of it when it fails."""
    done = subprocess.run(
        argv, cwd=cwd, env=env or environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}"
    return done.stdout


# --- getting them ----------------------------------------------------------------------------------------------------


def _stamp() -> str:
    return hashlib.sha256(PINS.read_bytes() + sys.version.encode() + str(ROOT).encode()).hexdigest()


def current() -> bool:
    """The environment is there, and of these pins."""
    stamp = VENV / "stamp"
    return stamp.exists() and stamp.read_text() == _stamp()


def get() -> None:
    """Whatever is not there yet. Raises AssertionError when a registry does not answer."""
    if not current():
        shutil.rmtree(VENV, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(VENV))
        run(str(VENV / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-r", str(PINS))
        (VENV / "stamp").write_text(_stamp())
    if shutil.which("npm") is not None and not _has_node_packages(NODE_PACKAGES):
        NODE.mkdir(parents=True, exist_ok=True)
        (NODE / "package.json").write_text("{}")
        run("npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", *NODE_PACKAGES, cwd=NODE)
        (NODE / "stamp").write_text(" ".join(NODE_PACKAGES))


def _has_node_packages(packages: Sequence[str]) -> bool:
    stamp = NODE / "stamp"
    return stamp.exists() and stamp.read_text() == " ".join(packages)
