"""Every number that a peer controls: what just fits is taken, one more is refused (PROTOCOL.md, sections 2 to 9)."""

import asyncio
import contextlib
import gc
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack
import pytest

from rport import control
from rport._mux import constants
from rport._pump import Conn, Link, Listener, Pump, Target
from rport.channel import Channel
from rport.errors import ProtocolError
from rport.session import Session
from tests.support.programs import Server, closing_all
from tests.support.wire import (
    ACCEPT,
    ACK,
    CLOSE,
    CONTROL,
    DATA,
    FIN,
    OPEN,
    PING,
    PONG,
    REFUSE,
    REKEY,
    RESET,
    WINDOW,
    Frame,
    Watcher,
    WirePeer,
    ask,
    frame,
    key_pair_for,
    link_with_peer,
    login,
    open_frame,
    run,
    settle,
    u32,
    until,
)

NUMBER = constants()
RECORD_MAX = NUMBER["RECORD_MAX"]
CONTROL_MAX = NUMBER["CONTROL_MAX"]
REASON_MAX = NUMBER["REASON_MAX"]
EARLY_WINDOW = NUMBER["EARLY_WINDOW"]
WINDOW_START = NUMBER["WINDOW_START"]
WINDOW_MAX = NUMBER["WINDOW_MAX"]
SESSION_WINDOW_MAX = NUMBER["SESSION_WINDOW_MAX"]
STREAMS_MAX = NUMBER["STREAMS_MAX"]
PENDING_MAX = NUMBER["PENDING_MAX"]
BEFORE_ADMISSION = CONTROL_MAX + 8  # section 4.6
CONTROLS_UNSENT = 1 << 20  # octets; each message counts 64 more than it holds
MESSAGE_COST = 64
FAILED, BUSY = 1, 3  # codes of REFUSE and RESET

both_roles = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])  # which one the Link is


def first(client: bool) -> int:
    """The lowest number that the Link's peer may open."""
    return 2 if client else 1


def control_of(size: int) -> bytes:
    """A CONTROL frame of `size` octets, header included."""
    return frame(0, CONTROL, bytes(size - 8))


def plaintext_of(size: int) -> bytes:
    """Valid frames of `size` octets together."""
    whole, left = divmod(size, BEFORE_ADMISSION)
    if 0 < left < 8:
        whole, left = whole - 1, left + BEFORE_ADMISSION
    parts = [control_of(BEFORE_ADMISSION)] * whole
    if left > BEFORE_ADMISSION:
        parts += [frame(0, ACK, bytes(8)), control_of(left - 16)]
    elif left:
        parts.append(control_of(left))
    assert sum(map(len, parts)) == size
    return b"".join(parts)


class Patient(Watcher):
    """Leaves every dial unanswered."""

    def __init__(self) -> None:
        super().__init__()
        self.dials: list[Conn] = []

    def on_dial(self, conn: object, tunnel: int) -> None:
        assert isinstance(conn, Conn)
        self.dials.append(conn)


@dataclass
class Side:
    """A Link, what it told, and its peer."""

    link: Link
    watcher: Watcher
    peer: WirePeer

    async def goes_on(self) -> list[Frame]:
        got = await settle(self.peer)
        assert not self.watcher.ended.is_set()
        return got

    async def is_cut(self) -> None:
        await until(self.watcher.ended.is_set)
        assert isinstance(self.watcher.error, ProtocolError)
        assert self.link.busy() == 0
        assert self.link.streams == {}


@contextlib.contextmanager
def session(pump: Pump, *, client: bool, admitted: bool = True, watcher: Watcher | None = None) -> Iterator[Side]:
    link, watcher, peer = link_with_peer(pump, client=client, admitted=admitted, watcher=watcher)
    with contextlib.closing(peer):
        yield Side(link, watcher, peer)
        link.abort(None)


@dataclass
class Gate:
    """A port whose visitors become streams that the Link opens."""

    side: Side
    where: tuple[str, int]

    @classmethod
    def of(cls, side: Side, *, send_buffer: int = 0) -> "Gate":
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        if send_buffer:  # inherited by what it accepts
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        where = listener.getsockname()
        Listener(side.link, listener.detach(), 1)
        return cls(side, where)

    def visit(self, receive_buffer: int = 0) -> socket.socket:
        visitor = socket.socket()
        visitor.settimeout(10)
        if receive_buffer:
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        visitor.connect(self.where)
        return visitor

    async def opened(self) -> tuple[int, int]:
        """Number of the next stream, and the window that the Link grants with it."""
        stream, _, payload = await ask(lambda: self.side.peer.wait_for(OPEN))
        return stream, int(struct.unpack(">II", payload)[1])


