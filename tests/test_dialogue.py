import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport import __version__
from rport.client.dialogue import talk_to
from rport.client.proxy import Proxy
from rport.errors import ConnectError

SECRET = b"verysecret"
HTTP = Proxy("http", "p", 3128)
HTTP_LOGIN = Proxy("http", "p", 3128, b"me", SECRET)
SOCKS = Proxy("socks5", "p", 1080)
SOCKS_LOGIN = Proxy("socks5", "p", 1080, b"me", SECRET)
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
BOUND = b"\x00\x01\x7f\x00\x00\x01\x1f\x90"  # behind version and reply: where it connected from


def hold(proxy: Proxy, said: bytes, step: int = 1000, host: str = "h", port: int = 80) -> bytes:
    """All that is sent to a proxy that says these bytes, `step` at a time in each turn, and then ends."""
    dialogue = talk_to(proxy, host, port)
    sent = next(dialogue)
    try:
        for turn in turns(proxy, said):
            for start in range(0, len(turn), step):
                sent += dialogue.send(turn[start : start + step])
        dialogue.send(b"")
    except StopIteration:
        return sent
    raise AssertionError("it goes on behind the end")


def turns(proxy: Proxy, said: bytes) -> list[bytes]:
    """In SOCKS the proxy waits for us behind the method, and behind a login."""
    cuts = [0] if proxy.scheme == "http" else [0, 2, 4] if said[1:2] == b"\x02" else [0, 2]
    return [said[start:end] for start, end in itertools.pairwise([*cuts, len(said)])]


def refusal(proxy: Proxy, said: bytes) -> str:
    with pytest.raises(ConnectError) as caught:
        hold(proxy, said)
    error = str(caught.value)
    assert SECRET.decode() not in error
    assert error.isprintable()
    return error


# --- HTTP


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_connect(step: int) -> None:
    assert hold(HTTP, OK, step, "example.com", 443) == (
        b"CONNECT example.com:443 HTTP/1.1\r\n"
        b"Host: example.com:443\r\n"
        b"User-Agent: rport/" + __version__.encode() + b"\r\n\r\n"
    )


def test_connect_to_an_ipv6_address() -> None:
    assert hold(HTTP, OK, host="::1").startswith(b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n")


def test_basic_login() -> None:
    sent = hold(HTTP_LOGIN, OK)
    assert b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"me:" + SECRET) + b"\r\n" in sent
    assert b"authorization" not in hold(HTTP, OK).lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",  # RFC 9110: ignored in a 2xx
        b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 64 + b"\r\n",
    ],
)
def test_accepted(answer: bytes) -> None:
    hold(HTTP, answer)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 x\r\n\r\n", "HTTP 407, it wants a login: give http://USER:PASSWORD@HOST:PORT"),
        (
            b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM TlRM\r\n\r\n",
            'it wants a login by "Negotiate, NTLM"; rport can log in by Basic alone',
        ),
        (
            b"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: bAsic realm=x\r\n\r\n",
            "wants a login: give",
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP 403: it does not allow connections to h:80"),
        (b"HTTP/1.1 502 x\r\n\r\n", "HTTP 502: it cannot reach h:80"),
        (b"HTTP/1.1 503 x\r\n\r\n", "HTTP 503: it cannot reach h:80"),
        (b"HTTP/1.1 504 x\r\n\r\n", "HTTP 504: it cannot reach h:80"),
        (b"HTTP/1.1 405 x\r\n\r\n", "HTTP 405: it does not pass connections on (CONNECT)"),
        (
            b"HTTP/1.1 302 x\r\nLocation: http://in.example/\r\n\r\n",
            'a redirect to "http://in.example/": does somebody',
        ),
        (b"HTTP/1.1 302 x\r\nLocation: \x1b[2J\r\n\r\n", r'"\x1b[2J"'),
        (b"HTTP/1.1 404 x\r\n\r\n", "HTTP 404 to a request for h:80: this is no proxy"),
        (b"HTTP/1.1 100 x\r\n\r\n", "HTTP 100 to a request"),
        (b"HTTP/1.1 2000 x\r\n\r\n", 'no HTTP proxy: it sent "HTTP/1.1 2000 x"'),
        (b"HTTP/2 200 x\r\n\r\n", 'no HTTP proxy: it sent "HTTP/2 200 x"'),
        (b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 65 + b"\r\n", "more than 64 headers"),
        (b"HTTP/1.1 200 x\r\na: " + b"b" * 16384, "longer than 16384 bytes"),
        (b"HTTP/1.1 200 x\r\na: " + b"b" * 16384 + b"\r\n\r\n", "longer than 16384 bytes"),
        (b"220 mail\x1b[2J ready\r\nmore", r'no HTTP proxy: it sent "220 mail\x1b[2J ready"'),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "it speaks TLS: write https://"),
        (b"\x05\xff", "SOCKS: write socks5://"),
        (b"", "it closed the connection without an answer"),
        (b"HTT", "it closed the connection within its answer"),
        (OK[:-1], "it closed the connection within its answer"),
        (OK + b"SSH-2.0-x\r\n", 'it sent something behind its answer: "SSH-2.0-x"'),
    ],
)
def test_refused(answer: bytes, text: str) -> None:
    assert text in refusal(HTTP, answer)


