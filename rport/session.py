"""A session's upkeep, the same at both ends: control messages, keepalive, the end.

asyncio begins here: of all that is below, only the Pump is handed a loop. `Session` owns a compiled Link and is its
`owner`: the Link calls the on_* methods. Subclasses say what the control messages mean, and what a name resolves to.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from rport import control
from rport._pump import Conn, Pump
from rport._seal import Seal
from rport.channel import Channel
from rport.errors import LinkLost, ProtocolError
from rport.handshake import HandshakeResult

KEEPALIVE = 25.0  # seconds between pings: below the shortest idle limits of NATs and proxies (30 s and up)
PONG_TIMEOUT = 10.0  # seconds without a byte behind a ping: three lost retransmissions on a bad mobile link
PING_PAUSE_MIN = 0.1  # seconds between pings at the least, whatever a user asks for

TUNNEL_MAX = 2**32 - 1  # the highest number of a tunnel: 32 bits in an OPEN

CHECKS_MAX = 16  # targets that are checked at a time: a descriptor each at the client, for two seconds

# Codes of REFUSE and RESET: PROTOCOL.md, section 7.
CODE_FAILED = 1
CODE_BUSY = 3
CODE_REFUSED = 4
CODE_TIMEOUT = 5
CODE_UNREACHABLE = 6
CODE_FORBIDDEN = 7
CODE_NAME = 8

# Codes of CLOSE: PROTOCOL.md, section 8.
CLOSE_OK = 0
CLOSE_PROTOCOL = 1
CLOSE_REFUSED = 2
CLOSE_GOING_DOWN = 3
CLOSE_REPLACED = 4

log = logging.getLogger("rport")


class Session:
    """One established session. `ended` is set once, with the reason as `error` (None = an orderly end)."""

    name = "session"

    def __init__(self, pump: Pump, channel: Channel, keys: HandshakeResult, *, client: bool) -> None:
        sealer, opener = Seal(keys.cipher, keys.send_key), Seal(keys.cipher, keys.recv_key)
        self.link = channel.make_link(sealer, opener, client, pump, self)
        self.trace()
        self.cipher = keys.cipher
        self.ended = asyncio.Event()
        self.error: Exception | None = None
        self.goodbye: tuple[int, str] | None = None
        self.rtt = 0.0
        self._asked = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def trace(self) -> None:
        """Be told of streams where debug lines are wanted, which a reload may change."""
        self.link.trace = log.isEnabledFor(logging.DEBUG)

    def tags(self, **more: object) -> dict[str, object]:
        """The `extra` of a log line about this session; `limit` names what the peer can cause many of."""
        return {"session": self.name, **more}

    def send(self, message: Mapping[str, object]) -> None:
        """Queue one control message. A peer that reads none of them loses the session."""
        if not self.link.alive:
            return
        try:
            self.link.control(control.pack(message))
        except OverflowError as error:
            self.link.abort(ProtocolError(str(error)))

    def start_keepalive(self, interval: float) -> None:
        """Ping after every `interval` seconds, 0 = never; the first goes out now and measures the round trip."""
        self.link.ping()
        if interval > 0:
            self._after(interval, self._ping, interval)

    def _after(self, delay: float, call: Callable[[float, float], None], interval: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        self._timer = loop.call_at(due, call, interval, due)

    def _ping(self, interval: float, due: float) -> None:
        self._asked = time.monotonic()
        self._ask(interval)

    def _ask(self, interval: float) -> None:
        if self.link.alive:
            self.link.ping()
            self._after(_patience(interval), self._check, interval)

    def _check(self, interval: float, due: float) -> None:
        if not self.link.alive:
            return
        late = asyncio.get_running_loop().time() - due
        waited = time.monotonic() - self._asked
        if self.link.silence() < waited:  # something came since the ping
            self._after(max(interval - _patience(interval), 0), self._ping, interval)
        elif late > 1.0:  # this process slept: what came meanwhile has not been looked at, so ask again
            self._ping(interval, due)
        elif waited < PONG_TIMEOUT - _patience(interval) / 2:  # it is too early; the two clocks differ a little
            self._ask(interval)
        else:
            self.link.abort(LinkLost(f"the connection went silent: nothing came within {PONG_TIMEOUT:g} s of a ping"))

    # --- what the Link tells -------------------------------------------------------------------------------------

    def on_control(self, data: bytes) -> None:
        message = control.unpack(data)
        kind = control.get_str(message, "type")
        log.debug("%s: message %r, %d octets", self.name, kind[:64], len(data))
        if not self.link.closing:
            self.on_message(kind, message)

    def on_message(self, kind: str, message: control.Message) -> None:
        """A control message of that type. Unknown types are ignored; ProtocolError ends the session."""
        raise NotImplementedError

    def on_pong(self, rtt: float) -> None:
        self.rtt = rtt
        log.debug("%s: round trip %.1f ms", self.name, rtt * 1000)

    def on_dial(self, conn: Conn, tunnel: int) -> None:
        """A stream came for a target that was set to None: answer with link.dial() or link.refuse_dial()."""
        raise NotImplementedError

    def on_refused(self, tunnel: int, code: int, text: str) -> None:
        log.info("connection through tunnel %d refused: %s", tunnel, text, extra=self.tags(limit=self.name))

    def on_stream(self, conn: Conn, peer: str) -> None:
        """Only where debug lines are wanted; `peer` is the visitor at the server, empty at the client."""
        log.debug("%s: stream %d through tunnel %d%s", self.name, conn.id, conn.tunnel, peer and f" for {peer}")

    def on_stream_left(self, conn: Conn) -> None:
        how = "ended" if conn.fin_sent and conn.fin_received else "was cut"
        log.debug("%s: stream %d %s, %d octets in, %d out", self.name, conn.id, how, conn.data_in, conn.data_out)

    def on_goodbye(self, code: int, text: str) -> None:
        self.goodbye = (code, text)

    def on_closed(self, error: Exception | None) -> None:
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
        self.ended.set()


def _patience(interval: float) -> float:
    """Seconds from a ping to the look at what came of it."""
    return min(max(interval, PING_PAUSE_MIN), PONG_TIMEOUT)
