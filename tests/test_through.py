"""Through proxies that behave, and through such that do not, with both loops; nothing is left open behind."""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rport.client import proxy_tls
from rport.client.proxy import Proxy, parse_proxy
from rport.client.resolve import AddrInfo, Resolver
from rport.client.through import reach_through
from rport.errors import ConnectError, UsageError
from tests.support.descriptors import open_descriptors
from tests.support.loops import LOOPS
from tests.support.neighbours import black_hole, certificate, free_port
from tests.support.programs import Target, closing_all, echo, read_all, until

SECRET = "verysecret"
OK = b"HTTP/1.1 200 x\r\n\r\n"
LONG = 60.0  # seconds; no test takes them

Serve = Callable[[socket.socket], None]
Keep = Callable[[Any], Any]


@pytest.fixture(scope="module")
def warm() -> None:
    """The first loop of each kind keeps some descriptors for all."""
    for loop in LOOPS.values():
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(asyncio.sleep(0))


@pytest.fixture
def keep(warm: None) -> Iterator[Keep]:
    """No descriptor is left behind, neither here nor there."""
    before = open_descriptors()
    with closing_all() as keep_:
        yield keep_
    until(lambda: open_descriptors() <= before, "everything is closed")


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def runner(request: pytest.FixtureRequest, keep: Keep) -> Iterator[asyncio.Runner]:
    """The loop lives while the other side closes, and no relay outlives it."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner
        runner.run(gone())


async def gone() -> None:
    """No relay is left."""
    async with asyncio.timeout(20):
        while proxy_tls._relays:
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("pem"))


class Here(Resolver):
    """All that is below localhost is here (RFC 6761), whatever this machine's own resolver thinks."""

    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        return await super().resolve("127.0.0.1" if host.endswith(".localhost") else host, port)


async def through(proxy: str, seconds: float = LONG, authorities: Path | None = None) -> socket.socket:
    deadline = asyncio.get_running_loop().time() + seconds
    given = str(authorities) if authorities else None
    return await reach_through(parse_proxy(proxy), "server.example", 80, Here(), deadline, given)


def refusal(runner: asyncio.Runner, *words: Any, **more: Any) -> str:
    with pytest.raises(ConnectError) as caught:
        runner.run(through(*words, **more))
    error = str(caught.value)
    assert SECRET not in error
    assert error.isprintable()
    return error


def proxy(then: Serve, answer: bytes = OK) -> Serve:
    """Takes a request, answers, and goes on."""

    def serve(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        assert head.startswith(b"CONNECT server.example:80 HTTP/1.1\r\n")
        sock.sendall(answer)
        then(sock)

    return serve


def encrypted(pem: tuple[Path, Path], serve: Serve) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pem)

    def wrapped(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            serve(tls)

    return wrapped


async def ask(sock: socket.socket, data: bytes) -> bytes:
    """What comes back for it."""
    loop = asyncio.get_running_loop()
    sending = asyncio.ensure_future(loop.sock_sendall(sock, data))
    parts = []
    while len(data) > sum(map(len, parts)) and (part := await loop.sock_recv(sock, 1 << 16)):
        parts.append(part)
    await sending
    return b"".join(parts)


def test_plain(runner: asyncio.Runner, keep: Keep) -> None:
    port = keep(Target(proxy(echo))).port

    async def main() -> None:
        with await through(f"http://127.0.0.1:{port}") as sock:
            assert await ask(sock, b"hello") == b"hello"

    runner.run(main())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_encrypted(runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path], name: str) -> None:
    """More than all buffers hold goes there and back."""
    port = keep(Target(encrypted(pem, proxy(echo)))).port
    data = os.urandom(5_000_000)

    async def main() -> None:
        with await through(f"https://{name}:{port}", authorities=pem[0]) as sock:
            assert await ask(sock, data) == data

    runner.run(main())


def test_a_reader_who_does_not_read_holds_the_writer_up(
    runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]
) -> None:
    """Whatever has come before it reads is in a few buffers, and all the rest comes after."""
    total = 40_000_000
    sent = 0

    def pour(sock: socket.socket) -> None:
        nonlocal sent
        sock.recv(1)
        while sent < total:
            sent += sock.send(bytes(100_000))

    port = keep(Target(encrypted(pem, proxy(pour)))).port

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with await through(f"https://localhost:{port}", authorities=pem[0]) as sock:
            await loop.sock_sendall(sock, b"x")
            before = -1
            while before != sent or not sent:  # it stops by itself
                before = sent
                await asyncio.sleep(0.2)
            assert sent < total
            came = 0
            while data := await loop.sock_recv(sock, 1 << 20):
                came += len(data)
            assert came == total

    runner.run(main())


