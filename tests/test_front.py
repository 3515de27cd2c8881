"""The front door, met by real sockets on both event loops."""

import contextlib
import hashlib
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from rport.client.upgrade import UpgradeResponse, new_key, upgrade_request
from rport.server.door import front
from rport.server.door.front import PIPELINE_MAX, RportHttp
from rport.server.door.gate import Gate
from rport.server.door.rules import Rules
from rport.websocket import HEAD_MAX, HEADERS_MAX, SUBPROTOCOL
from tests.support.door import PATIENCE, Door, open_door, read_head
from tests.support.loops import LOOPS
from tests.support.programs import read_all

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PLAIN = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
UPGRADE = {
    "Host": "h",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": f"chat, {SUBPROTOCOL}",
}


def request(line: str = "GET /any HTTP/1.1", **changes: str | None) -> bytes:
    """An upgrade request; a change to None takes the header out, underscores stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    fields = {name: value for name, value in {**UPGRADE, **named}.items() if value is not None}
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path, without reading the body."""
    body = scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=LOOPS, scope="module")
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def door(loop: str) -> Iterator[Door]:
    with open_door(app, loop) as door:
        yield door
    assert door.gate.inside == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    return sock.recv(size, socket.MSG_WAITALL) if size else b""


def refused(door: Door, data: bytes) -> bytes:
    """What the door answers to `data` before it closes; no tunnel came of it."""
    with door.connect() as sock:
        sock.sendall(data)
        answer = read_all(sock)
    assert door.arrivals.empty()
    until(lambda: door.gate.inside == 0)
    return answer


def test_uvicorn_still_has_the_hooks_that_are_overridden() -> None:
    ours = {name for name, value in vars(RportHttp).items() if callable(value)}
    hooks = {
        "connection_made", "connection_lost", "data_received", "on_message_begin", "on_url", "on_header",
        "on_headers_complete", "on_message_complete", "on_response_complete", "_should_upgrade", "_start_asgi_task",
    }  # fmt: skip
    assert hooks <= ours
    assert hooks <= set(vars(HttpToolsProtocol))
    assert hasattr(HttpToolsProtocol, "_unset_keepalive_if_required")
    cycle = set(RequestResponseCycle.__init__.__code__.co_names)
    assert cycle >= {
        "scope", "transport", "flow", "message_event", "on_response", "disconnected", "keep_alive", "more_body",
        "response_started", "response_complete", "waiting_for_100_continue",
    }  # fmt: skip


def test_requests_that_wait_on_one_connection_are_bounded(door: Door) -> None:
    assert refused(door, PLAIN * PIPELINE_MAX + LAST).count(b" 200 OK") == 1 + PIPELINE_MAX
    assert refused(door, PLAIN * 1000).count(b" 200 OK") == 1 + PIPELINE_MAX


