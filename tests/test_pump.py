"""A Link against a peer that is free to break every rule, over real sockets."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rport._pump import Link, Listener, Pump, Target
from rport.errors import LinkLost, ProtocolError
from tests.support.programs import read_all
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
    link_with_peer,
    open_frame,
    run,
    settle,
    u32,
    until,
)


@contextlib.contextmanager
def target() -> Iterator[tuple[socket.socket, Target]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener, Target([(*listener.getsockname(), 0)])


BAD_FROM_SERVER = {
    "frame for a stream never opened": frame(2, DATA, b"x"),
    "frame for an own stream never opened": frame(1, DATA, b"x"),
    "odd number from the server": open_frame(3),
    "OPEN too short": frame(2, OPEN, b"1234567"),
    "OPEN too long": frame(2, OPEN, bytes(65)),
    "OPEN window too small": open_frame(2, window=1),
    "OPEN window too large": open_frame(2, window=2**31),
    "unknown frame on stream 0": frame(0, 99),
    "stream frame on stream 0": frame(0, DATA, b"x"),
    "unknown frame on a stream": open_frame(2) + frame(2, 99),
    "CONTROL on a stream": open_frame(2) + frame(2, CONTROL, b"\x80"),
    "CONTROL too long": frame(0, CONTROL, bytes(65537)),
    "PING of wrong size": frame(0, PING, b"123"),
    "CLOSE too long": frame(0, CLOSE, bytes(256)),
    "header cut off": b"\0\0\0",
    "length beyond the record": struct.pack(">II", 2, OPEN << 24 | 9999),
    "second OPEN of one number": open_frame(2) + open_frame(2),
    "ACCEPT from the opener": open_frame(2) + frame(2, ACCEPT, struct.pack(">I", 262144)),
    "REFUSE from the opener": open_frame(2) + frame(2, REFUSE, b"\1"),
    "WINDOW of nothing": open_frame(2) + frame(2, WINDOW, struct.pack(">I", 0)),
    "WINDOW too large": open_frame(2) + frame(2, WINDOW, struct.pack(">I", 2**32 - 1)),
    "WINDOW piled up": open_frame(2) + frame(2, WINDOW, struct.pack(">I", 2**24)) * 3,
    "DATA beyond the early window": open_frame(2) + frame(2, DATA, bytes(16385)),
    "DATA behind FIN": open_frame(2) + frame(2, FIN) + frame(2, DATA, b"x"),
    "FIN twice": open_frame(2) + frame(2, FIN) + frame(2, FIN),
    "FIN with payload": open_frame(2) + frame(2, FIN, b"x"),
    "RESET without code": open_frame(2) + frame(2, RESET),
    "REKEY in mid-record": frame(0, REKEY) + frame(0, PING, bytes(8)),
}


@pytest.mark.parametrize("name", BAD_FROM_SERVER)
def test_broken_rules_end_the_session(name: str) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), target() as (_, where):
            link.set_target(1, where)
            peer.send(BAD_FROM_SERVER[name])
            await watcher.ended.wait()
            assert isinstance(watcher.error, ProtocolError)
            assert link.busy() == 0

    run(body)


BAD_CARRIER = {
    "text message": b"\x81\x02hi",
    "fragment": b"\x02\x05hello",
    "continuation": b"\x80\x05hello",
    "reserved bits": b"\xf2\x05hello",
    "masked by a server": b"\x82\x85\0\0\0\0hello",
    "empty record": b"\x82\x00",
    "tag only": b"\x82\x20" + bytes(32),
    "announced beyond the limit": b"\x82\x7f" + struct.pack(">Q", 300000),
    "announced absurdly": b"\x82\x7f" + struct.pack(">Q", 2**63),
    "garbage record": b"\x82\x7e" + struct.pack(">H", 1000) + bytes(1000),
    "carrier closed": b"\x88\x00",
    "long ping": b"\x89\x7e" + struct.pack(">H", 200) + bytes(200),
}


@pytest.mark.parametrize("name", BAD_CARRIER)
def test_broken_carriers_end_the_session(name: str) -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer):
            peer.sock.sendall(BAD_CARRIER[name])
            await watcher.ended.wait()
            assert isinstance(watcher.error, ProtocolError)

    run(body)


@pytest.mark.parametrize("cipher", ["aegis256", "chacha20poly1305"])
def test_nothing_of_a_damaged_record_is_delivered(cipher: str) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=True, cipher=cipher)
        with contextlib.closing(peer):
            peer.send(frame(0, CONTROL, b"first"))
            record = bytearray(peer.record(frame(0, CONTROL, b"second")))
            record[-1] ^= 1
            peer.sock.sendall(record)
            await watcher.ended.wait()
            assert watcher.controls == [b"first"]
            assert isinstance(watcher.error, ProtocolError)
            assert not link.alive

    run(body)


def test_end_without_close_is_a_truncation() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        peer.close()
        await watcher.ended.wait()
        assert isinstance(watcher.error, LinkLost)

    run(body)


def test_close_is_told_with_its_reason() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer):
            peer.send(frame(0, CLOSE, b"\3going down"))
            await watcher.ended.wait()
            assert watcher.goodbye == (3, "going down")
            assert watcher.error is None

    run(body)


def test_records_byte_by_byte_and_masked_by_an_intermediary() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=False)
        with contextlib.closing(peer):
            wrapped = bytearray(peer.record(frame(0, CONTROL, b"hello")))
            start = 2 + 4
            wrapped[2:6] = mask = b"\x11\x22\x33\x44"
            wrapped[start:] = bytes(octet ^ mask[i % 4] for i, octet in enumerate(wrapped[start:]))
            for octet in wrapped + peer.record(frame(0, PING, struct.pack(">Q", 7))):
                peer.sock.sendall(bytes((octet,)))
                await asyncio.sleep(0)
            assert await ask(lambda: peer.wait_for(PONG)[2]) == struct.pack(">Q", 7)
            assert watcher.controls == [b"hello"]

    run(body)


def test_ack_rekey_and_carrier_pings_are_taken() -> None:
    async def body(pump: Pump) -> None:
        _, _, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer):
            peer.send(frame(0, ACK, bytes(8)), frame(0, REKEY))
            peer.sealer.rekey(0.0)
            peer.sock.sendall(b"\x89\x04ping")
            peer.send(frame(0, PING, struct.pack(">Q", 9)))
            assert await ask(lambda: peer.wait_for(PONG)[2]) == struct.pack(">Q", 9)

    run(body)


@pytest.mark.parametrize("size", [65536, 4056, 4057, 4048, 4049])
def test_a_key_that_is_due_changes_in_the_first_record_however_full_it_is(size: int) -> None:
    """A change that was put off from full record to full record came too late for the peer, and in a full buffer its
    eight octets went beyond the end."""

    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=False, key_due=True)
        with contextlib.closing(peer):
            for _ in range(4):
                link.put_control(bytes(65536))
            link.control(bytes(size))  # with 4056 the record would be of the very limit
            assert await ask(lambda: peer.wait_for(REKEY)) == (0, REKEY, b"")
            assert peer.opener.records == 1
            assert peer.waiting == []
            peer.opener.rekey(0.0)
            link.control(b"behind")
            while await ask(lambda: peer.wait_for(CONTROL)[2]) != b"behind":
                pass

    run(body)


class Raising(Watcher):
    """Its own end is too much for it."""

    def on_closed(self, error: Exception | None) -> None:
        super().on_closed(error)
        raise RuntimeError("for the test")


def test_a_session_whose_end_fails_holds_up_no_other() -> None:
    async def body(pump: Pump) -> None:
        _, bad, first = link_with_peer(pump, client=True, watcher=Raising())
        _, _, second = link_with_peer(pump, client=True)
        with contextlib.closing(first), contextlib.closing(second):
            first.send(frame(0, 99))
            second.send(frame(0, PING, struct.pack(">Q", 9)))  # both are there when the loop looks
            await bad.ended.wait()
            assert await ask(lambda: second.wait_for(PONG)[2]) == struct.pack(">Q", 9)

    run(body)


class Leaving(Watcher):
    """Ends the session when it hears of a stream."""

    link: Link

    def on_stream(self, conn: object, peer: str) -> None:
        self.link.abort(None)

    def on_stream_left(self, conn: object) -> None:
        pass


@pytest.mark.parametrize("client", [True, False])
def test_a_session_may_end_at_the_word_of_a_stream(client: bool) -> None:
    async def body(pump: Pump) -> None:
        watcher = Leaving()
        link, _, peer = link_with_peer(pump, client=client, watcher=watcher)
        watcher.link, link.trace = link, True
        with contextlib.closing(peer), socket.create_server(("127.0.0.1", 0)) as local:
            where = local.getsockname()
            if client:
                link.set_target(1, Target([(*where, 0)]))
                peer.send(open_frame(2))
            else:
                Listener(link, local.detach(), 1)
                socket.create_connection(where).close()
            await watcher.ended.wait()
            for _ in range(10):  # an event of a stream that is no more
                await asyncio.sleep(0)
        assert len(pump.links) == 0

    run(body)


class Told(Watcher):
    """Notes how much another session had been told when this one was told something."""

    def __init__(self, other: Watcher) -> None:
        super().__init__()
        self.other = other
        self.at: list[int] = []

    def on_control(self, data: bytes) -> None:
        self.at.append(len(self.other.controls))


@pytest.mark.parametrize("kind", [CONTROL, REKEY])
def test_a_flood_of_messages_takes_turns_with_other_sessions(kind: int) -> None:
    async def body(pump: Pump) -> None:
        _, busy, flood = link_with_peer(pump, client=False)
        told = Told(busy)
        _, _, other = link_with_peer(pump, client=False, watcher=told)
        with contextlib.closing(flood), contextlib.closing(other):
            records = []
            for number in range(2000):
                records.append(flood.record(frame(0, CONTROL if number % 2 else kind)))
                if kind == REKEY and not number % 2:
                    flood.sealer.rekey(0.0)
            flood.sock.sendall(b"".join(records) + flood.record(frame(0, PING, bytes(8))))
            other.send(frame(0, CONTROL))  # all is there when the loop looks
            assert await ask(lambda: flood.wait_for(PONG)[2]) == bytes(8)
            assert len(busy.controls) in (1000, 2000)
            assert told.at[0] <= 64

    run(body)


def test_a_record_full_of_messages_takes_turns_with_other_sessions() -> None:
    async def body(pump: Pump) -> None:
        _, busy, flood = link_with_peer(pump, client=False)
        told = Told(busy)
        _, _, other = link_with_peer(pump, client=False, watcher=told)
        with contextlib.closing(flood), contextlib.closing(other):
            messages = [b"%d" % number for number in range(5000)]
            flood.send(*(frame(0, CONTROL, message) for message in messages), frame(0, PING, bytes(8)))
            other.send(frame(0, CONTROL))  # all is there when the loop looks
            assert await ask(lambda: flood.wait_for(PONG)[2]) == bytes(8)
            assert busy.controls == messages
            assert told.at[0] <= 64
            flood.send(frame(0, CONTROL, b"more"))
            await until(lambda: busy.controls[-1] == b"more")

    run(body)


class Slow(Watcher):
    """To whom each PONG costs tens of microseconds, as to the kernel a tiny DATA frame or a target that refuses."""

    def on_pong(self, rtt: float) -> None:
        super().on_pong(rtt)
        hashlib.sha256(bytes(65536))


def test_a_record_of_what_costs_time_takes_turns_with_other_sessions() -> None:
    async def body(pump: Pump) -> None:
        slow = Slow()
        _, _, flood = link_with_peer(pump, client=False, watcher=slow)
        _, watcher, other = link_with_peer(pump, client=False)
        with contextlib.closing(flood), contextlib.closing(other):
            flood.send(frame(0, PONG, struct.pack(">Q", int(time.monotonic() * 1e6))) * 10_000)
            other.send(frame(0, CONTROL))
            await until(lambda: watcher.controls)
            assert slow.pongs < 10_000
            await until(lambda: slow.pongs == 10_000)

    run(body)


def test_many_sessions_of_what_costs_time_take_turns_with_the_loop() -> None:
    async def body(pump: Pump) -> None:
        slow = [Slow() for _ in range(20)]
        with contextlib.ExitStack() as stack:
            for watcher in slow:
                flood = link_with_peer(pump, client=False, watcher=watcher)[2]
                stack.enter_context(contextlib.closing(flood))
                flood.send(frame(0, PONG, struct.pack(">Q", int(time.monotonic() * 1e6))) * 1000)
            await until(lambda: any(watcher.pongs for watcher in slow))
            assert not all(watcher.pongs for watcher in slow)
            await until(lambda: all(watcher.pongs == 1000 for watcher in slow))

    run(body)


def test_dial_carries_early_data_and_both_ends() -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), target() as (listener, where):
            link.set_target(1, where)
            peer.send(open_frame(2), frame(2, DATA, b"early"), frame(2, FIN))
            sock, _ = await asyncio.to_thread(listener.accept)
            with sock:
                sock.settimeout(10)
                assert await asyncio.to_thread(read_all, sock) == b"early"
                sock.sendall(b"answer")
            assert (await ask(lambda: peer.wait_for(ACCEPT)))[0] == 2
            assert (await ask(lambda: peer.wait_for(DATA)))[2] == b"answer"
            await ask(lambda: peer.wait_for(FIN))
            assert link.busy() == 0

    run(body)


def test_sender_stays_within_the_window() -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), target() as (listener, where):
            link.set_target(1, where)
            peer.send(open_frame(2, window=16384))
            sock, _ = await asyncio.to_thread(listener.accept)
            with sock:
                sock.sendall(bytes(100_000))
                got = 0
                while got < 16384:
                    got += len((await ask(lambda: peer.wait_for(DATA)))[2])
                assert got == 16384
                peer.send(frame(0, PING, struct.pack(">Q", 1)))
                assert (await ask(peer.receive))[1] == PONG
                peer.send(frame(2, WINDOW, struct.pack(">I", 100)))
                assert len((await ask(lambda: peer.wait_for(DATA)))[2]) == 100

    run(body)


def test_streams_beyond_the_limit_are_refused_and_the_rest_goes_on() -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer):
            peer.send(*(open_frame(2 * i, tunnel=77) for i in range(1, 1001)))
            refused = await ask(lambda: [peer.wait_for(REFUSE)[0] for _ in range(1000)])
            assert refused == [2 * i for i in range(1, 1001)]
            assert not watcher.ended.is_set()
            assert link.busy() == 0

    run(body)


def test_server_refuses_streams_from_a_client() -> None:
    async def body(pump: Pump) -> None:
        _, _, peer = link_with_peer(pump, client=False)
        with contextlib.closing(peer):
            peer.send(open_frame(1))
            assert (await ask(lambda: peer.wait_for(REFUSE)))[0] == 1

    run(body)


def test_visitor_is_reset_when_refused_and_the_owner_is_told() -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=False)
        listener = socket.create_server(("127.0.0.1", 0))
        where = listener.getsockname()
        gate = Listener(link, listener.detach(), 5)
        with contextlib.closing(peer), socket.create_connection(where) as visitor:
            stream, _, payload = await ask(lambda: peer.wait_for(OPEN))
            assert struct.unpack(">II", payload)[0] == 5
            peer.send(frame(stream, REFUSE, b"\4nobody there"))
            visitor.settimeout(10)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(visitor.recv, 1)
            assert watcher.refusals == [(5, 4, "nobody there")]
        gate.close()

    run(body)


def test_a_lost_link_resets_its_visitors() -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=False)
        listener = socket.create_server(("127.0.0.1", 0))
        where = listener.getsockname()
        Listener(link, listener.detach(), 5)
        with socket.create_connection(where) as visitor:
            stream = (await ask(lambda: peer.wait_for(OPEN)))[0]
            peer.send(frame(stream, ACCEPT, struct.pack(">I", 262144)), frame(stream, DATA, b"half a"))
            visitor.settimeout(10)
            assert await asyncio.to_thread(visitor.recv, 6) == b"half a"
            peer.close()
            await watcher.ended.wait()
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(visitor.recv, 1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where)

    run(body)


def test_a_tunnel_that_is_cut_takes_its_streams_along_and_no_others() -> None:
    """One stream is not accepted yet, one carries, one owes its visitor what he does not read, one is another's."""

    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=False)
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(peer))
            visitors, streams = [], []
            for tunnel in (5, 5, 5, 6):
                listener = socket.create_server(("127.0.0.1", 0))
                where = listener.getsockname()
                Listener(link, listener.detach(), tunnel)
                visitors.append(stack.enter_context(socket.create_connection(where, timeout=10)))
                streams.append((await ask(lambda: peer.wait_for(OPEN)))[0])
            for stream in streams[1:]:
                peer.send(frame(stream, ACCEPT, u32(262144)), frame(stream, DATA, b"x"))
            peer.send(*(frame(streams[2], DATA, bytes(65536)) for _ in range(3)), frame(streams[2], FIN))
            await settle(peer)
            link.cut_tunnel(5, 7)
            got = await settle(peer)
            assert [item for item in got if item[1] == RESET] == [(stream, RESET, b"\7") for stream in streams[:3]]
            for visitor in visitors[:3]:
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(read_all, visitor)
            assert link.busy() == 1
            assert await asyncio.to_thread(visitors[3].recv, 10) == b"x"
            peer.send(frame(streams[3], DATA, b"more"))
            assert await asyncio.to_thread(visitors[3].recv, 10) == b"more"
            link.cut_tunnel(99, 7)
            assert link.busy() == 1
            assert not watcher.ended.is_set()
            link.abort(None)

    run(body)


