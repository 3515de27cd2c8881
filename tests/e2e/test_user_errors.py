"""What a user types wrong or meets: one line that says what, where and what to do, the right code, and no secret."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rport.client.dial import CONNECT_TIMEOUT
from rport.server.door.upgrade import upgrade_response
from tests.support import neighbours
from tests.support.neighbours import answering, black_hole, free_port, http_answer, namespace, tool
from tests.support.programs import Client, Server, Target, read_all, until

Keep = Callable[[Any], Any]

SECRET = "verysecret"
LOGIN = ("--auth", f"user:{SECRET}")
NOWHERE = "127.0.0.1:1"  # tcpmux: nobody listens there, and usage errors come before anybody looks
ONCE = ("--max-retry-count", "0")
TOO_LONG = 45.0  # seconds; only a failing test takes them
MARGIN = 20.0  # seconds over CONNECT_TIMEOUT for starting five processes at once on a busy machine, and ending them
FORGOTTEN = ("AUTH", "HOST", "PORT")


@dataclass(frozen=True)
class Ended:
    """How a program ended. `went_on`: it did not, but began to serve or to try again, and was killed."""

    code: int
    lines: list[str]
    seconds: float
    went_on: bool

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def complaints(self) -> list[str]:
        """What is no INFO of the log."""
        return [line for line in self.lines if " INFO " not in line]


def run(module: str, *argv: str, state: Path, env: dict[str, str] | None = None, prefix: Sequence[str] = ()) -> Ended:
    """Run it to its end; nothing that was printed may hold the password, a traceback or control characters."""
    surroundings = {
        name: value for name, value in os.environ.items() if name not in FORGOTTEN and not name.startswith("RPORT_")
    }
    surroundings |= {"RPORT_STATE_DIR": str(state), "RPORT_CONFIG": "none", "RPORT_ALLOW_ROOT": "1", **(env or {})}
    started = time.monotonic()
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", module, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in surroundings.items() if value},
    )
    guard = threading.Timer(TOO_LONG, process.kill)
    guard.start()
    lines, went_on = [], False
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if " Listening on " in line:
                went_on = True
                process.kill()
    guard.cancel()
    ended = Ended(process.returncode, lines, time.monotonic() - started, went_on)
    assert "Traceback" not in ended.text, ended.lines[-1]
    assert SECRET not in ended.text
    assert all(line.isprintable() for line in lines), lines
    return ended


def says(ended: Ended, code: int, fragments: Sequence[str]) -> None:
    """One complaint that holds all of these, and this exit code."""
    assert not ended.went_on, ended.text
    assert (ended.code, len(ended.complaints)) == (code, 1), ended
    missing = [fragment for fragment in fragments if fragment not in ended.complaints[0]]
    assert not missing, f"{missing} not in {ended.complaints[0]!r}"


# --- rport: usage -----------------------------------------------------------------------------------------------------

SERVERS = [
    (f"{NOWHERE}9999999", "from 1 to 65535"),
    ("127.0.0.1:0", "from 1 to 65535"),
    ("127.0.0.1:http", "from 1 to 65535"),
    ("127.0.0.1:80:90", "give HOST[:PORT]"),
    ("::1", "give HOST[:PORT]"),
    ("", "give HOST[:PORT]"),
    ("http://", "give HOST[:PORT]"),
    ("ftp://127.0.0.1", "must be http, https, ws or wss"),
    ("127.0.0.1/ü", "the path must be plain ASCII"),
    ("[::1:80", "give HOST[:PORT]"),
    ("[zz]:80", "give HOST[:PORT]"),
    ("\u2100:80", "give HOST[:PORT]"),
    ("[::1]x:1", "give HOST[:PORT]"),
    ("ho st:80", "give HOST[:PORT]"),
    ("127.0.0.1/a b", "space"),
    ("me@127.0.0.1:1", "--auth"),
    (f"me:{SECRET}@127.0.0.1:99999", "from 1 to 65535"),
]


@pytest.mark.parametrize(("server", "advice"), SERVERS)
def test_bad_server_address(server: str, advice: str, tmp_path: Path) -> None:
    where = [] if "@" in server else [repr(server)]
    says(run("rport.client", *LOGIN, *ONCE, server, state=tmp_path), 1, [*where, advice])


REMOTES = [
    ("0", "port 0 is not from 1 to 65535"),
    ("65536:22", "port 65536 is not from 0 to 65535"),
    ("22:70000", "port 70000 is not from 1 to 65535"),
    ("22:-5", "port -5 is not from 1 to 65535"),
    ("db.internal", "there must be a port behind the host 'db.internal'"),
    ("localhost:22:x", "there must be a port behind the host 'x'"),
    ("22:host:", "empty part"),
    ("1:2:3", "a third port, 1"),
    ("a:1:b:c:2", "4 at most are allowed"),
    ("a:b:c:2", "a third host, 'a'"),
    ("", "empty"),
    ("3000/udp", "/udp is not supported yet, only TCP is"),
    ("3000/sctp", "'/sctp' is no protocol: leave it out"),
    ("[::1", "brackets belong around a whole IPv6 address, such as [::1]"),
    ("[zz::1]:80", "'zz::1' is no IPv6 address"),
    ("a b:80", "'a b' is no host"),
    ("::1:3000", "bracket"),
    ("http://db.internal:80", "without http://"),
    ("80,443", "80 443"),
]


@pytest.mark.parametrize(("remote", "advice"), REMOTES)
def test_bad_remote(remote: str, advice: str, tmp_path: Path) -> None:
    ended = run("rport.client", *LOGIN, *ONCE, NOWHERE, "3000", remote, state=tmp_path)
    says(ended, 1, [f"remote {remote!r}: ", advice])


OPTIONS = [
    (["--fingerprint", "SHA256:abc"], ["fingerprint 'SHA256:abc' is not hexadecimal", "copy it from the server's log"]),
    (["--fingerprint", "0011:2233"], ["fingerprint '0011:2233' has 8 hex digits", "give 16 to 64"]),
    (["--fingerprint", "ab" * 40], ["has 80 hex digits", "give 16 to 64"]),
    (["--fingerprint="], ["fingerprint ''", "give 16 to 64"]),
    (["--auth", SECRET], ["--auth", "USER:PASSWORD"]),
    (["--auth", f":{SECRET}"], ["--auth", "USER:PASSWORD"]),
    (["--keepalive", "5"], ["--keepalive", "'5'", 'it needs a unit, such as "5s"']),
    (["--keepalive", "5 minutes"], ["'5 minutes'", 'write it like "30s", "2m", "1h2m", "90d" or "500ms"']),
    (["--keepalive=-5s"], ["'-5s'", 'write it like "30s"']),
    (["--max-retry-interval", ""], ["''", 'write it like "30s"']),
    (["--max-retry-interval", "9999999h"], ["'9999999h'", "longer than ten years"]),
    (["--max-retry-count", "many"], ["--max-retry-count", "'many'", "number"]),
    (["--allow", "db.internal"], ["rport: --allow: 'db.internal'", "HOST:PORT, HOST:*"]),
    (["--allow", "db.internal:0"], ["rport: --allow: 'db.internal:0'", "HOST:PORT, HOST:*"]),
    (["--allow", "10.0.0.1/8"], ["rport: --allow: '10.0.0.1/8'", "a network such as 10.0.0.0/8"]),
    (["--tls-server-name", "a.example:443"], ["--tls-server-name: 'a.example:443'", "give a host name"]),
    (["--fingerprnt", "x"], ["unknown option --fingerprnt", "did you mean --fingerprint?"]),
    (["-keep-alive=5s"], ["unknown option -keep-alive", "did you mean --keepalive?"]),
    ([f"--auht=user:{SECRET}"], ["unknown option --auht", "did you mean --auth?"]),
    (["--zzz"], ["unknown option --zzz", "see rport --help"]),
    (["--keepalive"], ["--keepalive", "expected one argument"]),
    ([str(port) for port in range(1, 202)], ["201 remotes", "at most 200"]),
    (["80:81", "127.0.0.1:80:82"], ["0.0.0.0:80", "one of them only"]),
    (["--max-retry-count=-2"], ["--max-retry-count", "'-2'", "-1 = for ever"]),
    (["--max-retry-interval", "x"], ["--max-retry-interval"]),
    (["--keepalive", "inf"], ['write it like "30s"']),
    (["--auth="], ["--auth", "USER:PASSWORD"]),
    (["--allow", "*:80"], ["rport: --allow: '*:80'"]),
    (["-p", "9999"], ["unknown option -p", "see rport --help"]),
]


@pytest.mark.parametrize(("words", "fragments"), OPTIONS, ids=lambda value: " ".join(value)[:40])
def test_bad_option(words: list[str], fragments: list[str], tmp_path: Path) -> None:
    says(run("rport.client", *ONCE, NOWHERE, *words, state=tmp_path), 1, fragments)


def test_help_is_no_server(tmp_path: Path) -> None:
    says(run("rport.client", "help", state=tmp_path), 1, ["unexpected argument 'help'", "see rport --help"])


def test_missing_server(tmp_path: Path) -> None:
    says(run("rport.client", *LOGIN, state=tmp_path), 1, ["no server given", "rport HOST:PORT 3389", "--help"])


@pytest.mark.parametrize("name", ["RPORT_AUTH", "AUTH"])
def test_bad_login_in_the_environment(name: str, tmp_path: Path) -> None:
    ended = run("rport.client", *ONCE, NOWHERE, state=tmp_path, env={name: SECRET})
    says(ended, 1, [name, "USER:PASSWORD"])
    assert "--auth:" not in ended.text


def test_login_in_the_environment_is_shown_to_nobody(keep: Keep, tmp_path: Path) -> None:
    silent = keep(Target(listen))
    words, login = ("--verbose", *ONCE), {"RPORT_AUTH": f"user:{SECRET}"}
    client = keep(Client(silent.port, *words, state=tmp_path, wait=False, env=login, cold=True))
    given = {"RPORT_AUTH": f"user:{SECRET}", "RPORT_KEY": f"{SECRET} key"}
    server = keep(Server(tmp_path, "--verbose", env=given, cold=True))
    until(lambda: silent.accepted, "the client is in the middle of it")
    for program in (client, server):
        assert SECRET not in program.log
        assert SECRET.encode() not in Path(f"/proc/{program.pid}/cmdline").read_bytes()
        assert SECRET.encode() in Path(f"/proc/{program.pid}/environ").read_bytes(), "it was given"


# --- rport: who is there ----------------------------------------------------------------------------------------------


def meet(port: int, state: Path, host: str = "127.0.0.1", *words: str) -> Ended:
    """One try."""
    return run("rport.client", *LOGIN, *ONCE, f"{host}:{port}", "3000", *words, state=state)


def meet_proxy(port: int, state: Path, scheme: str) -> Ended:
    return meet(9, state, "server.invalid", "--proxy", f"{scheme}://me:{SECRET}@127.0.0.1:{port}")


def listen(sock: socket.socket) -> None:
    """Say nothing, to the end."""
    read_all(sock)


def banner(text: bytes) -> Callable[[Path], Target]:
    """Speaks first, as a mail server does."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(text)
        listen(sock)

    return lambda directory: Target(serve)


