"""A tunnel as the API shows it, whether or not it is listened for now."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rport.remote import Remote
from rport.server.tunnels.figures import NOTHING, Figures
from rport.server.tunnels.limits import UNLIMITED, Limits
from rport.server.tunnels.listening import Live
from rport.server.tunnels.pool import Hold


class Properties(NamedTuple):
    """What may change while it is there. `idle_timeout` in seconds, `expires` in seconds since 1970; None = never."""

    scheme: str = ""
    note: str = ""
    limits: Limits = UNLIMITED
    idle_timeout: float | None = None
    expires: float | None = None

    def changed(self, values: Mapping[str, Any]) -> "Properties":
        """With others of its fields, or of those of its limits."""
        limits = self.limits._replace(**{name: values[name] for name in Limits._fields if name in values})
        own = {name: value for name, value in values.items() if name not in Limits._fields}
        return self._replace(limits=limits, **own)

    @property
    def timed(self) -> bool:
        """It ends by itself some day."""
        return self.idle_timeout is not None or self.expires is not None


@dataclass(slots=True, eq=False)
class Tunnel:
    """`id` is `d<number>` for one that the client declared. One that is `stored` comes back with its client."""

    id: str
    client: str  # its id
    hold: Hold
    properties: Properties
    stored: bool
    created: float
    created_by: str
    declared: bool = False
    live: Live | None = None
    error: str = ""  # why it is not listened for though the client was there
    ending: str = ""  # why it is to go, where the store has not taken note yet
    retry_at: float = 0.0  # monotonic: when the store is asked again
    last_error: str = ""
    past: Figures = NOTHING  # of sessions that ended
    used: float | None = None  # as of then

    @property
    def remote(self) -> Remote:
        return self.hold.remote

    @property
    def state(self) -> str:
        return "open" if self.live is not None else "failed" if self.error else "waiting"

    @property
    def figures(self) -> Figures:
        return self.live.figures.behind(self.past) if self.live is not None else self.past

    @property
    def rates(self) -> tuple[float, float]:
        """Octets a second, in and out."""
        return self.live.meter.rates(self.live.figures, time.monotonic()) if self.live is not None else (0.0, 0.0)

    @property
    def last_used(self) -> float | None:
        """Seconds since 1970; None = never."""
        if self.live is not None and (now := self.live.figures).connections_total:
            return time.time() - now.idle
        return self.used

    @property
    def trouble(self) -> str:
        """What was last wrong with its target."""
        return (self.live.last_error if self.live is not None else "") or self.last_error

    def rest(self) -> None:
        """Nobody listens for it any more; what was counted stays."""
        if self.live is not None:
            self.used, self.last_error = self.last_used, self.trouble
            self.past = self.figures._replace(connections=0, idle=0.0)
            self.live = None

    def __str__(self) -> str:
        """For the audit log and errors."""
        return f"client {self.client} tunnel {self.id}"
