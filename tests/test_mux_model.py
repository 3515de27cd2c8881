"""Two real Links, and a Link against the plain peer, held against a slow and obvious model of what they deliver."""

import asyncio
import contextlib
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rport._mux import constants
from rport._pump import Link, Listener, Pump, Target
from rport._seal import CIPHERS, Seal
from rport.errors import LinkLost, ProtocolError
from tests.support.wire import (
    ACCEPT,
    CLOSE,
    CONTROL,
    DATA,
    FIN,
    OPEN,
    PING,
    PONG,
    REFUSE,
    RESET,
    WINDOW,
    Frame,
    Watcher,
    WirePeer,
    ask,
    frame,
    link_with_peer,
    open_frame,
    run,
    settle,
    u32,
    until,
)

NUMBER = constants()
EARLY_WINDOW = NUMBER["EARLY_WINDOW"]
WINDOW_START = NUMBER["WINDOW_START"]
WINDOW_MAX = NUMBER["WINDOW_MAX"]
SESSION_WINDOW_MAX = NUMBER["SESSION_WINDOW_MAX"]

NOISE = random.Random(5).randbytes(1 << 21)  # what is sent: any octet lost, doubled or moved shows
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


def model(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- the model of one direction and of one stream --------------------------------------------------------------------


@dataclass
class End:
    """A local socket of the test's, what it sent, and what arrived at it."""

    sock: socket.socket | None = None
    given: bytes = b""  # all that it sends
    sent: int = 0  # of that, what its kernel took
    ending: bool = False  # half-closes behind all that is given
    shut: bool = False
    paused: bool = False
    cut: bool = False  # was reset by the test
    arrived: int = 0
    eof: bool = False
    broken: bool = False  # was reset by the Link

    def open(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    def give(self, size: int, seed: int) -> None:
        if not (self.ending or self.cut):
            self.given += NOISE[seed : seed + size]

    def reset(self) -> None:
        if self.sock is not None and not self.cut:
            self.cut = True
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            self.sock.close()

    def turn(self, other: "End") -> None:
        """Move what the sockets take and have, and hold it against what `other` sent."""
        if self.sock is None or self.cut:
            return
        if not self.broken:
            self._write(self.sock)
        if not (self.paused or self.eof):
            self._read(self.sock, other)

    def _write(self, sock: socket.socket) -> None:
        try:
            while self.sent < len(self.given):
                self.sent += sock.send(self.given[self.sent : self.sent + 262144])
            if self.ending and not self.shut:
                sock.shutdown(socket.SHUT_WR)
                self.shut = True
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True

    def _read(self, sock: socket.socket, other: "End") -> None:
        try:
            while data := sock.recv(262144):
                assert data == other.given[self.arrived : self.arrived + len(data)], "not what was sent, or not next"
                self.arrived += len(data)
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            return
        if not self.broken:  # an error that send() took leaves what looks like an end
            self.eof = True
            assert other.shut, "an end that nobody made"
            assert self.arrived == len(other.given), "an end in front of octets"

    def is_reset(self) -> bool:
        """A reset has come: an error, or the end of both directions though this one has not ended."""
        if self.sock is None or self.broken:
            return self.broken
        events = select.poll()
        events.register(self.sock, 0)
        seen = sum(event for _, event in events.poll(0))
        return bool(seen & select.POLLERR) or bool(seen & select.POLLHUP and not self.shut)

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()


@dataclass
class Carried:
    """One stream: the visitor's socket, the target's, and where the Links listen and dial for it."""

    refused: bool
    tunnel: int
    visitor: End = field(default_factory=End)
    target: End = field(default_factory=End)
    where: socket.socket = field(default_factory=socket.socket)

    @property
    def ends(self) -> tuple[End, End]:
        return self.visitor, self.target

    def turn(self) -> None:
        if self.target.sock is None and not self.refused:
            with contextlib.suppress(BlockingIOError):
                self.target.open(self.where.accept()[0])
        self.visitor.turn(self.target)
        self.target.turn(self.visitor)

    def is_settled(self) -> bool:
        """Everything that must arrive has; whoever must see a reset does."""
        if self.refused:
            return self.visitor.cut or self.visitor.is_reset()
        return self._is_told(self.visitor, self.target) and self._is_told(self.target, self.visitor)

    def _is_told(self, end: End, other: End) -> bool:
        if end.cut:
            return True
        if not other.cut:
            return end.arrived == len(other.given) and end.eof == other.ending
        if end.sock is None:
            return True  # nobody was dialled yet when the visitor went
        return end.is_reset() or (end.eof and end.shut)  # the latter: it was over before the reset

    def is_over(self) -> bool:
        return all(end.sock is None or end.cut or end.broken or (end.eof and end.shut) for end in self.ends)

    def close(self) -> None:
        for end in self.ends:
            end.close()
        self.where.close()


class Pair:
    """Two Links joined by a socketpair, and the streams that the test made."""

    def __init__(self, pump: Pump, cipher: str, small_carrier: bool) -> None:
        near, far = socket.socketpair()
        if small_carrier:  # partial sends, and records in many pieces
            for sock in (near, far):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one, other = bytes(32), bytes(range(32))
        self.told = Watcher(), Watcher()
        self.server = Link(Seal(cipher, one), Seal(cipher, other), False, pump, near.detach(), self.told[0])
        self.client = Link(Seal(cipher, other), Seal(cipher, one), True, pump, far.detach(), self.told[1])
        self.links = self.server, self.client
        self.streams: list[Carried] = []
        for link in self.links:
            link.admit_peer()
            link.start()

    def visit(self, refused: bool) -> None:
        stream = Carried(refused, len(self.streams) + 1)
        stream.where.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        stream.where.bind(("127.0.0.1", 0))  # without listen() it refuses
        if not refused:
            stream.where.listen()
        stream.where.setblocking(False)
        self.client.set_target(stream.tunnel, Target([(*stream.where.getsockname(), 0)]))
        with socket.create_server(("127.0.0.1", 0)) as gate:
            gate.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # so that backlogs come about
            where = gate.getsockname()
            Listener(self.server, gate.detach(), stream.tunnel)
        visitor = socket.socket()
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        visitor.connect(where)
        stream.visitor.open(visitor)
        self.streams.append(stream)

    def turn(self) -> None:
        for stream in self.streams:
            stream.turn()

    async def settled(self, condition: Callable[[Carried], bool]) -> None:
        def all_are() -> bool:
            self.turn()
            return all(condition(stream) for stream in self.streams)

        await until(all_are)

    async def quiet(self) -> None:
        """A round trip each way, so that whatever was still on its way has shown itself."""
        for link, told in zip(self.links, self.told, strict=True):
            before = told.pongs
            link.ping()
            await until(lambda told=told, before=before: told.pongs > before)  # type: ignore[misc]
        self.turn()

    async def end(self) -> None:
        """An orderly end of the session."""
        self.server.finish_session(0, "bye")
        await until(lambda: all(told.ended.is_set() for told in self.told))
        assert [told.error for told in self.told] == [None, None]
        assert self.told[1].goodbye == (0, "bye")

    def close(self) -> None:
        for stream in self.streams:
            stream.close()


# --- steps -----------------------------------------------------------------------------------------------------------

SIZES = st.one_of(
    st.integers(1, 300),
    st.sampled_from([4095, 4096, EARLY_WINDOW, EARLY_WINDOW + 1, 65536, WINDOW_START, WINDOW_START + 1, 1 << 20]),
)
WHICH = st.integers(0, 3)
SIDE = st.integers(0, 1)
Step = tuple[str, int, int, int]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from([0, 0, 0, 1]), st.just(0), st.just(0)),
        st.tuples(st.just("give"), WHICH, SIDE, SIZES),
        st.tuples(st.just("give"), WHICH, SIDE, SIZES),
        st.tuples(st.sampled_from(["end", "reset", "pause", "resume", "meet", "linger"]), WHICH, SIDE, st.just(0)),
        st.tuples(st.just("turn"), st.integers(1, 30), st.just(0), st.just(0)),
        st.tuples(st.just("turn"), st.integers(1, 30), st.just(0), st.just(0)),
    ),
    min_size=2,
    max_size=40,
)


