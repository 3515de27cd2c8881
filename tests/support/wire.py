"""A slow, obvious peer for the tests: the wire of PROTOCOL.md in plain Python, free to break every rule."""

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import msgpack

from rport._mux import constants
from rport._pump import Link, Pump
from rport._seal import Seal
from rport.channel import Channel
from rport.client.upgrade import UpgradeResponse, new_key, upgrade_request
from rport.handshake import HandshakeResult, Initiator, Responder
from rport.websocket import MessageReader, encode_message

OPEN, ACCEPT, REFUSE, DATA, WINDOW, FIN, RESET, PING, PONG, CONTROL, CLOSE, REKEY, ACK = range(1, 14)
Frame = tuple[int, int, bytes]
Body = Callable[[Pump], Awaitable[None]]
Answer = TypeVar("Answer")
PATIENCE = 30.0  # seconds that a wait gets on a machine on which others compute; only a failing test takes them


def frame(stream: int, kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">II", stream, kind << 24 | len(payload)) + payload


def frames(plaintext: bytes) -> Iterator[Frame]:
    while plaintext:
        stream, word = struct.unpack(">II", plaintext[:8])
        size = word & 0xFFFFFF
        yield stream, word >> 24, plaintext[8 : 8 + size]
        plaintext = plaintext[8 + size :]


class WirePeer:
    """One end of a session over a blocking socket."""

    def __init__(self, sock: socket.socket, keys: HandshakeResult, *, client: bool, rest: bytes = b"") -> None:
        sock.settimeout(PATIENCE)
        self.sock, self.client = sock, client
        self.sealer, self.opener = Seal(keys.cipher, keys.send_key), Seal(keys.cipher, keys.recv_key)
        self.reader = MessageReader(constants()["RECORD_MAX"] + 32, masked=not client)
        self.reader.feed(rest)
        self.waiting: list[Frame] = []

    def record(self, plaintext: bytes) -> bytes:
        """The next record, sealed and wrapped, not sent."""
        return encode_message(self.sealer.seal_bytes(plaintext), masked=self.client)

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(self.record(b"".join(parts)))

    def control(self, **message: object) -> None:
        self.send(frame(0, CONTROL, msgpack.packb(message)))

    def receive(self) -> Frame:
        """The next frame; EOFError when the session has ended."""
        while not self.waiting:
            message = self.reader.next()
            if message is not None:
                self.waiting += frames(self.opener.open_bytes(message))
                continue
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self.reader.feed(data)
        return self.waiting.pop(0)

    def wait_for(self, kind: int) -> Frame:
        while (got := self.receive())[1] != kind:
            pass
        return got

    def drain(self) -> list[Frame]:
        """Everything up to the end of the session."""
        got = []
        with contextlib.suppress(EOFError):
            while True:
                got.append(self.receive())
        return got

    def frames_now(self) -> list[Frame]:
        """What has come so far, without waiting; EOFError when the session has ended and nothing is left."""
        readable = select.poll()
        readable.register(self.sock, select.POLLIN)
        while readable.poll(0):
            try:
                data = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:  # a part of what a layer between would have whole
                continue
            if not data:
                if self.waiting:
                    break
                raise EOFError
            self.reader.feed(data)
            while (message := self.reader.next()) is not None:
                self.waiting += frames(self.opener.open_bytes(message))
        got, self.waiting = self.waiting, []
        return got

    def close(self) -> None:
        self.sock.close()


