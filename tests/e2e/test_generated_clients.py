"""Clients made from the API's document, in each language, drive a real server and a fresh machine through one story."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Keep
from tests.support.admin import make_admin, until_known
from tests.support.document import STORED
from tests.support.generated import LANGUAGES, Language, Missing, built
from tests.support.generated.languages import STORIES, Go
from tests.support.generated.tools import environment
from tests.support.programs import Program, Server, Target

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]  # a compiler's first run compiles its library too

TOLD = """\
till-3 is connected
opened PORT open
visit: welcome
visit: no answer
visit: welcome
carried 2 denied 1
visit: no answer
problem 404 urn:rport:no-such-tunnel
audit client.enroll ok
audit tunnel.open ok
audit tunnel.change ok
audit tunnel.change ok
audit tunnel.close ok
"""


DOCS = STORED.parent


def page(sock: socket.socket) -> None:
    """The machine's web page."""
    asked = b""
    while b"\r\n\r\n" not in asked and (part := sock.recv(4096)):
        asked += part
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwelcome")


def enroll(code: str, state: Path) -> None:
    """What is typed at the machine."""
    argv = ["enroll", code, "--state-dir", str(state), "--config", str(state / "rport.toml"), "--name", "till-3"]
    env = environment() | {"RPORT_ALLOW_ROOT": "yes"}
    done = subprocess.run([sys.executable, "-m", "rport.client", *argv], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_the_story(language: Language, keep: Keep, tmp_path: Path) -> None:
    try:
        place, _ = built(language, STORED)
        command = language.command(place)
    except Missing as error:
        pytest.skip(f"{language.name}: {error}")
    server = keep(Server(tmp_path / "server"))
    target = keep(Target(page))
    token = make_admin(tmp_path / "server")
    until_known(server.port, token)
    env = environment() | {"RPORT_URL": f"http://127.0.0.1:{server.port}", "RPORT_TOKEN": token}
    env |= {"RPORT_TARGET": f"127.0.0.1:{target.port}"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as story:
        try:
            assert story.stdout is not None
            first = re.fullmatch(r"rport enroll (rpe_\S+)\n", story.stdout.readline())
            assert first, story.communicate()
            machine = tmp_path / "machine"
            enroll(first[1], machine)
            keep(Program("rport.client", state=machine, env={"RPORT_CONFIG": str(machine / "rport.toml")}))
            told, wrong = story.communicate(timeout=60)
        finally:
            story.kill()
    assert story.returncode == 0, wrong
    assert re.sub(r"opened \d+", "opened PORT", told) == TOLD


def test_the_documentation_shows_what_is_run() -> None:
    story = (DOCS / "api-story.md").read_text()
    assert "rport enroll rpe_...\n" + TOLD.replace("PORT", "41873") in story
    files = [path for path in STORIES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) == len(LANGUAGES)
    for path in files:
        assert f'--8<-- "{path.relative_to(STORIES.parents[1])}"' in story
    assert f"--additional-properties={Go.properties}\n" in (DOCS / "api.md").read_text()