async def perform(pair: Pair, steps: list[Step]) -> None:
    for number, (verb, which, side, size) in enumerate([("open", 0, 0, 0), *steps]):
        if verb == "open":
            if len(pair.streams) < 4:
                pair.visit(refused=bool(which))
            continue
        if verb == "turn":
            for _ in range(which):
                await asyncio.sleep(0)
                pair.turn()
            continue
        stream = pair.streams[which % len(pair.streams)]
        await apply(pair, stream, stream.ends[side], verb, size, number)


async def apply(pair: Pair, stream: Carried, end: End, verb: str, size: int, number: int) -> None:
    if verb == "give":
        end.give(size, seed=1000 * number)
    elif verb == "end":
        end.ending = True
    elif verb == "reset":
        end.reset()
    elif verb == "linger":  # both have ended, and one has not read
        end.paused = True
        for each in stream.ends:
            each.give(1 << 20, seed=1000 * number)
            each.ending = True
    elif verb == "meet" and not stream.refused and not stream.visitor.cut:
        await pair.settled(lambda each: each is not stream or each.target.sock is not None)
    else:
        end.paused = verb == "pause"


def check_refused(pair: Pair) -> None:
    refused = [stream for stream in pair.streams if stream.refused]
    told = [tunnel for tunnel, _, _ in pair.told[0].refusals]
    assert len(set(told)) == len(told)
    for stream in refused:
        assert stream.visitor.arrived == 0
        assert not stream.visitor.eof
        assert stream.visitor.cut or stream.tunnel in told
    assert {code for _, code, _ in pair.told[0].refusals} <= {4}