def test_an_answer_reaches_a_client_that_still_sends(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        sock.sendall(bytes(1000000))
        assert read_all(sock) == b"/x"


# --- taken over ------------------------------------------------------------------------------------------------------


def test_an_upgrade_is_answered_as_the_rfc_says(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(request())
        head = read_head(sock)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n" in head
        assert b"\r\nSec-WebSocket-Protocol: rport-v2\r\n" in head
        arrival = door.arrival()
        assert arrival.peer == sock.getsockname()
        assert arrival.early == b""
        arrival.leave()
        arrival.channel.sock.close()
        assert sock.recv(1) == b""


def test_the_clients_own_request_is_understood(door: Door) -> None:
    key = new_key()
    with door.connect() as sock:
        sock.sendall(upgrade_request("h:80", "/a?b=c", key, [("X-More", "1")]))
        assert UpgradeResponse(key).feed(read_head(sock))
        arrival = door.arrival()
        arrival.leave()
        arrival.channel.sock.close()


def test_early_bytes_are_kept(door: Door) -> None:
    early = os.urandom(5000) + b"\r\n\r\n" + PLAIN
    with door.connect() as sock:
        sock.sendall(request() + early)
        arrival = door.arrival()
        assert arrival.early + receive(arrival.channel.sock, len(early) - len(arrival.early)) == early
        arrival.leave()
        arrival.channel.sock.close()


@pytest.mark.parametrize("tail", [b"", b"EARLY"])
def test_a_head_may_come_in_any_two_parts(loop: str, tail: bytes) -> None:
    whole = b"\r\n" + request()
    with open_door(app, loop, Gate(1000, 1000)) as door:
        for cut in range(1, len(whole)):
            with door.connect() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(whole[:cut])
                sock.sendall(whole[cut:] + tail)
                assert read_head(sock).startswith(b"HTTP/1.1 101 ")
                arrival = door.arrival()
                assert arrival.early + receive(arrival.channel.sock, len(tail) - len(arrival.early)) == tail
                arrival.leave()
                arrival.channel.sock.close()
        assert door.gate.inside == 0


def test_a_head_may_come_byte_by_byte(door: Door) -> None:
    with door.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request():
            sock.sendall(bytes([byte]))
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        arrival = door.arrival()
        arrival.leave()
        arrival.channel.sock.close()


def test_what_comes_behind_the_answer_goes_to_the_link_alone(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(request())
        read_head(sock)
        arrival = door.arrival()
        for data in (PLAIN, b"\x00\xff" * 100):
            sock.sendall(data)
            assert receive(arrival.channel.sock, len(data)) == data
        arrival.channel.sock.sendall(b"back")
        assert receive(sock, 4) == b"back"
        sock.shutdown(socket.SHUT_WR)
        assert arrival.channel.sock.recv(1) == b""
        arrival.channel.sock.sendall(b"half")
        assert receive(sock, 4) == b"half"
        arrival.leave()
        arrival.channel.sock.close()


def test_eight_mebibytes_are_echoed_unharmed(door: Door) -> None:
    data = os.urandom(1 << 23)
    with door.connect() as sock:
        sock.sendall(request() + data[:100])
        read_head(sock)
        arrival = door.arrival()
        threads = [
            threading.Thread(target=sock.sendall, args=(data[100:],)),
            threading.Thread(target=echo, args=(arrival,)),
        ]
        for thread in threads:
            thread.start()
        digest, left = hashlib.sha256(), len(data)
        while left:
            part = sock.recv(min(left, 65536))
            assert part
            digest.update(part)
            left -= len(part)
        sock.shutdown(socket.SHUT_WR)
        for thread in threads:
            thread.join()
    assert digest.digest() == hashlib.sha256(data).digest()


def echo(arrival: Any) -> None:
    arrival.leave()
    arrival.channel.sock.sendall(arrival.early)
    while data := arrival.channel.sock.recv(65536):
        arrival.channel.sock.sendall(data)
    arrival.channel.sock.close()


def test_a_tunnel_may_follow_an_answered_request(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(PLAIN)
        read_head(sock)
        assert receive(sock, 2) == b"/x"
        sock.sendall(request())
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        arrival = door.arrival()
        sock.sendall(b"on")
        assert receive(arrival.channel.sock, 2) == b"on"
        arrival.leave()
        arrival.channel.sock.close()


def test_a_tunnel_outlives_the_server(loop: str) -> None:
    with open_door(app, loop) as door:
        sock = door.connect()
        sock.sendall(request())
        read_head(sock)
        arrival = door.arrival()
    with sock, arrival.channel.sock:
        arrival.channel.sock.sendall(b"x")
        assert sock.recv(1) == b"x"


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (request(Sec_WebSocket_Protocol="rport-v1"), 400, b"is the original program's; rport-v2 is spoken here"),
        (request(Sec_WebSocket_Protocol="chat"), 400, b"rport-v2"),
        (request(Sec_WebSocket_Protocol="xrport-v2"), 400, b"rport-v2"),
        (request(Sec_WebSocket_Protocol=None), 400, b"rport-v2"),
        (request(Sec_WebSocket_Version="8"), 426, b"Sec-WebSocket-Version: 13\r\n"),
        (request(Sec_WebSocket_Version=None), 426, b"Sec-WebSocket-Version: 13\r\n"),
        (request(Sec_WebSocket_Key=None), 400, b"Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Key="short"), 400, b"Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Key="*" * 24), 400, b"Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Key=f"{KEY}, {KEY}"), 400, b"Sec-WebSocket-Key"),
        (request(Content_Length="4") + b"body", 400, b"no body"),
        (request(Transfer_Encoding="chunked") + b"0\r\n\r\n", 400, b"no body"),
        (request("POST /any HTTP/1.1"), 400, b"GET"),
        (request("GET /any HTTP/1.0"), 400, b"HTTP/1.1"),
        (request(Connection="keep-alive"), 400, b"Connection: Upgrade"),
        (request(Upgrade=None), 400, b"Upgrade: websocket"),
        (request(Upgrade="h2c"), 400, b"Upgrade: websocket"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400, b"not HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400, b"not HTTP"),
        (random.Random(1).randbytes(10_000), 400, b"not HTTP"),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400, b"not HTTP"),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, b"not HTTP"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_wrong(door: Door, data: bytes, status: int, text: bytes) -> None:
    answer = refused(door, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"Content-Length: ") == 1
    assert text in answer


def test_a_body_of_no_length_is_none(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(request(Content_Length="0"))
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        arrival = door.arrival()
        arrival.leave()
        arrival.channel.sock.close()


def test_an_upgrade_behind_a_pending_request_is_dropped(door: Door) -> None:
    answer = refused(door, PLAIN + request() + b"early")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n/x")


def test_several_pending_requests_get_their_answers(door: Door) -> None:
    answer = refused(door, PLAIN + PLAIN.replace(b"/x", b"/y") + request())
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b"/y")


def test_a_pipelined_body_may_come_late(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(PLAIN + b"PUT /y HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nz")
        read_head(sock)
        assert receive(sock, 2) == b"/x"
        assert read_all(sock).endswith(b"/y")


def test_another_upgrade_is_passed_over(door: Door) -> None:
    answer = refused(door, PLAIN[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + PLAIN)
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert b"\r\nconnection: close\r\n" in answer


# --- limits ----------------------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A request whose head the server counts as `size` bytes or, without the first line's fixed part, a few less."""
    start = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_head_may_be_as_long_as_the_limit(door: Door, pieces: int) -> None:
    assert send_in(door, padded(HEAD_MAX), pieces).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("data", [padded(HEAD_MAX + 100), padded(1 << 19), b"GET /" + b"a" * (HEAD_MAX + 100)])
def test_a_longer_head_is_refused(door: Door, data: bytes, pieces: int) -> None:
    assert send_in(door, data, pieces).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, b"\r\n" * 50_000])
def test_an_endless_head_is_refused(door: Door, data: bytes) -> None:
    assert send_in(door, data, 100).startswith(b"HTTP/1.1 431 ")


def send_in(door: Door, data: bytes, pieces: int) -> bytes:
    """The answer to what is sent in parts; the door may have closed before the last."""
    step = -(-len(data) // pieces)
    with door.connect() as sock:
        try:
            for start in range(0, len(data), step):
                sock.sendall(data[start : start + step])
            return read_all(sock)
        except ConnectionError:  # closed with bytes unread: a reset, which may overtake the answer
            return b"HTTP/1.1 431 (lost)"


def test_headers_are_counted(door: Door) -> None:
    fields = b"".join(b"X-%d: 1\r\n" % number for number in range(HEADERS_MAX - 2))
    head = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + fields
    assert refused(door, head + b"\r\n").startswith(b"HTTP/1.1 200 ")
    assert refused(door, head + b"One-More: 1\r\n\r\n").startswith(b"HTTP/1.1 431 ")


def test_a_second_head_is_counted_afresh(door: Door) -> None:
    first = padded(HEAD_MAX).replace(b"close", b"\tnone")
    answer = refused(door, first + padded(HEAD_MAX))
    assert answer.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("start", [b"", b"G", PLAIN[:-1], request()[:-1]])
def test_a_slow_head_is_cut(loop: str, start: bytes) -> None:
    with open_door(app, loop, timeout=0.05) as door:
        assert refused(door, start).startswith(b"HTTP/1.1 408 ")


def test_trickling_does_not_extend_the_time(loop: str) -> None:
    with open_door(app, loop, timeout=0.1) as door, door.connect() as sock:
        begun = time.monotonic()
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        sock.settimeout(0.01)
        while True:
            try:
                assert sock.recv(1) == b"H"
                break
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"a")
            except ConnectionError:  # a reset, for the last of what was sent, overtook the answer
                break
        assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize("drip", [b"G", b"\r\n"])
def test_a_slow_second_head_is_cut(loop: str, drip: bytes) -> None:
    with open_door(app, loop, timeout=0.5) as door, door.connect() as sock:
        sock.sendall(PLAIN)
        read_head(sock)
        receive(sock, 2)
        sock.sendall(drip)
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")


def test_where_there_are_many_none_stays_open(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "KEPT_MAX", 2)
    with open_door(app, loop) as door, contextlib.ExitStack() as kept:
        for _ in range(2):
            sock = kept.enter_context(door.connect())
            sock.sendall(PLAIN)
            assert b"connection: close" not in read_head(sock)
        with door.connect() as sock:
            sock.sendall(PLAIN)
            assert b"connection: close\r\n" in read_all(sock)


def test_an_answered_request_ends_its_unread_body(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"some")
        assert read_all(sock).endswith(b"/x")


def test_the_gate_refuses_and_opens_again(loop: str) -> None:
    gate = Gate(2, 2)
    with open_door(app, loop, gate) as door:
        with door.connect(), door.connect():
            until(lambda: gate.inside == 2)
            with door.connect() as third:
                answer = read_all(third)
                assert answer.startswith(b"HTTP/1.1 503 ")
            assert gate.inside == 2
        until(lambda: gate.inside == 0)
        with door.connect() as sock:
            sock.sendall(PLAIN)
            assert read_head(sock).startswith(b"HTTP/1.1 200 ")
            assert gate.inside == 0  # connected, but no longer unknown


SLOW = b"POST /api/v1/login HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{"


async def hearing(scope: Any, receive: Any, send: Any) -> None:
    """Wants the whole body."""
    while (await receive()).get("more_body"):
        pass
    await app(scope, receive, send)


@pytest.mark.parametrize("before", [b"", PLAIN])
def test_a_body_that_does_not_come_counts_at_the_gate_and_has_an_end(before: bytes, loop: str) -> None:
    gate = Gate(9, 1)
    with open_door(hearing, loop, gate) as door, door.connect() as slow:
        slow.sendall(before + SLOW)
        until(lambda: gate.inside == 1)
        with door.connect() as second:
            assert read_all(second).startswith(b"HTTP/1.1 503 ")
    with open_door(hearing, loop, gate, timeout=0.5) as door, door.connect() as slow:
        slow.sendall(before + SLOW)
        assert b"no whole request body within 0.5 s" in read_all(slow)
        until(lambda: gate.inside == 0)


BODY_TIME = 1.0  # seconds: we look at the gate in the middle of a body, at times late; less than a quiet connection has


def test_a_body_that_comes_leaves_the_gate(loop: str) -> None:
    gate = Gate(9, 1)
    with open_door(hearing, loop, gate, timeout=BODY_TIME) as door, door.connect() as sock:
        for _ in range(3):
            sock.sendall(SLOW)
            until(lambda: gate.inside == 1)
            sock.sendall(b"12345678")
            assert read_head(sock).startswith(b"HTTP/1.1 200 ")
            assert receive(sock, len("/api/v1/login")) == b"/api/v1/login"
            assert gate.inside == 0
        time.sleep(BODY_TIME * 1.1)  # longer than a body may take
        sock.sendall(SLOW + b"12345678")
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")


async def much(scope: Any, receive: Any, send: Any) -> None:
    """More than the system keeps."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"16777216")]})
    await send({"type": "http.response.body", "body": bytes(1 << 24)})


@pytest.mark.parametrize("requests", [1, PIPELINE_MAX])
def test_an_answer_that_nobody_reads_is_not_kept(
    requests: int, loop: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(front, "UNREAD_TIME", 0.3)
    caplog.set_level(logging.INFO)
    with open_door(much, loop) as door, door.connect() as sock:
        sock.sendall(PLAIN * requests)
        until(lambda: "it does not read its answer" in caplog.text)
        assert len(read_all(sock)) < 1 << 24
    assert "Exception" not in caplog.text


def test_an_answer_may_be_read_at_leisure(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "UNREAD_TIME", 1.5)
    with open_door(much, loop) as door, door.connect() as sock:
        sock.sendall(LAST)
        got = 0
        while part := receive(sock, 1 << 20):
            got += len(part)
            time.sleep(0.1)  # that time would not do for all of it
        assert got > 1 << 24


def test_a_link_counts_until_it_leaves(loop: str) -> None:
    gate = Gate(1, 1)
    with open_door(app, loop, gate) as door, door.connect() as sock:
        sock.sendall(request())
        read_head(sock)
        arrival = door.arrival()
        with door.connect() as second:
            assert read_all(second).startswith(b"HTTP/1.1 503 ")
        arrival.leave()
        arrival.leave()
        assert gate.inside == 0
        arrival.channel.sock.close()


def _answered(door: Door) -> socket.socket:
    """A connection whose first request has got its answer."""
    sock = door.connect()
    sock.sendall(PLAIN)
    read_head(sock)
    assert receive(sock, 2) == b"/x"
    return sock


def test_a_link_behind_an_answered_request_counts(loop: str) -> None:
    gate = Gate(1, 1)
    with open_door(app, loop, gate) as door, contextlib.ExitStack() as stack:
        first, second = [stack.enter_context(_answered(door)) for _ in range(2)]
        assert gate.inside == 0
        first.sendall(request())
        assert read_head(first).startswith(b"HTTP/1.1 101 ")
        assert gate.inside == 1
        second.sendall(request())
        assert read_all(second).startswith(b"HTTP/1.1 503 ")
        link = door.arrival()
        link.leave()
        assert gate.inside == 0
        link.channel.sock.close()


def test_a_client_that_goes_frees_its_place(loop: str) -> None:
    gate = Gate(1, 1)
    with open_door(app, loop, gate) as door:
        for _ in range(20):
            with door.connect() as sock:
                sock.sendall(PLAIN[:9])
                until(lambda: gate.inside == 1)
            until(lambda: gate.inside == 0)


def test_nothing_stays_open(door: Door) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    refused(door, b"\0")
    before = descriptors()
    for _ in range(50):
        refused(door, request(Sec_WebSocket_Protocol="chat"))
        with door.connect() as sock:
            sock.sendall(request())
            read_head(sock)
            arrival = door.arrival()
            arrival.leave()
            arrival.channel.sock.close()
    until(lambda: descriptors() <= before)


# --- behind proxies that are trusted ---------------------------------------------------------------------------------

TRUSTING = Rules(trusted=(ip_network("127.0.0.1"),))
LINE = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n"


@pytest.fixture(scope="module")
def trusting(loop: str) -> Iterator[Door]:
    with open_door(whose, loop, rules=TRUSTING) as door:
        yield door
    assert door.gate.inside == 0


async def whose(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the client as the application sees it."""
    await app({"path": repr(scope["client"])}, receive, send)


def peer_of(door: Door, data: bytes) -> tuple[str, int]:
    with door.connect() as sock:
        sock.sendall(data)
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        arrival = door.arrival()
        arrival.leave()
        arrival.channel.close()
        return arrival.peer


def test_a_forwarded_address_is_the_peer(trusting: Door) -> None:
    assert peer_of(trusting, request(X_Forwarded_For="203.0.113.5, 192.0.2.1")) == ("192.0.2.1", 0)
    assert peer_of(trusting, request(Forwarded='for="[2001:db8::1]:99"')) == ("2001:db8::1", 99)
    assert peer_of(trusting, request())[0] == "127.0.0.1"


def test_a_preamble_s_address_is_the_peer(trusting: Door) -> None:
    assert peer_of(trusting, LINE + request()) == ("192.0.2.1", 4711)
    assert peer_of(trusting, LINE + request(X_Forwarded_For="198.51.100.7")) == ("192.0.2.1", 4711)


def test_a_preamble_may_come_in_any_two_parts(loop: str) -> None:
    whole = LINE + request()
    with open_door(app, loop, Gate(1000, 1000), rules=TRUSTING) as door:
        for cut in range(1, len(LINE) + 5):
            with door.connect() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(whole[:cut])
                sock.sendall(whole[cut:])
                assert read_head(sock).startswith(b"HTTP/1.1 101 ")
                arrival = door.arrival()
                assert arrival.peer == ("192.0.2.1", 4711)
                arrival.leave()
                arrival.channel.close()


def test_strangers_are_not_believed(door: Door) -> None:
    fields = {"X_Forwarded_For": "192.0.2.1", "Forwarded": "for=192.0.2.2"}
    assert peer_of(door, request(**fields))[0] == "127.0.0.1"
    assert refused(door, LINE + request()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY nonsense\r\n" + PLAIN,
        request(X_Forwarded_For="nonsense"),
        request(Forwarded="nonsense"),
        request(X_Forwarded_For="192.0.2.1", Forwarded="for=192.0.2.2"),
    ],
)
def test_a_client_that_cannot_be_told_is_turned_away(trusting: Door, data: bytes) -> None:
    assert refused(trusting, data).startswith(b"HTTP/1.1 400 ")


def test_a_preamble_has_the_time_of_the_head(loop: str) -> None:
    with open_door(app, loop, timeout=0.2, rules=TRUSTING) as door:
        assert refused(door, LINE[:-1]).startswith(b"HTTP/1.1 408 ")


def test_what_came_through_a_relay_is_nobody_s_own_machine(trusting: Door) -> None:
    for data, client in ((PLAIN, b"('127.0.0.1', "), (LINE + PLAIN, b"None"), (b"PROXY UNKNOWN\r\n" + PLAIN, b"None")):
        with trusting.connect() as sock:
            sock.sendall(data)
            read_head(sock)
            assert receive(sock, len(client)) == client


def test_each_client_of_a_trusted_proxy_counts_by_itself(loop: str) -> None:
    gate = Gate(9, 1)
    with open_door(app, loop, gate, rules=TRUSTING) as door, contextlib.ExitStack() as stack:
        for number in range(3):
            sock = stack.enter_context(door.connect())
            sock.sendall(request(X_Forwarded_For=f"192.0.2.{number}"))
            assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        for data in (request(X_Forwarded_For="192.0.2.1"), b"PROXY TCP4 192.0.2.1 10.0.0.1 1 1\r\n" + request()):
            with door.connect() as sock:
                sock.sendall(data)
                assert read_all(sock).startswith(b"HTTP/1.1 503 ")
        until(lambda: gate.inside == 3)
        for _ in range(3):
            arrival = door.arrival()
            arrival.leave()
            arrival.channel.close()
        assert gate.inside == 0


def test_a_reload_holds_for_the_connections_that_follow(loop: str) -> None:
    rules = Rules()
    asks = request(X_Forwarded_For="192.0.2.1")
    with open_door(app, loop, rules=rules) as door:
        assert peer_of(door, asks)[0] == "127.0.0.1"
        rules.trusted = TRUSTING.trusted
        assert peer_of(door, asks)[0] == "192.0.2.1"
