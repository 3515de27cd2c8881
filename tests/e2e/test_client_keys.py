"""Client keys: whoever shows one that the server lists comes in, and nobody else, whatever password he knows."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rport import keys
from rport.handshake import Initiator
from rport.websocket import MessageReader, encode_message
from tests.support.neighbours import free_port
from tests.support.programs import Client, Program, Server, Target, echo, until
from tests.support.visitors import carries, is_reset, refused, visit
from tests.support.wire import CONTROL, WirePeer, connect, upgrade

Keep = Callable[[Any], Any]
CIPHERS = ["aegis256", "chacha20poly1305"]


def make_key(path: Path) -> str:
    """By the command; the lines for the server."""
    done = subprocess.run(
        [sys.executable, "-m", "rport.client", "key", str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout[done.stdout.index("[[key]]") :]


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "identity"


@pytest.fixture
def authorized(tmp_path: Path, identity: Path) -> Path:
    """A file with that one key."""
    path = tmp_path / "keys.toml"
    path.write_text(make_key(identity))
    return path


@pytest.fixture
def server(keep: Keep, tmp_path: Path, authorized: Path) -> Server:
    found: Server = keep(Server(tmp_path, "--authorized-keys", str(authorized)))
    return found


def renamed(path: Path, name: str, *lines: str) -> str:
    """The one key of the file under another name, with further lines."""
    return re.sub(r"name = .*", "\n".join([f'name = "{name}"', *lines]), path.read_text())


def hello(peer: WirePeer, auth: str = ":", **more: object) -> dict[str, Any]:
    """The answer."""
    user, _, password = auth.partition(":")
    peer.control(type="hello", version="test", identity="00" * 32, user=user, password=password, **more)
    return answer(peer)


def answer(peer: WirePeer) -> dict[str, Any]:
    message: dict[str, Any] = msgpack.unpackb(peer.wait_for(CONTROL)[2])
    return message


def test_the_command_makes_a_file_for_its_owner_and_says_what_to_do(tmp_path: Path, identity: Path) -> None:
    lines = make_key(identity)
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    public = keys.public_text(keys.load(identity).public)
    assert f'public = "{public}"' in lines
    again = subprocess.run(
        [sys.executable, "-m", "rport.client", "key", str(identity)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert again.stderr.startswith(f"rport key: {identity} is there already")
    assert keys.public_text(keys.load(identity).public) == public


def test_the_command_puts_it_into_the_state_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rport.client", "key"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "RPORT_STATE_DIR": str(tmp_path / "state")},
    )
    assert f"--identity {tmp_path}/state/identity" in done.stdout
    assert keys.load(tmp_path / "state" / "identity").private.hex() not in done.stdout


def test_a_key_lets_in_and_is_named(keep: Keep, tmp_path: Path, identity: Path, server: Server) -> None:
    target = keep(Target(echo))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", "--identity", str(identity), state=tmp_path))
    with visit(client.tunnel_port()) as visitor:
        assert carries(visitor)
    server.wait_for(r"session#\d+: Open \(client [^,]+, 127\.0\.0\.1:\d+, key '[^']+'\)")


def test_a_client_without_a_key_is_told_what_to_do(keep: Keep, tmp_path: Path, server: Server) -> None:
    client = keep(Client(server, state=tmp_path, wait=False))
    assert client.exit_code() == 5
    assert "make one with `rport key`" in client.log
    assert "--identity" in client.lines[-1]
    server.wait_for("(?m)login failed for no key from 127.0.0.1$")


def test_a_key_that_is_not_listed(keep: Keep, tmp_path: Path, server: Server) -> None:
    make_key(tmp_path / "other")
    client = keep(Client(server, "--identity", str(tmp_path / "other"), state=tmp_path, wait=False))
    assert client.exit_code() == 5
    public = keys.public_text(keys.load(tmp_path / "other").public)
    assert f"the server's authorized keys do not have {public}" in client.log
    server.wait_for(f"(?m)login failed for key '{public}' from 127.0.0.1$")


def test_a_key_that_a_server_does_not_ask_for_does_no_harm(keep: Keep, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    for name, extra in (("open", ()), ("closed", ("--auth", "me:secret"))):
        server = keep(Server(tmp_path / name, *extra))
        keep(Client(server, "--identity", str(tmp_path / "other"), *extra, state=tmp_path / name))


def test_a_stolen_password_opens_nothing_and_a_stolen_key_neither(
    keep: Keep, tmp_path: Path, identity: Path, authorized: Path
) -> None:
    server = keep(Server(tmp_path, "--authorized-keys", str(authorized), "--auth", "me:secret"))
    private = keys.load(identity).private
    with contextlib.closing(connect(server.port)) as peer:
        assert hello(peer, "me:secret")["code"] == "auth"
    with contextlib.closing(connect(server.port, static=private)) as peer:
        assert hello(peer)["code"] == "auth"
    with contextlib.closing(connect(server.port, static=private)) as peer:
        assert hello(peer, "me:secret")["type"] == "welcome"


def test_only_what_both_user_and_key_allow_is_listened_on(
    keep: Keep, tmp_path: Path, identity: Path, authorized: Path
) -> None:
    both, users, keys_own = free_port(), free_port(), free_port()
    authfile = tmp_path / "users.json"
    authfile.write_text(f'{{"me:secret": ["^{both}$", "^{users}$"]}}')
    authorized.write_text(renamed(authorized, "box", f'listen = ["^{both}$", "^{keys_own}$"]'))
    server = keep(Server(tmp_path, "--authorized-keys", str(authorized), "--authfile", str(authfile)))
    with contextlib.closing(connect(server.port, static=keys.load(identity).private)) as peer:
        ports = (both, users, keys_own)
        remotes = [{"lhost": "127.0.0.1", "lport": port, "rhost": "127.0.0.1", "rport": 1} for port in ports]
        assert hello(peer, "me:secret", remotes=remotes)["type"] == "welcome"
        answers = [answer(peer) for _ in ports]
    assert [item.get("error") for item in answers] == [
        None,
        *(f"listening on 127.0.0.1:{port} is not allowed for user 'me', key 'box'" for port in (users, keys_own)),
    ]


def test_a_key_is_used_from_where_it_may_be(keep: Keep, tmp_path: Path, identity: Path, authorized: Path) -> None:
    authorized.write_text(renamed(authorized, "box", 'from = ["127.0.0.2/31", "::1"]'))
    server = keep(Server(tmp_path, "--authorized-keys", str(authorized)))
    private = keys.load(identity).private
    with contextlib.closing(connect(server.port, "127.0.0.1", static=private)) as peer:
        assert "may not be used from 127.0.0.1" in hello(peer)["message"]
    with contextlib.closing(connect(server.port, "127.0.0.3", static=private)) as peer:
        assert hello(peer)["type"] == "welcome"
    server.wait_for("(?m)login failed for key 'box' from 127.0.0.1$")


@pytest.mark.parametrize("change", ["removed", "narrowed", "from elsewhere"])
def test_a_change_of_the_file_counts_at_once(
    change: str, keep: Keep, tmp_path: Path, identity: Path, authorized: Path, server: Server
) -> None:
    target = keep(Target(echo))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", "--identity", str(identity), state=tmp_path))
    port = client.tunnel_port()
    with visit(port) as visitor:
        assert carries(visitor)
        line = {"removed": "", "narrowed": "listen = []", "from elsewhere": 'from = ["192.0.2.1"]'}[change]
        authorized.write_text(renamed(authorized, "box", line) if line else "")
        assert is_reset(visitor)
    assert refused(port)
    if change == "narrowed":
        client.wait_for("is not allowed for key 'box'")
        assert client.process.poll() is None
    else:
        assert client.exit_code() == 5
        removed = change == "removed"
        assert ("does not authorize this key" if removed else "may not be used from 127.0.0.1 any more") in client.log


def test_a_broken_file(keep: Keep, tmp_path: Path, identity: Path, authorized: Path, server: Server) -> None:
    client = keep(Client(server, "--identity", str(identity), state=tmp_path))
    authorized.write_text(renamed(authorized, "box", "lisen = []"))
    server.wait_for("ERROR authorized-keys file .*, key 1 \\('box'\\): unknown field 'lisen'; did you mean listen\\?")
    assert client.process.poll() is None
    other = keep(Program("rport.server", "-p", "0", "--authorized-keys", str(authorized), state=tmp_path))
    assert other.exit_code() == 1
    assert other.lines[-1].startswith("rportd: authorized-keys file ")


def test_a_file_that_a_reload_brings_ends_those_without_a_key(
    keep: Keep, tmp_path: Path, identity: Path, authorized: Path
) -> None:
    config = tmp_path / "rportd.toml"
    config.write_text("")
    server = keep(Server(tmp_path, "--config", str(config)))
    without = keep(Client(server, state=tmp_path))
    having = keep(Client(server, "--identity", str(identity), state=tmp_path))
    config.write_text(f'authorized-keys = "{authorized}"\n')
    server.signal(signal.SIGHUP)
    assert without.exit_code() == 5
    assert "give it with --identity" in without.log
    assert having.process.poll() is None  # it had shown its key when nobody asked for one
    assert len(server.sessions()) == 1


def test_an_identity_that_cannot_be_used(keep: Keep, tmp_path: Path) -> None:
    """It is looked at before anybody is called."""
    missing, shared, junk = (tmp_path / name for name in ("missing", "shared", "junk"))
    shared.touch(0o644)
    junk.touch(0o600)
    for path, reason in (
        (missing, f"No such file or directory; make it with: rport key {missing}"),
        (shared, "can be read or written by others"),
        (junk, "is damaged"),
    ):
        client = keep(Client(1, "--identity", str(path), state=tmp_path, wait=False))
        assert client.exit_code() == 1
        assert reason in client.lines[-1]


# --- the handshake against the real server ---------------------------------------------------------------------------


def begin(port: int, static: bytes) -> tuple[socket.socket, Initiator, MessageReader]:
    """Behind message 2."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    initiator, reader = Initiator(CIPHERS, static=static), MessageReader(4192, masked=False)
    reader.feed(upgrade(sock))
    sock.sendall(encode_message(initiator.message1(), masked=True))
    while (message := reader.next()) is None:
        reader.feed(sock.recv(4096))
    initiator.read_message2(message)
    return sock, initiator, reader


