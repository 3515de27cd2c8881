"""The front door: one port for the API and the tunnel (PROTOCOL.md, section 2).

uvicorn parses HTTP and runs the API. An upgrade to the tunnel is taken away from it: a duplicate of the socket's
descriptor and the bytes that came behind the request head go to `on_arrival`; uvicorn's transport ends without a
shutdown. Whatever comes before a whole head is bounded: its size, its number of headers, its time, and how many are
waiting.

Other requests go to the backend, if there is one: uvicorn still tells where they begin and end, and their order.
"""

import asyncio
import enum
import logging
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError, HttpParserUpgrade, parse_url
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rport.channel import Channel, TlsChannel
from rport.server.door.caller import EXTENSION, Caller
from rport.server.door.gate import ADMISSION_TIMEOUT, Gate, tags
from rport.server.door.refusal import Refusal
from rport.server.door.relay import BODY_TIMEOUT, Relays
from rport.server.door.rewrite import Passage, Request, pass_on
from rport.server.door.rules import Rules
from rport.server.door.upgrade import (
    Arrival,
    has_body,
    names_websocket,
    offers_tunnel,
    upgrade_response,
    wants_websocket,
    websocket_key,
)
from rport.server.paths import is_ours
from rport.websocket import HEAD_MAX, HEADERS_MAX

OnArrival = Callable[[Arrival], None]

PIPELINE_MAX = 16  # requests that wait for their turn on one connection; the client then has to send the rest again

KEPT_MAX = 1024  # connections with which more stay open behind an answer: they count at no gate

UNREAD_TIME = 30.0  # seconds in which a client has to take a part of an answer; of a backend's as the relay says
UNREAD_PART = 16384  # octets, or the rest: less is no connection to work with

CROWDED = "too many connections are not logged in yet; try again in a moment"

# Of a request's extensions: how its connection is ended at once, for an answer that nobody reads
ABORT = "rport.abort"
_PASSAGE = "rport.passage"

log = logging.getLogger("rport")


class _Part(enum.Enum):
    """Where in a request the parser is."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


def make_protocol(
    on_arrival: OnArrival,
    gate: Gate | None = None,
    timeout: float = ADMISSION_TIMEOUT,
    rules: Rules | None = None,
    relays: Relays | None = None,
) -> type[Any]:
    """uvicorn's `http=` class whose tunnels go to `on_arrival`. `timeout` in seconds."""
    members = {
        "on_arrival": staticmethod(on_arrival),
        "gate": Gate() if gate is None else gate,
        "admission_timeout": timeout,
        "rules": Rules() if rules is None else rules,
        "relays": Relays() if relays is None else relays,
    }
    return type("FrontDoor", (RportHttp,), members)


