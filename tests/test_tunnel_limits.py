"""What limits a tunnel and what is counted of it: two real links, real visitors, a real target; also over TLS."""

import asyncio
import contextlib
import gc
import ipaddress
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rport._pump import Conn, Link, Listener, Pump, Target
from rport._seal import Seal
from rport.channel import Channel
from tests.support.wire import Watcher, key_pair_for, run, tcp_pair, until

Body = Callable[["Tunnel"], Awaitable[None]]
HANDLER = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

MIB = 1 << 20
SLACK = 65536  # octets between what a rate lets through and what a socket's other end has seen


class Tunnel:
    """A server's link with a listener, a client's with a target, and how to visit."""

    def __init__(self, server: Link, client: Link, listener: Listener, where: tuple[str, int]) -> None:
        self.server, self.client, self.listener, self.where = server, client, listener, where

    async def visit(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.where
        if source == "::1":
            return await asyncio.open_connection("::1", port)
        return await asyncio.open_connection(host, port, local_addr=(source, 0))

    def figures(self) -> dict[str, float]:
        names = ("now", "total", "denied", "rejected", "bytes_in", "bytes_out", "idle")
        return dict(zip(names, self.listener.figures(), strict=True))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def tunnelled(handler: HANDLER, body: Body, host: str = "127.0.0.1") -> None:
    """`host`: where visitors come to; "::" takes both families."""

    async def main(pump: Pump) -> None:
        async with _tunnel(pump, handler, host) as tunnel:
            await body(tunnel)

    run(main)


@contextlib.asynccontextmanager
async def _tunnel(pump: Pump, handler: HANDLER, host: str) -> AsyncIterator[Tunnel]:
    near, far = tcp_pair()
    links = []
    for sock, is_client, keys in zip((near, far), (False, True), key_pair_for(False, "aegis256"), strict=True):
        seals = Seal(keys.cipher, keys.send_key), Seal(keys.cipher, keys.recv_key)
        link = Channel(sock).make_link(*seals, is_client, pump, Watcher())
        link.admit_peer()
        link.start()
        links.append(link)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    gate = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    port = gate.getsockname()[1]
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as target:
        links[1].set_target(5, Target([(*target.sockets[0].getsockname(), 0)]))
        listener = Listener(links[0], gate.detach(), 5)
        yield Tunnel(*links, listener, ("127.0.0.1" if host == "::" else host, port))
        listener.close()
        for link in links:
            link.abort(None)
        await asyncio.sleep(0.05)  # handlers of the target see the end


def networks(*texts: str) -> list[tuple[bytes, int]]:
    return [
        (net.network_address.packed, net.prefixlen)
        for net in (ipaddress.ip_network(text, strict=False) for text in texts)
    ]


async def carries(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"hello") -> bool:
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.readexactly(len(data)) == data
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def welcomed(tunnel: Tunnel, source: str) -> bool:
    try:
        reader, writer = await tunnel.visit(source)
    except ConnectionResetError:  # so soon
        return False
    writer.transport.set_write_buffer_limits(0)
    try:
        return await carries(reader, writer)
    finally:
        writer.transport.abort()


# --- who may come ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "source", "comes"),
    [
        ((), "127.0.0.1", True),
        (("127.0.0.1/32",), "127.0.0.1", True),
        (("127.0.0.1/32",), "127.0.0.2", False),
        (("127.0.0.0/30",), "127.0.0.3", True),
        (("127.0.0.0/30",), "127.0.0.4", False),
        (("0.0.0.0/0",), "127.9.8.7", True),
        (("10.0.0.0/8", "127.1.0.0/17"), "127.1.127.255", True),
        (("10.0.0.0/8", "127.1.0.0/17"), "127.1.128.1", False),
        (("::/0",), "127.0.0.1", False),  # an IPv4 address that comes over IPv6 is one
        (("::1/128",), "::1", True),
        (("::/128", "fe80::/10"), "::1", False),
        (("::/127",), "::1", True),
        (("0.0.0.0/0",), "::1", False),
    ],
)
def test_sources(allowed: tuple[str, ...], source: str, comes: bool) -> None:
    async def body(tunnel: Tunnel) -> None:
        assert tunnel.listener.set_sources(networks(*allowed)) == 0
        assert await welcomed(tunnel, source) is comes
        figures = tunnel.figures()
        assert (figures["denied"], figures["total"]) == ((0, 1) if comes else (1, 0))

    tunnelled(echo, body, "::")


