"""A POST to somebody else's server, over real connections."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from rport.server import post as module
from rport.server.errors import Unprocessable
from rport.server.post import HEAD_MAX, Outcome, Place, place_of, post
from tests.support.certificates import Authority
from tests.support.receiver import receiving


@pytest.mark.parametrize(
    ("url", "place", "authority"),
    [
        ("https://hooks.example.com", Place(True, "hooks.example.com", 443, "/"), "hooks.example.com"),
        ("http://h/a%20b?c=d&e", Place(False, "h", 80, "/a%20b?c=d&e"), "h"),
        ("HTTP://H:8080?x", Place(False, "h", 8080, "/?x"), "h:8080"),
        ("https://[2001:db8::1]:444/x", Place(True, "2001:db8::1", 444, "/x"), "[2001:db8::1]:444"),
        ("https://b\u00fccher.example/x", Place(True, "xn--bcher-kva.example", 443, "/x"), "xn--bcher-kva.example"),
    ],
)
def test_urls(url: str, place: Place, authority: str) -> None:
    assert place_of(url) == place
    assert place_of(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://h/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://me@h/",
        "https://me:secret@h/",
        "https://h:x/",
        "https://h:0/",
        "https://h:65536/",
        "https://h/#x",
        "https://h/a b",
        "https://h/\u00e9",
        "https://a b/",
        "https://h\\@evil/",
        "https://[::1/",
        "https://" + "a" * 64 + "/",
        "https://..",
        "https://h/\r\nX: y",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(Unprocessable, match=r"^url: ") as caught:
        place_of(url)
    assert "secret" not in str(caught.value)


def test_what_is_sent() -> None:
    async def work() -> None:
        async with receiving() as receiver:
            assert await post(place_of(receiver.url), [("X-A", "b")], b"body") == Outcome(204, "")
            (request,) = receiver.requests
            assert request.line == "POST /hook?x=1 HTTP/1.1"
            assert request.body == b"body"
            wanted = {"host": f"127.0.0.1:{receiver.port}", "content-length": "4", "connection": "close", "x-a": "b"}
            assert request.headers == wanted

    asyncio.run(work())


ANSWERS = {
    b"HTTP/1.1 200 OK\r\n\r\n": (200, ""),
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n": (202, ""),
    b"HTTP/1.1 103 Early\r\n\r\n" * HEAD_MAX + b"HTTP/1.1 200 OK\r\n\r\n": (
        None,
        "what answers speaks no HTTP: too much",
    ),
    b"HTTP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n": (200, ""),
    b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\n\r\n": (
        302,
        "it answered 302; redirects are not followed",
    ),
    b"HTTP/1.1 500 X\r\n\r\n": (500, "it answered 500"),
    b"HTTP/1.1 404 X\r\n\r\n": (404, "it answered 404"),
    b"": (None, "the connection failed: it was closed without an answer"),
    b"HTTP/1.1 200": (None, "the connection failed: it was closed without an answer"),
    b"SSH-2.0-x\r\n\r\n": (None, "what answers speaks no HTTP"),
    b"\x15\x03\x01\x00\x02\x02\x46" * 100: (None, "what answers speaks no HTTP"),
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 * HEAD_MAX) + b"\r\n\r\n": (None, "what answers speaks no HTTP"),
}


@pytest.mark.parametrize(("raw", "wanted"), ANSWERS.items())
def test_answers(raw: bytes, wanted: tuple[int | None, str]) -> None:
    async def work() -> Outcome:
        async with receiving() as receiver:
            receiver.answers = [raw]
            return await post(place_of(receiver.url), [], b"{}")

    outcome = asyncio.run(work())
    assert outcome.status == wanted[0]
    assert outcome.error.startswith(wanted[1]) if wanted[1] else not outcome.error


def test_endless_early_answers_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"HTTP/1.1 103 Early\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            writer.close()

    async def work() -> Outcome:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await post(Place(False, "127.0.0.1", port, "/"), [], b"{}")

    assert asyncio.run(work()) == Outcome(None, "no answer within 0.5 s")


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place(False, "127.0.0.1", listener.getsockname()[1], "/")
        assert asyncio.run(post(place, [], b"x" * (8 << 20))) == Outcome(None, "no answer within 0.2 s")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = asyncio.run(post(Place(False, "127.0.0.1", port, "/"), [], b""))
    assert (outcome.status, outcome.error.partition(":")[0]) == (None, "the connection failed")
    outcome = asyncio.run(post(Place(False, "nobody.invalid", port, "/"), [], b""))
    assert outcome.error.startswith("the connection failed: ")


async def _plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


def test_tls_by_the_systems_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.ca))
    module._context.cache_clear()

    def context(authority: Authority, name: str) -> ssl.SSLContext:
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(*authority.issue(f"DNS:{name}"))
        return found

    async def work() -> None:
        for authority, host, error in (
            (ours, "localhost", ""),
            (foreign, "localhost", "its certificate is not accepted: "),
            (ours, "127.0.0.1", "its certificate is not accepted: "),
        ):
            async with receiving(context(authority, "localhost")) as receiver:
                outcome = await post(Place(True, host, receiver.port, "/"), [], b"{}")
                assert outcome.error.startswith(error) if error else outcome == Outcome(204, ""), outcome
                assert len(receiver.requests) == (0 if error else 1)
        async with await asyncio.start_server(_plain, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            outcome = await post(Place(True, "localhost", port, "/"), [], b"{}")
            assert outcome.error.startswith("no TLS there: ")

    try:
        asyncio.run(work())
    finally:
        module._context.cache_clear()
