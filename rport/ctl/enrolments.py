"""`rportctl enroll ...`."""

from typing import Any

from rport.ctl.api import part
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, ago, columns_of, plain, table
from rport.errors import UsageError

LIST = (
    Column("ID", plain("id"), Fit.WHOLE),
    Column("USED", lambda row: f"{row['used']} of {row['uses']}", Fit.WHOLE),
    Column("EXPIRES", lambda row: ago(row["expires_at"])),
    Column("TAGS", plain("tags")),
    Column("BY", plain("created_by"), Fit.LEFT_OUT),
    Column("NOTE", plain("note")),
)


def create(session: Session, words: Words) -> None:
    body: dict[str, Any] = {"tags": list(words.tag), "uses": words.uses, "expires_in": words.expires}
    body |= {"count": words.count, "note": words.note or ""}
    body |= {"server": words.server} if words.server else {}
    made = _make(session, body)
    session.show(made, [row["code"] for row in made["items"]])


def _make(session: Session, body: dict[str, Any]) -> Any:
    """The machines reach the server as this program does, if it does not know better, and this is not its machine."""
    try:
        return session.api.ask("POST", "/enrolments", body=body)
    except UsageError as error:
        place = session.api.place
        if "--public-url" not in str(error):
            raise
        if place.is_here:
            raise UsageError(
                "give --server URL, by which the machines reach the server; or start it with --public-url"
            ) from None
        return session.api.ask("POST", "/enrolments", body=body | {"server": place.url})


def list_enrolments(session: Session, words: Words) -> None:
    rows = list(session.api.rows("/enrolments"))
    session.show(rows, table(LIST, rows, columns_of()))


def revoke(session: Session, words: Words) -> None:
    session.api.ask("DELETE", f"/enrolments/{part(words.enrolment)}")
    session.done({"id": words.enrolment}, f"revoked {words.enrolment}")
