"""The running server's document, walked: what each operation answers to those who may not ask it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rport.server.opaque import new_secret
from rport.server.principal import ROLES
from tests.support.admin import until_known
from tests.support.asking import Answer, ask, bearer
from tests.support.document import document
from tests.support.operations import Operation, operations
from tests.support.people import add_token, add_user
from tests.support.programs import Client, Server, Target, closing_all, echo, until
from tests.support.visitors import carries, visit

pytestmark = pytest.mark.e2e

LOGIN = "machine:long-enough-a-password"
PUBLIC = {"log_in"}
MADE = ("revoked", "expired")  # tokens, to be so
OWNED = {"client_id", "session_id"}  # in a path: whose it is
THINGS = {"tunnel_id", "connection_id", "credential_id"}  # of a client's


class Place:
    """A server with users, and a client with all that clients have, which the scoped user does not see."""

    def __init__(self, server: Server, state: Path, target: int) -> None:
        self.server = server
        add_user(state, "root")
        add_user(state, "berliner", "admin", "--tag", "berlin")
        self.tokens = {role: add_token(state, "root", "--role", role) for role in ROLES}
        self.scoped = add_token(state, "berliner")
        until_known(server.port, self.scoped)
        (session,) = self.call("GET", "/sessions").json
        self.foreign = {"session_id": session["id"], "client_id": session["client_id"]}
        self.call("POST", "/clients", {"id": "own", "tags": ["berlin"]})
        self.foreign["credential_id"] = self._made("/clients/foreign/credentials", {"kind": "secret"})
        tunnel = self.call("POST", "/clients/foreign/tunnels", {"target": str(target)}).json
        self.foreign["tunnel_id"] = tunnel["id"]
        self.visitor = visit(tunnel["lport"])
        assert carries(self.visitor)
        (connection,) = self.call("GET", f"/clients/foreign/tunnels/{tunnel['id']}/connections").json["items"]
        self.foreign["connection_id"] = str(connection["id"])

    def status(self, path: str, token: str) -> int:
        return ask(self.server.port, "GET", path, bearer(token)).status

    def call(self, method: str, path: str, body: object = None, token: str = "") -> Answer:
        """As an administrator of all, unless a token is given."""
        who = bearer(token or self.tokens["admin"])
        return ask(self.server.port, method, f"/api/v1{path}", who, json_body=body)

    def _made(self, path: str, body: object) -> str:
        return str(self.call("POST", path, body).json["id"])

    def unharmed(self) -> None:
        assert carries(self.visitor)  # the session, the tunnel and its connection
        (credential,) = self.call("GET", "/clients/foreign/credentials").json["items"]
        assert credential["id"] == self.foreign["credential_id"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    state = tmp_path_factory.mktemp("state")
    with closing_all() as keep:
        server = keep(Server(state, "--auth", LOGIN))
        keep(Client(server, "--auth", LOGIN, "--id", "foreign", state=tmp_path_factory.mktemp("client")))
        until(server.sessions, "the client is there")
        place = Place(server, state, keep(Target(echo)).port)
        keep(place.visitor)
        yield place


@pytest.fixture(scope="module")
def refused(place: Place) -> dict[str, str]:
    """Tokens that are good for nothing, by why."""
    made = {name: place.call("POST", "/tokens", {"expires_in": 1} if name == "expired" else {}).json for name in MADE}
    tokens = {name: token["secret"] for name, token in made.items()}
    assert place.call("DELETE", f"/tokens/{made['revoked']['id']}").status == 204
    person = {"name": "gone", "password": "a password as good as any", "role": "admin"}
    assert place.call("POST", "/users", person).status == 201
    tokens["of nobody"] = place.call("POST", "/tokens", {"user": "gone"}).json["secret"]
    assert place.call("DELETE", "/users/gone").status == 204
    until(lambda: place.status("/api/v1/me", tokens["expired"]) == 401, "a token has expired")
    return tokens | {"unknown": new_secret("rpt"), "nonsense": "x", "of another kind": new_secret("rpc")}


ALL = list(operations(document()))
GUARDED = [operation for operation in ALL if operation.role is not None]
BELOW = [(op, role) for op in GUARDED for role in ROLES[: ROLES.index(str(op.role))]]
FOREIGN = [operation for operation in GUARDED if OWNED & set(operation.places)]
BELOW_CLIENTS = [operation for operation in FOREIGN if THINGS & set(operation.places)]


def named(operation: Any) -> str:
    return operation.id if isinstance(operation, Operation) else str(operation)


def test_the_server_has_these_operations(place: Place) -> None:
    served = ask(place.server.port, "GET", "/api/openapi.json").json
    assert [(op.id, op.role) for op in operations(served)] == [(op.id, op.role) for op in ALL]
    assert {operation.id for operation in ALL if operation.role is None} == PUBLIC
    assert all(op.about["security"] for op in GUARDED)


@pytest.mark.parametrize("operation", GUARDED, ids=named)
def test_no_credentials_are_401(place: Place, operation: Operation) -> None:
    answer = ask(place.server.port, operation.method, operation.target(**place.foreign), json_body=operation.body())
    assert answer.status == 401
    assert answer.headers["www-authenticate"]
    assert answer.json["status"] == 401


def test_tokens_that_are_good_for_nothing_are_401_everywhere(place: Place, refused: dict[str, str]) -> None:
    """Side by side: each answer is held back for a while."""

    def ask_with(operation: Operation, why: str) -> tuple[str, str, int, str]:
        target, who = operation.target(**place.foreign), bearer(refused[why])
        answer = ask(place.server.port, operation.method, target, who, json_body=operation.body())
        return operation.id, why, answer.status, answer.json["type"]

    asked = [(operation, why) for operation in GUARDED for why in refused]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask_with, *zip(*asked, strict=True)))
    assert answers == [(operation.id, why, 401, "urn:rport:unauthorized") for operation, why in asked]
    place.unharmed()


@pytest.mark.parametrize(("operation", "role"), BELOW, ids=named)
def test_too_small_a_role_is_403(place: Place, operation: Operation, role: str) -> None:
    who, target = bearer(place.tokens[role]), operation.target(**place.foreign)
    answer = ask(place.server.port, operation.method, target, who, json_body=operation.body())
    assert (answer.status, answer.json["type"]) == (403, "urn:rport:role-too-small")
    empty = ask(place.server.port, operation.method, target, who)  # the role comes first, then what is asked for
    assert empty.status == 403


@pytest.mark.parametrize("operation", GUARDED, ids=named)
def test_a_query_parameter_of_another_name_is_400(place: Place, operation: Operation) -> None:
    """A filter, or a network that alone may come, is not just left out."""
    target, who = operation.target(**place.foreign), bearer(place.tokens["admin"])
    target += f"{'&' if '?' in target else '?'}tags=x"
    answer = ask(place.server.port, operation.method, target, who, json_body=operation.body())
    assert answer.status == 400
    assert answer.json["detail"].startswith('"tags" is no query parameter here; there are: ')
    place.unharmed()


@pytest.mark.parametrize("operation", FOREIGN, ids=named)
def test_another_scopes_client_is_404(place: Place, operation: Operation) -> None:
    target, who = operation.target(**place.foreign), bearer(place.scoped)
    answer = ask(place.server.port, operation.method, target, who, json_body=operation.body())
    assert answer.status == 404, answer.body
    if operation.method == "GET":  # it is there, for who sees it
        assert ask(place.server.port, "GET", target, bearer(place.tokens["admin"])).status == 200
    place.unharmed()


@pytest.mark.parametrize("operation", BELOW_CLIENTS, ids=named)
def test_what_is_another_clients_is_404_below_ones_own(place: Place, operation: Operation) -> None:
    target, who = operation.target(**place.foreign | {"client_id": "own"}), bearer(place.scoped)
    answer = ask(place.server.port, operation.method, target, who, json_body=operation.body())
    assert answer.status == 404, answer.body
    place.unharmed()


def test_lists_leave_out_what_is_another_scopes(place: Place) -> None:
    """Those that name no client."""
    assert place.call("GET", "/clients", token=place.scoped).json["items"][0]["id"] == "own"
    assert place.call("GET", "/sessions", token=place.scoped).json == []
    for path in ("/clients", "/tunnels", "/audit", "/audit/export"):
        assert place.foreign["client_id"] in place.call("GET", path).body.decode()
        assert place.foreign["client_id"] not in place.call("GET", path, token=place.scoped).body.decode()


def test_the_id_of_one_that_is_gone_does_not_show_what_it_did(place: Place) -> None:
    """Else whoever makes clients would look at what others did by giving his the ids of theirs."""
    place.call("POST", "/clients", {"id": "again", "tags": ["munich"]})
    place.call("POST", "/clients/again/tunnels", {"target": "22", "note": "ours"})
    place.call("DELETE", "/clients/again")
    place.call("POST", "/clients", {"id": "again", "tags": ["berlin"]}, place.scoped)
    place.call("PATCH", "/clients/again", {"note": "theirs"}, place.scoped)

    def actions(token: str) -> list[str]:
        return [entry["action"] for entry in place.call("GET", "/audit?client=again", token=token).json["items"]]

    assert actions(place.scoped) == ["client.change", "client.add"]
    assert actions(place.tokens["admin"])[2:] == ["client.remove", "tunnel.open", "client.add"]