def test_the_end_of_the_proxy_is_an_end(runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]) -> None:
    def leave(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"bye")

    port = keep(Target(encrypted(pem, proxy(leave)))).port

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with await through(f"https://localhost:{port}", authorities=pem[0]) as sock:
            await loop.sock_sendall(sock, b"x")
            assert await loop.sock_recv(sock, 100) == b"bye"
            assert await loop.sock_recv(sock, 100) == b""

    runner.run(main())


def test_our_end_is_the_proxys(runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]) -> None:
    """With all that was written before."""
    got: list[bytes] = []
    port = keep(Target(encrypted(pem, proxy(lambda sock: got.append(read_all(sock)))))).port
    data = os.urandom(1_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with await through(f"https://localhost:{port}", authorities=pem[0]) as sock:
            await loop.sock_sendall(sock, data)
            sock.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(sock, 100) == b""
        async with asyncio.timeout(20):
            while not got:
                await asyncio.sleep(0.001)

    runner.run(main())
    assert got == [data]


def test_a_session_that_is_gone_takes_its_relay_along(
    runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]
) -> None:
    """Also where the proxy neither reads nor ends."""
    port = keep(Target(encrypted(pem, proxy(hang)))).port

    async def main() -> None:
        (await through(f"https://localhost:{port}", authorities=pem[0])).close()

    runner.run(main())


def hang(sock: socket.socket) -> None:
    """Until the other side ends."""
    read_all(sock)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_nobody_listens(runner: asyncio.Runner, scheme: str) -> None:
    where = f"127.0.0.1:{free_port()}"
    error = refusal(runner, f"{scheme}://me:{SECRET}@{where}")
    assert error.startswith(f"cannot connect to the proxy {scheme}://{where}: Connection refused; is a")


def test_no_such_name(runner: asyncio.Runner) -> None:
    error = refusal(runner, f"http://me:{SECRET}@a..b:1")
    assert error == "the proxy http://a..b:1: the name 'a..b' does not resolve: Name or service not known"


def test_black_hole(runner: asyncio.Runner) -> None:
    with black_hole() as port:
        error = refusal(runner, f"http://127.0.0.1:{port}", seconds=0.01)
    assert re.match(r"the proxy http://127\.0\.0\.1:\d+ did not answer within 10 s: is it an HTTP proxy's port", error)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_silence(runner: asyncio.Runner, keep: Keep, scheme: str) -> None:
    port = keep(Target(hang)).port
    error = refusal(runner, f"{scheme}://me:{SECRET}@127.0.0.1:{port}", seconds=0.05)
    assert error.startswith(f"the proxy {scheme}://127.0.0.1:{port} did not answer within")