def test_sources_agree_with_ipaddress() -> None:
    """Random prefixes of loopback addresses."""

    async def body(tunnel: Tunnel) -> None:
        dice = random.Random(7)
        for _ in range(60):
            source = f"127.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"
            base = int(ipaddress.ip_address(source)) ^ (dice.getrandbits(24) >> dice.randrange(24))
            net = ipaddress.ip_network((base, dice.randrange(33)), strict=False)
            tunnel.listener.set_sources(networks(str(net)))
            assert await welcomed(tunnel, source) == (ipaddress.ip_address(source) in net), (source, net)

    tunnelled(echo, body)


def test_new_sources_cut_who_may_not_be_there_any_more() -> None:
    async def body(tunnel: Tunnel) -> None:
        one, other = await tunnel.visit("127.0.0.1"), await tunnel.visit("127.0.0.2")
        assert await carries(*one)
        assert await carries(*other)
        assert tunnel.listener.set_sources(networks("127.0.0.2/32")) == 1
        with pytest.raises(ConnectionResetError):
            await one[0].read(1)
        assert await carries(*other)
        await until(lambda: tunnel.client.busy() == 1)
        assert tunnel.figures()["now"] == 1
        assert tunnel.listener.set_sources([]) == 0
        assert await carries(*await tunnel.visit("127.0.0.1"))

    tunnelled(echo, body)


@pytest.mark.parametrize(
    "bad", [[(b"123", 8)], [(b"1234", 33)], [(b"1234", -1)], [(bytes(16), 129)], [(b"1234", 32)] * 257]
)
def test_bad_sources_change_nothing(bad: list[tuple[bytes, int]]) -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_sources(networks("127.0.0.1/32"))
        with pytest.raises(ValueError, match="network"):
            tunnel.listener.set_sources(bad)
        assert await carries(*await tunnel.visit("127.0.0.1"))

    tunnelled(echo, body)


# --- how many --------------------------------------------------------------------------------------------------------


def test_connection_limit() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_connection_limit(2)
        first, second = await tunnel.visit(), await tunnel.visit()
        assert await carries(*first)
        assert await carries(*second)
        assert not await welcomed(tunnel, "127.0.0.1")
        assert (tunnel.figures()["now"], tunnel.figures()["rejected"]) == (2, 1)
        tunnel.listener.set_connection_limit(1)  # cuts nobody
        assert await carries(*first)
        for _, writer in (first, second):
            writer.close()
        await until(lambda: tunnel.figures()["now"] == 0)
        assert await carries(*await tunnel.visit())
        tunnel.listener.set_connection_limit(0)
        assert await carries(*await tunnel.visit())

    tunnelled(echo, body)