def test_targets_are_numeric() -> None:
    for wrong in ([], [("example.com", 1, 0)]):
        with pytest.raises(ValueError, match=r"address"):
            Target(wrong)


# --- Unix sockets ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unix_listener(directory: Path, kind: int = socket.SOCK_STREAM, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(directory / "s"))
        if kind == socket.SOCK_STREAM:
            listener.listen(backlog)
        listener.settimeout(10)
        yield listener


def test_a_unix_socket_is_dialled_with_early_data_and_both_ends(tmp_path: Path) -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), unix_listener(tmp_path) as listener:
            link.set_target(1, Target(listener.getsockname()))
            peer.send(open_frame(2), frame(2, DATA, b"early"))
            sock, _ = await asyncio.to_thread(listener.accept)
            with sock:
                sock.settimeout(10)
                await ask(lambda: peer.wait_for(ACCEPT))
                sock.sendall(b"greeting")
                assert (await ask(lambda: peer.wait_for(DATA)))[2] == b"greeting"
                peer.send(frame(2, DATA, b" and late"), frame(2, FIN))
                assert await asyncio.to_thread(read_all, sock) == b"early and late"
                sock.sendall(b"answer")
            assert (await ask(lambda: peer.wait_for(DATA)))[2] == b"answer"
            await ask(lambda: peer.wait_for(FIN))
            assert link.busy() == 0

    run(body)


