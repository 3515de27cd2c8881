"""A URL that is told of events: which, how it is signed, when it is tried again. Pure; `now` is seconds since 1970."""

import hashlib
import hmac
from dataclasses import dataclass, field

from rport import __version__
from rport.server.event import Event

FIRST_RETRY = 5.0  # seconds behind the first failure, doubled by each one
LONGEST_RETRY = 3600.0
GIVEN_UP = 24 * 3600.0  # seconds behind the first try: a server is mended within a day, or by hand
WAITING_MAX = 10_000  # deliveries of one webhook, some 1 KiB each; then the oldest are given up
DEAD_MAX = 1000  # that are kept to be looked at, or tried again; then the oldest are forgotten

_ITS_OWN = frozenset({408, 425, 429})  # of 4xx, those that say nothing about what was sent


@dataclass(slots=True, eq=False)
class Webhook:
    """`types` of events that it is told of, None = all. `waiting` and `dead` are numbers of deliveries,
    which change where the store does: under its writer's lock."""

    id: str
    url: str
    secret: str = field(repr=False)
    types: frozenset[str] | None
    note: str
    enabled: bool
    created: float
    waiting: int = 0
    dead: int = 0
    last_error: str = ""  # of the last try; empty = it was taken
    last_delivered: float | None = None  # since the start
    failures: int = 0  # tries in a row that met no server that works

    def wants(self, event: Event) -> bool:
        if not self.enabled or (self.types is not None and event.type not in self.types):
            return False
        return event.type != "webhook.dead" or event.data.get("webhook") != self.id  # it would never end

    def add(self, count: int) -> None:
        """So many were saved for it; of too many the oldest were given up."""
        over = max(self.waiting + count - WAITING_MAX, 0)
        self.waiting += count - over
        self.dead = min(self.dead + over, DEAD_MAX)


def blocks(status: int | None) -> bool:
    """Whether a failure says that nothing can be delivered now; else it is about the one delivery."""
    return status is None or not 400 <= status < 500 or status in _ITS_OWN


def delay(failures: int) -> float:
    """Seconds to the next try."""
    return float(min(FIRST_RETRY * 2 ** min(failures - 1, 16), LONGEST_RETRY))


def signature(secret: str, now: int, body: bytes) -> str:
    """The value of Rport-Signature; the time is in it so that nobody sends it again later."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def headers(webhook: Webhook, type: str, delivery: str, body: bytes, now: float) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/json"),
        ("User-Agent", f"rportd/{__version__}"),
        ("Rport-Event", type),
        ("Rport-Delivery", delivery),
        ("Rport-Signature", signature(webhook.secret, int(now), body)),
    ]