# --- how fast --------------------------------------------------------------------------------------------------------


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
    writer.write(b"done")
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As many octets as the first line says."""
    writer.write(bytes(int(await reader.readline())))
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("rate", [100_000, 1_000_000])
def test_the_rate_to_the_target_is_kept(rate: int) -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(rate, 0)
        reader, writer = await tunnel.visit()
        began = time.monotonic()
        writer.write(bytes(rate))
        writer.write_eof()
        assert await reader.read() == b"done"
        took = time.monotonic() - began
        assert took > (rate - rate * 0.05 - 2 * 1460) / rate * 0.95  # less what may go at once; never faster
        assert tunnel.figures()["bytes_out"] == rate

    tunnelled(sink, body)


@pytest.mark.parametrize("rate", [100_000, 1_000_000])
def test_the_rate_to_the_visitor_is_kept(rate: int) -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, rate)
        reader, writer = await tunnel.visit()
        began = time.monotonic()
        writer.write(b"%d\n" % rate)
        assert len(await reader.read()) == rate
        took = time.monotonic() - began
        assert took > (rate - rate * 0.05 - 2 * 1460) / rate * 0.95
        assert tunnel.figures()["bytes_in"] == rate

    tunnelled(source, body)


def test_a_rate_is_shared_evenly() -> None:
    """Each of ten gets its tenth, although one has come first and asks for more."""

    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, 400_000)
        visitors = [await tunnel.visit() for _ in range(10)]
        for i, (_, writer) in enumerate(visitors):
            writer.write(b"%d\n" % (10 * MIB if i == 0 else MIB))
        counts = await _received(visitors, 600_000)
        assert max(counts) < 2 * min(counts), counts

    tunnelled(source, body)


def test_both_ways_have_their_own_rate_and_half_close_works() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(1_000_000, 500_000)
        reader, writer = await tunnel.visit()
        data = random.Random(1).randbytes(300_000)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        await until(lambda: tunnel.figures()["now"] == 0)

    tunnelled(echo, body)


def test_a_slow_tunnel_slows_nobody_else() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(10_000, 10_000)
        slow = await tunnel.visit()
        slow[1].write(bytes(MIB))
        gate = socket.create_server(("127.0.0.1", 0))
        other = Tunnel(tunnel.server, tunnel.client, tunnel.listener, gate.getsockname()[:2])
        listener = Listener(tunnel.server, gate.detach(), 5)
        fast = await other.visit()
        for _ in range(100):
            assert await carries(*fast, random.randbytes(65536))
        assert tunnel.figures()["bytes_in"] < 200_000
        listener.close()

    tunnelled(echo, body)


def test_rates_change_at_any_time_and_can_be_taken_away() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(10_000, 10_000)
        visitors = [await tunnel.visit() for _ in range(5)]
        data = random.Random(2).randbytes(MIB)
        for _, writer in visitors:
            writer.write(data)
            writer.write_eof()
        await until(lambda: tunnel.figures()["bytes_in"] > 1000)
        tunnel.listener.set_rates(0, 0)
        for reader, _ in visitors:
            assert await reader.read() == data

    tunnelled(echo, body)


def test_what_waits_is_bounded_by_the_window() -> None:
    """A target that sends as fast as it can costs no more than what was granted."""

    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, 20_000)
        _, writer = await tunnel.visit()
        writer.write(b"%d\n" % (64 * MIB))
        await until(lambda: tunnel.figures()["bytes_in"] > 0)
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 1.0)
        passed = 20_000 * (time.monotonic() - began + 1)
        assert tunnel.figures()["bytes_in"] < 262_144 + passed + SLACK
        writer.transport.abort()
        await until(lambda: tunnel.figures()["now"] == 0)

    tunnelled(source, body)


def test_a_reset_while_it_waits() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(5_000, 5_000)
        for _ in range(5):
            _, writer = await tunnel.visit()
            writer.write(bytes(100_000))
            await until(lambda: tunnel.figures()["now"] == 1)
            writer.transport.abort()
            await until(lambda: tunnel.figures()["now"] == 0)
        await until(lambda: tunnel.client.busy() == 0)

    tunnelled(echo, body)


def test_the_session_ends_while_it_waits() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(5_000, 5_000)
        reader, writer = await tunnel.visit()
        writer.write(bytes(100_000))
        await until(lambda: tunnel.figures()["bytes_out"] > 0)
        tunnel.server.abort(None)
        with pytest.raises(ConnectionResetError):
            while await reader.read(4096):
                pass
        assert tunnel.figures()["now"] == 0

    tunnelled(echo, body)


@pytest.mark.parametrize("count", [2, 4])
def test_few_octets_are_shared_evenly_too(count: int) -> None:
    """A rate so low that there is a segment for one at a time."""

    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, 20_000)
        visitors = [await tunnel.visit() for _ in range(count)]
        for _, writer in visitors:
            writer.write(b"%d\n" % MIB)
        await until(lambda: tunnel.figures()["bytes_in"] > 0)
        counts = await _received(visitors, 60_000)
        assert max(counts) < 2 * min(counts), counts

    tunnelled(source, body)


async def _received(visitors: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], enough: int) -> list[int]:
    """How much each has when all have `enough` together."""
    counts = [0] * len(visitors)

    async def count(i: int) -> None:
        while data := await visitors[i][0].read(4096):
            counts[i] += len(data)

    tasks = [asyncio.ensure_future(count(i)) for i in range(len(visitors))]
    await until(lambda: sum(counts) > enough, 30)
    for task in tasks:
        task.cancel()
    return counts


def test_who_sends_little_at_a_time_does_not_overtake_who_waits() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(20_000, 0)
        bulk = await tunnel.visit()
        bulk[1].write(bytes(MIB))
        await until(lambda: tunnel.figures()["bytes_out"] > 0)
        talkers = [await tunnel.visit() for _ in range(5)]

        async def talk(writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(bytes(100))
                await asyncio.sleep(0.005)

        tasks = [asyncio.ensure_future(talk(writer)) for _, writer in talkers]
        await until(lambda: tunnel.figures()["bytes_out"] > 60_000, 30)
        for task in tasks:
            task.cancel()
        port = bulk[1].get_extra_info("sockname")[1]
        found = {row[1]: row[4] for row in tunnel.listener.connections()}
        assert found.pop(f"127.0.0.1:{port}") > max(found.values()) / 2, found

    tunnelled(sink, body)


def test_early_windows_do_not_slow_a_fast_rate() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, 8_000_000)
        for link in (tunnel.server, tunnel.client):
            link.ping()
        reader, writer = await tunnel.visit()
        began = time.monotonic()
        writer.write(b"%d\n" % 8_000_000)
        assert len(await reader.read()) == 8_000_000
        assert time.monotonic() - began < 5  # a second, were nobody else about

    tunnelled(source, body)


def test_visitors_that_wait_take_no_window_from_other_tunnels() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, 1000)
        visitors = [await tunnel.visit() for _ in range(200)]
        for _, writer in visitors:
            writer.write(b"%d\n" % MIB)
        await until(lambda: tunnel.client.busy() == 200)
        await until(lambda: tunnel.figures()["bytes_in"] > 200 * 4000)  # all that may wait does
        assert tunnel.server.granted == 200 * 4096
        for _, writer in visitors:
            reset(writer)
        await until(lambda: not tunnel.server.granted)

    tunnelled(source, body)


def reset(writer: asyncio.StreamWriter) -> None:
    """Else what a visitor has not sent yet is sent first, and whether he is gone or listens still nobody knows."""
    if sock := writer.get_extra_info("socket"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _connections() -> int:
    """In memory."""
    return sum(type(found) is Conn for found in gc.get_objects())


@pytest.fixture
def no_garbage() -> None:
    """Of tests before, whose connections are counted too until the collector comes by."""
    gc.collect()
    assert not _connections()


@pytest.mark.usefixtures("no_garbage")
def test_who_left_while_it_waited_is_forgotten() -> None:
    """At a rate at which nobody's turn comes."""

    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(1, 1)
        for _ in range(3):
            visitors = [await tunnel.visit() for _ in range(50)]
            for _, writer in visitors:
                writer.write(bytes(4000))
            await until(lambda: tunnel.client.busy() == 50)
            for _, writer in visitors:
                reset(writer)
            await until(lambda: tunnel.figures()["now"] == tunnel.client.busy() == 0)
        await until(lambda: not _connections())

    tunnelled(echo, body)