def test_drip(runner: asyncio.Runner, keep: Keep) -> None:
    """Octets that trickle in win no time."""

    def drip(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 x\r\na: ")
        while True:
            sock.sendall(b"b")

    port = keep(Target(drip)).port
    error = refusal(runner, f"http://127.0.0.1:{port}", seconds=5)
    assert "longer than 16384 bytes" in error or "did not answer" in error


def reset(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_reset(runner: asyncio.Runner, keep: Keep, scheme: str) -> None:
    port = keep(Target(reset)).port
    error = refusal(runner, f"{scheme}://127.0.0.1:{port}")
    assert error.startswith(f"the proxy {scheme}://127.0.0.1:{port}: the connection broke, Connection reset by peer")
    assert ("if it speaks TLS, write https://" in error) == (scheme == "http")


@pytest.mark.parametrize(
    ("scheme", "answer", "text"),
    [
        ("http", b"\0\1\2garbage", r"no HTTP proxy but, it seems, SOCKS"),
        ("http", b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 65 + b"\r\n", "more than 64 headers"),
        ("http", b"HTTP/1.1 200 x\r\na: " + b"b" * 20000, "longer than 16384 bytes"),
        ("http", b"HTTP/1.1 200", "closed the connection within its answer"),
        ("http", b"", "closed the connection without an answer"),
        ("socks5", b"garbage", 'no SOCKS5 proxy: it sent "ga"'),
        ("socks5", b"\5", "closed the connection within its answer"),
        ("socks5", b"", "closed the connection without an answer"),
    ],
)
def test_garbage(runner: asyncio.Runner, keep: Keep, scheme: str, answer: bytes, text: str) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        hang(sock)

    assert text in refusal(runner, f"{scheme}://127.0.0.1:{keep(Target(serve)).port}")


def test_the_next_address_of_a_proxy(runner: asyncio.Runner, keep: Keep) -> None:
    """One that leads nowhere costs a moment."""
    good = keep(Target(proxy(echo))).port

    class Two(Resolver):
        async def resolve(self, host: str, port: int) -> list[AddrInfo]:
            assert (host, port) == ("proxy.example", 1)
            return [*await super().resolve("127.0.0.1", hole), *await super().resolve("127.0.0.1", good)]

    async def main() -> None:
        deadline = asyncio.get_running_loop().time() + LONG
        given = parse_proxy("proxy.example:1")
        with await reach_through(given, "server.example", 80, Two(), deadline, None) as sock:
            assert await ask(sock, b"hello") == b"hello"

    with black_hole() as hole:
        runner.run(main())


def test_a_wrong_login_behind_tls(runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]) -> None:
    port = keep(Target(encrypted(pem, proxy(hang, b"HTTP/1.1 407 x\r\n\r\n")))).port
    error = refusal(runner, f"https://me:{SECRET}@localhost:{port}", authorities=pem[0])
    assert error == (
        f"the proxy https://localhost:{port}: it answered HTTP 407, the user or the password for it is wrong"
    )


# --- TLS that fails


def test_unknown_authority(runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]) -> None:
    port = keep(Target(encrypted(pem, hang))).port
    error = refusal(runner, f"https://localhost:{port}")
    assert "its certificate is not accepted, self-signed certificate; " in error
    assert "--tls-ca" in error


def test_another_name(runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path]) -> None:
    port = keep(Target(encrypted(pem, hang))).port
    error = refusal(runner, f"https://other.localhost:{port}", authorities=pem[0])
    assert "its certificate is not accepted, Hostname mismatch" in error


def test_the_authorities_of_the_environment(
    runner: asyncio.Runner, keep: Keep, pem: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem[0]))
    port = keep(Target(encrypted(pem, proxy(echo)))).port
    runner.run(through(f"https://localhost:{port}")).close()


def answers(data: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(data)
        hang(sock)

    return serve


@pytest.mark.parametrize(
    ("serve", "text"),
    [
        (answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it does not speak TLS: write http:// for it"),
        (answers(b"\x05\xff\0\0\0"), "it does not speak TLS: write http:// for it"),
        (answers(b"SSH-2.0-x\r\n"), "it does not speak TLS: write http:// for it"),
        (answers(b"\x15\x03\x01\x00\x02\x02\x28"), "TLS failed: "),
        (lambda sock: None, "the connection "),
        (lambda sock: sock.recv(4096), "the connection"),
        (reset, "the connection"),
    ],
    ids=["http", "socks", "ssh", "alert", "closes", "reads and closes", "resets"],
)
def test_no_tls(runner: asyncio.Runner, keep: Keep, serve: Serve, text: str) -> None:
    error = refusal(runner, f"https://127.0.0.1:{keep(Target(serve)).port}")
    assert text in error


@pytest.mark.parametrize("content", [None, "", "junk"])
def test_unusable_authorities(runner: asyncio.Runner, keep: Keep, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    port = keep(Target(hang)).port
    with pytest.raises(UsageError, match=r"--tls-ca: .*ca\.pem"):
        runner.run(through(f"https://localhost:{port}", authorities=path))


def test_cancelled(runner: asyncio.Runner, keep: Keep) -> None:
    target = keep(Target(hang))

    async def main(scheme: str, met: int) -> None:
        task = asyncio.ensure_future(through(f"{scheme}://127.0.0.1:{target.port}"))
        while target.accepted < met:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for met, scheme in enumerate(["http", "https", "socks5"], 1):
        runner.run(main(scheme, met))


def test_the_login_is_in_no_traceback() -> None:
    assert SECRET not in repr(Proxy("http", "p", 1, b"me", SECRET.encode()))
