"""A hostile client against rportd, a hostile network between the two, a hostile server against rport."""

import contextlib
import os
import re
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rport.errors import ProtocolError
from rport.handshake import MESSAGE_MAX, Responder
from rport.server.door.upgrade import upgrade_response
from rport.server.inventory.client import SESSIONS_BURST
from rport.websocket import MessageReader, accept_key, encode_message
from tests.e2e.test_life import exchange
from tests.support.programs import Client, Server, Target, descriptors, echo, read_all, until
from tests.support.relay import Relay
from tests.support.wire import CLOSE, CONTROL, DATA, OPEN, PING, PONG, REFUSE, WirePeer, connect, frame, login, upgrade

Keep = Callable[[Any], Any]

RETRY = re.compile(r"Retrying in ([\d.]+)(ms|s)\.\.\.")


def alive(server: Server) -> bool:
    """A well-behaved client is still served."""
    peer = login(server.port)
    with contextlib.closing(peer):
        peer.send(frame(0, PING, struct.pack(">Q", 5)))
        return peer.wait_for(PONG)[2] == struct.pack(">Q", 5)


def test_garbage_is_refused_with_one_line(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    for _ in range(20):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with sock, contextlib.suppress(OSError):
            sock.sendall(os.urandom(10_000))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    assert alive(server)
    assert "Traceback" not in server.log


def test_handshake_cut_at_every_byte(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    whole = len(_message1())
    for size in range(whole):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            upgrade(sock)
            sock.sendall(_message1()[:size])
    assert alive(server)
    assert "Traceback" not in server.log


def _message1() -> bytes:
    from rport.handshake import Initiator

    return encode_message(Initiator(["chacha20poly1305"]).message1(), masked=True)


def test_every_flipped_byte_of_a_record_ends_only_its_session(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    with contextlib.closing(login(server.port)) as good:
        probe = connect(server.port)
        size = len(probe.record(frame(0, PING, bytes(8))))
        probe.close()
        for position in range(2, size):
            if 2 <= position < 6:  # the masking key: other octets, the same damage
                continue
            peer = connect(server.port)
            with contextlib.closing(peer):
                record = bytearray(peer.record(frame(0, PING, bytes(8))))
                record[position] ^= 1
                peer.sock.sendall(record)
                assert not [got for got in peer.drain() if got[1] == PONG]
        good.send(frame(0, PING, struct.pack(">Q", 1)))
        assert good.wait_for(PONG)[2] == struct.pack(">Q", 1)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("order", ["replayed", "skipped"])
def test_records_out_of_order_end_the_session(order: str, keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    with contextlib.closing(login(server.port)) as peer:
        first, second = peer.record(frame(0, PING, bytes(8))), peer.record(frame(0, PING, bytes(8)))
        peer.sock.sendall(first + first if order == "replayed" else second)
        assert len([got for got in peer.drain() if got[1] == PONG]) <= 1
    server.wait_for("failed authentication")
    assert alive(server)


HELLO = {"type": "hello", "version": "x", "identity": "0", "remotes": []}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "declare", "ref": 0, "remote": {}},
        {"type": "hello"},
        {**HELLO, "identity": 5},
        {**HELLO, "remotes": [1]},
        {**HELLO, "remotes": [{"lhost": "0.0.0.0", "lport": 99999, "rhost": "x", "rport": 1}]},
        {**HELLO, "version": "x" * 5000},
        {**HELLO, "id": "a b"},
        {**HELLO, "tags": ["x"] * 33},
        {**HELLO, "name": "x" * 65},
        {**HELLO, "addresses": ["nowhere"]},
        {"type": "enroll", "version": "x", "code": "x"},
        [1, 2],
        {"no": "type"},
    ],
)
def test_bad_control_messages_end_the_session(message: object, keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    peer = connect(server.port)
    with contextlib.closing(peer):
        peer.send(frame(0, CONTROL, msgpack.packb(message)))
        assert not [got for got in peer.drain() if got[1] == CONTROL]
    assert server.sessions() == []
    assert "Traceback" not in server.log


def test_nothing_but_hello_before_hello(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    peer = connect(server.port)
    with contextlib.closing(peer):
        peer.sock.sendall(b"\x82\xff" + struct.pack(">Q", 200_000) + bytes(4))  # a big record is not waited for
        peer.drain()
    with contextlib.closing(connect(server.port)) as opener:
        opener.send(frame(1, OPEN, struct.pack(">II", 1, 262144)))
        assert opener.drain() == []
    server.wait_for("outside the limits")
    server.wait_for("OPEN before the hello")


def test_tunnels_leave_descriptors_for_others(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, wrap=descriptors(200)))
    remote = {"lhost": "127.0.0.1", "lport": 0, "rhost": "127.0.0.1", "rport": 1}
    with contextlib.closing(login(server.port, *[remote] * 200)) as peer:
        answers = [msgpack.unpackb(peer.wait_for(CONTROL)[2]) for _ in range(200)]
        assert any("lport" in answer for answer in answers)
        assert "no more room" in answers[-1]["error"]
        assert alive(server)
        assert len(server.sessions()) >= 1


def test_a_failed_login_is_one_short_line(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, "--auth", "me:secret"))
    with contextlib.closing(connect(server.port)) as peer:
        peer.control(**HELLO, user="\0" * 4096)
        peer.drain()
    assert len(server.wait_for("[^\n]*login failed[^\n]*").group(0)) < 500


def test_visitors_of_a_peer_that_never_answers_wait_bounded(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    remote = {"lhost": "127.0.0.1", "lport": 0, "rhost": "127.0.0.1", "rport": 1}
    with contextlib.closing(login(server.port, remote)) as peer, contextlib.ExitStack() as stack:
        port = next(
            int(str(answer["lport"]))
            for answer in iter(lambda: msgpack.unpackb(peer.wait_for(CONTROL)[2]), None)
            if answer["type"] == "tunnel"
        )
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        opened = [peer.wait_for(OPEN)[0] for _ in range(200)]
        assert len(set(opened)) == 200
        assert alive(server)


def test_one_that_comes_and_goes_all_the_time_loses_nobody_s_events(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    remote = {"lhost": "127.0.0.1", "lport": 0, "rhost": "127.0.0.1", "rport": 1}
    answers = []
    for _ in range(SESSIONS_BURST + 10):
        with contextlib.closing(connect(server.port)) as peer:
            peer.control(**HELLO | {"remotes": [remote] * 200, "id": "restless"})
            answers.append(msgpack.unpackb(peer.wait_for(CONTROL)[2]))
    kinds = [answer["type"] for answer in answers]
    assert kinds.count("welcome") in range(SESSIONS_BURST, SESSIONS_BURST + 10)
    assert (kinds[-1], answers[-1]["code"]) == ("refuse", "busy")
    assert alive(server)


def test_damage_on_the_way_is_noticed_and_mended_by_reconnecting(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    relay = keep(Relay(server.port, corrupt_at=1_000_000))
    client = keep(Client(relay.port, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    with socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=15) as sock:
        data, got = os.urandom(30_000_000), bytearray()  # more than is under way: there is sending until the reset
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(sock.sendall, data)
            ends = [_end_of(lambda: _receive_into(got, sock)), type(sending.exception())]
    assert ConnectionResetError in ends, "of a reset the kernel tells once, whoever asks first: reader or sender"
    assert data.startswith(bytes(got))
    client.wait_for("Connected", 2)


def _receive_into(got: bytearray, sock: socket.socket) -> None:
    while part := sock.recv(65536):
        got += part


def _end_of(call: Callable[[], None]) -> type[BaseException]:
    try:
        call()
    except OSError as error:
        return type(error)
    return type(None)


def test_cut_link_resets_visitors_and_comes_back_on_the_same_port(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    relay = keep(Relay(server.port))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = keep(Client(relay.port, f"127.0.0.1:{port}:127.0.0.1:{target.port}", state=tmp_path))
    client.tunnel_port()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        relay.cut()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert client.tunnel_port(2) == port
    assert exchange(port) == b"ping"


def returning_client_takes_its_port_over(keep: Keep, state: Path) -> None:
    """The server still believes in the old session; its own client may have the port at once."""
    target = keep(Target(echo))
    server = keep(Server(state))
    relay = keep(Relay(server.port))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    remote = f"127.0.0.1:{port}:127.0.0.1:{target.port}"
    client = keep(Client(relay.port, "--keepalive", "1s", remote, state=state))
    client.tunnel_port()
    relay.freeze()
    client.wait_for("went silent", deadline=20)
    relay.thaw()
    client.wait_for("Connected", 2)
    client.tunnel_port(2)
    assert exchange(port) == b"ping"


def test_over_a_long_path(keep: Keep, tmp_path: Path) -> None:
    """A tenth of a second there and back: early data, both windows and the keepalive have to live with it."""
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    relay = keep(Relay(server.port, delay=0.05))
    client = keep(Client(relay.port, "--keepalive", "1s", f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    port = client.tunnel_port()
    data = os.urandom(3 << 20)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, ThreadPoolExecutor(1) as pool:
        pool.submit(sock.sendall, data).add_done_callback(lambda _: sock.shutdown(socket.SHUT_WR))
        assert read_all(sock) == data
    assert exchange(port) == b"ping"
    assert "Disconnected" not in client.log


class HostileServer:
    """Does the handshake, then hands over to `script`."""

    def __init__(self, script: Callable[[WirePeer], None]) -> None:
        self._target = Target(self._serve)
        self._script = script
        self.port = self._target.port

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        assert accept_key(key.decode())
        sock.sendall(upgrade_response(key.decode()))
        responder, reader = Responder(bytes(range(32)), ["chacha20poly1305"]), MessageReader(MESSAGE_MAX, masked=True)
        while (message := reader.next()) is None:
            reader.feed(sock.recv(4096))
        responder.read_message1(message)
        sock.sendall(encode_message(responder.message2(), masked=False))
        with contextlib.suppress(EOFError, OSError, ProtocolError):
            self._script(WirePeer(sock, responder.result, client=False, rest=reader.rest))

    def close(self) -> None:
        self._target.close()


def test_client_dials_nothing_that_it_did_not_declare(keep: Keep, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []

    def script(peer: WirePeer) -> None:
        peer.wait_for(CONTROL)
        peer.control(type="welcome", version="x", session="0" * 64)
        remote = {"lhost": "0.0.0.0", "lport": 1, "rhost": "192.0.2.1", "rport": 80}
        peer.control(type="offer", id=9, remote=remote)
        answers.append(msgpack.unpackb(peer.wait_for(CONTROL)[2]))
        peer.send(frame(2, OPEN, struct.pack(">II", 9, 262144)))
        answers.append({"refused": peer.wait_for(REFUSE)[2]})
        peer.drain()

    server = keep(HostileServer(script))
    client = keep(Client(server.port, state=tmp_path))
    until(lambda: len(answers) == 2, "both answers")
    assert "--allow" in answers[0]["error"]
    assert answers[1]["refused"][0] == 2
    client.wait_for("refused")


def test_a_server_does_not_fill_the_log(keep: Keep, tmp_path: Path) -> None:
    """Tunnels that come and go without an end, declared ones and others."""

    def script(peer: WirePeer) -> None:
        peer.wait_for(CONTROL)
        peer.control(type="welcome", version="x", session="0" * 64)
        remote = {"lhost": "0.0.0.0", "lport": 1, "rhost": "127.0.0.1", "rport": 80}
        for number in range(1, 1001):
            peer.control(type="tunnel", ref=0, id=number, lport=number)
            peer.control(type="offer", id=5000 + number, remote=remote)
            peer.control(type="withdraw", id=5000 + number, error=f"reason {number}")
        peer.send(frame(0, CLOSE, b"\x03enough"))
        peer.drain()

    client = keep(Client(keep(HostileServer(script)).port, "3000", state=tmp_path))
    client.wait_for("Disconnected: enough")
    assert client.log.count("Tunnel ") + client.log.count("closed its tunnel") < 500


@pytest.mark.parametrize(
    "bad",
    [
        frame(0, CONTROL, msgpack.packb({"type": "tunnel", "ref": 77, "id": 1, "lport": 1})),
        frame(0, CONTROL, msgpack.packb({"type": "offer", "id": 0})),
        frame(0, CONTROL, b"\xc1"),
        frame(4, DATA, b"never opened"),
        frame(0, CLOSE),
    ],
)
def test_client_survives_a_server_that_breaks_rules(bad: bytes, keep: Keep, tmp_path: Path) -> None:
    def script(peer: WirePeer) -> None:
        peer.wait_for(CONTROL)
        peer.control(type="welcome", version="x", session="0" * 64)
        peer.send(bad)
        peer.drain()

    client = keep(Client(keep(HostileServer(script)).port, "3000", state=tmp_path))
    client.wait_for("Disconnected: ")
    client.wait_for("Connected", 2)
    assert "Traceback" not in client.log


def test_a_server_that_throws_everybody_out_is_asked_less_and_less(keep: Keep, tmp_path: Path) -> None:
    def script(peer: WirePeer) -> None:
        peer.wait_for(CONTROL)
        peer.control(type="welcome", version="x", session="0" * 64)
        peer.send(frame(0, CLOSE, b"\0"))
        peer.drain()

    client = keep(Client(keep(HostileServer(script)).port, state=tmp_path))
    client.wait_for("Retrying in", 5)
    waits = [float(number) * (0.001 if unit == "ms" else 1) for number, unit in RETRY.findall(client.log)]
    assert waits[4] > 10 * waits[0], "it doubles: sixteenfold, less the jitter"


SCENARIOS = (returning_client_takes_its_port_over,)


def test_after_a_long_wait(scenario: Future[None]) -> None:
    scenario.result()