def check_nothing_left(pump: Pump, pair: Pair) -> bool:
    return all(link.busy() == link.pending == link.granted == 0 for link in pair.links) and pump.buffers_out == 0


@model(200)
@given(STEPS, st.sampled_from(CIPHERS), st.booleans())
def test_streams_deliver_what_was_sent_and_end_as_they_were_ended(steps: list[Step], cipher: str, small: bool) -> None:
    async def body(pump: Pump) -> None:
        pair = Pair(pump, cipher, small)
        with contextlib.closing(pair):
            await perform(pair, steps)
            await pair.quiet()
            for stream in pair.streams:
                stream.visitor.paused = stream.target.paused = False
            await pair.settled(Carried.is_settled)
            await pair.quiet()
            assert all(stream.is_settled() for stream in pair.streams)
            check_refused(pair)
            for stream in pair.streams:
                stream.visitor.ending = stream.target.ending = True
            await pair.settled(lambda stream: stream.is_settled() and (stream.refused or stream.is_over()))
            await until(lambda: check_nothing_left(pump, pair))
            await pair.end()

    run(body)


@model(100)
@given(STEPS, st.booleans(), SIDE, st.booleans())
def test_a_carrier_that_is_cut_resets_every_stream_that_had_not_ended(
    steps: list[Step], small: bool, by: int, late: bool
) -> None:
    async def body(pump: Pump) -> None:
        pair = Pair(pump, "aegis128l", small)
        with contextlib.closing(pair):
            await perform(pair, steps)
            if late:
                await pair.settled(lambda stream: stream.is_settled() or stream.visitor.paused or stream.target.paused)
            pair.links[by].abort(LinkLost("cut by the test"))
            await until(lambda: all(told.ended.is_set() for told in pair.told))
            assert all(isinstance(told.error, LinkLost) for told in pair.told)
            for stream in pair.streams:
                stream.visitor.paused = stream.target.paused = False
            await pair.settled(is_over_or_reset)  # turn() refuses a clean end that nobody made
            assert all(link.busy() == 0 for link in pair.links)

    run(body)


def is_over_or_reset(stream: Carried) -> bool:
    """A socket that the Links had taken is reset or had ended both ways."""
    return all(end.sock is None or end.cut or end.is_reset() or (end.eof and end.shut) for end in stream.ends)


# --- one Link and the plain peer: what goes over the wire ------------------------------------------------------------