@pytest.mark.parametrize("status", ["401", "407"])
def test_wrong_basic_login(status: str) -> None:
    answer = f"HTTP/1.1 {status} x\r\nProxy-Authenticate: Basic realm=x\r\n\r\n".encode()
    assert f"HTTP {status}, the user or the password for it is wrong" in refusal(HTTP_LOGIN, answer)


# --- SOCKS5


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("example.com", b"\x03\x0bexample.com"),  # RFC 1928, section 5
        ("10.1.2.3", b"\x01\x0a\x01\x02\x03"),
        ("::1", b"\x04" + bytes(15) + b"\x01"),
        ("x" * 253, b"\x03\xfd" + b"x" * 253),
    ],
)
def test_socks(step: int, host: str, address: bytes) -> None:
    assert hold(SOCKS, b"\x05\x00\x05\x00" + BOUND, step, host, 8080) == (
        b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x1f\x90"
    )


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_socks_login(step: int) -> None:
    assert hold(SOCKS_LOGIN, b"\x05\x02\x01\x00\x05\x00" + BOUND, step) == (
        b"\x05\x02\x00\x02" + b"\x01\x02me\x0averysecret" + b"\x05\x01\x00\x03\x01h\x00\x50"  # RFC 1929, section 2
    )


def test_a_login_that_is_not_wanted_is_not_sent() -> None:
    assert SECRET not in hold(SOCKS_LOGIN, b"\x05\x00\x05\x00" + BOUND)


@pytest.mark.parametrize(
    "bound",
    [b"\x00\x03\x04name\x00\x50", b"\x00\x04" + bytes(18), b"\x00\x03\x00\x00\x00", b"\x00\x03\xff" + bytes(257)],
)
def test_any_address_may_be_bound(bound: bytes) -> None:
    hold(SOCKS, b"\x05\x00\x05\x00" + bound)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"\x05\xff", "it wants a login: give socks5://USER:PASSWORD@HOST:PORT"),
        (b"\x05\x02", "it chose method 2, which was not offered"),
        (b"\x05\x00\x05\x01", "it does not connect to h:80: it failed in general"),
        (b"\x05\x00\x05\x02", "h:80: its rules do not allow it"),
        (b"\x05\x00\x05\x03", "network unreachable"),
        (b"\x05\x00\x05\x04", "host unreachable, or its name does not resolve"),
        (b"\x05\x00\x05\x05\x00\x01" + bytes(6), "connection refused"),
        (b"\x05\x00\x05\x06", "took too long"),
        (b"\x05\x00\x05\x07", "command not supported"),
        (b"\x05\x00\x05\x08", "does not take this kind of address"),
        (b"\x05\x00\x05\x5b", "reply code 91"),
        (b"\x05\x00\x05\x00\x00\x02", "an address of type 2"),
        (b"\x05\x00\x04\x00", r'no SOCKS5 proxy: it sent "\x04\x00"'),
        (b"HTTP/1.1 400 x\r\n\r\n", "it seems, HTTP: write http://"),
        (b"\x15\x03\x01", "it speaks TLS: write https://"),
        (b"SSH-2.0", 'no SOCKS5 proxy: it sent "SS"'),
        (b"", "closed the connection without an answer"),
        (b"\x05", "closed the connection within its answer"),
        (b"\x05\x00", "closed the connection without an answer"),
        (b"\x05\x00\x05\x00" + BOUND[:-1], "closed the connection within its answer"),
    ],
)
def test_socks_refused(answer: bytes, text: str) -> None:
    assert text in refusal(SOCKS, answer)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"\x05\xff", "a login of another kind than user and password"),
        (b"\x05\x02\x01\x01", "the user or the password for it is wrong"),
        (b"\x05\x02", "it closed the connection on this login"),
    ],
)
def test_socks_login_refused(answer: bytes, text: str) -> None:
    assert text in refusal(SOCKS_LOGIN, answer)


def test_what_comes_behind_the_answer() -> None:
    with pytest.raises(ConnectError, match="behind its answer"):
        hold(SOCKS, b"\x05\x00\x05\x00" + BOUND + b"x")


def test_what_comes_before_it_can() -> None:
    dialogue = talk_to(SOCKS, "h", 80)
    next(dialogue)
    with pytest.raises(ConnectError, match="behind its answer"):
        dialogue.send(b"\x05\x00\x05\x00" + BOUND)


# --- both


@given(st.sampled_from([HTTP, HTTP_LOGIN, SOCKS, SOCKS_LOGIN]), st.lists(st.binary(min_size=1), max_size=20))
def test_any_answer_is_an_end_or_a_connect_error(proxy: Proxy, chunks: list[bytes]) -> None:
    dialogue = talk_to(proxy, "h", 80)
    next(dialogue)
    with pytest.raises((StopIteration, ConnectError)) as caught:
        for chunk in [b"HTTP/1.1 " if proxy.scheme == "http" else b"\x05", *chunks, b""]:
            dialogue.send(chunk)
    assert str(caught.value).isprintable()