def closes(*, reads: bool) -> Callable[[Path], Target]:
    def serve(sock: socket.socket) -> None:
        if reads:
            sock.recv(4096)

    return lambda directory: Target(serve)


def answers(status: str, body: str = "", *fields: str) -> Callable[[Path], Target]:
    return lambda directory: answering(http_answer(status, body, *fields))


V3 = "the WebSocket subprotocol that is spoken here is rport-v3, which was not offered\n"
BUSY = "too many connections are not logged in yet; try again in a moment\n"

STRANGERS = [
    pytest.param(lambda _: neighbours.WebServer(), ["web server", "no rport server"], id="web"),
    pytest.param(lambda path: neighbours.nginx(path, encrypted=False), ["web server", "no rport server"], id="nginx"),
    pytest.param(neighbours.sshd, ["an SSH server", "no rport server"], id="sshd"),
    pytest.param(banner(b"220 mail ESMTP\r\n"), ["no rport server", '"220 mail ESMTP"'], id="mail"),
    pytest.param(banner(b"\x1b[2J\x07\n"), ["no rport server", r'"\x1b[2J\x07"'], id="escape sequences"),
    pytest.param(closes(reads=True), ["closed without an answer"], id="reads and closes"),
    pytest.param(closes(reads=False), ["the connection ", "rportd"], id="closes at once"),
    pytest.param(neighbours.tls, ["the connection ", "it is a TLS port: write https://"], id="tls"),
    pytest.param(answers("404 Not Found"), ["HTTP 404", "no rport server"], id="404"),
    pytest.param(answers("301 X", "", "Location: http://e.com/t"), ["redirect", '"http://e.com/t"'], id="redirect"),
    pytest.param(answers("426 Upgrade Required"), ["HTTP 426", "does not speak this version"], id="426"),
    pytest.param(answers("503 Service Unavailable", BUSY), ["HTTP 503", "too busy", "not logged in yet"], id="busy"),
    pytest.param(lambda _: answering(b"HTTP/1.1 101 X\r\n\r\n"), ["WebSocket answer does not fit"], id="101"),
    pytest.param(lambda path: neighbours.nginx(path, encrypted=True), ["is a TLS port: write https:"], id="nginx tls"),
    pytest.param(banner(b"\x15\x03\x01\x00\x02\x02\x0a"), ["it is a TLS port: write https://"], id="tls alert"),
    pytest.param(answers("400 Bad Request", V3), ["rport-v3"], id="version 3"),
    pytest.param(answers("401 X"), ["HTTP 401", "wants a login", "--header"], id="401"),
    pytest.param(answers("407 X"), ["HTTP 407", "a proxy is in the way", "--proxy"], id="407"),
]


