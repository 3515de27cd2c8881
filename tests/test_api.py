"""The API behind a real front door, asked by http.client."""

import http.client
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from rport.remote import Remote
from rport.server.api import create_app
from rport.server.errors import NotAllowed, PortUnavailable, SessionNotFound, TunnelExists
from rport.server.principal import Principal
from rport.server.registry import Entry, Registry, Tunnel
from rport.statistics import Numbers
from tests.support.door import PATIENCE, Door, open_door
from tests.support.loops import USUAL
from tests.support.plane import bare_plane

SESSION = f"{7:064x}"


NUMBERS = Numbers(1.5, *range(10), 11, 0.5, 1.5, 12, 13)


class StubService:
    """Opens what it is asked for, unless `error` is set."""

    version = "1.2.3"

    def __init__(self) -> None:
        self.registry = Registry()
        self.asked: list[tuple[str, Remote]] = []
        self.error: Exception | None = None

    def statistics(self) -> dict[str, Any]:
        own = {"version": self.version, "sessions": 1, "sessions_total": 2, "tunnels": 3, "ciphers": {"aegis256": 1}}
        return own | NUMBERS._asdict()

    async def put(self, who: Principal, session_id: str, remote: Remote) -> tuple[int, Remote]:
        self.asked.append((session_id, remote))
        if self.error is not None:
            raise self.error
        return 5, replace(remote, lport=remote.lport or 40000)


@pytest.fixture(scope="module")
def stub() -> StubService:
    return StubService()


@pytest.fixture(scope="module")
def door(stub: StubService) -> Iterator[Door]:
    with open_door(create_app(bare_plane(stub, tunnels=stub)), USUAL) as door:
        yield door


@pytest.fixture
def service(stub: StubService) -> StubService:
    stub.__init__()  # type: ignore[misc]
    return stub


class Answer:
    """Status, headers and body of one request on a connection of its own."""

    def __init__(self, door: Door, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=PATIENCE)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        connection.close()

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] in ("application/json", "application/problem+json")
        return json.loads(self.body)


def ask(door: Door, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    return Answer(door, method, path, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def put(door: Door, query: str, session: str = SESSION) -> Answer:
    return ask(door, f"/api/v1/sessions/{session}/tunnels?{query}", "PUT")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_status_counts_the_sessions(door: Door, service: StubService) -> None:
    assert ask(door, "/api/v1/status").json == {"version": "1.2.3", "sessions_count": 0}
    service.registry.add(Entry(SESSION, "0.1.0", "192.0.2.1:5", "", "web-1"))
    assert ask(door, "/api/v1/status").json["sessions_count"] == 1


def test_statistics(door: Door, service: StubService) -> None:
    assert ask(door, "/api/v1/statistics").json == service.statistics()
    schema = ask(door, "/api/openapi.json").json["components"]["schemas"]["StatisticsView"]["properties"]
    assert schema.keys() == service.statistics().keys()
    assert all(field["examples"] for field in schema.values())


def test_sessions_are_listed_with_ports_as_strings(door: Door, service: StubService) -> None:
    tunnel = Tunnel(1, Remote("0.0.0.0", 0, "::1", 22), 40001)
    service.registry.add(Entry(SESSION, "0.1.0", "192.0.2.1:5", "me", "web-1", {1: tunnel}))
    answer = ask(door, "/api/v1/sessions")
    assert answer.status == 200
    assert answer.json == [
        {
            "id": SESSION,
            "client_id": "web-1",
            "version": "0.1.0",
            "address": "192.0.2.1:5",
            "remotes": [{"lhost": "0.0.0.0", "lport": "40001", "rhost": "::1", "rport": "22", "proxy": ""}],
        }
    ]


# --- opening a tunnel ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "remote"),
    [
        ("local=2222&remote=22", Remote("0.0.0.0", 2222, "0.0.0.0", 22)),
        ("local=0&remote=22", Remote("0.0.0.0", 0, "0.0.0.0", 22)),
        ("local=127.0.0.1:2222&remote=example.com:80", Remote("127.0.0.1", 2222, "example.com", 80)),
        ("local=[::]:3000&remote=[::1]:3000", Remote("::", 3000, "::1", 3000)),
        ("local=%5B%3A%3A%5D%3A1&remote=%5B%3A%3A1%5D%3A2", Remote("::", 1, "::1", 2)),
        ("local=0&remote=unix:/run/a:b.sock", Remote("0.0.0.0", 0, "unix:/run/a:b.sock", 0)),
        ("local=[::1]:1&remote=unix:/run/x&proxy=v1", Remote("::1", 1, "unix:/run/x", 0, "v1")),
        ("local=2222&remote=22&proxy=v2", Remote("0.0.0.0", 2222, "0.0.0.0", 22, "v2")),
        ("local=2222&remote=22?proxy=v2", Remote("0.0.0.0", 2222, "0.0.0.0", 22, "v2")),
        ("local=2222&remote=unix:80", Remote("0.0.0.0", 2222, "unix", 80)),
    ],
)
def test_a_tunnel_is_opened(door: Door, service: StubService, query: str, remote: Remote) -> None:
    answer = put(door, query)
    assert answer.status == 200
    assert answer.json == {
        "success": 1,
        "id": 5,
        "lhost": remote.lhost,
        "lport": str(remote.lport or 40000),
        "rhost": remote.rhost,
        "rport": str(remote.rport),
        "proxy": remote.proxy,
    }
    assert service.asked == [(SESSION, remote)]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "local"),
        ("local=2222", "remote: Field required"),
        ("remote=22", "local: Field required"),
        ("local=&remote=22", "local=''"),
        ("local=2222&remote=", "remote='': give [HOST:]PORT"),
        ("local=foo&remote=22", "local='foo'"),
        ("local=2222&remote=foo", "remote='foo': give [HOST:]PORT"),
        ("local=99999&remote=22", "local='99999': port 99999 is not from 0 to 65535"),
        ("local=2222&remote=0", "remote='0': port 0 is not from 1 to 65535"),
        ("local=2222&remote=-1", "remote='-1': give [HOST:]PORT"),
        ("local=1:2222&remote=22", "local='1:2222'"),
        ("local=2222&remote=1:22", "remote='1:22'"),
        ("local=a:b:2222&remote=22", "local='a:b:2222': give [HOST:]PORT"),
        ("local=2222&remote=3000:google.com:80", "remote='3000:google.com:80': give [HOST:]PORT"),
        ("local=::1:2222&remote=22", "local='::1:2222': give [HOST:]PORT, an IPv6 host in brackets"),
        ("local=[::1&remote=22", "local='[::1'"),
        ("local=2222/udp&remote=22", "local='2222/udp'"),
        ("local=2222&remote=22/udp", "remote='22/udp': give [HOST:]PORT"),
        ("local=2222&remote=a/b:22", "remote='a/b:22': "),
        ("local=2222&remote=[1::2::3]:22", "remote='[1::2::3]:22': '1::2::3' is no IPv6 address"),
        ("local=%D9%A3&remote=22", "local='\u0663'"),
        ("local=unix:/run/x&remote=22", "local='unix:/run/x': give [HOST:]PORT"),
        ("local=22?proxy=v1&remote=22", "local='22?proxy=v1': give [HOST:]PORT"),
        ("local=1&remote=unix:run/x", "remote='unix:run/x': the path 'run/x' must begin with /"),
        ("local=1&remote=1:unix:/run/x", "remote='1:unix:/run/x': give [HOST:]PORT"),
        ("local=1&remote=unix:/run/%0Ax", "is no path of a socket"),
        (f"local=1&remote=unix:/{'x' * 107}", "a path of 108 octets"),
        ("local=1&remote=22&proxy=v3", "proxy='v3': give v1 or v2"),
        ("local=1&remote=22?proxy=v1&proxy=v1", "proxy='v1': it stands in remote= already"),
        ("local=1&remote=22?porxy=v1", "remote='22?porxy=v1': 'porxy' is no option"),
        (f"local={'a' * 301}:1&remote=22", "local"),
    ],
)
def test_bad_parameters_are_named(door: Door, service: StubService, query: str, text: str) -> None:
    answer = put(door, query)
    assert answer.status == 400
    assert text in answer.json["error"]
    assert not service.asked