@dataclass
class Carried(Side):
    """An accepted stream: its number, the local socket, and what the Link granted so far."""

    number: int
    local: socket.socket
    credit: int

    def data(self, size: int) -> bytes:
        """DATA frames of `size` octets together, as few as a record can hold."""
        sizes = [WINDOW_START] * (size // WINDOW_START) + [size % WINDOW_START]
        return b"".join(frame(self.number, DATA, bytes(part)) for part in sizes if part)

    def note(self, got: list[Frame]) -> None:
        """Count what the WINDOW frames among `got` grant."""
        for stream, kind, payload in got:
            if (stream, kind) == (self.number, WINDOW):
                self.credit += int.from_bytes(payload, "big")


@contextlib.asynccontextmanager
async def carried(pump: Pump, *, client: bool, window: int = WINDOW_START) -> AsyncIterator[Carried]:
    """As in life: the server opens for a visitor, the client dials a target. The peer grants `window`."""
    with session(pump, client=client) as side:
        if client:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                side.link.set_target(1, Target([(*listener.getsockname(), 0)]))
                side.peer.send(open_frame(2, window=window))
                local, _ = await ask(listener.accept)
                number, _, payload = await ask(lambda: side.peer.wait_for(ACCEPT))
                credit = int.from_bytes(payload, "big")
        else:
            gate = Gate.of(side)
            local = gate.visit()
            number, credit = await gate.opened()
            side.peer.send(frame(number, ACCEPT, u32(window)))
        with local:
            local.setblocking(False)
            yield Carried(side.link, side.watcher, side.peer, number, local, credit)


def drain(sock: socket.socket) -> int:
    """Take what has come to a non-blocking socket."""
    size = 0
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(1 << 20):
            size += len(data)
    return size


# --- 2.4 and 4: carrier and records ----------------------------------------------------------------------------------


def header(client: bool, opcode: int, size: int, form: int) -> bytes:
    """The head of a WebSocket frame to a Link of that role, with its length in 0, 2 or 8 further octets."""
    mask = 0 if client else 0x80
    short = {0: size, 2: 126, 8: 127}[form]
    return bytes((0x80 | opcode, mask | short)) + size.to_bytes(8, "big")[8 - form :] + (b"" if client else bytes(4))


@both_roles
@pytest.mark.parametrize(("admitted", "limit"), [(False, BEFORE_ADMISSION), (True, RECORD_MAX)])
def test_a_record_of_the_limit_is_taken(client: bool, admitted: bool, limit: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client, admitted=admitted) as side:
            await ask(lambda: side.peer.send(plaintext_of(limit)))
            await side.goes_on()
            assert sum(8 + len(data) for data in side.watcher.controls) == limit

    run(body)


@both_roles
@pytest.mark.parametrize("cipher", ["aegis128l", "chacha20poly1305"])
@pytest.mark.parametrize(("admitted", "limit"), [(False, BEFORE_ADMISSION), (True, RECORD_MAX)])
def test_one_octet_more_is_refused_by_the_header_alone(client: bool, cipher: str, admitted: bool, limit: int) -> None:
    tag = 16 if cipher == "chacha20poly1305" else 32

    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=client, cipher=cipher, admitted=admitted)
        with contextlib.closing(peer):
            side = Side(link, watcher, peer)
            peer.sock.sendall(header(client, 2, limit + tag + 1, 8))  # the payload never comes
            await side.is_cut()

    run(body)


@both_roles
def test_the_limit_is_raised_by_admission_and_no_further_than_the_document_says(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client, admitted=False) as side:
            assert side.link.record_limit == BEFORE_ADMISSION
            side.link.admit_peer()
            assert side.link.record_limit == RECORD_MAX
            await ask(lambda: side.peer.send(plaintext_of(RECORD_MAX)))
            await side.goes_on()
            await ask(lambda: side.peer.send(plaintext_of(RECORD_MAX + 1)))
            await side.is_cut()

    run(body)


