"""Questions and answers, and what is made of each way in which an answer may be none."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from rport.ctl import api as api_module
from rport.ctl.api import Api, part, target
from rport.ctl.errors import Conflict, NotAllowed, NotFound, ServerTrouble
from rport.ctl.place import read_place
from rport.errors import RportError, UsageError
from tests.support.api_double import ApiDouble, Asked, page, problem
from tests.support.programs import Target, closing_all


@pytest.fixture
def double() -> Iterator[ApiDouble]:
    one = ApiDouble()
    yield one
    one.close()


@pytest.fixture
def api(double: ApiDouble) -> Iterator[Api]:
    one = Api(read_place(double.url), {"Authorization": "Bearer rpt_x"}, timeout=5)
    yield one
    one.close()


def test_a_question_has_its_query_body_and_credentials(double: ApiDouble, api: Api) -> None:
    double.answers["POST", "/x"] = (201, {"a": "ü"})
    assert api.ask("POST", "/x", {"q": "a&b", "none": None, "tag": ("x", "y"), "no": ()}, {"b": 1}) == {"a": "ü"}
    asked = double.asked[0]
    assert asked.query == {"q": ["a&b"], "tag": ["x", "y"]}
    assert asked.body == {"b": 1}
    assert asked.fields["Authorization"] == "Bearer rpt_x"
    assert asked.fields["Content-Type"] == "application/json"
    double.answers["DELETE", "/x"] = (204, b"")
    assert api.ask("DELETE", "/x") is None


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, UsageError, 1),
        (413, UsageError, 1),
        (401, NotAllowed, 3),
        (403, NotAllowed, 3),
        (429, NotAllowed, 3),
        (404, NotFound, 2),
        (409, Conflict, 4),
        (500, ServerTrouble, 5),
        (503, ServerTrouble, 5),
        (507, ServerTrouble, 5),
    ],
)
def test_problems(double: ApiDouble, api: Api, status: int, kind: type[RportError], code: int) -> None:
    double.answers["GET", "/x"] = problem(status, "this and that", "of-a-kind")
    with pytest.raises(kind) as caught:
        api.get("/x")
    assert (str(caught.value), caught.value.exit_code) == ("this and that", code)
    if isinstance(caught.value, NotAllowed):
        assert caught.value.kind == "of-a-kind"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, b"<html>"), "the answer is no JSON"),
        ((502, b"<html>"), "status 502 .*, and no word of an rportd"),
        ((404, b'{"detail": 7}'), "and no word of an rportd"),
        ((500, b"[]"), "and no word of an rportd"),
        ((302, b""), "is a redirect to"),
        (problem(404, "Not Found"), "does not know how to do that: is it an older version"),
    ],
)
def test_what_is_no_answer_of_ours(double: ApiDouble, api: Api, answer: tuple[int, bytes], text: str) -> None:
    double.answers["GET", "/x"] = answer
    with pytest.raises(ServerTrouble, match=text):
        api.get("/x")


def test_an_answer_may_not_be_endless(double: ApiDouble, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "ANSWER_MAX", 1000)
    double.answers["GET", "/x"] = (200, "x" * 998)
    assert len(api.get("/x")) == 998
    double.answers["GET", "/x"] = (200, "x" * 999)
    with pytest.raises(ServerTrouble, match="longer than 1000 bytes"):
        api.get("/x")


def test_pages_are_followed_up_to_the_limit(double: ApiDouble, api: Api) -> None:
    def answer(asked: Asked) -> tuple[int, object]:
        start = int(asked.query.get("cursor", ["0"])[0])
        size = min(int(asked.query["limit"][0]), 3)
        return page(*({"n": n} for n in range(start, start + size)), next=str(start + size) if start < 6 else None)

    double.answers["GET", "/rows"] = answer
    assert [row["n"] for row in api.rows("/rows")] == list(range(9))
    assert [row["n"] for row in api.rows("/rows", 4, q="x")] == [0, 1, 2, 3]
    assert [asked.query["limit"] for asked in double.asked[-2:]] == [["4"], ["1"]]


def test_without_credentials_it_says_where_they_come_from(double: ApiDouble) -> None:
    double.answers["GET", "/x"] = problem(401, "log in")
    with pytest.raises(NotAllowed, match="log in; rportctl login makes one"):
        Api(read_place(double.url), {}).get("/x")


class OneShot:
    """Answers one request on each connection, and ends it then, keep-alive or not."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def serve(self, sock: socket.socket) -> None:
        self.methods.append(sock.recv(65536).split(b" ")[0].decode())
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def test_a_kept_connection_that_ended_meanwhile_is_made_again_for_what_may_be_asked_twice() -> None:
    with closing_all() as keep:
        shot = OneShot()
        server = keep(Target(shot.serve))
        api = keep(Api(read_place(f"127.0.0.1:{server.port}"), {}, timeout=5))
        assert [api.get("/x"), api.get("/x"), api.get("/x")] == [{}, {}, {}]
        with pytest.raises(ServerTrouble):
            api.ask("POST", "/x")
        assert shot.methods == ["GET", "GET", "GET"]
        assert api.ask("POST", "/x") == {}  # a connection of its own


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ServerTrouble, match=f"http://127.0.0.1:{port}: Connection refused"):
        Api(read_place(f"127.0.0.1:{port}"), {}).get("/x")


def test_a_server_that_says_nothing() -> None:
    gone = threading.Event()
    with closing_all() as keep:
        server = keep(Target(lambda sock: gone.wait(10) and None))
        with pytest.raises(ServerTrouble, match="no answer in time; --timeout waits longer"):
            Api(read_place(f"127.0.0.1:{server.port}"), {}, timeout=0.2).get("/x")
        gone.set()


def test_a_server_that_speaks_otherwise() -> None:
    with closing_all() as keep:
        server = keep(Target(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")))
        with pytest.raises(ServerTrouble, match=r"this is no HTTP answer|Connection reset"):
            Api(read_place(f"127.0.0.1:{server.port}"), {}, timeout=5).get("/x")
        with pytest.raises(ServerTrouble, match=r"TLS failed: .*http:// URL|Connection reset"):
            Api(read_place(f"https://127.0.0.1:{server.port}"), {}, timeout=5).get("/x")


def test_targets_are_quoted() -> None:
    assert target("/x", {"q": "ü &", "n": 5}) == "/api/v1/x?q=%C3%BC+%26&n=5"
    assert part("a/../b?c#d%") == "a%2F..%2Fb%3Fc%23d%25"
    for text in ("", ".", ".."):
        with pytest.raises(NotFound):
            part(text)


def test_json_is_read_as_such(double: ApiDouble, api: Api) -> None:
    double.answers["GET", "/x"] = (200, json.dumps({"a": [1, None]}).encode())
    assert api.get("/x") == {"a": [1, None]}