def test_new_sources_cut_what_drains_behind_its_session() -> None:
    async def body(tunnel: Tunnel) -> None:
        tunnel.listener.set_rates(0, 1)
        reader, writer = await tunnel.visit()
        writer.write(b"4000\n")
        writer.write_eof()
        await until(lambda: tunnel.figures()["bytes_in"] == 4000 and not tunnel.client.busy())
        tunnel.server.abort(None)
        assert tunnel.server.busy() == tunnel.figures()["now"] == 1
        assert tunnel.listener.set_sources(networks("10.0.0.0/8")) == 1
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(4000)
        assert tunnel.server.busy() == tunnel.figures()["now"] == 0

    tunnelled(source, body)


@pytest.mark.parametrize("rates", [(-1, 0), (0, -0.1), (float("nan"), 0), (0, float("nan"))])
def test_what_is_no_rate_changes_nothing(rates: tuple[float, float]) -> None:
    async def body(tunnel: Tunnel) -> None:
        with pytest.raises(ValueError, match="no rate"):
            tunnel.listener.set_rates(*rates)
        assert await carries(*await tunnel.visit(), bytes(MIB))

    tunnelled(echo, body)


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("end", ["listener", "session"])
def test_whatever_visitors_and_limits_do_nothing_stays(seed: int, end: str) -> None:
    """Many of them, at rates that let a few through, and limits that change meanwhile."""

    async def body(tunnel: Tunnel) -> None:
        dice = random.Random(seed)
        tunnel.listener.set_rates(1000, 1000)
        visitors: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for _ in range(600):
            await _anything(tunnel, visitors, dice)
        if end == "session":
            tunnel.server.abort(None)
        else:
            tunnel.listener.close()
            tunnel.server.cut_tunnel(5, 1)
        tunnel.listener.set_rates(dice.choice((0, 1000)), 1e9)  # what drains is taken, or its visitor gone
        for _, writer in visitors:
            reset(writer)
        visitors.clear()
        await until(lambda: tunnel.figures()["now"] == tunnel.server.busy() == 0)
        await until(lambda: tunnel.client.busy() == 0 and not _connections())

    tunnelled(echo, body)