@both_roles
@pytest.mark.parametrize("size", [0, 1, 32])
def test_a_record_without_plaintext_is_refused(client: bool, size: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.sock.sendall(header(client, 2, size, 0) + bytes(size))
            await side.is_cut()

    run(body)


@both_roles
def test_carrier_pings_up_to_125_octets_are_passed_over_however_many(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            flood = b"".join(header(client, opcode, 125, 0) + bytes(125) for opcode in (9, 10)) * 1000
            await ask(lambda: side.peer.sock.sendall(flood))
            assert await side.goes_on() == []
            assert side.link.busy() == pump.buffers_out == 0
            side.peer.sock.sendall(header(client, 9, 126, 2) + bytes(126))
            await side.is_cut()

    run(body)


@both_roles
@pytest.mark.parametrize("first_octet", [0x81, 0x02, 0x80, 0xC2, 0x88], ids=["text", "start", "rest", "bit", "close"])
def test_other_carrier_messages_end_the_session(client: bool, first_octet: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.sock.sendall(bytes((first_octet,)) + header(client, 2, 40, 0)[1:] + bytes(40))
            await side.is_cut()

    run(body)


@both_roles
def test_the_client_alone_masks(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.sock.sendall(header(not client, 2, 40, 0) + bytes(40))
            await side.is_cut()

    run(body)


@both_roles
@pytest.mark.parametrize("form", [2, 8])
def test_a_length_that_is_not_in_its_shortest_form_is_refused(client: bool, form: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            sealed = side.peer.sealer.seal_bytes(frame(0, CONTROL, b"x"))
            side.peer.sock.sendall(header(client, 2, len(sealed), form) + sealed)
            await until(lambda: side.watcher.controls or side.watcher.ended.is_set())
            assert side.watcher.controls == []

    run(body)


# --- 5 and 6: frames -------------------------------------------------------------------------------------------------


def ping(size: int) -> bytes:
    return frame(0, PING, bytes(size))


# Frames of stream 0 and OPEN, for a Link of either role: what fits, what is one too few or too many.
FITS: dict[str, Callable[[bool], bytes]] = {
    "frame that ends with its record": lambda _: struct.pack(">II", 0, CONTROL << 24 | 100) + bytes(100),
    "CONTROL of the limit": lambda _: frame(0, CONTROL, bytes(CONTROL_MAX)),
    "CONTROL of nothing": lambda _: frame(0, CONTROL),
    "PING of 8": lambda _: ping(8),
    "PONG of 8": lambda _: frame(0, PONG, bytes(8)),
    "PONG of the future": lambda _: frame(0, PONG, b"\xff" * 8),
    "ACK of 8": lambda _: frame(0, ACK, b"\xff" * 8),
    "OPEN of 8": lambda client: open_frame(first(client)),
    "OPEN of 64": lambda client: frame(first(client), OPEN, u32(1) + u32(WINDOW_START) + bytes(56)),
    "OPEN of the least window": lambda client: open_frame(first(client), window=EARLY_WINDOW),
    "OPEN of the greatest window": lambda client: open_frame(first(client), window=WINDOW_MAX),
    "OPEN of the greatest number": lambda client: open_frame(0xFFFFFFFE if client else 0xFFFFFFFF),
    "OPEN of any tunnel": lambda client: open_frame(first(client), tunnel=0xFFFFFFFF),
    "OPEN of rising numbers": lambda client: open_frame(first(client)) + open_frame(first(client) + 2),
    "OPEN of a number further on": lambda client: open_frame(first(client)) + open_frame(first(client) + 40),
    "frames for a stream that has ended": lambda client: (
        open_frame(first(client), tunnel=9)
        + frame(first(client), DATA, bytes(WINDOW_START))
        + frame(first(client), FIN)
        + frame(first(client), RESET, b"\1")
    ),
}
EXCEEDS: dict[str, Callable[[bool], bytes]] = {
    "frame one octet longer than its record": lambda _: struct.pack(">II", 0, CONTROL << 24 | 101) + bytes(100),
    "frame of the greatest length": lambda _: struct.pack(">II", 0, CONTROL << 24 | 0xFFFFFF) + bytes(100),
    "frame header one octet short": lambda _: ping(8) + bytes(7),
    "CONTROL over the limit": lambda _: frame(0, CONTROL, bytes(CONTROL_MAX + 1)),
    "PING of 7": lambda _: ping(7),
    "PING of 9": lambda _: ping(9),
    "PONG of 7": lambda _: frame(0, PONG, bytes(7)),
    "PONG of 9": lambda _: frame(0, PONG, bytes(9)),
    "ACK of 7": lambda _: frame(0, ACK, bytes(7)),
    "ACK of 9": lambda _: frame(0, ACK, bytes(9)),
    "REKEY of 1": lambda _: frame(0, REKEY, b"x"),
    "REKEY and more": lambda _: frame(0, REKEY) + ping(8),
    "OPEN of 7": lambda client: frame(first(client), OPEN, bytes(4) + b"\0\1\0"),
    "OPEN of 65": lambda client: frame(first(client), OPEN, u32(1) + u32(WINDOW_START) + bytes(57)),
    "OPEN under the least window": lambda client: open_frame(first(client), window=EARLY_WINDOW - 1),
    "OPEN over the greatest window": lambda client: open_frame(first(client), window=WINDOW_MAX + 1),
    "OPEN of stream 0": lambda _: open_frame(0),
    "OPEN of the Link's own kind of number": lambda client: open_frame(first(client) + 1),
    "OPEN of the same number": lambda client: open_frame(first(client)) * 2,
    "OPEN of a falling number": lambda client: open_frame(first(client) + 4) + open_frame(first(client) + 2),
    "OPEN behind the greatest number": lambda client: (
        open_frame(0xFFFFFFFE if client else 0xFFFFFFFF) + open_frame(first(client))
    ),
    "frame for a stream beyond the peer's last": lambda client: (
        open_frame(first(client)) + frame(first(client) + 2, FIN)
    ),
    "frame for a stream that the Link never opened": lambda client: frame(first(not client), RESET, b"\1"),
    "ACCEPT of a stream that the Link never opened": lambda client: frame(first(not client), ACCEPT, u32(WINDOW_START)),
    "unknown type 0": lambda _: frame(0, 0),
    "unknown type 14": lambda _: frame(0, 14),
}  # fmt: skip


@both_roles
@pytest.mark.parametrize("name", FITS)
def test_frames_that_fit_are_taken(client: bool, name: str) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(FITS[name](client))
            await side.goes_on()

    run(body)


@both_roles
@pytest.mark.parametrize("name", EXCEEDS)
def test_frames_that_exceed_end_the_session(client: bool, name: str) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(EXCEEDS[name](client))
            await side.is_cut()

    run(body)


@both_roles
def test_a_skipped_number_is_a_stream_that_has_ended(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            late = frame(first(client), DATA, b"x") + frame(first(client), FIN)
            side.peer.send(open_frame(first(client) + 4, tunnel=9) + late)
            assert [got[:2] for got in await side.goes_on()] == [(first(client) + 4, REFUSE)]
            side.peer.send(open_frame(first(client)))
            await side.is_cut()

    run(body)


@both_roles
@pytest.mark.parametrize("size", [1, REASON_MAX])
def test_close_takes_code_and_text_up_to_the_limit(client: bool, size: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(frame(0, CLOSE, b"\3" + b"x" * (size - 1)))
            await until(side.watcher.ended.is_set)
            assert side.watcher.goodbye == (3, "x" * (size - 1))
            assert side.watcher.error is None

    run(body)


@both_roles
@pytest.mark.parametrize("size", [0, REASON_MAX + 1])
def test_close_without_code_or_over_the_limit_is_no_clean_end(client: bool, size: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(frame(0, CLOSE, bytes(size)))
            await side.is_cut()
            assert side.watcher.goodbye is None

    run(body)


@both_roles
@pytest.mark.parametrize("length", [REASON_MAX - 1, REASON_MAX, 1000])
def test_the_link_cuts_its_own_reason_to_the_limit(client: bool, length: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.link.finish_session(0, "x" * length)
            got = await ask(lambda: side.peer.wait_for(CLOSE))
            assert got == (0, CLOSE, b"\0" + b"x" * (REASON_MAX - 1))

    run(body)


@both_roles
def test_two_closes_that_cross_end_the_session_cleanly(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(frame(0, CLOSE, b"\0"))  # in the kernel before the Link's own turn comes
            side.link.finish_session(0)
            await until(side.watcher.ended.is_set, 2)
            assert side.watcher.error is None

    run(body)


# Frames for a stream that the Link opened and the peer has not answered.
UNANSWERED_FITS = {
    "ACCEPT of the least window": (ACCEPT, u32(EARLY_WINDOW)),
    "ACCEPT of the greatest window": (ACCEPT, u32(WINDOW_MAX)),
    "REFUSE of a code": (REFUSE, b"\4"),
    "REFUSE of the limit": (REFUSE, b"\4" + b"x" * (REASON_MAX - 1)),
    "RESET": (RESET, b"\1"),
}
UNANSWERED_EXCEEDS = {
    "ACCEPT under the least window": (ACCEPT, u32(EARLY_WINDOW - 1)),
    "ACCEPT over the greatest window": (ACCEPT, u32(WINDOW_MAX + 1)),
    "ACCEPT of 3": (ACCEPT, bytes((4, 0, 0))),
    "ACCEPT of 5": (ACCEPT, u32(WINDOW_START) + b"\0"),
    "REFUSE without code": (REFUSE, b""),
    "REFUSE over the limit": (REFUSE, b"\4" + b"x" * REASON_MAX),
    "RESET without code": (RESET, b""),
    "RESET of 2": (RESET, b"\1\1"),
    "DATA before ACCEPT": (DATA, b"x"),
    "WINDOW before ACCEPT": (WINDOW, u32(1)),
    "FIN before ACCEPT": (FIN, b""),
    "OPEN of the Link's stream": (OPEN, u32(1) + u32(WINDOW_START)),
    "unknown type": (14, b""),
}


@both_roles
@pytest.mark.parametrize("name", UNANSWERED_FITS)
def test_answers_to_an_open_that_fit_are_taken(client: bool, name: str) -> None:
    kind, payload = UNANSWERED_FITS[name]

    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            gate = Gate.of(side)
            with gate.visit():
                stream, _ = await gate.opened()
                side.peer.send(frame(stream, kind, payload))
                await side.goes_on()
                assert side.link.pending == 0
                if kind == ACCEPT:
                    assert side.link.streams[stream].credit == int.from_bytes(payload, "big")
                else:
                    assert side.link.busy() == 0
                if kind == REFUSE:
                    assert side.watcher.refusals == [(1, 4, payload[1:].decode())]

    run(body)


@both_roles
@pytest.mark.parametrize("name", UNANSWERED_EXCEEDS)
def test_answers_to_an_open_that_exceed_end_the_session(client: bool, name: str) -> None:
    kind, payload = UNANSWERED_EXCEEDS[name]

    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            gate = Gate.of(side)
            with gate.visit():
                stream, _ = await gate.opened()
                side.peer.send(frame(stream, kind, payload))
                await side.is_cut()
                assert side.watcher.refusals == []

    run(body)


# Frames for an accepted stream towards which the peer has granted WINDOW_START.
CARRIED_FITS = {
    "WINDOW of 1": [(WINDOW, u32(1))],
    "WINDOW of the limit": [(WINDOW, u32(WINDOW_MAX))],
    "WINDOW up to twice the limit": [(WINDOW, u32(WINDOW_MAX)), (WINDOW, u32(WINDOW_MAX - WINDOW_START))],
    "DATA of nothing": [(DATA, b"")] * 1000,
    "WINDOW behind FIN": [(FIN, b""), (WINDOW, u32(1))],
    "FIN of nothing": [(FIN, b"")],
}
CARRIED_EXCEEDS = {
    "WINDOW of 0": [(WINDOW, u32(0))],
    "WINDOW over the limit": [(WINDOW, u32(WINDOW_MAX + 1))],
    "WINDOW of all bits": [(WINDOW, u32(2**32 - 1))],
    "WINDOW of 3": [(WINDOW, b"\0\0\1")],
    "WINDOW of 5": [(WINDOW, u32(1) + b"\0")],
    "WINDOW beyond twice the limit": [(WINDOW, u32(WINDOW_MAX)), (WINDOW, u32(WINDOW_MAX - WINDOW_START + 1))],
    "ACCEPT again": [(ACCEPT, u32(WINDOW_START))],
    "REFUSE of what is accepted": [(REFUSE, b"\1")],
    "RESET without code": [(RESET, b"")],
    "RESET of 2": [(RESET, b"\1\1")],
    "FIN of 1": [(FIN, b"x")],
    "FIN twice": [(FIN, b""), (FIN, b"")],
    "DATA behind FIN": [(FIN, b""), (DATA, b"x")],
    "DATA of nothing behind FIN": [(FIN, b""), (DATA, b"")],
    "PING on a stream": [(PING, bytes(8))],
    "CONTROL on a stream": [(CONTROL, b"\x80")],
    "CLOSE on a stream": [(CLOSE, b"\0")],
    "REKEY on a stream": [(REKEY, b"")],
    "ACK on a stream": [(ACK, bytes(8))],
}


@both_roles
@pytest.mark.parametrize("name", CARRIED_FITS)
def test_frames_of_a_stream_that_fit_are_taken(client: bool, name: str) -> None:
    async def body(pump: Pump) -> None:
        async with carried(pump, client=client) as stream:
            stream.peer.send(*(frame(stream.number, kind, payload) for kind, payload in CARRIED_FITS[name]))
            await stream.goes_on()
            assert stream.link.busy() == 1
            granted = sum(int.from_bytes(payload, "big") for kind, payload in CARRIED_FITS[name] if kind == WINDOW)
            assert stream.link.streams[stream.number].credit == WINDOW_START + granted

    run(body)


@both_roles
@pytest.mark.parametrize("name", CARRIED_EXCEEDS)
def test_frames_of_a_stream_that_exceed_end_the_session(client: bool, name: str) -> None:
    async def body(pump: Pump) -> None:
        async with carried(pump, client=client) as stream:
            stream.peer.send(*(frame(stream.number, kind, payload) for kind, payload in CARRIED_EXCEEDS[name]))
            await stream.is_cut()

    run(body)


# --- 7: windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [[EARLY_WINDOW], [1, EARLY_WINDOW - 1], [EARLY_WINDOW // 2, 0, EARLY_WINDOW // 2]])
@pytest.mark.parametrize("more", [0, 1])
def test_early_data_ends_at_the_early_window(parts: list[int], more: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=True, watcher=Patient()) as side:
            side.link.set_target(1, None)
            side.peer.send(open_frame(2), *(frame(2, DATA, bytes(part)) for part in [*parts, *[1] * more]))
            if more:
                return await side.is_cut()
            await side.goes_on()
            assert side.link.streams[2].allowance == 0

    run(body)


@both_roles
@pytest.mark.parametrize("more", [0, 1])
def test_data_ends_at_the_window(client: bool, more: int) -> None:
    async def body(pump: Pump) -> None:
        async with carried(pump, client=client) as stream:
            await ask(lambda: stream.peer.send(stream.data(stream.credit + more)))  # one record: no grant comes between
            if more:
                return await stream.is_cut()
            stream.note(await stream.goes_on())
            got = 0
            while got < WINDOW_START:
                await asyncio.sleep(0)
                got += drain(stream.local)
            assert got == WINDOW_START

    run(body)


@both_roles
def test_a_link_whose_local_side_does_not_read_takes_one_window_and_grants_no_more(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            gate = Gate.of(side, send_buffer=4096)
            with gate.visit(receive_buffer=4096) as visitor:
                number, credit = await gate.opened()
                side.peer.send(frame(number, ACCEPT, u32(WINDOW_START)))
                stream = Carried(side.link, side.watcher, side.peer, number, visitor, credit)
                sent = await fill_up(stream)
                assert stream.link.streams[number].allowance == 0
                assert sent <= WINDOW_START + 4 * 65536  # the rest is what two small socket buffers hold
                side.peer.send(frame(number, DATA, b"x"))
                await side.is_cut()

    run(body)


async def fill_up(stream: Carried) -> int:
    """Send all that the Link grants until it grants nothing; how much that was."""
    total = 0
    while size := stream.credit:
        await ask(lambda size=size: stream.peer.send(stream.data(size)))  # type: ignore[misc]
        stream.credit -= size
        total += size
        stream.note(await stream.goes_on())
    return total


@both_roles
def test_a_peer_that_grants_everything_and_reads_nothing_makes_the_link_hold_one_buffer(client: bool) -> None:
    async def body(pump: Pump) -> None:
        async with carried(pump, client=client, window=WINDOW_MAX) as stream:
            await stream.goes_on()
            quiet, chunk = 0, bytes(65536)
            while quiet < 200:  # turns of the loop in which nothing moves
                before = stream.link.data_out
                try:
                    stream.local.send(chunk)
                    quiet = 0
                except BlockingIOError:
                    quiet = 0 if stream.link.data_out != before else quiet + 1
                await asyncio.sleep(0)
            assert stream.link.streams[stream.number].credit > 0, "it is the carrier that holds it up"
            assert pump.buffers_out <= 2
            assert stream.link.data_out - stream.link.carrier_out < 1376256

    run(body)


async def grow(stream: Carried, size: int) -> None:
    """Send `size` octets within the window while the local side reads them all."""
    slow = 1_000_000_000  # a round trip, in microseconds, in which any window goes through: so it doubles
    stream.link.ping()
    token = int.from_bytes((await ask(lambda: stream.peer.wait_for(PING)))[2], "big")
    stream.peer.send(frame(0, PONG, struct.pack(">Q", token - min(token, slow))))
    while size > 0:
        part = min(size, stream.credit, WINDOW_START)
        assert part > 0, "the window was not granted anew"
        await ask(lambda part=part: stream.peer.send(stream.data(part)))  # type: ignore[misc]
        stream.credit -= part
        size -= part
        left = part
        while left:
            await asyncio.sleep(0)
            left -= drain(stream.local)
        stream.note(await stream.goes_on())
        assert stream.credit <= WINDOW_MAX


@both_roles
def test_the_window_grows_to_its_limit_and_not_beyond(client: bool) -> None:
    async def body(pump: Pump) -> None:
        async with carried(pump, client=client) as stream:
            await grow(stream, 3 * WINDOW_MAX)
            assert stream.link.streams[stream.number].window == WINDOW_MAX
            assert stream.link.granted == WINDOW_MAX

    run(body)


def test_all_windows_together_stay_within_the_session_s() -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=False) as side, contextlib.ExitStack() as visitors:
            gate = Gate.of(side)
            streams = []
            for _ in range(SESSION_WINDOW_MAX // WINDOW_MAX):
                visitor = visitors.enter_context(gate.visit())
                visitor.setblocking(False)
                number, credit = await gate.opened()
                side.peer.send(frame(number, ACCEPT, u32(WINDOW_START)))
                streams.append(Carried(side.link, side.watcher, side.peer, number, visitor, credit))
            for stream in streams:
                await grow(stream, 2 * WINDOW_MAX)
                assert side.link.granted <= SESSION_WINDOW_MAX
            for _ in range(4):
                visitors.enter_context(gate.visit())
            await side.goes_on()
            assert side.link.granted <= SESSION_WINDOW_MAX

    run(body)


def test_streams_that_only_drain_count_for_the_session_s_windows() -> None:
    async def body(pump: Pump) -> None:
        buffers = 32768  # more than what the sockets themselves hold at these sizes
        with session(pump, client=False) as side, contextlib.ExitStack() as visitors:
            gate = Gate.of(side, send_buffer=4096)
            held = 0
            for _ in range(320):
                visitor = visitors.enter_context(gate.visit(receive_buffer=4096))
                visitor.shutdown(socket.SHUT_WR)
                number, credit = await gate.opened()
                data = [frame(number, DATA, bytes(part)) for part in (credit - EARLY_WINDOW, EARLY_WINDOW)]
                side.peer.send(frame(number, ACCEPT, u32(WINDOW_START)), *data, frame(number, FIN))
                await side.goes_on()
                held += credit - buffers
                assert side.link.granted <= SESSION_WINDOW_MAX
            assert len(side.link.streams) > 100, "who has not taken all has not left"
            assert held <= SESSION_WINDOW_MAX

    run(body)


# --- 7.6: streams ----------------------------------------------------------------------------------------------------


def test_a_session_ends_when_its_numbers_are_used_up() -> None:
    """After two thousand million visitors; the client is back at once, and starts over."""

    async def body(pump: Pump) -> None:
        with session(pump, client=False) as side:
            gate = Gate.of(side)
            side.link.next_id = 0xFFFFFFF0
            with gate.visit():
                assert (await gate.opened())[0] == 0xFFFFFFF0
                gate.visit().close()
                got = await ask(lambda: side.peer.wait_for(CLOSE))
                assert got == (0, CLOSE, b"\0the numbers of streams are used up")

    run(body)


def test_the_streams_that_wait_for_a_target_are_bounded() -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=True, watcher=Patient()) as side:
            side.link.set_target(1, None)
            side.peer.send(*(open_frame(2 * i) for i in range(1, PENDING_MAX + 1)))
            assert await side.goes_on() == []
            assert side.link.pending == side.link.busy() == PENDING_MAX
            beyond = 2 * PENDING_MAX + 2
            side.peer.send(open_frame(beyond))
            assert await side.goes_on() == [(beyond, REFUSE, bytes((BUSY,)) + b"too many streams")]
            side.peer.send(frame(2, RESET, bytes((FAILED,))), open_frame(beyond + 2))
            assert await side.goes_on() == []
            assert side.link.pending == PENDING_MAX

    run(body)


@both_roles
def test_the_visitors_that_wait_for_the_peer_are_bounded(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side, contextlib.ExitStack() as visitors:
            gate = Gate.of(side)
            for _ in range(PENDING_MAX + 10):
                visitors.enter_context(gate.visit())
            opened = [got[0] for got in await side.goes_on() if got[1] == OPEN]
            assert len(opened) == side.link.pending
            assert PENDING_MAX - 16 < len(opened) <= PENDING_MAX
            side.peer.send(*(frame(number, ACCEPT, u32(WINDOW_START)) for number in opened))
            more = [got[0] for got in await side.goes_on() if got[1] == OPEN]
            assert len(opened) + len(more) == PENDING_MAX + 10, "who waited in the kernel's queue comes in"

    run(body)


def test_a_client_carries_as_many_streams_as_the_limit_says() -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=True) as side, socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            side.link.set_target(1, Target([(*listener.getsockname(), 0)]))
            numbers = list(range(2, 2 * STREAMS_MAX + 2, 2))
            for at in range(0, STREAMS_MAX, PENDING_MAX):
                await take(side, listener, numbers[at : at + PENDING_MAX])
            assert side.link.busy() == STREAMS_MAX
            beyond = numbers[-1] + 2
            side.peer.send(open_frame(beyond))
            refusals = [got for got in await side.goes_on() if got[1] == REFUSE]
            assert refusals == [(beyond, REFUSE, bytes((BUSY,)) + b"too many streams")]
            side.peer.send(frame(2, RESET, bytes((FAILED,))))
            await take(side, listener, [beyond + 2])
            assert side.link.busy() == STREAMS_MAX

    with descriptors(STREAMS_MAX + 200):
        run(body)


async def take(side: Side, listener: socket.socket, numbers: list[int]) -> None:
    """Open streams whose target ends at once: its end is theirs as well, but the peer's direction stays open."""
    side.peer.send(*(open_frame(number) for number in numbers))
    for _ in numbers:
        (await ask(listener.accept))[0].close()
    accepted: set[int] = set()
    async with asyncio.timeout(20):
        while len(accepted) < len(numbers):
            await asyncio.sleep(0)
            accepted |= {got[0] for got in side.peer.frames_now() if got[1] == ACCEPT}
    assert accepted == set(numbers)


@contextlib.contextmanager
def descriptors(wanted: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if hard < wanted and hard != resource.RLIM_INFINITY:
            pytest.skip(f"needs {wanted} descriptors, {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_carries_visitors_up_to_the_limit_and_the_rest_wait() -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=False) as side:
            gate = Gate.of(side)
            opened: list[int] = []
            for _ in range(STREAMS_MAX // 128 + 1):
                for _ in range(128):
                    gate.visit().close()
                new = [got[0] for got in await side.goes_on() if got[1] == OPEN]
                side.peer.send(frame(0, ACK, bytes(8)), *(frame(number, ACCEPT, u32(WINDOW_START)) for number in new))
                opened += new
                assert side.link.busy() == len(opened) <= STREAMS_MAX
            assert await side.goes_on() == []
            assert len(opened) > STREAMS_MAX - 16
            side.peer.send(*(frame(number, FIN) for number in opened[:100]))
            freed = [got for got in await side.goes_on() if got[1] == OPEN]
            assert len(freed) == 100, "whoever waited comes in when others have gone"

    with descriptors(STREAMS_MAX + 200):
        run(body)


# --- what a peer provokes and does not read --------------------------------------------------------------------------


@both_roles
@pytest.mark.parametrize("more", [0, 1])
def test_refusals_that_wait_to_be_sent_are_bounded(client: bool, more: int) -> None:
    numbers = range(first(client), first(client) + 2 * (2 * STREAMS_MAX + 1 + more), 2)

    async def body(pump: Pump) -> None:
        async with stuck(pump, client) as session:
            await ask(lambda: session.peer.send(*(open_frame(number) for number in numbers)))
            if more:
                return await session.is_cut()
            got = await settle(session.peer)
            assert [stream for stream, kind, _ in got if kind == REFUSE] == list(numbers)
            assert not session.ended.is_set()

    run(body)


@both_roles
def test_nobody_opens_before_admission(client: bool) -> None:
    """8,192 refusals that wait are 4 MiB, and 256 connections may be there that are not admitted."""

    async def body(pump: Pump) -> None:
        with session(pump, client=client, admitted=False) as side:
            side.peer.send(open_frame(first(client)))
            await side.is_cut()

    run(body)


@both_roles
@pytest.mark.usefixtures("tidy")
def test_a_peer_that_opens_and_never_reads_loses_the_session(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.sock.setblocking(False)
            number = first(client)
            unsent = b""
            async with asyncio.timeout(30):
                while not side.watcher.ended.is_set():
                    if not unsent:
                        unsent = side.peer.record(b"".join(open_frame(number + 2 * i) for i in range(500)))
                        number += 1000
                    with contextlib.suppress(BlockingIOError, ConnectionError):
                        unsent = unsent[side.peer.sock.send(unsent) :]
                    await asyncio.sleep(0)
                    assert live_conns() < 3 * STREAMS_MAX
            assert isinstance(side.watcher.error, ProtocolError)

    run(body)


@pytest.fixture
def tidy() -> None:
    """No stream of an earlier test is left, which may wait in a cycle for the collector."""
    gc.collect()


def live_conns() -> int:
    return sum(isinstance(item, Conn) for item in gc.get_objects())


@pytest.mark.usefixtures("tidy")
def test_visitors_that_come_and_go_while_the_peer_does_not_read_are_bounded() -> None:
    visits = 3 * STREAMS_MAX

    async def body(pump: Pump) -> None:
        async with carried(pump, client=False, window=WINDOW_MAX) as stream:
            gate = Gate.of(stream)
            await block_carrier(stream)
            for _ in range(visits):
                with socket.socket() as visitor:
                    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    visitor.setblocking(False)
                    visitor.connect_ex(gate.where)
                    await asyncio.sleep(0)
            assert live_conns() <= 2 * STREAMS_MAX + PENDING_MAX

    run(body)


async def block_carrier(stream: Carried) -> None:
    """Let the local side send until the carrier takes no more: the peer does not read."""
    quiet, chunk = 0, bytes(65536)
    while quiet < 200:
        with contextlib.suppress(BlockingIOError):
            stream.local.send(chunk)
            quiet = -1
        quiet += 1
        await asyncio.sleep(0)


@both_roles
def test_a_flood_of_pings_is_answered_by_the_last(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            tokens = [struct.pack(">Q", token) for token in range(RECORD_MAX // 16)]
            await ask(lambda: side.peer.send(*(frame(0, PING, token) for token in tokens)))
            assert await side.goes_on() == [(0, PONG, tokens[-1])]
            assert pump.buffers_out == 0

    run(body)


@both_roles
@pytest.mark.parametrize("token", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_pong_repeats_any_token(client: bool, token: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(frame(0, PING, struct.pack(">Q", token)))
            assert await ask(lambda: side.peer.wait_for(PONG)) == (0, PONG, struct.pack(">Q", token))

    run(body)


@both_roles
def test_pongs_that_nobody_asked_for_leave_no_trace_but_a_round_trip(client: bool) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            side.peer.send(*(frame(0, PONG, struct.pack(">Q", token)) for token in (2**64 - 1, 2**63, 2**52)))
            await side.goes_on()
            assert side.link.rtt == 0, "a token of the future is no round trip"

    run(body)


@both_roles
@pytest.mark.parametrize("size", [1, 4096, CONTROL_MAX])
def test_a_mebibyte_of_control_messages_may_wait(client: bool, size: int) -> None:
    async def body(pump: Pump) -> None:
        with session(pump, client=client) as side:
            count = CONTROLS_UNSENT // (size + MESSAGE_COST)
            for _ in range(count):
                side.link.control(bytes(size))
            with pytest.raises(OverflowError):
                side.link.control(bytes(size))
            assert await side.goes_on() == [(0, CONTROL, bytes(size))] * count
            side.link.control(bytes(CONTROL_MAX))
            assert await side.goes_on() == [(0, CONTROL, bytes(CONTROL_MAX))]

    run(body)


class Cutting(Watcher):
    """Ends the session from within what it is told."""

    link: Link

    def on_control(self, data: bytes) -> None:
        super().on_control(data)
        self.link.abort(ProtocolError("that was one too many"))


@both_roles
@pytest.mark.parametrize("records", [1, 2])
def test_nothing_is_told_behind_the_end_that_the_owner_made(client: bool, records: int) -> None:
    async def body(pump: Pump) -> None:
        watcher = Cutting()
        with session(pump, client=client, watcher=watcher) as side:
            watcher.link = side.link
            parts = [frame(0, CONTROL, b"first"), frame(0, CONTROL, b"second")]
            wire = [side.peer.record(b"".join(parts))] if records == 1 else [side.peer.record(part) for part in parts]
            side.peer.sock.sendall(b"".join(wire))
            await until(watcher.ended.is_set)
            assert watcher.controls == [b"first"]

    run(body)


# --- 8: control messages, at a session -------------------------------------------------------------------------------


class Echo(Session):
    """Sends every message back."""

    def __init__(self, pump: Pump, *, client: bool) -> None:
        mine, theirs = key_pair_for(client, "aegis256")
        near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that there is, some KiB
        super().__init__(pump, Channel(near), mine, client=client)
        self.peer = WirePeer(far, theirs, client=not client)
        self.told: list[control.Message] = []

    def on_message(self, kind: str, message: control.Message) -> None:
        self.told.append(message)
        self.send(message)

    async def is_cut(self) -> None:
        await until(self.ended.is_set)
        assert isinstance(self.error, ProtocolError)


@contextlib.asynccontextmanager
async def stuck(pump: Pump, client: bool) -> AsyncIterator[Echo]:
    """Its peer is admitted, and has not read what fills the carrier: whatever comes next waits here."""
    session = Echo(pump, client=client)
    with contextlib.closing(session.peer):
        session.link.start()
        session.link.admit_peer()
        session.link.control(bytes(CONTROL_MAX))
        await until(lambda: session.link.carrier_out > 0)
        yield session
        session.link.abort(None)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


# One map around the value: 8 levels deep is the map and 7 lists.
VALUES_FIT = {"text": "x" * 4096, "binary": b"x" * 4096, "list": [0] * 256, "map": dict.fromkeys(map(str, range(256)))}
VALUES_EXCEED = {
    "text": "x" * 4097,
    "binary": b"x" * 4097,
    "list": [0] * 257,
    "map": dict.fromkeys(map(str, range(257))),
}


@both_roles
@pytest.mark.parametrize("value", [*VALUES_FIT.values(), nested(6)], ids=[*VALUES_FIT, "levels"])
def test_control_messages_within_the_limits_are_told(client: bool, value: object) -> None:
    async def body(pump: Pump) -> None:
        session = Echo(pump, client=client)
        with contextlib.closing(session.peer):
            message = {"type": "x", "v": value}
            session.link.start()
            session.peer.send(frame(0, CONTROL, msgpack.packb(message)))
            assert await settle(session.peer) == [(0, CONTROL, msgpack.packb(message))]
            assert session.told == [message]
            session.link.abort(None)

    run(body)


@both_roles
@pytest.mark.parametrize("value", [*VALUES_EXCEED.values(), nested(8)], ids=[*VALUES_EXCEED, "levels"])
def test_control_messages_beyond_the_limits_end_the_session(client: bool, value: object) -> None:
    async def body(pump: Pump) -> None:
        session = Echo(pump, client=client)
        with contextlib.closing(session.peer):
            session.link.start()
            session.peer.send(frame(0, CONTROL, msgpack.packb({"type": "x", "v": value})))
            await until(session.ended.is_set)
            assert isinstance(session.error, ProtocolError)
            assert session.told == []

    run(body)


@both_roles
@pytest.mark.parametrize("more", [0, 1])
def test_a_session_ends_when_more_than_a_mebibyte_of_answers_waits(client: bool, more: int) -> None:
    async def body(pump: Pump) -> None:
        async with stuck(pump, client) as session:
            message = msgpack.packb({"type": "x"})
            count = CONTROLS_UNSENT // (len(message) + MESSAGE_COST) + more
            await ask(lambda: session.peer.send(frame(0, CONTROL, message) * count))
            if more:
                return await session.is_cut()
            assert len(await settle(session.peer)) == 1 + count
            assert not session.ended.is_set()

    run(body)


@pytest.mark.e2e
@pytest.mark.parametrize("count", [200, 256])
def test_a_hello_may_declare_as_many_remotes_as_a_list_holds(tmp_path: Path, count: int) -> None:
    remotes = [{"lhost": "127.0.0.1", "lport": 0, "rhost": "127.0.0.1", "rport": 1 + i} for i in range(count)]
    with closing_all() as keep:
        server = keep(Server(tmp_path))
        with contextlib.closing(login(server.port, *remotes)) as peer:
            answers = [msgpack.unpackb(peer.wait_for(CONTROL)[2]) for _ in range(count)]
            assert sorted(answer["ref"] for answer in answers) == list(range(count))
            assert all("lport" in answer for answer in answers)