@pytest.mark.parametrize(("neighbour", "fragments"), STRANGERS)
def test_strangers(neighbour: Callable[[Path], Any], fragments: list[str], keep: Keep, tmp_path: Path) -> None:
    port = keep(neighbour(tmp_path)).port
    ended = meet(port, tmp_path)
    says(ended, 6, [f"rport: 127.0.0.1:{port}", *fragments])
    assert ("--proxy" in ended.text) == ("--proxy" in fragments)


def test_closed_port(tmp_path: Path) -> None:
    port = free_port()
    says(meet(port, tmp_path), 6, [f"cannot connect to 127.0.0.1:{port}", "Connection refused", "rportd"])


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 70])
def test_name_that_does_not_resolve(name: str, tmp_path: Path) -> None:
    says(meet(9, tmp_path, name), 6, [f"the name {name!r} does not resolve"])


def test_each_try_is_one_warning(keep: Keep, tmp_path: Path) -> None:
    port = keep(neighbours.WebServer()).port
    ended = run("rport.client", *LOGIN, "--max-retry-count", "2", f"127.0.0.1:{port}", state=tmp_path)
    assert ended.code == 6
    assert len(ended.complaints) == 3
    assert all("no rport server" in line for line in ended.complaints)
    assert [" WARNING " in line for line in ended.complaints] == [True, True, False]
    assert "(tried 3 times)" in ended.complaints[-1]


