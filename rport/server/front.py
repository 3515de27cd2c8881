"""The front door: one port for the API and the tunnel (PROTOCOL.md, section 2).

uvicorn parses HTTP; on an upgrade to `rport-v2` the socket is taken away from it, together with the bytes that came
behind the request head. Everything before that is bounded: head size, header count, time, connections.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rport.server.gate import Gate
from rport.websocket import SUBPROTOCOL, upgrade_response

HEAD_MAX = 16384  # octets of request line and headers together
HEADERS_MAX = 64
HEAD_TIMEOUT = 10.0  # seconds from accept to a whole head, however it trickles

OnLink = Callable[[socket.socket, bytes, tuple[str, int], Callable[[], None]], None]


def make_protocol(on_link: OnLink, gate: Gate | None = None, head_timeout: float = HEAD_TIMEOUT) -> type[Any]:
    """uvicorn's `http=` class whose tunnels go to `on_link(socket, early bytes, peer, leave)`."""
    return type(
        "FrontDoor",
        (RportHttp,),
        {"on_link": staticmethod(on_link), "gate": gate or Gate(), "head_timeout": head_timeout},
    )


class RportHttp(HttpToolsProtocol):
    """HTTP by uvicorn; the upgrade by us."""

    on_link: OnLink
    gate: Gate
    head_timeout: float

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername") or ("unix", 0)
        self._peer = (str(peer[0]), int(peer[1]))
        self._inside = self.gate.enter(self._peer[0])
        self._timer: asyncio.TimerHandle | None = None
        self._chunk = self._tail = b""
        self._head_size = 0
        self._taken = False
        super().connection_made(transport)
        if not self._inside:
            self._answer(503, "too many connections that are not logged in yet; try again in a moment")
            return
        self._timer = self.loop.call_later(self.head_timeout, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inside and not self._taken:
            self._inside = False
            self.gate.leave(self._peer[0])

    def _too_slow(self) -> None:
        self._answer(408, f"no whole request head within {self.head_timeout:g} s")

    # --- bytes in ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._taken or self.transport.is_closing():
            return
        self._tail, self._chunk = (self._tail + self._chunk)[-3:], data
        self._head_size += len(data)
        super().data_received(data)
        if self._taken or self.transport.is_closing() or not self._in_head():
            return
        if self._head_size > HEAD_MAX:
            self._answer(431, f"the request head is over {HEAD_MAX} octets")
        elif self._timer is None:  # a further request on this connection is as slow as it likes no more than the first
            self._timer = self.loop.call_later(self.head_timeout, self._too_slow)

    def _in_head(self) -> bool:
        """No request is being answered, so what came last belongs to a head."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = len(self._chunk)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX and not self.transport.is_closing():
            self._answer(431, f"the request has over {HEADERS_MAX} headers")

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        if self._upgrades():
            self._pending = self.cycle is not None and not self.cycle.response_complete
            self._has_body = any(
                name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
                for name, value in self.headers
            )
        super().on_headers_complete()
        if not self._upgrades():
            self._leave()

    def _upgrades(self) -> bool:
        return any(name == b"upgrade" for name, _ in self.headers)

    # --- the upgrade ---------------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        return self._upgrades()

    def handle_websocket_upgrade(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._answer(*refusal)
            return
        self._take_over()

    def _refusal(self) -> tuple[int, str] | None:
        """Status and text for an upgrade that is not ours to make."""
        fields = dict(self.headers)
        offers = [offer.strip() for offer in fields.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")]
        if fields.get(b"upgrade", b"").lower() != b"websocket":
            return 400, "the only upgrade here is to websocket"
        if SUBPROTOCOL not in offers:
            if "rport-v1" in offers:
                return (
                    400,
                    f"rport-v1 is the original program's protocol; this server speaks {SUBPROTOCOL}: use its client",
                )
            return 400, f"this server speaks the WebSocket subprotocol {SUBPROTOCOL}, which was not offered"
        if fields.get(b"sec-websocket-version", b"").strip() != b"13":
            return 426, "only WebSocket version 13 is spoken here"
        if len(fields.get(b"sec-websocket-key", b"").strip()) != 24:
            return 400, "Sec-WebSocket-Key is missing or not 16 octets in base64"
        if self._has_body:
            return 400, "an upgrade request has no body"
        if self._pending:
            return 400, "an upgrade while an earlier request is not answered yet"
        if self.config.is_ssl:
            return 501, "the tunnel over TLS is not there yet"
        return None

    def _take_over(self) -> None:
        """Answer 101, then keep the connection and let uvicorn forget it."""
        fields = dict(self.headers)
        early = self._early()
        answer = upgrade_response(fields[b"sec-websocket-key"].strip().decode("latin-1"))
        self._unset_keepalive_if_required()
        transport: Any = self.transport
        sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        sock.setblocking(False)
        sent = 0
        with contextlib.suppress(OSError):  # a peer that has gone is noticed by the next read
            sent = sock.send(answer)
        transport.pause_reading()
        self._taken = True
        if self._timer is not None:
            self._timer.cancel()
        transport.abort()
        if sent == len(answer):
            self.on_link(sock, early, self._peer, self._release)
        else:
            sock.close()
            self._release()

    def _release(self) -> None:
        if self._inside:
            self._inside = False
            self.gate.leave(self._peer[0])

    def _early(self) -> bytes:
        """What came behind the head in the last segment; the blank line may have begun in the one before."""
        return (self._tail + self._chunk).partition(b"\r\n\r\n")[2]

    def _answer(self, status: int, text: str) -> None:
        """A short refusal in plain text; the connection ends behind it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        body = (text + "\n").encode()
        extra = "Sec-WebSocket-Version: 13\r\n" if status == 426 else ""
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n{extra}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
