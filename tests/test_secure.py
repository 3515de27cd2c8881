"""The front door over TLS: all that holds for the plain one, and what TLS adds. On both loops, by real sockets."""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rport.errors import LinkLost
from rport.server.door.certificates import Certificates
from rport.server.door.gate import Gate
from rport.server.door.secure import secured
from rport.server.settings import Settings
from rport.tls import Tls, client_context
from tests import test_front
from tests.support import door as doors
from tests.support.certificates import Authority
from tests.support.door import Between, Door, open_door, read_head
from tests.support.encrypted import EncryptedSocket, key_updates
from tests.support.programs import read_all
from tests.test_front import *  # noqa: F403  # all of it once more, over what the fixture below puts between
from tests.test_front import LINE, PLAIN, TRUSTING, app, request, until

for _name in (  # what these say of preambles, of refusals and of time is otherwise here: see below
    "test_the_gate_refuses_and_opens_again",
    "test_a_link_counts_until_it_leaves",
    "test_a_body_that_does_not_come_counts_at_the_gate_and_has_an_end",
    "test_an_answer_may_be_read_at_leisure",
    "test_a_preamble_s_address_is_the_peer",
    "test_a_preamble_may_come_in_any_two_parts",
    "test_a_preamble_has_the_time_of_the_head",
    "test_what_came_through_a_relay_is_nobody_s_own_machine",
    "test_each_client_of_a_trusted_proxy_counts_by_itself",
    "test_nothing_stays_open",
    "test_a_slow_head_is_cut",
    "test_trickling_does_not_extend_the_time",
    "test_a_slow_second_head_is_cut",
    "test_a_head_may_come_in_any_two_parts",  # and this takes long, for what TLS does not change
):
    assert _name in vars(test_front)
    del globals()[_name]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("DNS:localhost")


Encrypt = Callable[..., EncryptedSocket]


@pytest.fixture(scope="module")
def encrypt(authority: Authority) -> Encrypt:
    """Has a socket go through TLS, with a certificate of our own, if one is given."""
    contexts = {}

    def encrypt(sock: socket.socket, *mine: Path) -> EncryptedSocket:
        if mine not in contexts:
            cert, key = map(str, mine) if mine else (None, None)
            contexts[mine] = client_context(str(authority.ca), cert, key, insecure=False)
        tls = Tls(contexts[mine], lambda error: error.reason, server=False, name="localhost")
        encrypted = EncryptedSocket(sock, tls)
        encrypted.shake_hands()
        return encrypted

    return encrypt


def with_tls(pair: tuple[Path, Path], encrypt: Encrypt, client_ca: Path | None = None) -> Between:
    settings = Settings("", tls_cert=str(pair[0]), tls_key=str(pair[1]), tls_client_ca=client_ca and str(client_ca))
    certificates = Certificates(settings)
    return Between(lambda protocol: secured(protocol, certificates), encrypt)


@pytest.fixture(scope="module", autouse=True)
def _over_tls(pair: tuple[Path, Path], encrypt: Encrypt) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doors, "between", with_tls(pair, encrypt))
        yield


# --- the handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [PLAIN, request(), b"GET "])
def test_plain_http_is_told_so(door: Door, data: bytes) -> None:
    with door.connect_plainly() as sock:
        sock.sendall(data)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTPS" in answer
    assert b"https://" in answer
    until(lambda: door.gate.inside == 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\x80\x2e\x01\x03\x01" + bytes(41),  # how SSL 2.0 began
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x01\xff\xff" + bytes(1 << 16),
        b"\x16HTTP/1.1",
    ],
)
def test_garbage_ends_the_connection(door: Door, data: bytes) -> None:
    with door.connect_plainly() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        assert not read_all(sock).startswith(b"HTTP")
    until(lambda: door.gate.inside == 0)


def test_a_handshake_in_small_pieces(door: Door, encrypt: Encrypt) -> None:
    class Slow:
        def __init__(self, raw: socket.socket) -> None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.raw = raw

        def __getattr__(self, name: str) -> Any:
            return getattr(self.raw, name)

        def sendall(self, data: bytes) -> None:
            for octet in data:
                self.raw.sendall(bytes([octet]))

    with door.connect_plainly() as raw:
        sock = encrypt(Slow(raw))
        sock.sendall(PLAIN)
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")


def test_the_gate_counts_from_the_accept_on(loop: str) -> None:
    gate = Gate(1, 1)
    with open_door(app, loop, gate) as door:
        with door.connect_plainly() as idle:
            until(lambda: gate.inside == 1)
            with door.connect_plainly() as second:
                assert read_all(second) == b""
            idle.sendall(b"\x16\x03")
        until(lambda: gate.inside == 0)
        with door.connect() as sock:
            sock.sendall(PLAIN)
            assert read_head(sock).startswith(b"HTTP/1.1 200 ")
            assert gate.inside == 0


