"""The client's side of the upgrade: its request, and all that may answer it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.client.upgrade import WORDS_MAX, UpgradeResponse, new_key, upgrade_request
from rport.errors import ConnectError, UsageError
from rport.server.door.upgrade import upgrade_response
from rport.websocket import accept_key

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ANSWER = upgrade_response(KEY)


def answer_error(data: bytes, *, ended: bool = False) -> str:
    response = UpgradeResponse(KEY)

    def run() -> None:
        response.feed(data)
        if ended:
            response.feed(b"")

    with pytest.raises(ConnectError) as caught:
        run()
    return str(caught.value)


def test_new_keys() -> None:
    assert re.fullmatch(r"[A-Za-z0-9+/]{22}==", new_key())
    assert new_key() != new_key()


def test_request() -> None:
    assert upgrade_request("example.com:8080", "/a?b=c", KEY, [("X-Own", "v\xe9")]) == (
        b"GET /a?b=c HTTP/1.1\r\n"
        b"Host: example.com:8080\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: rport-v2\r\n"
        b"X-Own: v\xe9\r\n\r\n"
    )


@pytest.mark.parametrize("path", ["", "a", "/a b", "/a\r\nX: y", "/\xe9"])
def test_unfit_paths(path: str) -> None:
    with pytest.raises(UsageError, match="path"):
        upgrade_request("h", path, KEY, [])


@pytest.mark.parametrize(
    "header",
    [
        ("", "v"),
        ("a b", "v"),
        ("a:", "v"),
        ("a\n", "v"),
        ("a", "v\r\nb: c"),
        ("a", "v\0"),
        ("a", "\u20ac"),
        ("HOST", "v"),
    ],
)
def test_unfit_headers(header: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="header") as caught:
        upgrade_request("h", "/", KEY, [header])
    assert str(caught.value).isprintable()


def test_a_request_that_is_too_big() -> None:
    with pytest.raises(UsageError, match="59 headers are too many: 58 may be given"):
        upgrade_request("h", "/", KEY, [("a", "b")] * 59)
    upgrade_request("h", "/", KEY, [("a", "b")] * 58)
    with pytest.raises(UsageError, match="longer than 16384 bytes"):
        upgrade_request("h", "/", KEY, [("a", "b" * 16384)])


def test_unfit_host() -> None:
    with pytest.raises(UsageError, match="Host"):
        upgrade_request("h\r\nX: y", "/", KEY, [])


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("tail", [b"", b"early bytes"])
def test_accepted(step: int, tail: bytes) -> None:
    response = UpgradeResponse(KEY)
    rest = ANSWER + tail
    while not response.done:
        done = response.feed(rest[:step])
        rest = rest[step:]
        assert done == response.done
    assert response.rest + rest == tail


def test_header_names_have_no_case() -> None:
    head = b"HTTP/1.1 101 x\r\nSEC-WEBSOCKET-ACCEPT:%s \r\nsec-websocket-protocol:rport-v2\r\n\r\n"
    assert UpgradeResponse(KEY).feed(head % accept_key(KEY).encode())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered HTTP 404: it is a web server, but no rport server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answered HTTP 200: it is a web server"),
        (b"HTTP/1.1 301 x\r\nLocation: http://h/\r\n\r\n", 'a redirect: use "http://h/" instead'),
        (b"HTTP/1.1 301 x\r\nLocation: https://h/\r\n\r\n", 'a redirect: use "https://h/" instead'),
        (
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.",
            "HTTP 400: it is a TLS port",
        ),
        (b"HTTP/1.1 401 x\r\n\r\n", "HTTP 401: a web server, or a proxy before rportd, wants a login: --header"),
        (b"HTTP/1.1 403 x\r\n\r\n", "HTTP 403: a web server, or a proxy on the way, does not allow it"),
        (b"HTTP/1.1 407 x\r\n\r\n", "HTTP 407: a proxy is in the way and wants a login: name it with --proxy"),
        (b"HTTP/1.1 426 x\r\n\r\n", "version of the tunnel protocol"),
        (b"HTTP/1.1 503 x\r\n\r\n", "HTTP 503: too busy"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server answers there"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "it is a TLS port: write https://"),
        (b"220 mail\x1b[2J ready\r\nmore", r'it sent "220 mail\x1b[2J ready"'),
        (b"HTTP/1.1\r\n\r\n", "no status line"),
        (b"HTTP/1.1 1x1 y\r\n\r\n", "no status line"),
        (b"HTTP/1.1 101 x\r\nnonsense\r\n\r\n", "without a colon"),
        (b"HTTP/1.1 101 x\r\n\r\n", "does not fit the request"),
        (ANSWER.replace(b"s3pP", b"s3pQ"), "does not fit the request"),
        (ANSWER.replace(b"rport-v2", b"chat"), 'it speaks "chat", not rport-v2'),
        (ANSWER.replace(b"Sec-WebSocket-Protocol", b"X"), 'it speaks "none", not rport-v2'),
        (b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 65 + b"\r\n", "more than 64 headers"),
        (b"HTTP/1.1 101 x\r\na: " + b"b" * 16384, "longer than 16384 bytes"),
    ],
)
def test_other_answers(data: bytes, text: str) -> None:
    error = answer_error(data)
    assert text in error
    assert error.isprintable()


def refusal(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", size: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body) if size is None else size}"
    return head.encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (refusal(400, b"not here\nmore"), 'answered HTTP 400: "not here"'),
        (refusal(503, b"try again"), 'too busy, or what is behind it is down; it says "try again"'),
        (refusal(426, b"only 13"), 'this version of the tunnel protocol; it says "only 13"'),
        (refusal(404, b"no such page"), 'no rport server; it says "no such page"'),
        (refusal(400, b"a\x1b[2J\xff\n"), 'answered HTTP 400: "a\\x1b[2J\ufffd"'),
        (refusal(400, b"x" * 9000), 'answered HTTP 400: "' + "x" * WORDS_MAX + '..."'),
        (refusal(400, b"\n"), "no rport server"),
        (refusal(400, b""), "no rport server"),
    ],
)
@pytest.mark.parametrize("step", [1, 10_000])
def test_a_servers_own_words(answer: bytes, text: str, step: int) -> None:
    """They may come behind the head."""
    response = UpgradeResponse(KEY)
    with pytest.raises(ConnectError) as caught:
        for start in range(0, len(answer), step):
            response.feed(answer[start : start + step])
    assert str(caught.value).endswith(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("answer", [refusal(400, b"<p>", "text/html", 99), refusal(400, b"a", size=10**10)])
def test_no_more_is_waited_for(answer: bytes) -> None:
    """No text, and no size that could be meant."""
    assert answer_error(answer).endswith("it is a web server, but no rport server")


def test_words_that_end_too_soon() -> None:
    answer = refusal(400, b"not he", size=20)
    assert not UpgradeResponse(KEY).feed(answer)
    assert answer_error(answer, ended=True).endswith('"not he"')


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "closed without an answer"),
        (b"S", 'it sent "S"'),
        (b"HTTP/1.1 101 x\r\n", "closed within the HTTP answer"),
    ],
)
def test_answers_that_end_too_soon(data: bytes, text: str) -> None:
    assert text in answer_error(data, ended=bool(data))


@given(st.binary(min_size=1, max_size=100) | st.binary(max_size=100).map(lambda tail: b"HTTP/1.1 101 " + tail))
def test_garbage_answers_raise_nothing_but_connect_error(data: bytes) -> None:
    assert answer_error(data, ended=True).isprintable()


def test_a_long_answer_is_cut_in_the_error() -> None:
    assert len(answer_error(b"x" * 10_000)) < 200