def half_way(sock: socket.socket) -> None:
    """Upgrades, then says nothing."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", sock.recv(4096))
    assert key is not None
    sock.sendall(upgrade_response(key[1].decode()))
    listen(sock)


def silence_is_given_ten_seconds(keep: Keep, state: Path) -> None:
    """A black hole, one that accepts and says nothing, one that stops behind the upgrade: all at the same time.

    And two that are taken for proxies.
    """
    silent, half, web, socks = (keep(Target(serve)) for serve in (listen, half_way, listen, listen))
    with black_hole() as hole, ThreadPoolExecutor() as pool:
        runs = {port: pool.submit(meet, port, state) for port in (hole, silent.port, half.port)}
        runs[web.port] = pool.submit(meet_proxy, web.port, state, "http")
        runs[socks.port] = pool.submit(meet_proxy, socks.port, state, "socks5")
        for port, future in runs.items():
            ended = future.result()
            says(ended, 6, [f"127.0.0.1:{port} did not answer within {CONNECT_TIMEOUT:g} s"])
            assert CONNECT_TIMEOUT <= ended.seconds < CONNECT_TIMEOUT + MARGIN
    assert silent.accepted == half.accepted == web.accepted == socks.accepted == 1


@contextlib.contextmanager
def two_faced(state: Path, keep: Keep) -> Iterator[tuple[Server, list[str]]]:
    """A server under a name whose other address, which comes first, is a black hole."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = keep(Server(state))
    hosts = state / "hosts"
    hosts.write_text("::1 twofaced\n127.0.0.1 twofaced\n")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(black_hole("::1", server.port))
        except OSError as error:
            pytest.skip(f"no black hole on ::1: {error}")
        yield server, namespace(f"mount --bind {hosts} /etc/hosts")


