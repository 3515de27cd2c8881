"""An administrator of a server's API, made as one makes the first: by rportd's own commands, beside it."""

from pathlib import Path
from typing import Any

from tests.support.asking import ask, bearer
from tests.support.people import add_token, add_user
from tests.support.programs import until


def make_admin(state: Path, name: str = "admin", db: str = "") -> str:
    """Of the server whose state directory, or database, that is; a token of his."""
    add_user(state, name, db=db or None)
    return add_token(state, name, db=db or None)


def ask_as(port: int, token: str, path: str) -> tuple[int, Any]:
    """Status and JSON of a GET."""
    answer = ask(port, "GET", path, bearer(token))
    return answer.status, answer.json


def until_known(port: int, token: str) -> None:
    """Before the server has looked at what the commands did it lets in all of this machine, whatever they show."""
    until(lambda: ask_as(port, token, "/api/v1/me")[1].get("kind") == "token", "the server knows the token")
