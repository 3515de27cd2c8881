"""`rportctl clients`, `client ...` and `check`."""

from collections.abc import Iterator
from typing import Any

from rport.ctl import find
from rport.ctl.api import part
from rport.ctl.command import Words
from rport.ctl.errors import ServerTrouble
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, Row, ago, columns_of, facts, moment, plain, table, text

LIST = (
    Column("NAME", plain("name")),
    Column("ID", plain("id"), Fit.WHOLE),
    Column("STATE", lambda row: row["state"] + (" (cloned)" if row.get("cloned_at") else ""), Fit.WHOLE),
    Column("OS", lambda row: text(row.get("os")), Fit.LEFT_OUT),
    Column("ADDRESS", plain("address")),
    Column("RTT", lambda row: rtt(row), Fit.LEFT_OUT),
    Column("SEEN", lambda row: "now" if row["state"] == "connected" else ago(row.get("last_seen"))),
    Column("TAGS", lambda row: text([*row["tags"], *row.get("own_tags", [])])),
)
HISTORY = (
    Column("SINCE", lambda row: moment(row["since"]), Fit.WHOLE),
    Column("UNTIL", lambda row: "now" if row.get("until") is None else moment(row["until"]), Fit.WHOLE),
    Column("ADDRESS", plain("address")),
    Column("VERSION", plain("version"), Fit.LEFT_OUT),
    Column("REASON", plain("reason")),
)


def rtt(row: Row) -> str:
    return "-" if row.get("rtt_ms") is None else f"{row['rtt_ms']:.3g} ms"


def list_clients(session: Session, words: Words) -> None:
    def look() -> tuple[Any, list[str]]:
        rows = list(
            session.api.rows(
                "/clients",
                words.limit,
                tag=words.tag,
                os=words.os,
                state=words.state,
                q=words.query,
                sort=words.sort,
            )
        )
        return rows, list(table(LIST, rows, columns_of()))

    if words.watch:
        from rport.ctl.watch import watch

        return watch(look, as_json=session.json)
    session.show(*look())


def show(session: Session, words: Words) -> None:
    row = find.client(session.api, words.client)
    session.show(row, described(row))


FIRST = ("name", "id", "state", "cloned_at")


def described(row: Row) -> Iterator[str]:
    """What is known of one."""
    return facts(
        [
            ("name", row["name"]),
            ("id", row["id"]),
            ("state", row["state"]),
            ("cloned", f"two machines use this identity, seen {ago(row['cloned_at'])}" if row.get("cloned_at") else ""),
            *(
                (name.replace("_", " ").removesuffix(" at").removesuffix(" ms"), _value(name, row))
                for name in row
                if name not in FIRST
            ),
        ]
    )


def _value(name: str, row: Row) -> str:
    value = row[name]
    if name == "rtt_ms":
        return "" if value is None else rtt(row)
    if name in ("first_seen", "last_seen", "connected_since") or name.endswith("_at"):
        return "" if value is None else f"{moment(value)} ({ago(value)})"
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items() if item not in (None, "", []))
    return "" if value in (None, "", []) else text(value)


def add(session: Session, words: Words) -> None:
    body = {"name": words.name, "tags": list(words.tag)}
    body |= {"id": words.id} if words.id else {}
    body |= {"note": words.note} if words.note else {}
    row = session.api.ask("POST", "/clients", body=body)
    session.done(row, f"client {row['id']}; `rportctl credential create {row['id']}` makes what it comes in by")


def remove(session: Session, words: Words) -> None:
    # A script that is run again would else remove web-10 when web-1 is gone, and nothing brings it back.
    row = find.client(session.api, words.client, whole=True)
    session.api.ask("DELETE", path(row))
    session.done(row, f"removed {row['name']} ({row['id']})")


def tag(session: Session, words: Words) -> None:
    row = find.client(session.api, words.client)
    _patch(session, row, tags=sorted({*row["tags"], *words.tag}))


def untag(session: Session, words: Words) -> None:
    row = find.client(session.api, words.client)
    _patch(session, row, tags=sorted({*row["tags"]} - {*words.tag}))


def rename(session: Session, words: Words) -> None:
    _patch(session, find.client(session.api, words.client), name=words.name)


def note(session: Session, words: Words) -> None:
    _patch(session, find.client(session.api, words.client), note=words.text)


def _patch(session: Session, row: Row, **changes: Any) -> None:
    row = session.api.ask("PATCH", path(row), body=changes)
    session.show(row, described(row))


def disconnect(session: Session, words: Words) -> None:
    row = find.client(session.api, words.client)
    session.api.ask("DELETE", f"{path(row)}/session")
    session.done(row, f"disconnected {row['name']} ({row['id']})")


def history(session: Session, words: Words) -> None:
    row = find.client(session.api, words.client)
    rows = list(session.api.rows(f"{path(row)}/history", words.limit or 100))
    session.show(rows, table(HISTORY, rows, columns_of()))


def check(session: Session, words: Words) -> None:
    row = find.client(session.api, words.client)
    answer = session.api.ask("POST", f"{path(row)}/check", body={"target": words.target})
    if not answer["ok"]:
        session.show(answer, ())
        raise ServerTrouble(f"{words.target} does not answer from {row['name']}: {answer['error']}")
    session.done(answer, f"{words.target} answers from {row['name']} in {answer['ms']:.0f} ms")


def path(row: Row) -> str:
    return f"/clients/{part(row['id'])}"
