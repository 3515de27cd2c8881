"""`rportctl user ...`."""

from typing import Any

from rport.ctl import ask
from rport.ctl.api import part
from rport.ctl.basic import by_password
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, Row, columns_of, moment, plain, table

LIST = (
    Column("NAME", plain("name")),
    Column("ROLE", plain("role")),
    Column("TAGS", lambda row: "all" if row.get("tags") is None else plain("tags")(row)),
    Column("TOTP", plain("totp")),
    Column("MADE", lambda row: moment(row.get("created_at")), Fit.LEFT_OUT),
)


def list_users(session: Session, words: Words) -> None:
    rows = list(session.api.rows("/users"))
    session.show(rows, table(LIST, rows, columns_of()))


def add(session: Session, words: Words) -> None:
    body: dict[str, Any] = {"name": words.name, "role": words.role or "viewer"}
    body |= {"tags": list(words.tag)} if words.tag else {}
    body["password"] = ask.secret("Password", words.password, twice=True)
    row = session.api.ask("POST", "/users", body=body)
    session.done(row, f"user {row['name']}, {row['role']}{_scope(row)}")


def remove(session: Session, words: Words) -> None:
    session.api.ask("DELETE", f"/users/{part(words.name)}")
    session.done({"name": words.name}, f"removed {words.name}")


def passwd(session: Session, words: Words) -> None:
    """One's own asks for the old one, too, since a token does not do for that."""
    if words.name is not None:
        body = {"password": ask.secret("New password", words.password, twice=True)}
        row = session.api.ask("PATCH", f"/users/{part(words.name)}", body=body)
    else:
        me = session.api.get("/me")["name"]
        old = ask.secret("Old password", None)
        body = {"current": old, "password": ask.secret("New password", words.password, twice=True)}
        row = by_password(session.api, me, old, "PATCH", "/me", body)
    session.done(row, "the password is changed")


def role(session: Session, words: Words) -> None:
    body = {"role": words.role, "tags": list(words.tag) or None}
    row = session.api.ask("PATCH", f"/users/{part(words.name)}", body=body)
    session.done(row, f"user {row['name']}, {row['role']}{_scope(row)}")


def _scope(row: Row) -> str:
    return "" if row.get("tags") is None else f", for clients with {', '.join(row['tags'])}"
