"""The API of a running server, asked as administrators ask it."""

from typing import Any

from rport.server.door.front import CROWDED
from tests.support import asking
from tests.support.programs import Server, until


def ask(server: Server, method: str, path: str, body: object = None, login: str = "") -> tuple[int, Any]:
    """Status and answer; `path` is below /api/v1, `login` USER:PASSWORD."""
    user, _, password = login.partition(":")
    fields = [asking.basic(user, password)] if login else []
    answer = asking.ask(server.port, method, f"/api/v1{path}", *fields, json_body=body)
    return answer.status, answer.json if answer.body else None


def insist(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """As ask(), of many who come at once: again while the door has no room for more from one address."""

    def try_it() -> asking.Answer | None:
        answer = asking.ask(server.port, method, f"/api/v1{path}", json_body=body)
        return None if answer.body == f"{CROWDED}\n".encode() else answer

    answer: asking.Answer = until(try_it, "there is room at the door")
    return answer.status, answer.json


def done(server: Server, method: str, path: str, body: object = None) -> Any:
    """As ask(), of what has to succeed."""
    status, answer = ask(server, method, path, body)
    assert status in (200, 201, 204), (method, path, status, answer)
    return answer


def until_saved(server: Server) -> None:
    """Also what is written behind the answers: events, and the audit log's entries of refusals. For a server that
    has no users yet."""
    until(lambda: b"\nrport_journal_waiting 0.0\n" in asking.ask(server.port, "GET", "/metrics").body, "all is saved")
