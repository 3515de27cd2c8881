"""`rportctl audit`."""

import json
import time
from collections.abc import Iterator

from rport.ctl import find
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, Row, columns_of, moment, plain, table

PAUSE = 2.0  # seconds between two looks for what is new
LIST = (
    Column("AT", lambda row: moment(row["at"]), Fit.WHOLE),
    Column("ACTOR", lambda row: who(row["actor"])),
    Column("FROM", plain("source"), Fit.LEFT_OUT),
    Column("ACTION", plain("action"), Fit.WHOLE),
    Column("ON", plain("subject")),
    Column("RESULT", plain("result")),
)


def who(actor: str) -> str:
    """The user first: the end of a column may be cut."""
    kind, of, name = actor.partition(" of ")
    return f"{name} ({kind})" if of and kind.startswith("token ") else actor


def audit(session: Session, words: Words) -> None:
    query = {"actor": words.actor, "action": words.action, "since": words.since, "until": words.until, "q": words.query}
    if words.client is not None:
        query["client"] = find.client_id(session.api, words.client)
    rows = list(session.api.rows("/audit", words.limit, **query))[::-1]
    if not words.follow:
        return session.show(rows, table(LIST, rows, columns_of()))
    _print(session, rows, titled=True)
    for new in _news(session, query, rows[-1] if rows else None):
        _print(session, new, titled=False)


def _news(session: Session, query: Row, last: Row | None) -> Iterator[list[Row]]:
    """Entries behind the last, as they come. There was none yet: all that come are new."""
    while True:
        time.sleep(PAUSE)
        if last is not None:
            query["since"] = last["at"]
        new = [row for row in session.api.rows("/audit", **query) if last is None or row["id"] > last["id"]]
        if new:
            last = new[0]
            yield new[::-1]


def _print(session: Session, rows: list[Row], *, titled: bool) -> None:
    if session.json:
        lines = [json.dumps(row) for row in rows]
    else:
        lines = list(table(LIST, rows, columns_of()))[0 if titled else 1 :]
    for line in lines:
        print(line, flush=True)
