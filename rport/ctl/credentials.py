"""`rportctl credential ...`."""

from rport.ctl import find
from rport.ctl.api import part
from rport.ctl.clients import path
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, Row, ago, columns_of, plain, table

LIST = (
    Column("ID", plain("id"), Fit.WHOLE),
    Column("KIND", plain("kind"), Fit.WHOLE),
    Column("KEY", plain("public")),
    Column("MADE", lambda row: ago(row["created_at"])),
)


def list_credentials(session: Session, words: Words) -> None:
    rows = list(session.api.rows(f"{path(find.client(session.api, words.client))}/credentials"))
    session.show(rows, table(LIST, rows, columns_of()))


def create(session: Session, words: Words) -> None:
    client = find.client(session.api, words.client)
    body = {"kind": "key", "public": words.public} if words.public else {"kind": "secret"}
    made = session.api.ask("POST", f"{path(client)}/credentials", body=body)
    session.show(made, _told(made, client))


def rotate(session: Session, words: Words) -> None:
    client = find.client(session.api, words.client)
    made = session.api.ask("POST", f"{path(client)}/credentials/{part(words.credential)}/rotate")
    session.show(made, _told(made, client))


def _told(made: Row, client: Row) -> list[str]:
    """The secret alone on the output's last line, where scripts find it."""
    if not made.get("secret"):
        return [f"credential {made['id']}: the key may come in"]
    login = f"{client['id']}:{made['secret']}"
    return [f"credential {made['id']}; this is shown once, for RPORT_AUTH or --auth @FILE:", login]


def revoke(session: Session, words: Words) -> None:
    client = find.client(session.api, words.client)
    session.api.ask("DELETE", f"{path(client)}/credentials/{part(words.credential)}")
    session.done({"id": words.credential}, f"revoked {words.credential}")
