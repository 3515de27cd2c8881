"""One thing that happened, as the store keeps it and as listeners and webhooks are sent it."""

import json
import time
from collections.abc import Mapping
from typing import Any

from rport.server.plain import plain, plain_data
from rport.server.times import rfc3339

TYPES = (
    "client.connected",
    "client.disconnected",
    "client.enrolled",
    "client.cloned",
    "client.removed",
    "tunnel.opened",
    "tunnel.closed",
    "tunnel.failed",
    "login.failed",
    "store.trouble",
    "store.recovered",
    "webhook.dead",
)
ADMIN_ALONE = frozenset({"login.failed", "store.trouble", "store.recovered", "webhook.dead"})
UNSAVED = 0  # the number of one that is told at once, since it cannot be saved; it comes again with its number

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Event:
    """`id` rises; `at` in seconds since 1970. `json` is made once, however many are sent it."""

    __slots__ = ("at", "client", "data", "id", "json", "type")

    def __init__(self, id: int, at: float, type: str, client: str | None, data: dict[str, Any]) -> None:
        self.id, self.at, self.type, self.client, self.data = id, at, type, client, data
        self.json = encode({"id": id, "at": rfc3339(at), "type": type, "client": client, "data": data})


def event_row(type: str, client: str | None, data: Mapping[str, Any]) -> dict[str, Any]:
    """Of something that happens now, for the store."""
    return {
        "at": time.time(),
        "type": type,
        "client": None if client is None else plain(client, 64),
        "data": plain_data(data),
    }
