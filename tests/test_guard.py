"""Who may ask the API: the guard behind a real front door, with nobody there, and with users."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rport.server import passwords
from rport.server.accounts import Accounts, Cookie, Token, User
from rport.server.api import create_app
from rport.server.api.guard import BODY_MAX
from rport.server.api.origin import Reached, from_elsewhere, from_here, from_own_page, has_host, loopback_peer
from rport.server.door.rules import Rules
from rport.server.networks import parse_network
from rport.server.opaque import digest, new_secret
from rport.server.registry import Registry
from tests.support.asking import Answer, ask, basic, bearer
from tests.support.door import Door, open_door
from tests.support.loops import USUAL
from tests.support.plane import bare_plane
from tests.support.programs import until

PASSWORD = "correct horse"
TOKENS = {role: new_secret("rpt") for role in ("viewer", "operator", "admin", "expired", "scoped")}
COOKIE = new_secret("rps")
STATUS = "/api/v1/status"
MINE = ("Cookie", f"rport_session={COOKIE}")


class StubService:
    version = "1.2.3"
    registry = Registry()


@pytest.fixture(scope="module")
def plane() -> Any:
    return bare_plane(StubService())


@pytest.fixture(scope="module")
def door(plane: Any) -> Iterator[Door]:
    rules = Rules(None, (parse_network("127.0.0.9"),))
    with open_door(create_app(plane, ["https://panel.example"]), USUAL, rules=rules) as door:
        yield door


def user(name: str, role: str, secret: str, tags: frozenset[str] | None = None) -> User:
    return User(name, secret, role, tags, None, 0, 1.0)


def token(kind: str, tags: frozenset[str] | None = None) -> Token:
    expires = 1.0 if kind == "expired" else None
    role = kind if kind in ("viewer", "operator") else "admin"
    return Token(f"id-{kind}", digest(TOKENS[kind]), "alice", "", role, tags, 1.0, expires, None, None)


@pytest.fixture
def nobody(plane: Any) -> None:
    plane.people.accounts = Accounts()


@pytest.fixture
def users(plane: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """alice, an admin, and bob, who sees Berlin."""
    monkeypatch.setattr(passwords, "OPSLIMIT", 1)
    monkeypatch.setattr(passwords, "MEMLIMIT", 8192)
    secret = passwords.make_hash(PASSWORD)
    tokens = [token(kind, frozenset({"berlin"}) if kind == "scoped" else None) for kind in TOKENS]
    cookies = [Cookie(digest(COOKIE), "alice", 1.0, time.time() + 1000)]
    people = [user("alice", "admin", secret), user("bob", "viewer", secret, frozenset({"berlin"}))]
    plane.people.accounts = Accounts(1, people, tokens, cookies)
    yield plane
    plane.people.accounts = Accounts()


def get(door: Door, path: str, *fields: tuple[str, str], at: str = "127.0.0.1") -> Answer:
    return ask(door.port, "GET", path, *fields, at=at)


# --- while there are no users ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"])
def test_this_machine_is_served(door: Door, host: str) -> None:
    assert get(door, STATUS, ("Host", host)).status == 200
    assert get(door, "/api/v1/me", ("Host", host)).json["kind"] == "local"


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.2"])
@pytest.mark.parametrize("path", [STATUS, "/api/docs", "/api", "/api/none", "/metrics", "/api/v1/login"])
def test_other_names_are_refused(door: Door, host: str, path: str) -> None:
    answer = get(door, path, ("Host", host))
    assert answer.status == 403
    assert "ssh -L" in answer.error
    assert "rportd user add" in answer.error
    assert answer.headers["connection"] == "close"


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_what_came_through_a_proxy_is_refused(door: Door, name: str) -> None:
    assert get(door, STATUS, (name, "127.0.0.1")).status == 403


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    "field",
    [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_from_elsewhere_are_refused(door: Door, method: str, field: tuple[str, str]) -> None:
    answer = ask(door.port, method, "/api/v1/me", field)
    assert answer.status == 403
    assert "web page from elsewhere" in answer.error


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_everybodys(door: Door, path: str) -> None:
    assert get(door, path, ("Host", "any.example")).status not in (401, 403)
    assert ask(door.port, "GET", path, ("Host", "")).status not in (400, 401, 403)


@pytest.mark.parametrize(
    ("client", "here"),
    [
        (("127.0.0.1", 1), True),
        (("127.8.9.1", 1), True),
        (("::1", 1), True),
        (("::ffff:127.0.0.1", 1), True),
        (("192.0.2.1", 1), False),
        (("::ffff:192.0.2.1", 1), False),
        (("2001:db8::1", 1), False),
        (("localhost", 1), False),
        (("", 0), False),
        (None, False),
    ],
)
def test_a_loopback_peer(client: object, here: bool) -> None:
    assert loopback_peer(client) is here


def test_there_is_one_host() -> None:
    assert from_here([(b"host", b"localhost")])
    assert not from_here([])
    assert not from_here([(b"host", b"localhost"), (b"host", b"localhost")])


# --- what is no request, whoever it is from --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("rport.example", True),
        ("rport.example:443", True),
        ("my_box", True),
        ("203.0.113.9:80", True),
        ("[2001:db8::1]:80", True),
        ("", False),
        ("::1", False),
        ("localhost:x", False),
        ("a b", False),
        ("a/b", False),
        ("me@host", False),
        ("host:123456", False),
        ("[::1", False),
        ("\xe4.example", False),
        ("x" * 254, False),
    ],
)
def test_a_host_is_a_host(users: Any, door: Door, host: str, good: bool) -> None:
    assert has_host([(b"host", host.encode("latin-1"))]) is good
    assert get(door, STATUS, ("Host", host)).status == (401 if good else 400)


def test_two_hosts_or_none(users: Any, door: Door) -> None:
    two = get(door, STATUS, ("Host", "localhost"), ("Host", "localhost"), bearer(TOKENS["admin"]))
    assert two.status == 400
    assert not has_host([])


@pytest.mark.parametrize("path", ["/api/v1/users%2Falice", "/api/v1%2fusers", "/api/v1/tokens%5Cx", "/api%2Fv1/users"])
def test_an_encoded_slash_leads_nowhere(users: Any, door: Door, path: str) -> None:
    answer = get(door, path, bearer(TOKENS["admin"]))
    assert answer.status == 400
    assert "no id has a slash" in answer.error


def test_a_body_is_bounded_json_of_a_known_length(users: Any, door: Door) -> None:
    admin, kind = bearer(TOKENS["admin"]), ("Content-Type", "application/json")
    assert ask(door.port, "GET", STATUS, admin, kind, body=b"x" * 100).status == 200  # nobody reads it
    long = ask(door.port, "GET", STATUS, admin, kind, ("Content-Length", str(BODY_MAX + 1)))
    assert long.status == 413
    assert str(BODY_MAX) in long.error
    assert ask(door.port, "GET", STATUS, admin, kind, ("Transfer-Encoding", "chunked")).status == 411
    for kinds in ([], [("Content-Type", "text/plain")], [kind, kind]):
        answer = ask(door.port, "POST", "/api/v1/users", admin, *kinds, body=b"{}")
        assert answer.status == 415, kinds
    good = ask(door.port, "POST", "/api/v1/users", admin, (kind[0], "Application/JSON; charset=utf-8"), body=b"{}")
    assert good.status == 400  # by then it was read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[" * 60000,
        b'{"a":' * 10000,
        b"\xff\xfe",
        b'{"name": "\\ud800", "password": "12345678", "role": "viewer"}',
        b'{"\\ud800": 1}',
        b'{"name": "x\\u0000", "password": "12345678", "role": "viewer"}',
        b'{"name": 1e999, "password": "12345678", "role": "viewer"}',
        b'{"name": NaN, "password": [], "role": {}}',
        b'{"name": "x", "password": "12345678", "role": "root"}',
        b'{"name": "x", "password": "short", "role": "viewer"}',
        b'{"name": "x", "password": "12345678", "role": "viewer", "tags": []}',
        b'{"name": "x", "password": "12345678", "role": "viewer", "tags": ["a b"]}',
        b'{"name": "x", "password": "12345678", "role": "viewer", "more": 1}',
        b'{"name": "' + b"x" * 65 + b'", "password": "12345678", "role": "viewer"}',
        b'{"name": "x", "password": "' + b"x" * 1025 + b'", "role": "viewer"}',
        b"{" + b"9" * 5000 + b": 1}",
        b'{"name": ' + b"9" * 5000 + b"}",
    ],
)
def test_bodies_that_cannot_be_used(users: Any, door: Door, body: bytes) -> None:
    fields = bearer(TOKENS["admin"]), ("Content-Type", "application/json")
    answer = ask(door.port, "POST", "/api/v1/users", *fields, body=body)
    assert answer.status == 400
    assert answer.error
    assert "Traceback" not in answer.error


def test_other_methods_are_no_way_in(users: Any, door: Door) -> None:
    viewer = bearer(TOKENS["viewer"])
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        answer = ask(door.port, "POST", "/api/v1/tokens/id-admin?_method=DELETE", viewer, (name, "DELETE"))
        assert answer.status == 405
    assert "id-admin" in users.people.accounts.tokens
    assert ask(door.port, "TRACE", STATUS, viewer).status == 405
    assert get(door, f"{STATUS}/", viewer).status == 404  # no redirect, whose place the Host would name


# --- with users ------------------------------------------------------------------------------------------------------


def test_without_credentials_nothing_is_told(users: Any, door: Door) -> None:
    for path in (STATUS, "/api", "/api/none", "/api/v1/users", "/metrics"):
        answer = get(door, path)
        assert answer.status == 401, path
        challenges = answer.headers.get_all("www-authenticate")
        assert challenges == ['Bearer realm="rport"', 'Basic realm="rport", charset="UTF-8"']


@pytest.mark.parametrize("field", [("X-Requested-With", "x"), ("Sec-Fetch-Mode", "cors")])
def test_a_script_causes_no_window(users: Any, door: Door, field: tuple[str, str]) -> None:
    assert get(door, STATUS, field).headers.get_all("www-authenticate") == ['Bearer realm="rport"']


@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/docs"])
def test_the_documentation_is_public(users: Any, door: Door, path: str) -> None:
    assert get(door, path, ("Host", "rport.example")).status == 200


@pytest.mark.parametrize(
    ("kind", "name", "role"), [("viewer", "alice", "viewer"), ("admin", "alice", "admin"), ("scoped", "alice", "admin")]
)
def test_a_token(users: Any, door: Door, kind: str, name: str, role: str) -> None:
    me = get(door, "/api/v1/me", bearer(TOKENS[kind]), ("Host", "rport.example")).json
    assert (me["name"], me["role"], me["kind"], me["token"]) == (name, role, "token", f"id-{kind}")
    assert me["tags"] == (["berlin"] if kind == "scoped" else None)


def test_a_password(users: Any, door: Door) -> None:
    assert get(door, "/api/v1/me", basic("alice", PASSWORD)).json["role"] == "admin"
    assert get(door, "/api/v1/me", basic("bob", PASSWORD)).json["tags"] == ["berlin"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic !!!!",
        "Basic /////w==",  # no UTF-8
        "Basic YWxpY2U=",  # no colon
        "Digest username=alice",
        "Bearer",
        "Bearer rpt_",
        "Bearer {expired}",
        "Bearer {admin}x",
        "Bearer {unknown}",
        "Bearer {cookie}",
        "Bearer \xe4\xf6\xfc",
    ],
)
def test_what_is_no_credential(users: Any, door: Door, value: str) -> None:
    value = value.format(**TOKENS, unknown=new_secret("rpt"), cookie=COOKIE)
    answer = get(door, STATUS, ("Authorization", value))
    assert answer.status == 401
    assert answer.headers["www-authenticate"]


def test_two_authorizations_are_ambiguous(users: Any, door: Door) -> None:
    answer = get(door, STATUS, bearer(TOKENS["admin"]), bearer(TOKENS["admin"]))
    assert answer.status == 400
    assert "one Authorization" in answer.error


def test_a_role_that_does_not_suffice(users: Any, door: Door) -> None:
    answer = get(door, "/api/v1/users", bearer(TOKENS["operator"]))
    assert answer.status == 403
    assert "this takes the role admin, and token id-operator of alice has operator" in answer.error
    assert get(door, "/api/v1/users", bearer(TOKENS["scoped"])).status == 403  # he could make one who sees more


def test_whoever_goes_while_his_body_is_on_the_way_does_nothing_more(users: Any, door: Door) -> None:
    """He could else hold some back, and make himself another user behind his removal."""
    body = json.dumps({"name": "back", "password": PASSWORD, "role": "admin"}).encode()
    head = f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS['admin']}\r\n"
    with door.connect_plainly() as sock:
        users.people._used.pop("id-admin", None)
        sock.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        until(lambda: "id-admin" in users.people._used, "he is let in")
        accounts = users.people.accounts
        users.people.accounts = Accounts(2, accounts.users.values(), [], accounts.cookies.values())
        sock.sendall(body)
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert "back" not in users.people.accounts.users


# --- a browser's cookie ----------------------------------------------------------------------------------------------


def test_a_cookie_reads(users: Any, door: Door) -> None:
    assert get(door, "/api/v1/me", MINE).json["name"] == "alice"
    assert get(door, "/api/v1/me", ("Cookie", f"a=b; rport_session={COOKIE}; c")).status == 200
    assert get(door, "/api/v1/me", ("Cookie", f"rport_session={new_secret('rps')}")).status == 401
    assert get(door, "/api/v1/me", ("Cookie", "rport_session=")).status == 401
    two = ("Cookie", f"rport_session={COOKIE}; rport_session={new_secret('rps')}")
    assert get(door, "/api/v1/me", two).status == 401


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 403),
        ([("Origin", "null")], 403),
        ([("Origin", "http://evil.example")], 403),
        ([("Origin", "http://rport.example.evil.example")], 403),
        ([("Origin", "http://rport.example:81")], 403),
        ([("Origin", "ftp://rport.example")], 403),
        ([("Origin", "http://rport.example"), ("Origin", "http://evil.example")], 403),
        ([("Sec-Fetch-Site", "cross-site")], 403),
        ([("Sec-Fetch-Site", "same-site")], 403),
        ([("Sec-Fetch-Site", "none")], 403),
        ([("Sec-Fetch-Site", "same-site"), ("Origin", "http://rport.example")], 403),
        ([("Sec-Fetch-Site", "same-origin"), ("Origin", "http://evil.example")], 403),
        ([("X-Forwarded-Host", "evil.example"), ("Origin", "http://evil.example")], 403),
        ([("Origin", "https://panel.example")], 403),  # may ask with a token, not with a cookie
        ([("Origin", "http://rport.example")], 404),
        ([("Origin", "HTTPS://RPORT.example")], 404),
        ([("Sec-Fetch-Site", "same-origin")], 404),
        ([("Sec-Fetch-Site", "same-origin"), ("Origin", "http://rport.example")], 404),
    ],
)
def test_a_cookie_changes_things_for_our_own_pages_alone(
    users: Any, door: Door, fields: list[tuple[str, str]], status: int
) -> None:
    host = ("Host", "rport.example")
    assert ask(door.port, "DELETE", "/api/v1/tokens/none", host, MINE, *fields).status == status
    assert ask(door.port, "DELETE", "/api/v1/tokens/none", host, bearer(TOKENS["admin"]), *fields).status == 404


def test_behind_tls_a_page_without_it_is_from_elsewhere() -> None:
    fields = [(b"host", b"rport.example"), (b"origin", b"http://rport.example")]
    assert from_own_page(fields, Reached(secure=False, trusted=False))
    assert from_elsewhere(fields, Reached(secure=True, trusted=False))


def test_a_trusted_proxys_word_on_the_name_counts() -> None:
    fields = [(b"host", b"10.0.0.1"), (b"x-forwarded-host", b"rport.example"), (b"origin", b"https://rport.example")]
    assert from_own_page(fields, Reached(secure=True, trusted=True))
    assert not from_own_page(fields, Reached(secure=True, trusted=False))


# --- other origins ---------------------------------------------------------------------------------------------------


def test_a_configured_origin_may_ask(users: Any, door: Door) -> None:
    origin = ("Origin", "https://panel.example")
    first = ask(
        door.port, "OPTIONS", "/api/v1/tokens", origin,
        ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization,content-type"),
    )  # fmt: skip
    assert first.status == 200
    assert first.headers["access-control-allow-origin"] == origin[1]
    assert "access-control-allow-credentials" not in first.headers
    answer = get(door, STATUS, origin, bearer(TOKENS["viewer"]))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin[1])
    refused = get(door, STATUS, origin)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, origin[1])


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://panel.example.evil.example", "*"])
def test_no_other_origin_may(users: Any, door: Door, origin: str) -> None:
    field = ("Origin", origin)
    assert "access-control-allow-origin" not in get(door, STATUS, field, bearer(TOKENS["viewer"])).headers
    first = ask(door.port, "OPTIONS", STATUS, field, ("Access-Control-Request-Method", "GET"))
    assert first.status >= 400
    assert "access-control-allow-origin" not in first.headers


# --- every answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STATUS, "/api/docs", "/api/openapi.json", "/api/none", "/", "/healthz"])
@pytest.mark.parametrize("field", [bearer(TOKENS["viewer"]), ("Accept", "*/*")], ids=["token", "stranger"])
def test_every_answer_tells_browsers_what_not_to_do(users: Any, door: Door, path: str, field: tuple[str, str]) -> None:
    headers = get(door, path, field).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_who_came_by_a_trusted_proxy_is_who_it_says(users: Any, door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), source_address=("127.0.0.9", 0)) as sock:
        head = f"GET {STATUS} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n"
        sock.sendall(f"{head}Authorization: Bearer {TOKENS['viewer']}\r\n\r\n".encode())
        while data := sock.recv(65536):
            first = data
    assert first
    assert users.people.used(users.people.accounts.tokens["id-viewer"])[1] == "203.0.113.9"


def test_problems_are_rfc_9457(users: Any, door: Door) -> None:
    answer = get(door, STATUS)
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body).keys() == {"type", "title", "status", "detail", "error"}
