"""`rportctl tunnel ...`."""

from collections.abc import Iterator
from typing import Any

from rport.ctl import find
from rport.ctl.api import part
from rport.ctl.clients import path
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import Column, Fit, Row, ago, columns_of, facts, moment, octets, plain, seconds, table, text
from rport.errors import UsageError
from rport.hosts import host_port

LIST = (
    Column("CLIENT", plain("client_id"), Fit.WHOLE),
    Column("ID", plain("id"), Fit.WHOLE),
    Column("STATE", plain("state"), Fit.WHOLE),
    Column("LISTENS", lambda row: listens(row), Fit.WHOLE),
    Column("TARGET", plain("target")),
    Column("FROM", lambda row: text(row["sources"]) if row["sources"] else "anywhere", Fit.LEFT_OUT),
    Column("NOW", lambda row: text(figures(row).get("connections")), Fit.WHOLE),
    Column("TOTAL", lambda row: text(figures(row).get("connections_total")), Fit.LEFT_OUT),
    Column("IN", lambda row: octets(figures(row).get("bytes_in")), Fit.LEFT_OUT),
    Column("OUT", lambda row: octets(figures(row).get("bytes_out")), Fit.LEFT_OUT),
    Column("NOTE", lambda row: text(row.get("error") or row.get("note"))),
)
CONNECTIONS = (
    Column("ID", plain("id"), Fit.WHOLE),
    Column("VISITOR", lambda row: text(row["address"]), Fit.WHOLE),
    Column("SINCE", lambda row: ago(row["since"]), Fit.WHOLE),
    Column("IN", lambda row: octets(row.get("bytes_in")), Fit.LEFT_OUT),
    Column("OUT", lambda row: octets(row.get("bytes_out")), Fit.LEFT_OUT),
)
NAMES = {  # of options, in the API
    "idle": "idle_timeout",
    "expires": "expires_in",
    "connections": "connection_limit",
    "rate_to_target": "rate_to_target",
    "rate_to_visitor": "rate_to_visitor",
    "scheme": "scheme",
    "note": "note",
}


def listens(row: Row) -> str:
    return host_port(row["lhost"], row["lport"]) if row["lport"] else f"{row['lhost']}:auto"


def figures(row: Row) -> Row:
    return row.get("figures") or {}


def limits(words: Words) -> Row:
    """The body's members for what was said of limits; `none` takes one away."""
    body: Row = {name: getattr(words, field) for field, name in NAMES.items() if field in words.given}
    if words.source:
        body["sources"] = [] if words.source == ("any",) else list(words.source)
    return body


def open_tunnel(session: Session, words: Words) -> None:
    client = find.client(session.api, words.client)
    body = {"target": words.target, **limits(words)}
    body |= {"stored": False} if words.passing else {}
    body |= {"lport": words.lport} if words.lport else {}
    body |= {"lhost": words.lhost} if words.lhost else {}
    body |= {"proxy_protocol": words.proxy_protocol} if words.proxy_protocol else {}
    row = session.api.ask("POST", f"{path(client)}/tunnels", body=body)
    waiting = ", once it is connected" if row["state"] == "waiting" else ""
    session.done(row, f"tunnel {row['id']}: {listens(row)} => {row['target']} of {client['name']}{waiting}")


def list_tunnels(session: Session, words: Words) -> None:
    query: Row = {"q": words.query}
    if words.client is not None:
        query["client"] = find.client(session.api, words.client)["id"]

    def look() -> tuple[Any, list[str]]:
        rows = list(session.api.rows("/tunnels", **query))
        return rows, list(table(LIST[words.client is not None :], rows, columns_of()))

    if words.watch:
        from rport.ctl.watch import watch

        return watch(look, as_json=session.json)
    session.show(*look())


def show(session: Session, words: Words) -> None:
    row = _find(session, words)
    session.show(row, described(row))


def described(row: Row) -> Iterator[str]:
    """What is known of one."""
    numbers = figures(row)
    return facts(
        [
            ("tunnel", f"{row['id']} of {row['client_id']}"),
            ("state", row["state"] + (f": {row['error']}" if row.get("error") else "")),
            ("listens", listens(row)),
            ("target", row["target"]),
            ("scheme", row.get("scheme") or ""),
            ("PROXY protocol", row.get("proxy_protocol") or ""),
            ("sources", text(row["sources"]) if row["sources"] else "anywhere"),
            ("kept", "declared by the client" if row["declared"] else text(row["stored"])),
            ("note", row.get("note") or ""),
            ("opened", f"{moment(row.get('created_at'))} by {text(row.get('created_by'))}"),
            ("expires", ago(row["expires_at"]) if row.get("expires_at") else ""),
            ("idle", f"closed after {seconds(row['idle_timeout'])}" if row.get("idle_timeout") else ""),
            ("connections", _connections(row, numbers)),
            ("to target", _way(numbers, "out", row.get("rate_to_target"))),
            ("to visitor", _way(numbers, "in", row.get("rate_to_visitor"))),
            ("last used", ago(numbers.get("last_used_at"))),
            ("last error", numbers.get("last_error") or ""),
        ]
    )


def _connections(row: Row, numbers: Row) -> str:
    limit = f" of {row['connection_limit']}" if row.get("connection_limit") else ""
    parts = [f"{numbers.get('connections', 0)}{limit} now", f"{numbers.get('connections_total', 0)} in all"]
    parts += [f"{numbers[key]} {key}" for key in ("denied", "rejected") if numbers.get(key)]
    return ", ".join(parts)


def _way(numbers: Row, way: str, limit: float | None) -> str:
    at_most = f", at most {octets(limit, '/s')}" if limit else ""
    return f"{octets(numbers.get(f'bytes_{way}'))}, {octets(numbers.get(f'rate_{way}'), '/s')} now{at_most}"


def change(session: Session, words: Words) -> None:
    body = limits(words)
    if not body:
        raise UsageError("nothing to change: give an option; see rportctl tunnel change --help")
    row = session.api.ask("PATCH", _path(_find(session, words)), body=body)
    session.show(row, described(row))


def close(session: Session, words: Words) -> None:
    row = _find(session, words)
    session.api.ask("DELETE", _path(row))
    session.done(row, f"closed {listens(row)} => {row['target']}")


def watch(session: Session, words: Words) -> None:
    where = _path(_find(session, words))

    def look() -> tuple[Any, list[str]]:
        row = session.api.get(where)
        return row, list(described(row))

    from rport.ctl.watch import watch as go_on

    go_on(look, as_json=session.json)


def connections(session: Session, words: Words) -> None:
    rows = list(session.api.rows(f"{_path(_find(session, words))}/connections"))
    session.show(rows, table(CONNECTIONS, rows, columns_of()))


def cut(session: Session, words: Words) -> None:
    row = _find(session, words)
    session.api.ask("DELETE", f"{_path(row)}/connections/{part(words.connection)}")
    session.done({"id": words.connection}, f"ended connection {words.connection}")


def _find(session: Session, words: Words) -> Row:
    client = find.client(session.api, words.client)
    return find.tunnel(session.api, client["id"], words.tunnel)


def _path(row: Row) -> str:
    return f"/clients/{part(row['client_id'])}/tunnels/{part(row['id'])}"