def test_a_third_message_that_proves_nothing(identity: Path, server: Server) -> None:
    private = keys.load(identity).private
    for fault in ("replayed", "altered", "short", "long", "empty", "missing"):
        replay_sock, replay, _ = begin(server.port, private)
        sock, initiator, _ = begin(server.port, private)
        with sock, replay_sock:
            message3 = initiator.message3
            bad = {
                "replayed": replay.message3,
                "altered": bytes([*message3[:40], message3[40] ^ 1, *message3[41:]]),
                "short": message3[:-1],
                "long": message3 + bytes(5000),
                "empty": b"",
                "missing": None,
            }[fault]
            if bad is None:
                sock.shutdown(socket.SHUT_WR)
            else:
                sock.sendall(encode_message(bad, masked=True))
            with contextlib.suppress(ConnectionResetError):  # what was too long was not read to its end
                assert sock.recv(4096) == b"", fault
    with contextlib.closing(connect(server.port, static=private)) as peer:
        assert hello(peer)["type"] == "welcome"
    server.wait_for(r"Open \(")
    assert server.log.count("Open (") == 1
    assert "Traceback" not in server.log


def test_the_key_is_shown_only_to_the_right_server(keep: Keep, tmp_path: Path, identity: Path, server: Server) -> None:
    """A server with another fingerprint hears nothing that says who the client is."""
    client = keep(Client(server, "--identity", str(identity), "--fingerprint", "00" * 8, state=tmp_path, wait=False))
    assert client.exit_code() == 4
    until(lambda: "closed during the handshake" in server.log, "it went before the third message")
