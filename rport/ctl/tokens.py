"""`rportctl token ...`."""

from typing import Any

from rport.ctl.api import part
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, ago, columns_of, plain, table

LIST = (
    Column("ID", plain("id"), Fit.WHOLE),
    Column("USER", plain("user")),
    Column("ROLE", plain("role")),
    Column("TAGS", lambda row: "all" if row.get("tags") is None else plain("tags")(row)),
    Column("EXPIRES", lambda row: ago(row.get("expires_at"))),
    Column("USED", lambda row: ago(row.get("last_used_at"))),
    Column("NOTE", plain("note")),
)


def list_tokens(session: Session, words: Words) -> None:
    rows = list(session.api.rows("/tokens"))
    session.show(rows, table(LIST, rows, columns_of()))


def create(session: Session, words: Words) -> None:
    body: dict[str, Any] = {"note": words.note or ""}
    for name, value in (("user", words.user), ("role", words.role), ("expires_in", words.expires)):
        body |= {name: value} if value is not None else {}
    body |= {"tags": list(words.tag)} if words.tag else {}
    made = session.api.ask("POST", "/tokens", body=body)
    session.show(made, [made["secret"]])


def revoke(session: Session, words: Words) -> None:
    session.api.ask("DELETE", f"/tokens/{part(words.token_id)}")
    session.done({"id": words.token_id}, f"revoked {words.token_id}")