def test_next_address_is_tried_when_the_first_is_a_black_hole(keep: Keep, tmp_path: Path) -> None:
    """IPv6 that leads nowhere is common; the second try begins with the same address as the first."""
    with two_faced(tmp_path, keep) as (server, prefix):
        ended = run(
            "rport.client",
            *("--fingerprint", "00" * 8, *ONCE, f"twofaced:{server.port}"),
            state=tmp_path,
            prefix=prefix,
        )
    says(ended, 4, [server.fingerprint])  # as far as that it came


def test_stop_does_not_wait_for_a_name_server(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 198.51.100.1\noptions timeout:15 attempts:1\n")
    setup = f"ip link set lo up && ip route add 198.51.100.0/24 dev lo && mount --bind {resolv} /etc/resolv.conf"
    tool("ip")
    process = subprocess.Popen(
        [*namespace(setup, "--net"), sys.executable, "-m", "rport.client", "--allow-root", "slow.example:80"],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            assert "Connecting" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(MARGIN) == 0
        finally:
            process.kill()


# --- rport: its own files ---------------------------------------------------------------------------------------------


def no_directory(state: Path) -> None:
    state.write_text("")


def bad_line(state: Path) -> None:
    state.mkdir()
    (state / "known_servers").write_text("# mine\nwhat is this\n")


def no_text(state: Path) -> None:
    state.mkdir()
    (state / "known_servers").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (no_directory, ["known_servers"]),
        (bad_line, ["known_servers, line 2", "correct the line or remove it"]),
        (no_text, ["known_servers", "restore it, or delete it"]),
    ],
)
def test_unusable_known_servers(
    damage: Callable[[Path], None], fragments: list[str], keep: Keep, tmp_path: Path
) -> None:
    server = keep(Server(tmp_path / "server"))
    damage(tmp_path / "state")
    says(meet(server.port, tmp_path / "state"), 1, fragments)


@pytest.mark.parametrize("words", [("rport.client", *ONCE, NOWHERE), ("rport.server", "-p", "0")])
def test_user_without_a_home(words: tuple[str, ...], tmp_path: Path) -> None:
    """As in a container that runs under a bare number."""
    prefix = [tool("unshare"), "--user", "--map-user=12345"]
    if subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    nothing = {"RPORT_STATE_DIR": "", "STATE_DIRECTORY": "", "XDG_STATE_HOME": "", "HOME": ""}
    says(run(*words, state=tmp_path, env=nothing, prefix=prefix), 1, ["RPORT_STATE_DIR"])


# --- rportd -----------------------------------------------------------------------------------------------------------

SERVE = ("--host", "127.0.0.1", "-p", "0", *LOGIN)