def test_descriptors_that_come_along_hold_nothing_up(tmp_path: Path) -> None:
    """What carries one ends a read early, and no edge tells of what is behind it."""

    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), unix_listener(tmp_path) as listener:
            link.set_target(1, Target(listener.getsockname()))
            peer.send(open_frame(2))
            sock, _ = await asyncio.to_thread(listener.accept)
            with sock:
                for number in range(100):
                    socket.send_fds(sock, [b"%02d" % number], [0])
                got = b""
                while len(got) < 200:
                    got += (await ask(lambda: peer.wait_for(DATA)))[2]
                assert got == b"".join(b"%02d" % number for number in range(100))

    run(body)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root."""
    us = os.geteuid()
    if us == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if us == 0:
            os.seteuid(0)


def test_what_is_wrong_with_a_unix_socket_is_told_in_its_own_words(tmp_path: Path) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=True)
        numbers = itertools.count(1)
        with contextlib.closing(peer):

            async def refusal(path: str) -> tuple[int, int, str]:
                number = next(numbers)
                link.set_target(number, Target(path))
                peer.send(open_frame(2 * number, tunnel=number))
                payload = (await ask(lambda: peer.wait_for(REFUSE)))[2]
                assert watcher.refusals[-1] == (number, payload[0], payload[1:].decode())
                return watcher.refusals[-1][1:]

            assert await refusal(f"{tmp_path}/none") == (6, "there is no such socket")
            assert await refusal(f"/{'x' * 200}") == (1, "its path is too long for this system")
            with unix_listener(tmp_path, socket.SOCK_DGRAM) as listener:
                assert await refusal(listener.getsockname()) == (1, "it is no stream socket")
            os.unlink(tmp_path / "s")
            with unix_listener(tmp_path) as listener:
                path = listener.getsockname()
                os.chmod(path, 0)
                with nobody():
                    code, text = await refusal(path)
                assert (code, text[:35]) == (1, "this client has no right to write t")
            assert await refusal(path) == (4, "nobody listens on the socket")
            assert link.busy() == 0

    run(body)


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), unix_listener(tmp_path, backlog=0) as listener:
            link.set_target(1, Target(listener.getsockname()))
            peer.send(*(open_frame(2 * number) for number in range(1, 11)))
            for number in range(1, 11):
                peer.send(frame(2 * number, DATA, b"hello"))
            accepted: set[int] = set()
            for _ in range(10):
                sock, _ = await asyncio.to_thread(listener.accept)
                with sock:
                    accepted.add((await ask(lambda: peer.wait_for(ACCEPT)))[0])
                    assert await asyncio.to_thread(sock.recv, 5) == b"hello"
            assert accepted == set(range(2, 22, 2))
            assert watcher.refusals == []

    run(body)


def test_whoever_waits_for_a_full_queue_may_leave(tmp_path: Path) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer), unix_listener(tmp_path, backlog=0) as listener:
            link.set_target(1, Target(listener.getsockname()))
            peer.send(open_frame(2), open_frame(4), open_frame(6))
            await ask(lambda: peer.wait_for(ACCEPT))
            peer.send(frame(4, RESET, b"\1"))
            await settle(peer)
            listener.accept()[0].close()
            assert (await ask(lambda: peer.wait_for(ACCEPT)))[0] == 6
            peer.send(open_frame(8))
            await settle(peer)
            link.abort(None)  # with one that waits
            await watcher.ended.wait()
            await asyncio.sleep(0.1)  # its next try would be now
            assert link.busy() == 0

    run(body)


# --- the PROXY protocol ----------------------------------------------------------------------------------------------


def header_of(visitor: socket.socket, version: int, four: bool) -> bytes:
    """As proxy-protocol.txt has it, with Python's own means."""
    source, destination = visitor.getsockname()[:2], visitor.getpeername()[:2]
    family = socket.AF_INET if four else socket.AF_INET6
    if version == 1:
        hosts = f"{source[0]} {destination[0]}"
        return f"PROXY TCP{4 if four else 6} {hosts} {source[1]} {destination[1]}\r\n".encode()
    addresses = b"".join(socket.inet_pton(family, where[0]) for where in (source, destination))
    addresses += struct.pack(">HH", source[1], destination[1])
    magic = b"\r\n\r\n\0\r\nQUIT\n"
    return magic + struct.pack(">BBH", 0x21, 0x11 if four else 0x21, len(addresses)) + addresses


