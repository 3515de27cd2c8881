"""Both programs under a service manager: what they tell it, sockets that outlive them, and no root."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.support.booted import Booted
from tests.support.manager import Manager, as_service
from tests.support.programs import Client, Program, Server, until

Keep = Callable[[Any], Any]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")


def status(port: int) -> int:
    """The API's answer, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/api/v1/status")
        return connection.getresponse().status
    finally:
        connection.close()


# --- what the manager hears ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_how_the_programs_do(keep: Keep, tmp_path: Path, abstract: bool) -> None:
    def manager(name: str) -> Manager:
        return keep(Manager(f"@rport-{os.getpid()}-{name}" if abstract else tmp_path / name))  # type: ignore[no-any-return]

    of_server, of_client = manager("server"), manager("client")
    server = keep(Server(tmp_path, env=of_server.env))
    of_server.wait_for("READY=1")
    assert of_server.listen() == ["READY=1\nSTATUS=Serving, 0 sessions"]
    client = keep(Client(server, state=tmp_path, env=of_client.env))
    of_client.wait_for("READY=1")
    of_client.wait_for(f"STATUS=Connected to ws://127.0.0.1:{server.port}")
    of_server.wait_for("STATUS=Serving, 1 session")
    for program, heard in ((server, of_server), (client, of_client)):
        program.signal(signal.SIGHUP)
        heard.wait_for("RELOADING=1")
        heard.wait_for("READY=1", 2)
        assert any(m.startswith("RELOADING=1\nMONOTONIC_USEC=") for m in heard.listen())
    client.signal(signal.SIGTERM)
    assert client.exit_code() == 0
    of_client.wait_for("STOPPING=1")
    of_server.wait_for("STATUS=Serving, 0 sessions", 2)
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 0
    of_server.wait_for("STOPPING=1")


def test_a_client_is_ready_before_its_server_is_there(keep: Keep, tmp_path: Path) -> None:
    """The start of a machine must not wait for another machine."""
    manager = keep(Manager(tmp_path / "notify"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    keep(Client(port, state=tmp_path, wait=False, env=manager.env))
    manager.wait_for("READY=1")
    until(lambda: any("STATUS=Not connected, trying again: " in m for m in manager.listen()), "the reason is told")


@pytest.mark.parametrize("which", ["server", "client"])
def test_a_stuck_program_is_noticed(keep: Keep, tmp_path: Path, which: str) -> None:
    manager = keep(Manager(tmp_path / "notify", watchdog_usec=100_000))
    server = keep(Server(tmp_path, env=manager.env if which == "server" else None))
    client = keep(Client(server, state=tmp_path, env=manager.env if which == "client" else None))
    program = server if which == "server" else client
    until(lambda: manager.beats >= 3, "the watchdog is fed")
    program.signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it stands still")
    before = manager.beats
    with pytest.raises(AssertionError):
        until(lambda: manager.beats > before, "a beat of the stopped program", deadline=0.5)
    program.signal(signal.SIGCONT)
    until(lambda: manager.beats > before, "the watchdog is fed again")


def test_a_manager_that_is_not_there_is_no_reason_to_end(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "nothing")}))
    assert "WARNING NOTIFY_SOCKET=" in server.log
    assert status(server.port) == 200


# --- sockets that outlive the program -----------------------------------------------------------------------------


def test_a_restart_refuses_nobody(keep: Keep, tmp_path: Path) -> None:
    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=512))
    port = listener.getsockname()[1]
    answers: list[int | str] = []
    stop = threading.Event()

    def more_answers() -> None:
        seen = len(answers)
        until(lambda: len(answers) > seen + 5, "the API answers")

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(status(port))
            except Exception as error:
                answers.append(repr(error))

    server = keep(Server(tmp_path, **as_service(listener)))
    assert server.port == port
    server.wait_for("--host and --port do not count")
    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(2):
            more_answers()
            server.signal(signal.SIGTERM)
            assert server.exit_code() == 0
            with socket.create_connection(("127.0.0.1", port), timeout=10):  # waits in the queue
                server = keep(Server(tmp_path, **as_service(listener)))
        more_answers()
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert set(answers) == {200}


def test_who_comes_while_it_stops_waits_for_the_next(keep: Keep, tmp_path: Path) -> None:
    """A carried connection keeps the old one alive for a while; what is new belongs to the next."""
    from tests.support.programs import Target, echo

    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=512))
    target = keep(Target(echo))
    server = keep(Server(tmp_path, **as_service(listener)))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    visitor = keep(socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=10))
    visitor.sendall(b"x")
    assert visitor.recv(1) == b"x"
    server.signal(signal.SIGTERM)
    server.wait_for("Stopping")
    late = keep(Client(server, state=tmp_path / "late", wait=False))
    late.wait_for("Connecting to")
    visitor.sendall(b"y")
    assert visitor.recv(1) == b"y"
    visitor.close()
    assert server.exit_code() == 0
    keep(Server(tmp_path, **as_service(listener)))
    late.wait_for("Connected")
    assert "Retrying" not in late.log
    client.wait_for("Connected", 2)


def test_two_sockets(keep: Keep, tmp_path: Path) -> None:
    four = keep(socket.create_server(("127.0.0.1", 0)))
    try:
        six = keep(socket.create_server(("::1", 0), family=socket.AF_INET6))
    except OSError:
        pytest.skip("no IPv6 here")
    server = keep(Server(tmp_path, **as_service(four, six)))
    server.wait_for(rf"Listening on \[::1\]:{six.getsockname()[1]}\.\.\.")
    for sock, host in ((four, "127.0.0.1"), (six, "[::1]")):
        port = sock.getsockname()[1]
        client = keep(Program("rport.client", f"{host}:{port}", f"127.0.0.1:{port}:9", state=tmp_path / str(port)))
        client.wait_for(f"port {port} is the server's own")


