"""Those who knock without being clients: what they send, from which address, and how the server takes it."""

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

from rport.client.upgrade import new_key, upgrade_request
from rport.handshake import MESSAGE_MAX, Initiator
from rport.websocket import encode_message
from tests.support.programs import Server
from tests.support.wire import upgrade

PATIENCE = 20.0  # seconds that the server gets to close; only a failing test takes them


@dataclass(frozen=True)
class Stranger:
    """One kind of hostile connection."""

    name: str
    says: Callable[[], bytes]
    upgrades: bool = False  # a WebSocket upgrade goes before it
    leaves: bool = False  # closes at once; the others wait for the server to close
    answer: bytes = b""  # how the answer to what it says begins


@dataclass(frozen=True)
class Reception:
    """What came back, and whether a reset ended it, which may have overtaken the answer."""

    answer: bytes
    reset: bool


def knock(stranger: Stranger, port: int, source: str) -> Reception:
    """Come from the loopback address `source`. Raises TimeoutError when the server does not close."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0)) as sock:
        if stranger.upgrades:
            upgrade(sock)
        with contextlib.suppress(ConnectionError):  # refused before all of it was out
            sock.sendall(stranger.says())
        return Reception(b"", False) if stranger.leaves else await_end(sock)


def await_end(sock: socket.socket) -> Reception:
    """All that comes until the server closes."""
    answer = b""
    try:
        while data := sock.recv(65536):
            answer += data
    except ConnectionError:
        return Reception(answer, True)
    return Reception(answer, False)


def fits(stranger: Stranger, reception: Reception) -> bool:
    """Turned away in the way that its kind has to be."""
    if stranger.leaves:
        return True
    if not reception.answer:
        return reception.reset or not stranger.answer
    return bool(stranger.answer) and reception.answer.startswith(stranger.answer)


def garbage() -> bytes:
    return os.urandom(10_000)


def client_hello() -> bytes:
    """The first flight of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the machine's certificates, which take long to load
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="example.com").do_handshake()
    return outgoing.read()


def message1() -> bytes:
    """A fit beginning of the key exchange."""
    return encode_message(Initiator(["chacha20poly1305"]).message1(), masked=True)


def upgrade_head() -> bytes:
    return upgrade_request("127.0.0.1", "/", new_key())


def _too_long() -> bytes:
    """The header of a handshake message over the limit; what it announces never comes."""
    return b"\x82\xfe" + struct.pack(">H", MESSAGE_MAX + 1) + bytes(4)


def _always(data: bytes) -> Callable[[], bytes]:
    return lambda: data


_BAD_REQUESTS = {
    "bad-version": b"GET / HTTP/9.9\r\n\r\n",
    "no-colon": b"GET / HTTP/1.1\r\nnothing here\r\n\r\n",
    "nul": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad-length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two-framings": b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "h2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
_NO_HTTP = b"HTTP/1.1 400 "

SSH = Stranger("ssh", _always(b"SSH-2.0-OpenSSH_9.6\r\n"), answer=_NO_HTTP)
STRANGERS = [
    Stranger("garbage", garbage, answer=_NO_HTTP),
    Stranger("half-head", lambda: upgrade_head()[:90], leaves=True),
    Stranger("upgrade-and-close", _always(b""), upgrades=True, leaves=True),
    Stranger("upgrade-and-garbage", garbage, upgrades=True),
    Stranger("message1-and-close", message1, upgrades=True, leaves=True),
    Stranger("message1-too-long", _too_long, upgrades=True),
    Stranger("message1-too-short", _always(encode_message(bytes(31), masked=True)), upgrades=True),
    Stranger("tls", client_hello, answer=_NO_HTTP),
    SSH,
    *(Stranger(name, _always(text), answer=_NO_HTTP) for name, text in _BAD_REQUESTS.items()),
]


def at_rest(server: Server) -> int:
    """The descriptors of a server that has begun to serve: it has closed this connection when its end is seen."""
    assert knock(SSH, server.port, "127.0.2.1").answer
    return server.descriptors()