async def _anything(
    tunnel: Tunnel, visitors: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], dice: random.Random
) -> None:
    what = dice.randrange(12)
    if what < 4 or not visitors:
        with contextlib.suppress(ConnectionResetError):
            visitors.append(await tunnel.visit(f"127.0.0.{dice.randrange(1, 9)}"))
            visitors[-1][1].write(dice.randbytes(dice.choice((1, 3000, 100_000))))
        return
    reader, writer = dice.choice(visitors)
    if what == 4:
        dice.choice((reset, asyncio.StreamWriter.close))(writer)
    elif what == 5 and not writer.transport.is_closing() and writer.can_write_eof():
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
    elif what == 6:
        tunnel.listener.set_rates(dice.choice((0, 1, 500, 50_000)), dice.choice((0, 1, 500, 50_000)))
    elif what == 7:
        found = tunnel.listener.connections()
        if found:
            tunnel.server.cut_stream(dice.choice(found)[0], 7)
    elif what == 8:
        tunnel.listener.set_sources(networks(f"127.0.0.{dice.randrange(1, 9)}/{dice.choice((0, 29, 30))}") * 2)
    elif what == 9:
        tunnel.listener.set_connection_limit(dice.choice((0, 5, 100)))
    else:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.005):
                await reader.read(65536)


# --- what is counted -------------------------------------------------------------------------------------------------


def test_figures_and_connections() -> None:
    async def body(tunnel: Tunnel) -> None:
        assert tunnel.figures()["idle"] >= 0
        first, second = await tunnel.visit("127.0.0.1"), await tunnel.visit("127.0.0.3")
        assert await carries(*first, b"x" * 1000)
        assert await carries(*second, b"y" * 500)
        names = {writer.get_extra_info("sockname") for _, writer in (first, second)}
        found = tunnel.listener.connections()
        assert {peer for _, peer, *_ in found} == {f"{host}:{port}" for host, port in names}
        assert sorted(row[3:] for row in found) == [(500, 500), (1000, 1000)]
        assert all(0 <= age < 60 for _, _, age, _, _ in found)
        first[1].close()
        await until(lambda: tunnel.figures()["now"] == 1)
        figures = tunnel.figures()
        assert (figures["total"], figures["bytes_in"], figures["bytes_out"]) == (2, 1500, 1500)
        assert 0 <= figures["idle"] < 60

    tunnelled(echo, body)


def test_one_connection_is_cut_by_its_number() -> None:
    async def body(tunnel: Tunnel) -> None:
        first, second = await tunnel.visit(), await tunnel.visit()
        assert await carries(*first)
        assert await carries(*second)
        port = first[1].get_extra_info("sockname")[1]
        number = next(row[0] for row in tunnel.listener.connections() if row[1].endswith(f":{port}"))
        assert tunnel.server.cut_stream(number, 7)
        assert not tunnel.server.cut_stream(number, 7)
        with pytest.raises(ConnectionResetError):
            await first[0].read(1)
        assert await carries(*second)
        await until(lambda: tunnel.client.busy() == 1)

    tunnelled(echo, body)
