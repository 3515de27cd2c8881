"""`rportctl webhook ...`."""

from typing import Any

from rport.ctl.api import part
from rport.ctl.command import Words
from rport.ctl.errors import ServerTrouble
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, ago, columns_of, plain, table

LIST = (
    Column("ID", plain("id"), Fit.WHOLE),
    Column("URL", plain("url")),
    Column("TYPES", lambda row: plain("types")(row) if row.get("types") else "all"),
    Column("ENABLED", plain("enabled")),
    Column("WAITING", plain("waiting"), Fit.LEFT_OUT),
    Column("DEAD", plain("dead"), Fit.LEFT_OUT),
    Column("ERROR", plain("last_error")),
    Column("NOTE", plain("note")),
)
DELIVERIES = (
    Column("ID", plain("id"), Fit.WHOLE),
    Column("EVENT", plain("event")),
    Column("TYPE", plain("type")),
    Column("STATE", plain("state"), Fit.WHOLE),
    Column("TRIES", plain("attempts"), Fit.WHOLE),
    Column("NEXT", lambda row: ago(row.get("due_at"))),
    Column("STATUS", plain("status"), Fit.WHOLE),
    Column("ERROR", plain("error")),
)


def list_webhooks(session: Session, words: Words) -> None:
    rows = list(session.api.rows("/webhooks"))
    session.show(rows, table(LIST, rows, columns_of()))


def add(session: Session, words: Words) -> None:
    body: dict[str, Any] = {"url": words.to}
    body |= {"types": list(words.type)} if words.type else {}
    body |= {"note": words.note} if words.note else {}
    row = session.api.ask("POST", "/webhooks", body=body)
    session.show(row, [f"webhook {row['id']}; what it gets is signed with this, which is shown once:", row["secret"]])


def remove(session: Session, words: Words) -> None:
    session.api.ask("DELETE", f"/webhooks/{part(words.webhook)}")
    session.done({"id": words.webhook}, f"removed {words.webhook}")


def test(session: Session, words: Words) -> None:
    row = session.api.ask("POST", f"/webhooks/{part(words.webhook)}/test")
    if not row["delivered"]:
        session.show(row, ())
        raise ServerTrouble(f"the test was not delivered: {row['error']}")
    session.done(row, f"delivered in {row['seconds']:.3g} s, and answered with {row['status']}")


def deliveries(session: Session, words: Words) -> None:
    rows = list(session.api.rows(f"/webhooks/{part(words.webhook)}/deliveries", state=words.state))
    session.show(rows, table(DELIVERIES, rows, columns_of()))


def retry(session: Session, words: Words) -> None:
    row = session.api.ask("POST", f"/webhooks/{part(words.webhook)}/deliveries/{part(words.delivery)}/retry")
    session.done(row, f"delivery {words.delivery} is tried again")
