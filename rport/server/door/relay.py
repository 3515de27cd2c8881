"""Requests on their way to the backend and answers on their way back: both stream, and whoever is slow slows the other.

An answer that breaks off ends the client's connection with a reset, so that nobody takes a part for the whole.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

from rport.server.door.gate import Gate
from rport.server.door.refusal import Refusal
from rport.server.door.rewrite import Head, Passage, answer_head, interim_head
from rport.server.door.splice import splice
from rport.server.door.upstream import BackendError, BackendSlow, Upstream, Upstreams

REQUESTS_MAX = 512  # at once, upgraded connections included; each takes two descriptors
SOURCE_MAX = 128  # of them from one address: a score of browsers behind a NAT
HEAD_TIMEOUT = 60.0  # seconds without a byte of the request's body or of an answer, before an answer begins
BODY_TIMEOUT = 300.0  # seconds without a byte of an answer from the backend, or taken by the client
CONTINUE_TIMEOUT = 1.0  # seconds until a body is asked for that the backend has not asked for; many never do
DRAIN_TIME = 10.0  # seconds, as carried connections have
INTERIM_MAX = 16  # answers before the answer; more is a backend that went mad

UNREACHABLE = "the web server behind this one does not answer"
CROWDED = "too many requests at once; try again in a moment"

log = logging.getLogger("rport")


class Relays:
    """All that is under way; one per server."""

    def __init__(self) -> None:
        self.upstreams = Upstreams()
        self.gate = Gate(REQUESTS_MAX, SOURCE_MAX)
        self._tasks: dict[asyncio.Task[None], Relay] = {}
        self._trouble = ""  # what was logged last; once is enough

    def start(self, cycle: Any, passage: Passage, shared: bool, hand_over: Callable[[], bytes]) -> asyncio.Task[None]:
        """`cycle`: uvicorn's record of a request and its answer; `shared`: the client is a proxy of many; `hand_over`
        lets the client's connection go, and gives what came on it behind the request."""
        relay = Relay(self, cycle, passage, hand_over)
        task = asyncio.get_running_loop().create_task(self._run(relay, shared))
        self._tasks[task] = relay
        task.add_done_callback(self._tasks.pop)
        return task

    async def _run(self, relay: "Relay", shared: bool) -> None:
        address = relay.passage.client[0]
        if not self.gate.enter(address, shared=shared):
            relay.refuse(Refusal(503, CROWDED))
            return
        try:
            await relay.run()
        finally:
            self.gate.leave(address)

    def tell(self, trouble: str) -> None:
        """Log what is wrong with the backend, unless it is what was wrong before; nothing is wrong when it is empty."""
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                log.warning("%s", trouble)

    async def drain(self) -> None:
        """Requests get DRAIN_TIME to end, and what was upgraded, which seldom does, none."""
        for task, relay in self._tasks.items():
            if relay.upgraded:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_TIME)
        self.close()

    def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        self.upstreams.close()