@dataclass
class Wired:
    """An accepted stream between a Link and the plain peer."""

    link: Link
    watcher: Watcher
    peer: WirePeer
    number: int
    local: End
    granted: int  # by the Link, in total
    sent: int = 0  # DATA of the peer's
    received: int = 0  # DATA of the Link's
    fins: int = 0

    def take(self, got: list[Frame]) -> None:
        """Book what the Link sent for this stream."""
        for stream, kind, payload in got:
            if stream != self.number:
                continue
            if kind == DATA:
                assert payload == self.local.given[self.received : self.received + len(payload)]
                assert not self.fins, "octets behind the end"
                self.received += len(payload)
            elif kind == WINDOW:
                self.granted += int.from_bytes(payload, "big")
            elif kind == FIN:
                self.fins += 1
            else:
                raise AssertionError(f"frame of type {kind}")


async def wire_stream(pump: Pump, client: bool, window: int, stack: contextlib.ExitStack) -> Wired:
    link, watcher, peer = link_with_peer(pump, client=client)
    stack.enter_context(contextlib.closing(peer))
    local = End()
    stack.callback(local.close)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if client:
            link.set_target(1, Target([(*listener.getsockname(), 0)]))
            peer.send(open_frame(2, window=window))
            local.open(listener.accept()[0] if await until_dialled(listener) else socket.socket())
            number, _, payload = await ask(lambda: peer.wait_for(ACCEPT))
            return Wired(link, watcher, peer, number, local, int.from_bytes(payload, "big"))
        where = listener.getsockname()
        Listener(link, listener.detach(), 1)
    local.open(socket.create_connection(where))
    number, _, payload = await ask(lambda: peer.wait_for(OPEN))
    peer.send(frame(number, ACCEPT, u32(window)))
    return Wired(link, watcher, peer, number, local, int.from_bytes(payload[4:], "big"))


async def until_dialled(listener: socket.socket) -> bool:
    readable = select.poll()
    readable.register(listener, select.POLLIN)
    await until(lambda: readable.poll(0))
    return True