@contextlib.contextmanager
def tunnel_port(link: Link, proxy: int, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Where visitors of a listener with that version of the PROXY protocol come to; "::" takes both families."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    where = sock.getsockname()[:2]
    listener = Listener(link, sock.detach(), 5, proxy)
    try:
        yield where
    finally:
        listener.close()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("listens", "dialled"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")]
)
def test_the_target_is_told_of_the_visitor_before_he_says_a_word(version: int, listens: str, dialled: str) -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=False)
        with (
            contextlib.closing(peer),
            tunnel_port(link, version, listens) as (_, port),
            socket.create_connection((dialled, port)) as visitor,
        ):
            stream, _, _ = await ask(lambda: peer.wait_for(OPEN))
            header = header_of(visitor, version, ":" not in dialled)
            assert await ask(peer.receive) == (stream, DATA, header)
            visitor.sendall(b"hello")
            assert await ask(peer.receive) == (stream, DATA, b"hello")

    run(body)


def test_without_it_nothing_goes_before_the_visitors_own_words() -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=False)
        with contextlib.closing(peer), tunnel_port(link, 0) as where, socket.create_connection(where) as visitor:
            assert [kind for _, kind, _ in (await until_opened(peer))] == [OPEN]
            visitor.sendall(b"hello")
            assert (await ask(peer.receive))[2] == b"hello"

    run(body)