class RportHttp(HttpToolsProtocol):
    """HTTP by uvicorn; limits and the upgrade by us."""

    on_arrival: OnArrival
    gate: Gate
    admission_timeout: float
    rules: Rules
    relays: Relays

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is not None:
            self.client = _unmapped(self.client[0]), self.client[1]
        self._caller = Caller(self.client or ("unknown", 0), self.rules.trusted)
        self._part = _Part.IDLE
        self._head_size = 0  # bytes of this head that the parser has reported
        self._received = 0  # bytes since a head or a request was whole, or more of a body came; not counting that read
        self._key = ""
        self._deaf = False  # whatever comes now is not for uvicorn
        self._taken = False
        self._tunnel = False  # this request wants to become one
        self._early = b""  # behind an upgrade that goes to the backend
        self._running: Any = None  # uvicorn's record of the request that is answered now, or was last
        self._relaying: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None  # while an answer waits for a client that does not read
        self._body_counts = False  # this request's body has to come before the connection leaves the gate
        self._counted = ""  # the address that this connection counts for at the gate
        try:
            self._enter()
            self._start_timer()
        except Refusal as refusal:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._forget_unread()
        if self._relaying is not None:
            self._relaying.cancel()
        if not self._taken:
            self._leave()
        if self._running is not None:
            self._running.disconnected = True  # uvicorn tells the newest request alone, and others may wait before it
        super().connection_lost(exc)

    def _enter(self) -> None:
        """Count at the gate, for whom this connection is now. Raises Refusal."""
        address = self._caller.peer[0]
        if self._counted == address:
            return
        self._leave()
        if not self.gate.enter(address, shared=self._shared()):
            raise Refusal(503, CROWDED)
        self._counted = address

    def _shared(self) -> bool:
        """Others, too, seem to come from where this client seems to."""
        return self._caller.trusted and self._caller.peer[0] == self._caller.origin[0]

    def awaited(self) -> bool:
        """Its request is on the way: it has just come, or has sent a part."""
        return self._timer is not None

    def _leave(self) -> None:
        """Count no longer at the gate. Idempotent."""
        if self._counted:
            self.gate.leave(self._counted)
            self._counted = ""

    # --- bytes in ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        try:
            data = self._strip(data)
            self._received += len(data)
            self.parser.feed_data(data)
            self._bound_head()
        except HttpParserUpgrade as upgrade:
            self._on_upgrade(data[upgrade.args[0] :])
        except HttpParserError as error:
            cause = error.__context__  # what one of our callbacks below raised
            self._refuse(cause if isinstance(cause, Refusal) else Refusal(400, "this is not HTTP as it is spoken here"))
        except Refusal as refusal:
            self._refuse(refusal)

    def strip(self, data: bytes) -> bytes:
        """What is TLS of a connection's first bytes: a trusted proxy's preamble comes before it."""
        try:
            return b"" if self._deaf else self._strip(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return b""

    def _strip(self, data: bytes) -> bytes:
        """What is HTTP of these bytes."""
        if not self._caller.undecided:
            return data
        try:
            data = self._caller.strip(data)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        self._enter()
        return data

    def _bound_head(self) -> None:
        """A head or trailers without an end, and a head without haste. The parser keeps a field until it is whole."""
        if self._received > HEAD_MAX:
            raise Refusal(431, f"the request head is longer than {HEAD_MAX} bytes")
        if self._part is not _Part.BODY and self._timer is None and not self._pending():
            self._start_timer()

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_MAX:
            raise Refusal(431, f"the request head is longer than {HEAD_MAX} bytes")

    def _pending(self) -> bool:
        """A request has not got its whole answer."""
        return self.cycle is not None and not self.cycle.response_complete

    # --- the parser reports; a Refusal stops it ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = _Part.HEAD
        if self._timer is None:  # not the connection's first request, whose time began with the connection
            self._deadline = self.loop.time() + self.admission_timeout

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)  # a colon, a space and the line's end
        if self._part is _Part.BODY:
            return  # a trailer, which must not become a header that nothing here has looked at
        super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX:
            raise Refusal(431, f"the request has more than {HEADERS_MAX} headers")

    def on_headers_complete(self) -> None:
        self._part = _Part.BODY
        self._received = 0
        self._stop_timer()
        if len(self.pipeline) >= PIPELINE_MAX:
            raise Refusal(503, "too many requests before their answers")
        self._identify()
        passage = self._passage()
        self._tunnel = passage is None and names_websocket(self.headers)
        if passage is None and wants_websocket(self.headers):
            self._check_upgrade()
        elif passage is None and has_body(self.headers):
            self._await_body()
        else:
            self._leave()
        caller = self._caller
        self.scope["extensions"] = {EXTENSION: {"source": caller.peer[0], "trusted": caller.trusted}}
        if passage is not None:
            self.scope["extensions"][_PASSAGE] = {"passage": passage, "shared": self._shared()}
        super().on_headers_complete()
        self.scope.setdefault("extensions", {})[ABORT] = {"call": self.transport.abort}

    def _await_body(self) -> None:
        """Nobody has looked at who this is: a body that never comes is as cheap to send as half a head."""
        self._enter()
        self._body_counts = True
        if not self._pending():  # else it is read when the one before has its answer
            self._start_timer()

    def _body_came(self) -> None:
        if self._body_counts:
            self._body_counts = False
            self._stop_timer()
            self._leave()

    def _identify(self) -> None:
        try:
            self._caller.identify(self.headers)
        except ValueError as error:
            proxy = self._caller.peer[0]
            log.warning("%s: what this trusted proxy says of its client: %s", proxy, error, extra=tags(proxy))
            raise Refusal(400, "what the reverse proxy says of its client cannot be read") from None
        if self._caller.relayed:
            self.scope["client"] = None  # the API must not take a proxy on this machine for a caller on it

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._received = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body_came()
        self._part = _Part.IDLE
        self._received = self._head_size = 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_unread()
        if self._part is not _Part.BODY:
            return
        if not self._pending():
            self._stop_timer()
            self._linger()
        elif self._body_counts and self._timer is None:
            self._start_timer()

    def _linger(self) -> None:
        """Nobody wants the rest of a body. To close with it unread would be a reset, which may overtake the answer: so
        it is read until the client has closed, or uvicorn's time for an idle connection is over."""
        self._deaf = True
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    # --- the upgrade ---------------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        return self._tunnel

    def _check_upgrade(self) -> None:
        self._check_order()
        self._key = websocket_key(
            self.parser.get_method(), self.parser.get_http_version(), self.headers, self.parser.should_upgrade()
        )
        self._enter()  # again, if it was let in for a request before this one, or as another

    def _check_order(self) -> None:
        if self._pending() or self.transport.get_write_buffer_size():
            raise Refusal(400, "an upgrade must wait for the answers to the requests before it")

    def _on_upgrade(self, early: bytes) -> None:
        if self._should_upgrade():
            self._take_over(early)
        else:  # h2c and the like are ignored (RFC 9110, section 7.8), but the parser reads no further
            self._deaf = True
            self.cycle.keep_alive = False
            self._early = early
            self.transport.pause_reading()  # what comes next is for the backend, or for nobody

    def _take_over(self, early: bytes) -> None:
        """Answer 101 and keep the connection, while the transport lets its own descriptor go."""
        try:
            sock = _duplicate(self.transport.get_extra_info("socket"))
        except OSError as error:
            self._refuse(Refusal(503, f"no room for another connection: {error.strerror}"))
            return
        self._deaf = self._taken = True
        self.transport.pause_reading()  # at once: what comes next is not for this protocol
        self.transport.abort()  # closes the descriptor; a close() would shut the connection down
        tls = self.transport.get_extra_info("tls")
        channel = Channel(sock) if tls is None else TlsChannel(sock, tls)
        if channel.send_now(upgrade_response(self._key)):
            self.on_arrival(Arrival(channel, early, self._caller.peer, self._deadline, self._leave))
        else:  # gone, or its window is closed to the very first bytes
            channel.close()
            self._leave()

    # --- to the backend ------------------------------------------------------------------------------------------

    def _passage(self) -> Passage | None:
        """How this request goes to the backend; None where it does not. Raises Refusal."""
        backend = self.rules.backend
        if backend is None or offers_tunnel(self.headers):
            return None
        url = parse_url(self.url)
        path = url.path or b"/"
        if is_ours(unquote_to_bytes(path).decode("latin-1")):
            return None
        target = path if url.query is None else path + b"?" + url.query
        caller, upgrades = self._caller, self.parser.should_upgrade()
        method, version = self.parser.get_method(), self.parser.get_http_version()
        scheme = self.scheme or "http"
        request = Request(method, target, version, self.headers, upgrades, caller.peer, scheme, caller.trusted)
        passage = pass_on(request, backend)
        if passage.upgrade:
            self._check_order()
        return passage

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """uvicorn's turn to begin with a request, the earlier ones on this connection being answered."""
        self._running = cycle
        cycle.keep_alive = cycle.keep_alive and len(self.connections) <= KEPT_MAX
        found = cycle.scope.get("extensions", {}).get(_PASSAGE)
        if found is None:
            super()._start_asgi_task(cycle, app)
            return
        task = self._relaying = self.relays.start(cycle, found["passage"], found["shared"], self._hand_over)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _hand_over(self) -> bytes:
        """The connection is the relay's now; what came on it behind the upgrade."""
        self.connections.discard(self)
        self._forget_unread()
        if self._relaying is not None:
            self.tasks.discard(self._relaying)
        return self._early

    # --- the way out ---------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()
        self._watch_unread()

    def _watch_unread(self) -> None:
        """What waits here is this process's memory, and nobody else has an eye on whether it is ever taken."""
        if self._unread is None and (size := self.transport.get_write_buffer_size()):
            seconds = UNREAD_TIME if self._relaying is None else BODY_TIMEOUT
            self._unread = self.loop.call_later(seconds, self._look_at_unread, size)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _look_at_unread(self, before: int) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() <= max(before - UNREAD_PART, 0):
            self._watch_unread()
            return
        self.log_refusal("it does not read its answer")
        self.transport.abort()

    def _start_timer(self) -> None:
        self._deadline = self.loop.time() + self.admission_timeout
        self._timer = self.loop.call_at(self._deadline, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        what = "body" if self._body_counts else "head"
        self._refuse(Refusal(408, f"no whole request {what} within {self.admission_timeout:g} s"))

    def log_refusal(self, text: str) -> None:
        log.info("%s: refused: %s", self._caller.peer[0], text, extra=tags(self._caller.peer[0]))

    def _refuse(self, refusal: Refusal) -> None:
        """Say why and close. A request before this one gets its own answer instead, and the connection ends with it."""
        self._deaf = True
        self._stop_timer()
        self.log_refusal(refusal.text)
        if self.pipeline and self.cycle.more_body:  # it waits behind others, and what is written now would be in theirs
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running
        if self._pending() and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if not self._pending() or not self.cycle.response_started:
            self.transport.write(refusal.answer())
        self.transport.close()


def _unmapped(host: str) -> str:
    """IPv4 that came in over IPv6 (RFC 4291, section 2.5.5.2) is IPv4 in logs, answers and counts."""
    return host.removeprefix("::ffff:") if "." in host else host


def _duplicate(raw: Any) -> socket.socket:
    """A descriptor of our own for the same connection. Raises OSError when there are too many."""
    sock = socket.fromfd(raw.fileno(), raw.family, raw.type)
    sock.setblocking(False)
    return sock