CREDITS = st.one_of(st.integers(1, 2000), st.sampled_from([1, 4096, 65536, WINDOW_START, 1 << 20, WINDOW_MAX // 16]))
GIFTS = st.lists(st.tuples(SIZES, st.lists(CREDITS, max_size=3)), min_size=1, max_size=6)


@model(60)
@given(st.booleans(), st.sampled_from([EARLY_WINDOW, EARLY_WINDOW + 1, WINDOW_START, WINDOW_MAX]), GIFTS, st.booleans())
def test_a_sender_uses_its_credit_and_no_more(
    client: bool, window: int, gifts: list[tuple[int, list[int]]], ending: bool
) -> None:
    async def body(pump: Pump) -> None:
        with contextlib.ExitStack() as stack:
            stream = await wire_stream(pump, client, window, stack)
            nobody, credit = End(), window
            for number, (size, credits_) in enumerate(gifts):
                stream.local.give(size, seed=1000 * number)
                for more in credits_:
                    stream.peer.send(frame(stream.number, WINDOW, u32(more)))
                credit += sum(credits_)
                await until(lambda credit=credit: catches_up(stream, nobody, credit))  # type: ignore[misc]
                stream.take(await settle(stream.peer))
                assert stream.received == min(len(stream.local.given), credit)
            stream.local.ending = ending
            if ending and credit > len(stream.local.given):
                await until(lambda: catches_up(stream, nobody, credit) and stream.fins)
            stream.take(await settle(stream.peer))
            assert stream.received == min(len(stream.local.given), credit)
            assert stream.fins == (ending and credit > len(stream.local.given))

    run(body)


def catches_up(stream: Wired, nobody: End, credit: int) -> bool:
    """Turns once; True when everything that may come has."""
    stream.local.turn(nobody)
    stream.take(stream.peer.frames_now())
    assert stream.received <= credit, "beyond the credit"
    return stream.received == min(len(stream.local.given), credit)


PORTIONS = st.lists(st.tuples(st.integers(1, WINDOW_START), st.booleans()), min_size=1, max_size=12)


@model(50)
@given(st.booleans(), PORTIONS, st.integers(0, 2_000_000))
def test_what_is_granted_stays_within_the_window_and_never_runs_dry(
    client: bool, portions: list[tuple[int, bool]], round_trip: int
) -> None:
    async def body(pump: Pump) -> None:
        with contextlib.ExitStack() as stack:
            stream = await wire_stream(pump, client, WINDOW_START, stack)
            await claim_round_trip(stream, round_trip)
            source = End()
            for number, (size, reading) in enumerate(portions):
                stream.local.paused = not reading
                size = min(size, stream.granted - stream.sent)
                source.give(size, seed=1000 * number)
                data = source.given[stream.sent :]
                await ask(lambda data=data: stream.peer.send(frame(stream.number, DATA, data)))  # type: ignore[misc]
                stream.sent += size
                stream.take(await settle(stream.peer))
                check_window(stream, source)
            stream.local.paused = False
            await until(lambda: reads_all(stream, source))
            stream.take(await settle(stream.peer))
            check_window(stream, source)
            # A quarter may be on its way; while answers are waited for, half of the first window is aimed at.
            assert stream.granted - stream.sent >= WINDOW_START // 2 * 3 // 4

    run(body)


async def claim_round_trip(stream: Wired, micros: int) -> None:
    """Answer a PING as if the path were so long: the window grows by the round trip that a peer claims."""
    stream.link.ping()
    token = int.from_bytes((await ask(lambda: stream.peer.wait_for(PING)))[2], "big")
    stream.peer.send(frame(0, PONG, struct.pack(">Q", max(0, token - micros))))


def reads_all(stream: Wired, source: End) -> bool:
    stream.local.turn(source)
    return stream.local.arrived == stream.sent


def check_window(stream: Wired, source: End) -> None:
    """What the peer may send and what was not read yet are one window together, which the document bounds."""
    stream.local.turn(source)
    inner = stream.link.streams[stream.number]
    assert inner.window <= WINDOW_MAX
    assert stream.link.granted <= SESSION_WINDOW_MAX
    assert inner.allowance == stream.granted - stream.sent <= inner.window
    assert inner.allowance >= 0


# --- anything at all from the wire -----------------------------------------------------------------------------------

KINDS = st.sampled_from(
    [OPEN, ACCEPT, REFUSE, DATA, WINDOW, FIN, RESET, PING, PONG, CONTROL, CLOSE, 12, 13, 0, 14, 255]
)
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 2**31, 2**32 - 1])
WORDS = st.sampled_from([0, 1, EARLY_WINDOW, WINDOW_START, WINDOW_MAX, 2**32 - 1]).map(u32)
PAYLOADS = st.one_of(
    st.binary(max_size=12),
    WORDS,
    st.tuples(st.just(u32(1)), WORDS).map(b"".join),
    st.sampled_from([0, 1, 8, 64, 255, 256, EARLY_WINDOW, EARLY_WINDOW + 1]).map(bytes),
)
SENSIBLE = st.sampled_from(
    [open_frame(1), open_frame(2), open_frame(4, tunnel=2), open_frame(6, tunnel=9)]
    + [frame(n, kind, payload) for n in (1, 2, 4) for kind, payload in [(DATA, b"x"), (FIN, b""), (RESET, b"\1")]]
    + [frame(n, ACCEPT, u32(WINDOW_START)) for n in (1, 2)]
    + [frame(n, REFUSE, b"\4no") for n in (1, 2)]
    + [frame(0, CONTROL, b"x"), frame(0, PING, bytes(8))]
)
PLAINTEXTS = st.lists(
    st.one_of(SENSIBLE, SENSIBLE, st.builds(frame, NUMBERS, KINDS, PAYLOADS), st.binary(min_size=1, max_size=20)),
    min_size=1,
    max_size=12,
)


@contextlib.contextmanager
def busy_link(pump: Pump, client: bool) -> Iterator[tuple[Link, Watcher, WirePeer]]:
    """A Link with a target that takes, one that refuses, and two visitors whose streams may be answered."""
    link, watcher, peer = link_with_peer(pump, client=client)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(peer))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        link.set_target(1, Target([(*listener.getsockname(), 0)]))
        link.set_target(2, Target([(*deaf.getsockname(), 0)]))
        with socket.create_server(("127.0.0.1", 0)) as gate:
            where = gate.getsockname()
            Listener(link, gate.detach(), 5)
        for _ in range(2):
            stack.enter_context(socket.create_connection(where))
        yield link, watcher, peer