@pytest.mark.parametrize("start", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_has_the_time_of_the_head(loop: str, start: bytes) -> None:
    with open_door(app, loop, timeout=0.05) as door, door.connect_plainly() as sock:
        sock.sendall(start)
        with contextlib.suppress(ConnectionError):
            assert not read_all(sock).startswith(b"HTTP")
        until(lambda: door.gate.inside == 0)


def test_after_the_handshake_the_head_has_what_is_left(loop: str) -> None:
    with open_door(app, loop, timeout=1.0) as door, door.connect() as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")


def test_client_certificates(
    loop: str,
    pair: tuple[Path, Path],
    authority: Authority,
    encrypt: Encrypt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rport")
    monkeypatch.setattr(doors, "between", with_tls(pair, encrypt, authority.ca))
    mine, strange = authority.issue(), Authority(tmp_path, "another").issue()
    with open_door(app, loop) as door:
        with door.connect_plainly() as raw:
            sock = encrypt(raw, *mine)
            sock.sendall(PLAIN)
            assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        for shown, told, logged in (
            ((), "TLSV13_ALERT_CERTIFICATE_REQUIRED", "no client certificate came"),
            (strange, "TLSV1_ALERT_UNKNOWN_CA", "its client certificate is not accepted: unable to get local issuer"),
        ):
            with door.connect_plainly() as raw:
                sock = encrypt(raw, *shown)
                sock.sendall(PLAIN)  # with it unread the answer must not be lost in a reset
                with pytest.raises(LinkLost, match=told):
                    read_all(sock)
            assert logged in caplog.text
        until(lambda: door.gate.inside == 0)


# --- behind it --------------------------------------------------------------------------------------------------------


def test_an_octet_of_garbage_ends_a_kept_connection(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(PLAIN)
        read_head(sock)
        sock.raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(LinkLost, match="ALERT_BAD_RECORD_MAC"):
            while sock.recv(4096):
                pass


def test_a_client_that_changes_its_keys_and_nothing_else_is_cut_off(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(PLAIN[:-2])
        with contextlib.suppress(ConnectionError):
            sock.raw.sendall(key_updates(sock.tls, 4000))
            while sock.raw.recv(4096):
                pass
    until(lambda: door.gate.inside == 0)


def test_it_says_that_it_ends(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(PLAIN[:-2] + b"Connection: close\r\n\r\n")
        assert read_all(sock).endswith(b"/x")
        assert sock.tls.ended


def test_a_client_may_end_first(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(PLAIN)
        read_head(sock)
        sock.recv(2)
        sock.tls.end()
        sock.raw.sendall(sock.tls.drain())
        read_all(sock.raw)


LARGE = 48 << 20


class Accounts:
    """Who has sent and received how much."""

    def __init__(self) -> None:
        self.given = self.got = self.most = 0

    def settle(self, *, given: int = 0, got: int = 0) -> None:
        self.given += given
        self.got += got
        self.most = max(self.most, self.given - self.got)


def test_a_large_answer_waits_for_a_slow_reader(loop: str) -> None:
    accounts = Accounts()

    async def large(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(LARGE).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while accounts.given < LARGE:
            accounts.settle(given=1 << 20)
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": accounts.given < LARGE})

    with open_door(large, loop) as door, door.connect() as sock:
        sock.sendall(PLAIN)
        read_head(sock)
        while accounts.got < LARGE:
            data = sock.recv(1 << 16)
            assert data
            accounts.settle(got=len(data))
    assert accounts.most < LARGE // 2  # the kernel's buffers and some of ours


def test_a_large_body_waits_for_a_slow_application(loop: str) -> None:
    accounts = Accounts()

    async def slow_reader(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            accounts.settle(got=len(message["body"]))
            more = message["more_body"]
            await asyncio.sleep(0.001)  # a slow one
        await app(scope, receive, send)

    with open_door(slow_reader, loop) as door, door.connect() as sock:
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE >> 20):
            accounts.settle(given=1 << 20)
            sock.sendall(bytes(1 << 20))
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
    assert accounts.got == LARGE
    assert accounts.most < LARGE // 2


# --- behind a reverse proxy that passes TLS on -----------------------------------------------------------------------


@pytest.mark.parametrize("piece", [7, 1000])
def test_a_preamble_comes_before_tls(loop: str, encrypt: Encrypt, piece: int) -> None:
    with open_door(app, loop, rules=TRUSTING) as door, door.connect_plainly() as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(LINE), piece):
            raw.sendall(LINE[start : start + piece])
        sock = encrypt(raw)
        sock.sendall(request())
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        arrival = door.arrival()
        assert arrival.peer == ("192.0.2.1", 4711)
        arrival.leave()
        arrival.channel.close()


def test_a_preamble_from_anybody_else_is_no_tls(door: Door) -> None:
    with door.connect_plainly() as sock:
        sock.sendall(LINE)
        assert b"HTTPS" in read_all(sock)


def test_a_preamble_inside_tls_is_no_http(loop: str) -> None:
    with open_door(app, loop, rules=TRUSTING) as door, door.connect() as sock:
        sock.sendall(LINE + PLAIN)
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


def test_nothing_stays_open(door: Door) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(10):
        with door.connect() as sock:
            sock.sendall(request())
            read_head(sock)
            arrival = door.arrival()
            arrival.leave()
            arrival.channel.close()
        with door.connect_plainly() as raw:
            raw.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: descriptors() <= before)
    until(lambda: door.gate.inside == 0)
