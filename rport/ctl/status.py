"""`rportctl status`."""

from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.ctl.table import facts, octets, seconds


def status(session: Session, words: Words) -> None:
    row = session.api.get("/statistics")
    lines = facts(
        [
            ("server", session.api.place.url),
            ("version", row["version"]),
            ("up", seconds(row["uptime_seconds"])),
            ("sessions", f"{row['sessions']} now, {row['sessions_total']} in all"),
            ("tunnels", str(row["tunnels"])),
            ("connections", f"{row['streams']} now, {row['streams_total']} in all"),
            ("in", f"{octets(row['bytes_in'])}, {octets(row['rate_in'], '/s')} now"),
            ("out", f"{octets(row['bytes_out'])}, {octets(row['rate_out'], '/s')} now"),
            ("memory", octets(row["memory_bytes"])),
        ]
    )
    session.show({"url": session.api.place.url, **row}, lines)