async def ends_well(link: Link, watcher: Watcher, peer: WirePeer) -> None:
    """The session ends in one of the ways that are meant, with nothing left of it."""
    peer.sock.shutdown(socket.SHUT_WR)
    await until(watcher.ended.is_set)
    assert isinstance(watcher.error, ProtocolError | LinkLost) or watcher.goodbye is not None
    assert link.busy() == 0
    assert not link.alive


@model(300)
@given(st.booleans(), st.lists(PLAINTEXTS, min_size=1, max_size=4))
def test_any_frames_are_taken_or_end_the_session(client: bool, records: list[list[bytes]]) -> None:
    async def body(pump: Pump) -> None:
        with busy_link(pump, client) as (link, watcher, peer):
            for parts in records:
                with contextlib.suppress(ConnectionError):
                    peer.send(*parts)
                for _ in range(3):
                    await asyncio.sleep(0)
            if not watcher.ended.is_set():
                with contextlib.suppress(EOFError, ConnectionError):
                    await settle(peer)  # it answers, unless one of these frames ended it
            with contextlib.suppress(OSError):
                await ends_well(link, watcher, peer)
            assert watcher.ended.is_set()

    run(body)


@dataclass(frozen=True)
class Damage:
    """What happens to octets on their way."""

    verb: str
    at: int
    octets: bytes

    def __call__(self, wire: bytes) -> bytes:
        at = self.at % len(wire) if wire else 0
        size = len(self.octets)
        if self.verb == "change":
            return wire[:at] + bytes(a ^ b for a, b in zip(wire[at:], self.octets, strict=False)) + wire[at + size :]
        if self.verb == "insert":
            return wire[:at] + self.octets + wire[at:]
        if self.verb == "leave out":
            return wire[:at] + wire[at + size :]
        if self.verb == "repeat":
            return wire + wire[at:]
        return wire[:at]


DAMAGES = st.builds(
    Damage,
    st.sampled_from(["change", "insert", "leave out", "repeat", "cut"]),
    st.integers(0, 5000),
    st.binary(min_size=1, max_size=16),
)


@model(200)
@given(
    st.booleans(), st.sampled_from(CIPHERS), st.lists(st.integers(0, 400), max_size=6), st.lists(DAMAGES, max_size=2)
)
def test_damaged_records_are_never_delivered(
    client: bool, cipher: str, sizes: list[int], damages: list[Damage]
) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=client, cipher=cipher)
        with contextlib.closing(peer):
            messages = [NOISE[1000 * i : 1000 * i + size] for i, size in enumerate(sizes)]
            records = [peer.record(frame(0, CONTROL, message)) for message in messages]
            wire = sound = b"".join(records)
            for damage in damages:
                wire = damage(wire)
            if wire:
                peer.sock.sendall(wire)
            await ends_well(link, watcher, peer)
            assert watcher.controls == messages[: len(watcher.controls)]
            assert len(watcher.controls) >= whole_records(records, sound, wire)

    run(body)


def whole_records(records: list[bytes], sound: bytes, wire: bytes) -> int:
    """How many records came before the first damaged octet."""
    same = next((i for i, (a, b) in enumerate(zip(sound, wire, strict=False)) if a != b), min(len(sound), len(wire)))
    ends = [sum(map(len, records[: i + 1])) for i in range(len(records))]
    return sum(end <= same for end in ends)


@model(150)
@given(st.booleans(), st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda rest: b"\x82" + rest)))
def test_random_octets_end_the_session(client: bool, octets: bytes) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=client)
        with contextlib.closing(peer):
            with contextlib.suppress(ConnectionError):
                peer.sock.sendall(octets)
            await ends_well(link, watcher, peer)
            assert watcher.controls == []
            assert watcher.error is not None

    run(body)
