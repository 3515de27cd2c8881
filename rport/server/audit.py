"""Who did what, on what, from where, and how it went: a row of the store and a line of the log for each."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from rport.server.plain import plain, plain_data

OK = "ok"

log = logging.getLogger("rport")


def audit_row(
    actor: str, source: str, action: str, subject: str, result: str, client: str | None, details: Mapping[str, Any]
) -> dict[str, Any]:
    """Of something that somebody did now, for the store."""
    return {
        "at": time.time(),
        "actor": plain(actor, 160),
        "source": plain(source, 64),
        "action": action,
        "subject": plain(subject, 200),
        "client": None if client is None else plain(client, 64),
        "result": plain(result, 300),
        "details": plain_data(details),
    }


def log_entry(row: Mapping[str, Any]) -> None:
    """Its line. Where the log is JSON the entry is an object there."""
    source = f" from {row['source']}" if row["source"] else ""
    entry = {name: value for name, value in row.items() if name != "at"}
    log.info(
        "audit: %s%s: %s %s: %s",
        row["actor"],
        source,
        row["action"],
        row["subject"],
        row["result"],
        extra={"audit": entry},
    )