async def until_opened(peer: WirePeer) -> list[Frame]:
    """All frames up to a moment behind the first OPEN."""
    opened = await ask(lambda: peer.wait_for(OPEN))
    return [opened, *await settle(peer)]


@pytest.mark.parametrize("version", [1, 2])
def test_the_header_counts_against_the_early_window(version: int) -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=False)
        with contextlib.closing(peer), tunnel_port(link, version) as where, socket.create_connection(where) as visitor:
            visitor.sendall(bytes(10000))
            frames = await until_opened(peer)
            data = b"".join(payload for _, kind, payload in frames if kind == DATA)
            header = header_of(visitor, version, True)
            assert data == header + bytes(4096 - len(header))

    run(body)


def test_a_visitor_that_ends_at_once_leaves_header_and_end() -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=False)
        with contextlib.closing(peer), tunnel_port(link, 2) as where, socket.create_connection(where) as visitor:
            visitor.shutdown(socket.SHUT_WR)
            kinds = [kind for _, kind, _ in (await until_opened(peer))]
            assert kinds == [OPEN, DATA, FIN]

    run(body)


@pytest.mark.parametrize("version", [1, 2])
def test_a_visitor_that_is_gone_is_told_to_nobody(version: int) -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=False)
        with contextlib.closing(peer), tunnel_port(link, version) as where:
            for _ in range(20):
                visitor = socket.create_connection(where)
                visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                visitor.close()
            with socket.create_connection(where) as visitor:
                (opened,) = [got for got in await until_opened(peer) if got[1] == OPEN]
                assert opened[0] == 2
                assert link.busy() == 1

    run(body)


def test_controls_are_bounded() -> None:
    async def body(pump: Pump) -> None:
        link, _, peer = link_with_peer(pump, client=True)
        with contextlib.closing(peer):
            with pytest.raises(ValueError, match="64 KiB"):
                link.control(bytes(65537))
            with pytest.raises(OverflowError):
                for _ in range(17):
                    link.put_control(bytes(65536))

    run(body)


def test_idle_sessions_hold_no_buffers() -> None:
    async def body(pump: Pump) -> None:
        peers: list[WirePeer] = []
        for _ in range(20):
            _, _, peer = link_with_peer(pump, client=True)
            peers.append(peer)
            peer.send(frame(0, PING, bytes(8)))
            peer.sock.sendall(b"\x82\x7e\x10")  # the beginning of a record keeps little
        for peer in peers:
            await ask(lambda peer=peer: peer.wait_for(PONG))  # type: ignore[misc]
        assert pump.buffers_out == 0
        for peer in peers:
            peer.close()

    run(body)
