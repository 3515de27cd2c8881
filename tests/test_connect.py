import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from rport.client.connect import connect, interleave
from rport.client.resolve import AddrInfo
from tests.support.descriptors import open_descriptors
from tests.support.loops import LOOPS
from tests.support.neighbours import black_hole

NEVER = 60.0  # seconds; no test waits so long

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs it in either loop, and no descriptor is left behind."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.sleep(0))  # the first loop keeps some for all
        before = open_descriptors()
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)
        assert open_descriptors() <= before

    return run


def at(port: int, host: str = "127.0.0.1", family: int = socket.AF_INET) -> AddrInfo:
    return (socket.AddressFamily(family), socket.SOCK_STREAM, 6, "", (host, port))


@pytest.fixture
def hole() -> Iterator[AddrInfo]:
    with black_hole() as port:
        yield at(port)


@pytest.fixture
def open_port() -> Iterator[AddrInfo]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield at(sock.getsockname()[1])


@pytest.fixture
def shut_port() -> Iterator[AddrInfo]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # nobody else gets it, and it does not listen
        yield at(sock.getsockname()[1])


def test_a_black_hole_costs_one_delay(run: Run, hole: AddrInfo, open_port: AddrInfo) -> None:
    async def main() -> None:
        with await connect([hole, hole, open_port], delay=0.001) as sock:
            assert sock.getpeername() == open_port[4]
            assert sock.getblocking() is False

    run(main())


def test_a_failure_costs_nothing(run: Run, shut_port: AddrInfo, open_port: AddrInfo) -> None:
    async def main() -> None:
        (await connect([shut_port, open_port], delay=NEVER)).close()

    run(main())


def test_all_fail(run: Run, shut_port: AddrInfo) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await connect([shut_port, shut_port], delay=NEVER)

    run(main())


def test_the_more_telling_error(run: Run, shut_port: AddrInfo) -> None:
    """Of a family that this machine lacks nobody wants to hear."""

    async def main() -> None:
        for order in ([no_route(), shut_port], [shut_port, no_route()]):
            with pytest.raises(ConnectionRefusedError):
                await connect(order, delay=NEVER)
        with pytest.raises(OSError, match=os.strerror(errno.EAFNOSUPPORT)):
            await connect([no_route()], delay=NEVER)

    run(main())


def no_route() -> AddrInfo:
    """No socket can be made for it: AppleTalk."""
    return (socket.AF_APPLETALK, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))


def test_nothing_to_connect_to(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="no address"):
            await connect([])

    run(main())


def test_cancelled(run: Run, hole: AddrInfo) -> None:
    """The descriptors go at once, not with the loop."""

    async def main() -> None:
        before = open_descriptors()
        task = asyncio.ensure_future(connect([hole, hole], delay=0))
        while len(open_descriptors() - before) < 2:
            await asyncio.sleep(0)
        task.cancel()
        while open_descriptors() - before:
            await asyncio.sleep(0)
        assert task.cancelled()

    run(main())


def test_interleave() -> None:
    four = [at(port) for port in (1, 2, 3)]
    six = [at(port, "::1", socket.AF_INET6) for port in (1, 2)]
    assert interleave([*six, *four]) == [six[0], four[0], six[1], four[1], four[2]]
    assert interleave([four[0], six[0], four[1]]) == [four[0], six[0], four[1]]
    assert interleave([]) == []