class Relay:
    """One request and its answer."""

    def __init__(self, relays: Relays, cycle: Any, passage: Passage, hand_over: Callable[[], bytes]) -> None:
        self.passage = passage
        self.upgraded = False  # both ends speak another protocol now
        self._relays, self._cycle, self._hand_over = relays, cycle, hand_over
        self._transport: asyncio.Transport = cycle.transport
        self._upload: asyncio.Task[None] | None = None
        self._limit: asyncio.Timeout | None = None  # while an answer is waited for
        self._wanted = asyncio.Event()  # the backend asked for the body
        self._receiving = False  # the client is waited for

    async def run(self) -> None:
        """Cancelled, it ends both connections."""
        try:
            upstream, head = await self._ask()
            self._relays.tell("")
            await self._take(upstream, head)
        except BackendError as error:
            self._relays.tell(f"Backend {self.passage.backend} {error}")
            self.refuse(Refusal(error.status, UNREACHABLE))
        except Refusal as refusal:
            self.refuse(refusal)
        finally:
            if not self._cycle.response_complete:
                self._abort()
            self._cycle.on_response = lambda: None  # as uvicorn does: else both live on in a circle

    async def _ask(self) -> tuple[Upstream, Head]:
        """Raises BackendError, and Refusal where it is the client that does not go on."""
        upstreams = self._relays.upstreams
        kept = upstreams.take(self.passage.backend) if self.passage.repeatable else None
        if kept is not None:
            try:
                return kept, await self._converse(kept)
            except BackendError as error:
                if kept.answered or isinstance(error, BackendSlow):
                    raise
        fresh = await upstreams.connect(self.passage.backend)
        return fresh, await self._converse(fresh)

    async def _take(self, upstream: Upstream, head: Head) -> None:
        """Pass on what it has to say, and leave it to others or to nobody."""
        try:
            if head.status == 101:
                await self._change(upstream, head)
            else:
                await self._answer(upstream, head)
                if self._uploaded():
                    self._relays.upstreams.give_back(upstream)
                    return
            upstream.close()
        except BaseException:
            upstream.close()
            raise
        finally:
            if self._upload is not None:
                self._upload.cancel()

    # --- the way there -------------------------------------------------------------------------------------------

    async def _converse(self, upstream: Upstream) -> Head:
        """Send the request, and have the answer's head. On errors the connection is closed."""
        try:
            async with asyncio.timeout(HEAD_TIMEOUT) as self._limit:
                await upstream.send(self.passage.head)
                if self.passage.length != 0:
                    self._upload = asyncio.get_running_loop().create_task(self._send_body(upstream))
                return await self._final_head(upstream)
        except TimeoutError:
            self._drop(upstream)
            if self._receiving:
                raise Refusal(408, f"nothing more of the request came in {HEAD_TIMEOUT:g} s") from None
            raise BackendSlow(f"gave no answer in {HEAD_TIMEOUT:g} s") from None
        except BaseException:
            self._drop(upstream)
            raise
        finally:
            self._limit = None

    def _drop(self, upstream: Upstream) -> None:
        upstream.close()
        if self._upload is not None:
            self._upload.cancel()

    async def _final_head(self, upstream: Upstream) -> Head:
        for _ in range(INTERIM_MAX):
            head = await upstream.head()
            if head.status >= 200 or (head.status == 101 and self.passage.upgrade):
                return head
            if head.status == 101:
                raise BackendError("changes to a protocol that nobody asked for")
            if head.status == 100:
                self._wanted.set()
            elif self.passage.version == "1.1":
                self._transport.write(interim_head(head))
        raise BackendError("gives interim answers without an end")

    async def _send_body(self, upstream: Upstream) -> None:
        self._cycle.waiting_for_100_continue = False  # it is ours to send
        if self.passage.expects:
            await self._let_go_on()
        chunked, more = self.passage.length is None, True
        with contextlib.suppress(BackendError):  # what it answers says more
            while more:
                self._receiving = True
                message = await self._cycle.receive()
                self._receiving = False
                if message["type"] != "http.request":
                    return  # the client has gone, and with it this task
                body, more = message["body"], message["more_body"]
                await upstream.send(_chunks(body, last=not more) if chunked else body)
                if self._limit is not None:
                    self._limit.reschedule(asyncio.get_running_loop().time() + HEAD_TIMEOUT)

    async def _let_go_on(self) -> None:
        """The client waits for a 100."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONTINUE_TIMEOUT):
                await self._wanted.wait()
        if not self._cycle.response_started:  # within an answer it would be a part of that
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _uploaded(self) -> bool:
        return self._upload is None or (self._upload.done() and not self._cycle.more_body)

    # --- the way back --------------------------------------------------------------------------------------------

    async def _answer(self, upstream: Upstream, head: Head) -> None:
        """Raises BackendError when it breaks off."""
        cycle, body = self._cycle, head.has_body(self.passage.method)
        until_close = body and head.length is None and self.passage.version != "1.1"
        cycle.keep_alive = cycle.keep_alive and self._uploaded() and not until_close
        data, chunked = answer_head(head, self.passage, close=not cycle.keep_alive)
        cycle.response_started = True
        self._transport.write(data)
        if body:
            await self._send_parts(upstream, chunked)
        else:
            upstream.bodiless()
        self._finish()

    async def _send_parts(self, upstream: Upstream, chunked: bool) -> None:
        parts = upstream.body()
        try:
            while True:
                async with asyncio.timeout(BODY_TIMEOUT):
                    part = await anext(parts, b"")
                    if chunked or part:
                        self._transport.write(_chunks(part, last=not part) if chunked else part)
                    if not part:
                        return
                    await self._cycle.flow.drain()
        except TimeoutError:
            raise BackendSlow(f"or its client did not go on within {BODY_TIMEOUT:g} s") from None

    async def _change(self, upstream: Upstream, head: Head) -> None:
        """Both ends change to another protocol: their bytes are none of our business from here on."""
        self.upgraded = True
        early, rest = self._hand_over(), await upstream.rest()
        self._cycle.response_started = self._cycle.response_complete = True
        for transport in (self._transport, upstream.transport):
            _set_option(transport, socket.SO_KEEPALIVE, 1)  # they may be quiet for long, and dead
        self._transport.write(interim_head(head))
        await splice(self._transport, early, upstream.transport, rest, upstream.ended)

    def refuse(self, refusal: Refusal) -> None:
        """Instead of an answer; one that has begun is broken off."""
        if self._cycle.response_started:
            self._abort()
            return
        self._cycle.response_started, self._cycle.keep_alive = True, False
        self._transport.write(refusal.answer())
        self._finish()

    def _finish(self) -> None:
        """What uvicorn does when its own answer is out. With the rest of a body to come, the front door closes."""
        self._cycle.response_complete = True
        self._cycle.message_event.set()
        if not self._cycle.keep_alive and not self._cycle.more_body:
            self._transport.close()
        self._cycle.on_response()

    def _abort(self) -> None:
        """By a reset: to whoever reads until the end, an end would be one."""
        self._cycle.response_complete = True
        if not self._transport.is_closing():
            _set_option(self._transport, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


def _chunks(data: bytes, *, last: bool) -> bytes:
    """As RFC 9112, section 7.1, frames it."""
    return (b"%x\r\n%s\r\n" % (len(data), data) if data else b"") + (b"0\r\n\r\n" if last else b"")


def _set_option(transport: asyncio.BaseTransport, name: int, value: int | bytes) -> None:
    """Of the socket: by another descriptor of it, since uvloop's own lets nobody."""
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError), socket.fromfd(raw.fileno(), raw.family, raw.type) as sock:
        sock.setsockopt(socket.SOL_SOCKET, name, value)
