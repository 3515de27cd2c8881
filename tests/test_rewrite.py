import pytest

from rport.server.door.backend import parse_backend
from rport.server.door.refusal import Refusal
from rport.server.door.rewrite import Head, Passage, Request, answer_head, interim_head, pass_on

BACKEND = parse_backend("http://backend.example:81/pre/")
CLIENT = ("192.0.2.1", 4711)


def ask(
    *fields: tuple[str, str], method: str = "GET", target: str = "/a?b", version: str = "1.1", **more: object
) -> Passage:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    if not any(name == b"host" for name, _ in headers):
        headers.insert(0, (b"host", b"public.example"))
    known = {"upgrades": False, "scheme": "http", "trusted": False, **more}
    return pass_on(
        Request(method.encode(), target.encode("latin-1"), version, headers, client=CLIENT, **known), BACKEND
    )  # type: ignore[arg-type]


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines), "one field twice"
    return fields


def test_a_request_is_the_backends_own() -> None:
    passage = ask(("accept", "*/*"), ("cookie", "a=b"))
    assert passage.head.startswith(b"GET /pre/a?b HTTP/1.1\r\nhost: backend.example:81\r\n")
    assert passage.head.endswith(b"\r\n\r\n")
    assert fields_of(passage.head) == {
        "host": "backend.example:81",
        "accept": "*/*",
        "cookie": "a=b",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "public.example",
    }
    assert (passage.length, passage.repeatable) == (0, True)


def test_asterisk_has_no_path() -> None:
    assert ask(method="OPTIONS", target="*").head.startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_what_is_for_one_hop_goes_no_further() -> None:
    names = [
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "proxy-authorization",
        "proxy-authenticate",
        "upgrade",
        "x-hop",
    ]
    passage = ask(("connection", "keep-alive, X-Hop , close"), *((name, "x") for name in names))
    assert not {"connection", *names} & set(fields_of(passage.head))


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-for",
        "x-forwarded-port",
        "x_forwarded_for",
        "x-forwarded_host",
        "forwarded",
        "x-real-ip",
        "x_real_ip",
    ],
)
def test_a_client_cannot_say_what_only_a_proxy_may(name: str) -> None:
    assert b"6.6.6.6" not in ask((name, "6.6.6.6")).head


def test_a_connection_field_takes_nothing_of_ours_away() -> None:
    passage = ask(("connection", "x-forwarded-for, host, content-length"), ("content-length", "3"), method="POST")
    fields = fields_of(passage.head)
    assert fields["x-forwarded-for"] == "192.0.2.1"
    assert fields["host"] == "backend.example:81"
    assert fields["content-length"] == "3"


def test_a_trusted_proxy_knows_the_scheme() -> None:
    said = ("x-forwarded-proto", "HTTPS")
    assert fields_of(ask(said, trusted=True).head)["x-forwarded-proto"] == "https"
    assert fields_of(ask(said).head)["x-forwarded-proto"] == "http"
    assert fields_of(ask(("x-forwarded-proto", "x"), trusted=True).head)["x-forwarded-proto"] == "http"
    assert fields_of(ask(scheme="https").head)["x-forwarded-proto"] == "https"


def test_bodies() -> None:
    sized = ask(("content-length", "5"), method="POST")
    assert (sized.length, fields_of(sized.head)["content-length"], sized.repeatable) == (5, "5", False)
    empty = ask(("content-length", "0"), method="PUT")
    assert (empty.length, fields_of(empty.head)["content-length"], empty.repeatable) == (0, "0", True)
    chunked = ask(("transfer-encoding", "Chunked"), method="POST")
    assert (chunked.length, fields_of(chunked.head)["transfer-encoding"], chunked.repeatable) == (
        None,
        "chunked",
        False,
    )
    assert not ask(method="POST").repeatable