def connect(port: int, source: str = "127.0.0.1", static: bytes | None = None) -> WirePeer:
    """A client of the server on `port`, after the handshake and before the hello; `static` is its private key."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0))
    rest = upgrade(sock)
    initiator = Initiator(["aegis256", "chacha20poly1305"], static=static)
    sock.sendall(encode_message(initiator.message1(), masked=True))
    reader = MessageReader(4192, masked=False)
    reader.feed(rest)
    while (message := reader.next()) is None:
        reader.feed(sock.recv(4096))
    keys = initiator.read_message2(message)
    if initiator.message3:
        sock.sendall(encode_message(initiator.message3, masked=True))
    return WirePeer(sock, keys, client=True, rest=reader.rest)


def upgrade(sock: socket.socket) -> bytes:
    key = new_key()
    sock.sendall(upgrade_request("127.0.0.1", "/", key))
    answer = UpgradeResponse(key)
    while not answer.done:
        answer.feed(sock.recv(4096))
    return answer.rest


def login(port: int, *remotes: dict[str, object]) -> WirePeer:
    """As connect(), and welcomed."""
    peer = connect(port)
    peer.control(type="hello", version="test", identity="00" * 32, remotes=list(remotes))
    while msgpack.unpackb(peer.wait_for(CONTROL)[2])["type"] != "welcome":
        pass
    return peer


def key_pair_for(client: bool, cipher: str) -> tuple[HandshakeResult, HandshakeResult]:
    """What one handshake gives to the end that is the `client`, or is not, and to its peer."""
    initiator, responder = Initiator([cipher]), Responder(bytes(range(32)), [cipher])
    responder.read_message1(initiator.message1())
    clients = initiator.read_message2(responder.message2())
    return (clients, responder.result) if client else (responder.result, clients)


class Watcher:
    """A Link's owner that writes down what it is told."""

    def __init__(self) -> None:
        self.controls: list[bytes] = []
        self.refusals: list[tuple[int, int, str]] = []
        self.goodbye: tuple[int, str] | None = None
        self.error: Exception | None = None
        self.pongs = 0
        self.ended = asyncio.Event()

    def on_control(self, data: bytes) -> None:
        self.controls.append(data)

    def on_pong(self, rtt: float) -> None:
        self.pongs += 1

    def on_dial(self, conn: object, tunnel: int) -> None:
        raise AssertionError("no names here")

    def on_refused(self, tunnel: int, code: int, text: str) -> None:
        self.refusals.append((tunnel, code, text))

    def on_goodbye(self, code: int, text: str) -> None:
        self.goodbye = (code, text)

    def on_stream(self, conn: object, peer: str) -> None:
        raise AssertionError("not asked for")

    def on_stream_left(self, conn: object) -> None:
        raise AssertionError("not asked for")

    def on_closed(self, error: Exception | None) -> None:
        self.error = error
        self.ended.set()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection; a socketpair would know no TCP options and no reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


def plain(near: socket.socket, far: socket.socket, client: bool) -> tuple[Channel, socket.socket]:
    """What a Link is made of, and the socket of its peer."""
    return Channel(near), far


carrier = plain  # tests of another carrier exchange it


def link_with_peer(
    pump: Pump,
    *,
    client: bool,
    cipher: str = "aegis256",
    admitted: bool = True,
    watcher: Watcher | None = None,
    key_due: bool = False,
) -> tuple[Link, Watcher, WirePeer]:
    """A real Link as client or server, a WirePeer at the other end of a TCP connection. With `key_due` the Link's key
    has been in use for too long."""
    near, far = tcp_pair()
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the programs do: small records do not wait
    mine, theirs = key_pair_for(client, cipher)
    watcher = watcher or Watcher()
    sealer, opener = Seal(mine.cipher, mine.send_key), Seal(mine.cipher, mine.recv_key)
    channel, far = carrier(near, far, client)
    link = channel.make_link(sealer, opener, client, pump, watcher)
    peer = WirePeer(far, theirs, client=not client)
    if key_due:
        sealer.rekey(-1e9)
        peer.opener.rekey(0.0)
    if admitted:
        link.admit_peer()
    link.start()
    return link, watcher, peer


def open_frame(stream: int, tunnel: int = 1, window: int = 262144) -> bytes:
    return frame(stream, OPEN, struct.pack(">II", tunnel, window))


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def run(body: Body) -> None:
    """Run with a pump on a loop of its own; nothing may be left behind."""

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        pump = Pump(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(60):
                await body(pump)
        finally:
            pump.close()
        await asyncio.sleep(0)
        assert pump.buffers_out == 0
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the pump's own poller lives as long as the pump

    asyncio.run(main())


async def ask(call: Callable[[], Answer]) -> Answer:
    """A blocking call of the peer, while the loop runs."""
    return await asyncio.to_thread(call)


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Turn the loop until `condition` holds; TimeoutError when it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0)


async def settle(peer: WirePeer) -> list[Frame]:
    """All frames that the Link sends for what was sent before, PONGs of this function left out; the session lives.

    Twice, since a PONG overtakes what its own record says of streams.
    """
    got: list[Frame] = []
    for token in (0x5E77, 0x5E78):
        answer = (0, PONG, struct.pack(">Q", token))
        peer.send(frame(0, PING, answer[2]))
        async with asyncio.timeout(PATIENCE):
            while answer not in got:
                await asyncio.sleep(0)
                got += peer.frames_now()
        got.remove(answer)
    return got