DAEMON_OPTIONS = [
    (["-p", "70000"], ["port '70000'", "a number from 0 to 65535"]),
    (["-p", "-1"], ["port '-1'", "a number from 0 to 65535"]),
    (["-p", "http"], ["port 'http'", "a number from 0 to 65535"]),
    (["-p", "1.5"], ["port '1.5'", "a number from 0 to 65535"]),
    (["--host", "203.0.113.77"], ["203.0.113.77", "no such address", "choose another with --port or --host"]),
    (["--host", "example.com"], ["example.com", "give an address of the server, not a name"]),
    (["--auth", SECRET], ["--auth", "USER:PASSWORD"]),
    (["--prot", "1"], ["unknown option --prot", "did you mean --port?"]),
    (["--hots=127.0.0.1"], ["unknown option --hots", "did you mean --host?"]),
    (["-hots=1.2.3.4"], ["-hots", "did you mean --host?"]),
    (["-prot", "1"], ["-prot", "did you mean --port?"]),
    ([f"--kye={SECRET}"], ["unknown option --kye", "did you mean --key?"]),
    (["--listen", "9999"], ["unknown option --listen", "see rportd --help"]),
    (["9999"], ["unexpected argument '9999'", "-p 9999"]),
    (["--key"], ["--key", "expected one argument"]),
    (["--auth="], ["--auth", "USER:PASSWORD"]),
    (["--port="], ["port ''", "a number from 0 to 65535"]),
]


@pytest.mark.parametrize(("words", "fragments"), DAEMON_OPTIONS, ids=lambda value: " ".join(value)[:40])
def test_bad_option_of_the_server(words: list[str], fragments: list[str], tmp_path: Path) -> None:
    """An option that were passed over would leave a port that is free, not the default one."""
    says(run("rport.server", *SERVE, *words, state=tmp_path, env={"RPORT_PORT": "0"}), 1, fragments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RPORT_AUTH", SECRET),
        ("RPORT_PORT", "abc"),
        ("PORT", "tcp://10.0.0.1:80"),
    ],
)
def test_bad_environment_of_the_server(name: str, value: str, tmp_path: Path) -> None:
    says(run("rport.server", "--host", "127.0.0.1", state=tmp_path, env={name: value}), 1, [name])


def test_port_in_use(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    ended = run("rport.server", *SERVE, "-p", str(server.port), state=tmp_path)
    says(ended, 1, [f"127.0.0.1:{server.port}", "in use by another program", "choose another with --port or --host"])


def without(*capabilities: str) -> list[str]:
    """What to put before a command so that it cannot do this, even as root."""
    if os.geteuid():
        return []
    return [tool("setpriv"), f"--bounding-set={','.join(f'-{name}' for name in capabilities)}"]


def test_privileged_port(tmp_path: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("no port is privileged here")
    ended = run("rport.server", *SERVE, "-p", "1", state=tmp_path, prefix=without("net_bind_service"))
    says(ended, 1, ["127.0.0.1:1", "needs rights", "choose another with --port or --host"])


def unwritable(state: Path) -> None:
    state.mkdir(mode=0o500)


def key_directory(state: Path) -> None:
    (state / "key").mkdir(parents=True)


def key_with(content: str, mode: int) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        state.mkdir()
        (state / "key").write_text(content)
        (state / "key").chmod(mode)

    return damage


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        pytest.param(unwritable, ["Permission denied", "RPORT_STATE_DIR"], id="unwritable"),
        pytest.param(key_directory, ["Is a directory"], id="directory"),
        pytest.param(key_with("junk", 0o600), ["is damaged", "restore it, or delete it"], id="junk"),
        pytest.param(key_with("", 0o600), ["is damaged", "restore it, or delete it"], id="empty"),
        pytest.param(key_with("rport-key-1 " + "ab" * 31, 0o600), ["is damaged"], id="short"),
        pytest.param(key_with("rport-key-1 " + "ab" * 32, 0o644), ["by others", "chmod 600", "delete"], id="readable"),
        pytest.param(no_directory, ["Not a directory"], id="state is a file"),
    ],
)
def test_unusable_state_of_the_server(damage: Callable[[Path], None], fragments: list[str], tmp_path: Path) -> None:
    state = tmp_path / "state"
    damage(state)
    ended = run("rport.server", *SERVE, state=state, prefix=without("dac_override", "dac_read_search"))
    says(ended, 1, [f"{state}/key", *fragments])
    assert "ab" * 31 not in ended.text


SCENARIOS = (silence_is_given_ten_seconds,)


def test_after_a_long_wait(scenario: Future[None]) -> None:
    scenario.result()