@pytest.mark.parametrize(
    "fields",
    [
        [("transfer-encoding", "chunked"), ("content-length", "5")],
        [("content-length", "5"), ("content-length", "5")],
        [("transfer-encoding", "gzip, chunked")],
        [("transfer-encoding", "identity")],
        [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "xchunked")],
        [("transfer-encoding", "")],
        [("host", "a"), ("host", "b")],
        [("x", "a\rb")],
        [("x", "a\nb")],
        [("x", "a\0b")],
    ],
)
def test_what_two_ends_could_read_differently(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(Refusal) as raised:
        ask(*fields, method="POST")
    assert raised.value.status == 400


@pytest.mark.parametrize("target", ["", "x", "host:443", "/a b", "/a\r\nX: y", "/\xff", "http://h/"])
def test_what_is_no_path(target: str) -> None:
    with pytest.raises(Refusal):
        ask(target=target)


def test_http_1_0() -> None:
    with pytest.raises(Refusal):
        ask(("transfer-encoding", "chunked"), method="POST", version="1.0")
    passage = pass_on(Request(b"GET", b"/", "1.0", [], False, CLIENT, "http", False), BACKEND)
    assert b" HTTP/1.1\r\n" in passage.head
    assert "x-forwarded-host" not in fields_of(passage.head)
    with pytest.raises(Refusal):
        pass_on(Request(b"GET", b"/", "1.1", [], False, CLIENT, "http", False), BACKEND)


def test_a_body_that_waits_for_its_100() -> None:
    expects = ("expect", "100-Continue")
    assert ask(expects, ("content-length", "5"), method="POST").expects
    for passage in (ask(expects), ask(expects, ("content-length", "5"), method="POST", version="1.0")):
        assert not passage.expects
        assert b"expect" not in passage.head


def test_upgrades() -> None:
    fields = [("upgrade", "websocket"), ("connection", "keep-alive, Upgrade"), ("sec-websocket-key", "x")]
    passage = ask(*fields, upgrades=True)
    assert (passage.upgrade, passage.repeatable) == (b"websocket", False)
    assert fields_of(passage.head)["upgrade"] == "websocket"
    assert fields_of(passage.head)["connection"] == "upgrade"
    assert not ask(*fields, upgrades=False).upgrade
    h2c = ask(("upgrade", "h2c"), ("connection", "upgrade, http2-settings"), ("http2-settings", "x"), upgrades=True)
    assert not h2c.upgrade
    assert not {"upgrade", "connection", "http2-settings"} & set(fields_of(h2c.head))
    assert ask(("upgrade", "foo, H2C,bar"), ("upgrade", "h2c"), upgrades=True).upgrade == b"foo, bar"
    with pytest.raises(Refusal):
        ask(*fields, ("content-length", "5"), upgrades=True)


def answer(
    status: int, *fields: tuple[str, str], length: int | None = None, close: bool = False, **asked: str
) -> tuple[bytes, bool]:
    headers = [(name.encode(), value.encode()) for name, value in fields]
    return answer_head(Head(status, b"Fine", headers, length), ask(**asked), close=close)  # type: ignore[arg-type]


def test_answers() -> None:
    head, chunked = answer(
        200, ("content-length", "5"), ("set-cookie", "a"), ("connection", "x-hop"), ("x-hop", "1"), length=5
    )
    assert head == b"HTTP/1.1 200 Fine\r\ncontent-length: 5\r\nset-cookie: a\r\n\r\n"
    assert not chunked
    assert answer(200, ("transfer-encoding", "chunked")) == (
        b"HTTP/1.1 200 Fine\r\ntransfer-encoding: chunked\r\n\r\n",
        True,
    )
    assert answer(200, close=True)[0].endswith(b"connection: close\r\n\r\n")
    assert answer(200, version="1.0") == (b"HTTP/1.1 200 Fine\r\n\r\n", False)
    assert answer(200, ("content-length", "5"), length=5, method="HEAD") == (
        b"HTTP/1.1 200 Fine\r\ncontent-length: 5\r\n\r\n",
        False,
    )
    assert answer(304, ("content-length", "5"), length=5)[0] == b"HTTP/1.1 304 Fine\r\ncontent-length: 5\r\n\r\n"
    assert answer(204, ("content-length", "0"), length=0) == (b"HTTP/1.1 204 Fine\r\n\r\n", False)


def test_interim_answers() -> None:
    early = Head(103, b"Early Hints", [(b"link", b"</x>"), (b"connection", b"close")], None)
    assert interim_head(early) == b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    change = Head(
        101, b"S", [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", b"x")], None
    )
    assert b"connection: upgrade\r\nupgrade: websocket\r\n\r\n" in interim_head(change)
