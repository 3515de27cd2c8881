"""Two joined connections, on both event loops, seen from their far ends."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from rport.server.door import splice as spliced
from rport.server.door.splice import splice
from tests.support.door import LOOPS

Body = Callable[[socket.socket, socket.socket, "asyncio.Task[None]"], Awaitable[None]]


def run(loop: str, body: Body, early: bytes = b"", rest: bytes = b"", far_ended: bool = False) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            client, near = map(stack.enter_context, connected())
            server, far = map(stack.enter_context, connected())
            ends = [
                (await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=sock))[0]
                for sock in (near, far)
            ]
            for end in ends:
                end.pause_reading()
            task = asyncio.create_task(splice(ends[0], early, ends[1], rest, far_ended))
            for sock in (client, server):
                sock.setblocking(False)
            async with asyncio.timeout(20):
                await body(client, server, task)
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


async def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := await asyncio.get_running_loop().sock_recv(sock, size - len(data))):
        data += part
    return data


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_came_before_comes_first(loop: str) -> None:
    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        client.send(b" later")
        server.send(b" later")
        assert await receive(server, 11) == b"early later"
        assert await receive(client, 10) == b"rest later"
        client.close()
        assert await receive(server, 1) == b""
        server.close()

    run(loop, body, b"early", b"rest")


@pytest.mark.parametrize("first", [0, 1])
def test_each_direction_ends_by_itself(loop: str, first: int) -> None:
    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        one, other = (client, server) if first == 0 else (server, client)
        one.send(b"last")
        one.shutdown(socket.SHUT_WR)
        assert await receive(other, 5) == b"last"
        other.send(b"answer")
        other.shutdown(socket.SHUT_WR)
        assert await receive(one, 7) == b"answer"

    run(loop, body)


def test_an_end_that_was_there_before(loop: str) -> None:
    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        assert await receive(client, 5) == b"rest"
        client.send(b"answer")
        client.shutdown(socket.SHUT_WR)
        assert await receive(server, 7) == b"answer"

    run(loop, body, rest=b"rest", far_ended=True)


def test_a_reset_travels(loop: str) -> None:
    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        server.send(b"x")
        assert await receive(client, 1) == b"x"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with contextlib.suppress(ConnectionError):
            assert await receive(server, 1) == b""

    run(loop, body)


def test_a_slow_reader_slows_the_other_end(loop: str) -> None:
    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        data, sent = os.urandom(1 << 20), 0
        with contextlib.suppress(TimeoutError):
            while sent < 256 << 20:
                async with asyncio.timeout(0.2):
                    await asyncio.get_running_loop().sock_sendall(client, data)
                sent += len(data)
        assert sent < 64 << 20
        task.cancel()

    run(loop, body)


def test_an_end_that_the_other_never_follows(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spliced, "LINGER", 0.1)

    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        client.shutdown(socket.SHUT_WR)
        await task
        assert await receive(client, 1) == b""

    run(loop, body)


def test_cancelled_it_ends_both(loop: str) -> None:
    async def body(client: socket.socket, server: socket.socket, task: "asyncio.Task[None]") -> None:
        client.send(b"x")
        assert await receive(server, 1) == b"x"
        task.cancel()
        for sock in (client, server):
            assert await receive(sock, 1) == b""

    run(loop, body)
