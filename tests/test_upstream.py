"""Connections that are kept open; how they are used is seen in test_relay."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rport.server.door import upstream
from rport.server.door.backend import Backend
from rport.server.door.upstream import IDLE_MAX, BackendError, Upstream, Upstreams
from tests.support.programs import Target, echo

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run(body: Callable[[Upstreams, Backend], Awaitable[None]]) -> None:
    """With a backend that sends back what it gets."""

    async def main() -> None:
        upstreams = Upstreams()
        async with asyncio.timeout(20):
            await body(upstreams, Backend(False, "127.0.0.1", target.port))
        upstreams.close()

    target = Target(echo)
    try:
        asyncio.run(main())
    finally:
        target.close()


async def answered(upstreams: Upstreams, backend: Backend, answer: bytes = OK) -> Upstream:
    one = await upstreams.connect(backend)
    await one.send(answer)
    await one.head()
    assert [part async for part in one.body()] == [b"ok"]
    return one


def test_the_last_one_kept_is_taken_first() -> None:
    async def body(upstreams: Upstreams, backend: Backend) -> None:
        one, other = [await answered(upstreams, backend) for _ in range(2)]
        assert upstreams.take(backend) is None
        upstreams.give_back(one)
        upstreams.give_back(other)
        assert upstreams.take(backend) is other
        assert upstreams.take(backend) is one

    run(body)


def test_those_of_another_backend_are_closed() -> None:
    async def body(upstreams: Upstreams, backend: Backend) -> None:
        one = await answered(upstreams, backend)
        upstreams.give_back(one)
        assert upstreams.take(backend._replace(prefix="/x")) is None
        assert one.transport.is_closing()

    run(body)


def test_no_more_than_the_limit_are_kept() -> None:
    async def body(upstreams: Upstreams, backend: Backend) -> None:
        many = [await answered(upstreams, backend) for _ in range(IDLE_MAX + 1)]
        for one in many:
            upstreams.give_back(one)
        assert [one.transport.is_closing() for one in many] == [False] * IDLE_MAX + [True]

    run(body)


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"1.1", b"1.0"),
        OK.replace(b"Content", b"Connection: close\r\nContent"),
        OK + b"more",
        OK + OK,
    ],
)
def test_what_cannot_be_used_again_is_closed(answer: bytes) -> None:
    async def body(upstreams: Upstreams, backend: Backend) -> None:
        one = await answered(upstreams, backend, answer)
        upstreams.give_back(one)
        assert one.transport.is_closing()

    run(body)


def test_idle_ones_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "IDLE_TIME", 0.01)

    async def body(upstreams: Upstreams, backend: Backend) -> None:
        one = await answered(upstreams, backend)
        upstreams.give_back(one)
        while not one.transport.is_closing():
            await asyncio.sleep(0)
        assert upstreams.take(backend) is None

    run(body)


def test_what_comes_while_nobody_asks_spoils_it() -> None:
    async def body(upstreams: Upstreams, backend: Backend) -> None:
        one = await answered(upstreams, backend)
        upstreams.give_back(one)
        await one.send(OK)
        while not one.answered:
            await asyncio.sleep(0)
        assert upstreams.take(backend) is None
        assert one.transport.is_closing()

    run(body)


def test_a_lost_connection_says_so() -> None:
    async def body(upstreams: Upstreams, backend: Backend) -> None:
        one = await upstreams.connect(backend)
        one.close()
        with pytest.raises(BackendError):
            await one.head()

    run(body)
