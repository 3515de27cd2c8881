"""Requests to a door, one connection each, by http.client."""

import base64
import http.client
import json
from collections.abc import Sequence
from typing import Any

from tests.support.door import PATIENCE

Fields = Sequence[tuple[str, str]]


class Answer:
    """Status, headers and body of one request."""

    def __init__(self, port: int, method: str, path: str, fields: Fields, body: bytes | None, at: str) -> None:
        connection = http.client.HTTPConnection(at, port, timeout=PATIENCE)
        names = {name.lower() for name, _ in fields}
        connection.putrequest(method, path, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in fields:
            connection.putheader(name, value.encode("latin-1"))
        if body is not None and "content-length" not in names:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        connection.close()

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] in ("application/json", "application/problem+json")
        return json.loads(self.body)

    @property
    def error(self) -> str:
        text: str = self.json["error"]
        return text

    def cookie(self) -> str:
        """As a browser sends it back."""
        return str(self.headers["set-cookie"]).partition(";")[0]


def ask(
    port: int,
    method: str,
    path: str,
    *fields: tuple[str, str],
    json_body: Any = None,
    body: bytes | None = None,
    at: str = "127.0.0.1",
) -> Answer:
    if json_body is not None:
        body = json.dumps(json_body).encode()
        fields = (("Content-Type", "application/json"), *fields)
    return Answer(port, method, path, fields, body, at)


def basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"
