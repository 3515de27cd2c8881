"""The front door with a backend behind it, on both event loops; the backend's octets are written by hand."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rport.server.door import relay, upstream
from rport.server.door.backend import Backend, parse_backend
from rport.server.door.gate import Gate
from rport.server.door.relay import Relays
from rport.server.door.rules import Rules
from tests.support.door import Door, open_door, read_head
from tests.support.loops import LOOPS
from tests.support.programs import Deaf, Target, read_all, until

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
Serve = Callable[[socket.socket], None]


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"api"})


@dataclass
class House:
    """A front door and what can be changed behind it."""

    door: Door
    rules: Rules
    relays: Relays


@pytest.fixture(params=LOOPS, scope="module")
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    rules, relays = Rules(), Relays()
    with open_door(app, request.param, rules=rules, relays=relays) as door:
        yield House(door, rules, relays)


@contextlib.contextmanager
def front(house: House, serve: Serve) -> Iterator[tuple[Door, Target]]:
    target = Target(serve)
    try:
        with facing(house, Backend(False, "127.0.0.1", target.port)) as door:
            yield door, target
    finally:
        target.close()


@contextlib.contextmanager
def facing(house: House, backend: Backend) -> Iterator[Door]:
    house.rules.backend = backend
    yield house.door
    house.rules.backend = None
    until(lambda: house.relays.gate.inside == 0, "nothing is under way")
    until(lambda: house.door.gate.inside == 0, "nobody is at the gate")


def exchange(door: Door, data: bytes) -> bytes:
    """All that comes back until the door closes."""
    with door.connect() as sock:
        sock.sendall(data)
        return read_all(sock)


def always(answer: bytes) -> Serve:
    """Answers each request, which has no body."""

    def serve(sock: socket.socket) -> None:
        while read_request(sock):
            sock.sendall(answer)

    return serve


def once(answer: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)

    return serve


def read_request(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = sock.recv(1)
        if not octet:
            return b""
        head += octet
    return head


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part, "ended early"
        data += part
    return data


# --- who gets what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [b"/", b"/x", b"/apiary", b"/api2/", b"/x/../api/v1", b"//api", b"/API/", b"http://h/x"]
)
def test_other_paths_are_the_backends(house: House, path: bytes) -> None:
    with front(house, always(OK)) as (door, _):
        assert exchange(door, LAST.replace(b"/x", path)).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("path", [b"/api", b"/api/", b"/api/v1/status", b"/api?x", b"/%61pi/v1", b"http://h/api/v1"])
def test_the_api_keeps_its_own(house: House, path: bytes) -> None:
    with front(house, always(OK)) as (door, target):
        assert exchange(door, LAST.replace(b"/x", path)).endswith(b"\r\n\r\napi")
        assert target.accepted == 0


def test_requests_of_both_kinds_keep_their_order(house: House) -> None:
    with front(house, always(OK)) as (door, _):
        got = exchange(door, GET + GET.replace(b"/x", b"/api") + GET + LAST)
        assert [part[-3:] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"\nok", b"api", b"\nok", b"\nok"]


def test_the_tunnel_keeps_its_own(house: House) -> None:
    with front(house, always(OK)) as (door, target), door.connect() as sock:
        sock.sendall(UPGRADE.replace(b"Key: x\r\n", b"Key: x\r\nSec-WebSocket-Protocol: rport-v1\r\n"))
        assert b"original program's" in read_all(sock)
        assert target.accepted == 0


def test_without_a_backend_nothing_changes(house: House) -> None:
    assert exchange(house.door, LAST).endswith(b"api")


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (CHUNKED + b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: x\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"d\r\nuntil the end\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 None\r\n\r\n", b""),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", b""),
    ],
)  # fmt: skip
def test_bodies_come_whole(house: House, answer: bytes, got: bytes) -> None:
    with front(house, once(answer)) as (door, _):
        body = exchange(door, LAST).partition(b"\r\n\r\n")[2]
        assert body.replace(b"2\r\nab\r\n1\r\nc\r\n", b"3\r\nabc\r\n") == got


def test_an_old_client_gets_no_chunks(house: House) -> None:
    with front(house, once(CHUNKED + b"2\r\nok\r\n0\r\n\r\n")) as (door, _):
        got = exchange(door, b"GET /x HTTP/1.0\r\n\r\n")
        assert got.endswith(b"\r\n\r\nok")
        assert b"chunked" not in got


def test_head_has_no_body(house: House) -> None:
    with front(house, always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as (door, target):
        got = exchange(door, GET.replace(b"GET", b"HEAD") + LAST.replace(b"GET", b"HEAD"))
        assert got.count(b"content-length: 5\r\n") == 2
        assert got.count(b"HTTP/1.1 200 OK") == 2
        assert target.accepted == 1


def test_interim_answers_pass(house: House) -> None:
    with front(house, once(b"HTTP/1.1 103 Early\r\nLink: </y>\r\n\r\n" * 2 + OK)) as (door, _):
        got = exchange(door, LAST)
        assert got.count(b"HTTP/1.1 103 Early\r\nlink: </y>\r\n\r\n") == 2
        assert got.endswith(b"ok")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * upstream.HEAD_MAX * 2 + b"\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n" * (relay.INTERIM_MAX + 1) + OK,
        SWITCH,
    ],
)
def test_a_backend_that_speaks_no_http(house: House, answer: bytes) -> None:
    with front(house, once(answer)) as (door, _):
        got = exchange(door, LAST)
        assert b"HTTP/1.1 502 Bad Gateway\r\n" in got
        assert got.endswith(relay.UNREACHABLE.encode() + b"\n")


def test_a_backend_that_is_not_there(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with facing(house, Backend(False, "127.0.0.1", port)) as door:
        assert exchange(door, GET).startswith(b"HTTP/1.1 502 ")
    with facing(house, parse_backend("http://nowhere.invalid")) as door:
        assert exchange(door, GET).startswith(b"HTTP/1.1 502 ")


def test_a_backend_that_hangs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr(upstream, "CONNECT_TIMEOUT", 0.2)
    with front(house, lambda sock: read_all(sock) and None) as (door, _):
        assert exchange(door, GET).startswith(b"HTTP/1.1 504 ")
    deaf = Deaf()
    try:
        with facing(house, Backend(False, "127.0.0.1", deaf.port)) as door:
            assert exchange(door, GET).startswith(b"HTTP/1.1 504 ")
    finally:
        deaf.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        CHUNKED + b"5\r\nabc",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"x\r\n",
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_an_answer_that_breaks_off_has_no_end(house: House, answer: bytes, version: bytes) -> None:
    with front(house, once(answer)) as (door, _), pytest.raises(ConnectionResetError):
        exchange(door, LAST.replace(b"1.1", version))


def test_a_silent_answer_ends_at_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BODY_TIMEOUT", 0.2)

    def serve(sock: socket.socket) -> None:
        once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")(sock)
        read_all(sock)

    with front(house, serve) as (door, _), pytest.raises(ConnectionResetError):
        exchange(door, LAST)


# --- bodies on their way there ---------------------------------------------------------------------------------------


def taking(bodies: list[bytes]) -> Serve:
    """Reads one request with all that follows, and answers at its end."""

    def serve(sock: socket.socket) -> None:
        head = read_request(sock)
        body = b""
        fields = head.lower()
        if b"transfer-encoding: chunked" in fields:
            while not body.endswith(b"0\r\n\r\n"):
                body += sock.recv(65536)
        else:
            length = int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += sock.recv(65536)
        bodies.append(body)
        sock.sendall(OK)

    return serve


def test_bodies_go_whole(house: House) -> None:
    bodies: list[bytes] = []
    with front(house, taking(bodies)) as (door, _):
        post = LAST.replace(b"GET", b"POST")
        exchange(door, post.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"))
        exchange(
            door,
            post.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nHost: y\r\n\r\n"),
        )
    assert bodies == [b"hello", b"5\r\nhello\r\n0\r\n\r\n"]


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length: -5",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"Host: other",
        b"Connection: upgrade\r\nUpgrade: foo\r\nContent-Length: 5",
    ],
)
def test_what_could_smuggle_a_request_does_not_pass(house: House, fields: bytes) -> None:
    data = LAST.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n\r\n") + b"0\r\n\r\n" + GET
    with front(house, always(OK)) as (door, target):
        got = exchange(door, data)
        assert got.startswith(b"HTTP/1.1 400 ")
        assert target.accepted == 0


def test_a_client_that_waits_for_a_100_gets_the_backends(house: House) -> None:
    def serve(sock: socket.socket) -> None:
        assert b"expect: 100-continue" in read_request(sock)
        sock.sendall(b"HTTP/1.1 100 Go on\r\n\r\n")
        assert sock.recv(5) == b"hello"
        sock.sendall(OK)

    with front(house, serve) as (door, _), door.connect() as sock:
        sock.sendall(
            LAST.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        )
        assert read_head(sock) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert read_all(sock).endswith(b"ok")


def test_a_client_that_waits_for_a_100_may_be_refused(house: House) -> None:
    with front(house, once(b"HTTP/1.1 413 Too much\r\nContent-Length: 0\r\n\r\n")) as (door, _):
        got = exchange(door, GET.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
        assert got.startswith(b"HTTP/1.1 413 Too much\r\n")
        assert b"connection: close\r\n" in got


def test_a_backend_that_knows_no_100(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CONTINUE_TIMEOUT", 0.05)
    bodies: list[bytes] = []
    with front(house, taking(bodies)) as (door, _), door.connect() as sock:
        sock.sendall(LAST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
        assert read_head(sock) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert read_all(sock).endswith(b"ok")
    assert bodies == [b"hello"]


def test_no_100_within_an_answer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CONTINUE_TIMEOUT", 0.05)

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(OK[:-1])
        until(lambda: all(each._receiving for each in house.relays._tasks.values()), "the body is waited for")
        sock.sendall(OK[-1:])

    with front(house, serve) as (door, _):
        got = exchange(door, LAST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
        assert got.startswith(b"HTTP/1.1 200 ")
        assert got.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"0\r\nX", b"2\r\nok\r\n5;x="])
def test_trailers_without_an_end(house: House, start: bytes) -> None:
    """The parser keeps a field until it is whole, and copies it for each piece of it."""
    with front(house, lambda sock: read_all(sock) and None) as (door, _), door.connect() as sock:
        sock.sendall(GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + start)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                sock.sendall(b"x" * 65536)
            pytest.fail("64 MiB of it were taken")


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"0\r\nX", b"2\r\nok\r\n5;x="])
def test_a_backends_trailers_without_an_end(house: House, start: bytes) -> None:
    cut = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(CHUNKED + start)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                sock.sendall(b"x" * 65536)
            return
        cut.set()

    with front(house, serve) as (door, _), pytest.raises(ConnectionError):
        exchange(door, GET)
    assert cut.wait(20)


def test_a_body_that_does_not_come(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HEAD_TIMEOUT", 0.2)
    with front(house, lambda sock: read_all(sock) and None) as (door, _):
        got = exchange(door, GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhe"))
        assert got.startswith(b"HTTP/1.1 408 ")


def test_an_answer_reaches_a_client_that_still_sends(house: House) -> None:
    with (
        front(house, once(b"HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")) as (door, _),
        door.connect() as sock,
    ):
        sock.sendall(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 100000000\r\n\r\n"))
        assert read_head(sock).startswith(b"HTTP/1.1 413 ")
        sock.sendall(bytes(1000000))
        assert read_all(sock) == b"no"


def test_tiny_chunks_are_put_together(house: House) -> None:
    """Else each would have its own turn, and all of them would hold up everybody."""
    with front(house, once(CHUNKED + b"1\r\na\r\n" * 10000 + b"0\r\n\r\n")) as (door, _):
        body = exchange(door, LAST).partition(b"\r\n\r\n")[2]
        assert body.count(b"a") == 10000
        assert body.count(b"\r\n") < 100


@pytest.mark.parametrize("between", [b"", GET])
def test_a_broken_body_behind_a_running_answer_is_not_answered_within_it(
    house: House, between: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rport")
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(OK[:-1])
        assert go_on.wait(20)
        sock.sendall(OK[-1:])
        always(OK)(sock)

    with front(house, serve) as (door, _), door.connect() as sock:
        sock.sendall(GET)
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        sock.sendall(between + GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"zz\r\n")
        until(lambda: "refused" in caplog.text, "it is refused")
        go_on.set()
        answer = read_all(sock)
        assert answer.startswith(b"ok")
        assert answer.count(b"HTTP/1.1 200 ") == (1 if between else 0)
        assert b" 400 " not in answer


def test_an_answer_may_come_before_the_body(house: House) -> None:
    with front(house, once(OK)) as (door, _):
        assert exchange(door, GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhe")).endswith(b"ok")


def test_a_client_that_goes_takes_its_request_along(house: House) -> None:
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        with contextlib.suppress(ConnectionError):
            read_all(sock)
        ended.set()

    with front(house, serve) as (door, target):
        with door.connect() as sock:
            sock.sendall(GET)
            until(lambda: target.accepted, "the backend is asked")
        assert ended.wait(10)


# --- connections that are kept ---------------------------------------------------------------------------------------


def test_a_connection_is_used_again(house: House) -> None:
    with front(house, always(OK)) as (door, target):
        for _ in range(3):
            assert exchange(door, LAST).endswith(b"ok")
        assert target.accepted == 1


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_dead_connection_costs_no_request(house: House, method: bytes) -> None:
    ends: list[socket.socket] = []

    def serve(sock: socket.socket) -> None:
        ends.append(sock)
        once(OK)(sock)  # and closes, which nobody announced
        if len(ends) == 1:
            read_request(sock)

    with front(house, serve) as (door, target):
        for _ in range(3):
            assert exchange(door, LAST.replace(b"GET", method)).endswith(b"ok")
        assert target.accepted == 3 if method == b"POST" else target.accepted >= 2


def test_what_nobody_asked_for_is_not_the_next_ones_answer(house: House) -> None:
    with front(house, always(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as (door, _):
        for _ in range(3):
            assert exchange(door, LAST).endswith(b"ok")


def test_idle_connections_are_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "IDLE_TIME", 0.05)
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            always(OK)(sock)
        ended.set()

    with front(house, serve) as (door, _):
        exchange(door, LAST)
        assert ended.wait(10)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_requests_at_once_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.relays, "gate", Gate(512, 2))
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        go_on.wait(10)
        sock.sendall(OK)

    with front(house, serve) as (door, target), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(door.connect()) for _ in range(2)]
        for sock in socks:
            sock.sendall(LAST)
        until(lambda: target.accepted == 2, "two are under way")
        assert exchange(door, GET).startswith(b"HTTP/1.1 503 ")
        go_on.set()
        assert all(read_all(sock).endswith(b"ok") for sock in socks)


# --- upgrades --------------------------------------------------------------------------------------------------------


def echo_after_switch(sock: socket.socket) -> None:
    head = read_request(sock).lower()
    assert b"upgrade: websocket\r\n" in head
    assert b"connection: upgrade\r\n" in head
    sock.sendall(SWITCH + b"first")
    while data := sock.recv(65536):
        sock.sendall(data)


def test_a_websocket_is_joined_to_the_backends(house: House) -> None:
    with front(house, echo_after_switch) as (door, _), door.connect() as sock:
        sock.sendall(UPGRADE + b"early")
        assert read_head(sock).startswith(b"HTTP/1.1 101 Switching\r\n")
        assert receive(sock, 10) == b"firstearly"
        data = bytes(range(256)) * 8192
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert receive(sock, len(data)) == data
        sender.join()
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_a_backend_may_refuse_to_upgrade(house: House) -> None:
    with front(house, once(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!")) as (door, _):
        got = exchange(door, UPGRADE)
        assert got.startswith(b"HTTP/1.1 403 No\r\n")
        assert got.endswith(b"\r\n\r\nno!")


def test_a_backend_may_end_at_once(house: House) -> None:
    with front(house, once(SWITCH + b"bye")) as (door, _), door.connect() as sock:
        sock.sendall(UPGRADE)
        read_head(sock)
        assert read_all(sock) == b"bye"


def test_no_upgrade_before_other_answers(house: House) -> None:
    with front(house, always(OK)) as (door, _):
        got = exchange(door, GET + UPGRADE)
        assert got.count(b"HTTP/1.1 ") == 1
        assert got.endswith(b"ok")