@pytest.mark.parametrize(
    ("error", "status"),
    [(SessionNotFound("no such one"), 404), (NotAllowed("no"), 403), (PortUnavailable("port 22 is in use"), 409)],
)
def test_errors_have_their_status(door: Door, service: StubService, error: Exception, status: int) -> None:
    service.error = error
    answer = put(door, "local=2222&remote=22")
    assert (answer.status, answer.json["error"]) == (status, str(error))


def test_the_same_tunnel_again_has_no_content(door: Door, service: StubService) -> None:
    service.error = TunnelExists("there already")
    answer = put(door, "local=2222&remote=22")
    assert (answer.status, answer.body) == (204, b"")


def test_a_bug_is_not_told(door: Door, service: StubService) -> None:
    service.error = RuntimeError("a secret")
    answer = put(door, "local=2222&remote=22")
    assert answer.status == 500
    assert "secret" not in answer.json["error"]


@pytest.mark.parametrize("path", ["/api", "/api/v2/status", "/api/none"])
def test_unknown_paths_are_json_too(door: Door, path: str) -> None:
    answer = ask(door, path)
    assert (answer.status, answer.json["error"]) == (404, "Not Found")


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/redoc", "/apis", "/x/../api/v1/status"])
@pytest.mark.parametrize("host", ["localhost", "tunnel.example.com"])
def test_whoever_tries_the_port_learns_what_it_is(door: Door, host: str, path: str) -> None:
    answer = ask(door, path, Host=host)
    assert answer.status == 404
    assert "rport clients connect" in answer.json["error"]


def test_a_wrong_method_is_json_too(door: Door) -> None:
    answer = ask(door, "/api/v1/status", "DELETE")
    assert (answer.status, answer.json["error"]) == (405, "Method Not Allowed")
    assert answer.headers["allow"] == "GET"


# --- documentation ---------------------------------------------------------------------------------------------------


def test_the_description_names_what_can_come(door: Door) -> None:
    description = ask(door, "/api/openapi.json").json
    assert set(description["paths"]) > {
        "/api/v1/status",
        "/api/v1/statistics",
        "/api/v1/sessions",
        "/api/v1/sessions/{session_id}/tunnels",
        "/api/v1/audit",
        "/api/v1/audit/export",
        "/api/v1/events",
    }
    answers = description["paths"]["/api/v1/sessions/{session_id}/tunnels"]["put"]["responses"]
    assert set(answers) == {"200", "204", "400", "401", "403", "404", "409", "503", "507", "default"}
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_the_page_needs_nobody_else(door: Door) -> None:
    answer = ask(door, "/api/docs")
    assert answer.status == 200
    page, policy = answer.body.decode(), answer.headers["content-security-policy"]
    assert "://" not in page
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in policy
