"""Rules about the source: who may import whom, and what the client must not load."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loops import LOOPS

PACKAGE = Path(__file__).parent.parent / "rport"

# Each layer may import itself and what stands before it: the picture in CONTRIBUTING.md.
SANS_IO = {
    "tls",
    "duration",
    "hosts",
    "remote",
    "keys",
    "known_servers",
    "control",
    "handshake",
    "websocket",
    "logs",
    "sinks",
    "throttle",
    "login",
    "options",
    "facts",
    "enrolment",
}
LAYERS = [
    {"errors"},
    {"hkdf", "files", "sodium", "signals", "text"},
    {"_frame", "_limits", "_net", "_poll", "_proxy"},
    {"_seal"},
    {"_mux"},
    {"_pump"},
    {"_tls"},
    SANS_IO,
    {"channel", "session", "cli", "config", "notify", "privileges", "screen", "statistics"},
    {"install"},
    {"client", "server", "ctl"},
]
PROGRAMS = LAYERS[-1]  # none imports another
SERVER_ONLY = {
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic",
    "httptools",
    "h11",
    "sqlalchemy",
    "alembic",
    "prometheus_client",
    "pyotp",
}


def modules() -> list[Path]:
    return sorted(path for suffix in ("py", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}"))


def imported(path: Path) -> set[str]:
    if path.suffix != ".py":
        found = re.findall(r"^from rport(?:\.(\w+)| cimport (\w+))", path.read_text(), re.MULTILINE)
        return {f"rport.{module or header}" for module, header in found}
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def top_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].partition(".")[0]


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    top = top_of(path)
    if top == "__init__":
        assert not imported(path)
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] in SERVER_ONLY:
            assert top == "server", f"{path} imports {name}"
        if parts[0] == "rport" and len(parts) > 1 and parts[1] != "__version__":
            assert layer(parts[1]) <= layer(top), f"{path} imports {name}"
            assert top == parts[1] or not {top, parts[1]} <= PROGRAMS, f"{path} imports {name}"


def test_the_picture_shows_the_layers() -> None:
    """CONTRIBUTING.md, in its order."""
    picture = (PACKAGE.parent / "CONTRIBUTING.md").read_text().split("```")[3]
    shown = [name for line in picture.splitlines() for name in re.findall(r"\w+", line[:66])]
    headers = {path.stem for path in PACKAGE.glob("*.pxd")} - {path.stem for path in PACKAGE.glob("*.pyx")}
    assert sorted(shown) == sorted(set().union(*LAYERS) - headers)
    assert shown == sorted(shown, key=layer)


def test_sans_io_modules_know_no_loop() -> None:
    for path in modules():
        if top_of(path) in LAYERS[0] | LAYERS[1] | SANS_IO:
            assert not {name.partition(".")[0] for name in imported(path)} & {"asyncio", "socket", "uvloop"}, path


def loaded_by_the_client() -> set[str]:
    loop = "import uvloop" if "uvloop" in LOOPS else "import asyncio"
    code = f"import rport.client.agent, rport.client.cli, sys; {loop}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_client_loads_nothing_of_the_servers() -> None:
    loaded = loaded_by_the_client()
    assert not {name for name in loaded if name.partition(".")[0] in SERVER_ONLY or name.startswith("rport.server")}


def test_what_few_clients_need_is_not_loaded() -> None:
    loaded = loaded_by_the_client()
    modules = ("proxy", "through", "dialogue", "proxy_tls", "secure", "console")
    assert not ({f"rport.client.{name}" for name in modules} | {"rport.tls", "rport._tls"}) & loaded
    heavy = {"hashlib", "hmac", "pathlib", "random", "tempfile", "tomllib", "urllib", "json", "nacl.bindings"}
    assert not heavy & loaded


def test_help_loads_no_event_loop() -> None:
    code = (
        "import rport.client.cli as c, sys\ntry: c.main(['--help'])\nexcept SystemExit: pass\nprint('|', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"asyncio", "uvloop", "nacl"} & set(out.rpartition("|")[2].split())


def test_generated_c_is_not_committed() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    files = subprocess.run(
        ["git", "ls-files", "rport"], cwd=PACKAGE.parent, capture_output=True, text=True
    ).stdout.split()
    assert not [name for name in files if name.endswith((".c", ".so"))]