def not_listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize(
    "make",
    [not_listening, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), lambda: socket.socketpair()[0]],
    ids=["not listening", "udp", "unix"],
)
def test_a_socket_that_cannot_be_listened_on(keep: Keep, tmp_path: Path, make: Callable[[], socket.socket]) -> None:
    program = keep(Program("rport.server", state=tmp_path, **as_service(keep(make()))))
    assert program.exit_code() == 1
    assert len(program.lines) == 1
    assert "descriptor 3 (rportd) is no listening TCP socket; the socket unit needs ListenStream=" in program.log


# --- no root ------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(("module", "prog"), [("rport.server", "rportd"), ("rport.client", "rport")])
def test_a_service_does_not_run_as_root(keep: Keep, tmp_path: Path, module: str, prog: str) -> None:
    argv = ["-p", "0", "--host", "127.0.0.1"] if prog == "rportd" else ["127.0.0.1:1"]
    refused = keep(Program(module, *argv, state=tmp_path, env={"RPORT_ALLOW_ROOT": ""}, **as_service()))
    assert refused.exit_code() == 1
    assert len(refused.lines) == 1
    assert f"{prog}: a service that runs as root: set User=" in refused.log
    expected = "Listening on" if prog == "rportd" else "Connecting to"
    for words, env in ((["--allow-root"], ""), ([], "1")):
        allowed = keep(Program(module, *argv, *words, state=tmp_path, env={"RPORT_ALLOW_ROOT": env}, **as_service()))
        allowed.wait_for(expected)
        assert "WARNING Running as root" not in allowed.log
        allowed.stop()
    by_hand = keep(Program(module, *argv, state=tmp_path, env={"RPORT_ALLOW_ROOT": ""}))
    by_hand.wait_for(expected)
    assert by_hand.log.count("WARNING Running as root") == 1


def test_children_do_not_hear_of_the_manager(tmp_path: Path) -> None:
    code = """
import os
from rport.notify import Supervisor
from rport.server.activation import inherited
os.environ.update(NOTIFY_SOCKET="@nobody", WATCHDOG_USEC="1", WATCHDOG_PID="1", LISTEN_PID="1", LISTEN_FDS="1")
Supervisor(str).close()
assert inherited() == []
print([name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- a systemd that runs ------------------------------------------------------------------------------------------


def installed_services_work(keep: Keep, state: Path) -> None:
    """All of it in one start of a machine: the units as installed, with all that they forbid."""
    machine = keep(Booted(state / "machine"))
    machine.put_programs()

    def type_(line: str, code: int = 0) -> str:
        done = machine.run("sh", "-c", line)
        assert done.returncode == code, (line, done.stdout, done.stderr, machine.journal())
        return str(done.stdout + done.stderr)

    def shown(unit: str, name: str) -> str:
        return type_(f"systemctl show --property={name} --value {unit}").strip()

    type_("rportd service status", 4)
    assert "next: edit /etc/rport/rportd.toml" in type_("rportd service install --exec /usr/local/bin/rportd")
    type_("rportd service status", 3)
    type_("rportd service install --exec /usr/local/bin/rportd --now")
    assert "Serving, 0 sessions" in type_("rportd service status")
    pid = shown("rportd", "MainPID")
    status = dict(line.split(":\t", 1) for line in type_(f"cat /proc/{pid}/status").splitlines())
    assert status["Uid"].split()[0] == type_("id -u rportd").strip() != "0"
    assert (status["CapEff"], status["NoNewPrivs"], status["Seccomp"]) == (f"{1 << 10:016x}", "1", "2")
    assert type_("stat -c '%a %U' /var/lib/rportd/key").strip() == "600 rportd"

    # a tunnel on a port that is root's elsewhere
    type_("rport service install --exec /usr/local/bin/rport")
    type_('printf \'server = "localhost:8080"\\nremotes = ["443:22"]\\n\' >/etc/rport/rport.toml')
    type_("systemctl start rport")
    until(lambda: shown("rport", "StatusText") == "Connected to ws://localhost:8080", "the client is connected")
    until(lambda: shown("rportd", "StatusText") == "Serving, 1 session", "the server says so")
    until(lambda: ":443 " in type_("cat /proc/net/tcp; ss -ltn"), "the tunnel's port is open")

    # reload, and a restart that the client survives
    type_("systemctl reload rportd rport")
    assert shown("rportd", "MainPID") == pid
    type_("systemctl restart rportd")
    assert shown("rportd", "MainPID") != pid
    assert type_("ss -ltn | grep -c :8080").strip() == "1"
    until(lambda: shown("rportd", "StatusText") == "Serving, 1 session", "the client is back")

    # another port, in the configuration and the socket
    type_("sed -i 's/^#port = 8080/port = 9090/' /etc/rport/rportd.toml")
    type_("rportd service install --exec /usr/local/bin/rportd --now")
    assert type_("ss -ltn | grep -c :9090").strip() == "1"
    type_("ss -ltn | grep -c :8080", 1)

    # a mistake in the configuration is final
    type_("systemctl stop rport && echo 'prot = 1' >>/etc/rport/rport.toml")
    type_("systemctl start rport", 1)
    until(lambda: shown("rport", "ActiveState") == "failed", "it is not tried again")
    assert "rport.toml:3: prot: unknown key" in machine.journal()

    type_("rportd service uninstall --purge && rport service uninstall --purge")
    type_("rportd service status", 4)
    type_("id rportd", 1)
    assert "0 loaded units" in type_("systemctl --failed")


SCENARIOS = (installed_services_work,)


def test_after_a_long_wait(scenario: Future[None]) -> None:
    scenario.result()
