import asyncio
import socket
import threading
from typing import Any

import pytest

from rport.client import resolve
from rport.client.resolve import AddrInfo, Resolver

FOUND: list[AddrInfo] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class NameServer:
    """Stands for the look-up; silent until `speak` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.speak = threading.Event()
        self.asked = threading.Semaphore(0)
        self.names: list[bytes] = []
        monkeypatch.setattr(resolve, "_look_up", self._look_up)

    def _look_up(self, name: bytes, port: int, flags: int = 0) -> list[AddrInfo]:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        self.names.append(name)
        self.asked.release()
        assert self.speak.wait(60)
        if name == b"unknown":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return FOUND

    async def is_asked(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.asked.acquire)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    server = NameServer(monkeypatch)
    yield server
    server.speak.set()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_needs_no_thread(host: str) -> None:
    found = asyncio.run(Resolver(threads=0).resolve(host, 80))
    assert [item[4][:2] for item in found] == [(host, 80)]


def test_a_name() -> None:
    assert ("127.0.0.1", 80) in [item[4][:2] for item in asyncio.run(Resolver().resolve("localhost", 80))]


@pytest.mark.parametrize("host", ["\xfc..b", "\xfc" * 70, "\udcff"])
def test_no_name(host: str) -> None:
    with pytest.raises(OSError, match="not a host name"):
        asyncio.run(Resolver().resolve(host, 80))


def test_beyond_ascii(server: NameServer) -> None:
    server.speak.set()
    assert asyncio.run(Resolver().resolve("b\xfccher", 80)) == FOUND
    assert server.names == [b"xn--bcher-kva"]


def test_error_of_the_look_up(server: NameServer) -> None:
    server.speak.set()
    with pytest.raises(socket.gaierror, match="not known"):
        asyncio.run(Resolver().resolve("unknown", 80))


def test_threads_are_bounded_and_abandoned_ones_count(server: NameServer) -> None:
    async def main() -> None:
        resolver = Resolver(threads=2)
        tasks = [asyncio.ensure_future(resolver.resolve(name, 80)) for name in ("a", "b", "c")]
        await server.is_asked()
        await server.is_asked()
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        assert len(server.names) == 2
        assert not tasks[2].done()
        server.speak.set()
        assert await asyncio.gather(*tasks[1:]) == [FOUND, FOUND]
        assert await resolver.resolve("d", 80) == FOUND

    asyncio.run(main())


def test_the_end_does_not_wait(server: NameServer) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(Resolver().resolve("a", 80))
        await server.is_asked()
        task.cancel()

    asyncio.run(main())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    assert thread.daemon
    server.speak.set()
    thread.join()  # an exception, because the loop is closed, would be a warning, which pytest shows


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        resolver = Resolver(threads=1)
        for _ in range(2):  # the place is given back
            with pytest.raises(OSError, match="can't start"):
                await resolver.resolve("a", 80)

    monkeypatch.setattr(threading.Thread, "start", start)
    asyncio.run(main())
