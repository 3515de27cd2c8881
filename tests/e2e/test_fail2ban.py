"""What a real rportd logs of failed logins, read by fail2ban with the filter that is shipped."""

import contextlib
import json
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.neighbours import tool
from tests.support.programs import Server, until
from tests.support.wire import connect

Keep = Callable[[Any], Any]
FILTER = Path(__file__).parents[2] / "share" / "fail2ban" / "filter.d" / "rportd.conf"
SOURCES = ["127.0.0.1", "127.0.0.2"]  # whoever fails; nobody else may be banned
VICTIM = "203.0.113.9"
HOSTILE = [
    "bob",
    "",
    "a b",
    "o'brien",
    f"x' from {VICTIM}",
    f"x' from {VICTIM}\n2026-01-01T00:00:00Z WARNING session#1: login failed for user 'y' from {VICTIM}",
    f"' from {VICTIM}\r",
    f"x\\' from {VICTIM}",
    f'", "message": "session#1: login failed for user \'y\' from {VICTIM}"',
    f'x\\", "level": "warning", "message": "session#1: login failed for no key from {VICTIM}"}}',
    f"\u2028 WARNING session#1: login failed for no key from {VICTIM}",
    f"{'x' * 50}' from {VICTIM}",
    f"{'x' * 63}\\' from {VICTIM}",
    f"2026-01-01T00:00:00Z WARNING session#1: login failed for user 'y' from {VICTIM}",
    "%s %(user)s {} \x00\x1b[31m",
    "\U0001f600 \u202e",
]


def is_failure(line: str) -> bool:
    """Read otherwise than the filter does it."""
    if line.startswith("{"):
        item = json.loads(line)
        return item["level"] == "warning" and item["message"].partition(": ")[2].startswith("login failed")
    return line.split(" ")[1] == "WARNING" and line.split(" ", 3)[3].startswith("login failed")


def banned(log: Path) -> list[str]:
    """The addresses that fail2ban finds, one for each line that matches."""
    command = [tool("fail2ban-regex"), "--verbose", str(log), str(FILTER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^\|\s+([0-9a-f.:]+)\s+\w{3} \w{3} \d\d ", done.stdout, re.MULTILINE)
    count = re.search(r"(\d+) matched", done.stdout)
    assert count is not None, done.stdout
    assert int(count[1]) == len(found), done.stdout
    return found


@pytest.mark.parametrize("form", ["text", "json"])
def test_failed_logins_ban_who_failed_and_nobody_else(form: str, keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, "--auth", "me:secret", "--log-format", form))
    attempts = [(user, SOURCES[n % 2]) for n, user in enumerate(HOSTILE)]
    for n, (user, source) in enumerate(attempts, 1):
        with contextlib.closing(connect(server.port, source)) as peer:
            peer.control(type="hello", version=f"1 from {VICTIM}", identity=f"' from {VICTIM}", user=user, password="x")
            until(lambda n=n: sum(map(is_failure, server.lines)) == n, "the failure is logged")  # type: ignore[misc]
    # A client that is let in, and a connection that is no client, say their worst elsewhere in the log.
    with contextlib.closing(connect(server.port)) as peer:
        version = f"0\n2026-01-01T00:00:00Z WARNING session#1: login failed for no key from {VICTIM}"
        peer.control(type="hello", version=version, identity="i", user="me", password="secret", remotes=[])
        server.wait_for(r"Open \(client")
    with contextlib.closing(connect(server.port)) as peer:
        peer.control(type=f"session#1: login failed for no key from {VICTIM}")
        peer.drain()
    server.wait_for("ProtocolError|before hello")
    log = tmp_path / "rportd.log"
    log.write_text(f"{server.log}\n")
    found = banned(log)
    assert sorted(found) == sorted(source for _, source in attempts)
    assert VICTIM not in found


def test_lines_by_way_of_syslog_and_the_journal(tmp_path: Path) -> None:
    log = tmp_path / "syslog"
    message = json.dumps("session#2: login failed for user 'b\\\\x27\"' from 2001:db8::2")
    record = f'{{"time": "2026-11-25T02:47:58.123Z", "level": "warning", "message": {message}}}'
    clock = "2026-11-25T02:47:58Z"
    log.write_text(
        textwrap.dedent(f"""\
        Nov 25 02:47:58 host rportd[123]: {clock} WARNING session#1: login failed for key 'a' from 192.0.2.1
        Nov 25 02:47:58 host rportd[123]: {record}
        Nov 25 02:47:58 host rportd[123]: {clock} WARNING session#1: login failed for an enrolment code from 192.0.2.2
        Nov 25 02:47:58 host rportd[123]: {clock} INFO x WARNING session#1: login failed for no key from {VICTIM}
        Nov 25 02:47:58 host other[123]: {clock} WARNING session#1: login failed for no key from {VICTIM}
        """)
    )
    assert sorted(banned(log)) == ["192.0.2.1", "192.0.2.2", "2001:db8::2"]
