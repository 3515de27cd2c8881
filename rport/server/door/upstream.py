"""Connections to the backend, of which a few are kept open between requests."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rport.server.door.backend import Backend
from rport.server.door.rewrite import Head, body_length, transfer_coding, wants_close

CONNECT_TIMEOUT = 10.0  # seconds, TLS included: three lost SYNs
HEAD_MAX = 65536  # octets of an answer's head: some applications set large cookies
CHUNK = 65536  # octets of a body in hand; four times as much may wait in the reader
IDLE_MAX = 16  # connections kept open: a browser opens six
IDLE_TIME = 4.0  # seconds; many servers close after 5, and a request should not meet that


class BackendError(Exception):
    """The backend does not do what it should; the text is for the log."""

    status = 502


class BackendSlow(BackendError):
    """It does nothing."""

    status = 504


class _Message:
    """What the parser tells of one answer. What comes behind it is for nobody, and its trailers are dropped."""

    def __init__(self) -> None:
        self.begun = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.whole_head = self.complete = False
        self.parts: list[bytes] = []

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_status(self, reason: bytes) -> None:
        if self.begun == 1:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.whole_head:
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.whole_head = True

    def on_body(self, part: bytes) -> None:
        if not self.complete:
            self.parts.append(part)

    def on_message_complete(self) -> None:
        self.complete = True


class _Reader(asyncio.StreamReader):
    """Counts what came in."""

    def __init__(self) -> None:
        super().__init__(HEAD_MAX)
        self.received = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        self.received += len(data)
        super().feed_data(data)


class Upstream:
    """One connection. A request is sent; then the heads of its answers are read, and the body of the last."""

    def __init__(
        self, backend: Backend, transport: asyncio.Transport, reader: _Reader, writer: asyncio.StreamWriter
    ) -> None:
        self.backend = backend
        self.transport = transport
        self._reader, self._writer = reader, writer
        self._taken = 0
        self._message = _Message()
        self._parser: HttpResponseParser | None = None
        self._until_end = False
        self._last = False
        self._bare = 0  # bytes since the last of a body: the parser keeps a trailer until it is whole

    @property
    def quiet(self) -> bool:
        """Open, and nothing came that was not asked for."""
        return self._taken == self._reader.received and not self._reader.at_eof() and not self.transport.is_closing()

    @property
    def answered(self) -> bool:
        """Something of the next answer is there."""
        return self._taken != self._reader.received

    @property
    def reusable(self) -> bool:
        """The last answer is complete, and another request may follow."""
        return self.quiet and not self._last and not self._until_end

    async def send(self, data: bytes) -> None:
        """Raises BackendError."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise BackendError(f"took no more of a request: {error}") from None

    async def head(self) -> Head:
        """The next one; those of interim answers come first. Raises BackendError."""
        try:
            data = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise BackendError(f"answered with a head of more than {HEAD_MAX} bytes") from None
        except asyncio.IncompleteReadError as error:
            raise BackendError("closed within a head" if error.partial else "closed without an answer") from None
        except OSError as error:
            raise BackendError(f"closed without an answer: {error}") from None
        self._taken += len(data)
        return self._parse(data)

    def _parse(self, data: bytes) -> Head:
        message = self._message = _Message()
        self._parser = HttpResponseParser(message)
        try:
            with contextlib.suppress(HttpParserUpgrade):
                self._parser.feed_data(data)
        except HttpParserError as error:
            raise BackendError(f"answered with what is no HTTP: {error}") from None
        if not message.whole_head:
            raise BackendError("answered with what is no HTTP")
        length, coding = body_length(message.headers), transfer_coding(message.headers)
        if coding not in (b"", b"chunked"):
            raise BackendError(
                f"answered in the transfer coding {coding.decode('latin-1')[:40]!r}, which nobody asked for"
            )
        self._until_end = length is None and not coding
        self._bare = 0
        self._last = self._parser.get_http_version() != "1.1" or wants_close(message.headers)
        return Head(self._parser.get_status_code(), message.reason, message.headers, length)

    async def body(self) -> AsyncIterator[bytes]:
        """Its parts, without their framing. Raises BackendError when it ends before its end."""
        message = self._message
        while not message.complete:
            try:
                data = await self._reader.read(CHUNK)
            except OSError as error:
                raise BackendError(f"broke off an answer: {error}") from None
            if not data and not self._until_end:
                raise BackendError("broke off an answer")
            if not data:
                break
            self._feed(data)
            if message.parts:
                yield b"".join(message.parts)  # of thousands of tiny chunks, each would take its time by itself
                message.parts.clear()

    def _feed(self, data: bytes) -> None:
        assert self._parser is not None
        self._taken += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if not self._message.complete:
                raise BackendError(f"answered with what is no HTTP: {error}") from None
        self._bare = 0 if self._message.parts else self._bare + len(data)
        if self._bare > HEAD_MAX:
            raise BackendError(f"sends more than {HEAD_MAX} bytes of trailers")
        self._last |= self._message.begun > 1

    @property
    def ended(self) -> bool:
        """The backend sends no more."""
        return self._reader.at_eof()

    async def rest(self) -> bytes:
        """What came behind the last head. Nothing more is read here: it returns at once."""
        rest = await self._reader.readexactly(self._reader.received - self._taken)
        self._taken += len(rest)
        return rest

    def bodiless(self) -> None:
        """The last answer ends with its head, whatever that says."""
        self._until_end = False

    def close(self) -> None:
        self.transport.abort()


class Upstreams:
    """All of them."""

    def __init__(self) -> None:
        self._idle: list[tuple[Upstream, asyncio.TimerHandle]] = []
        self._tls: ssl.SSLContext | None = None

    def take(self, backend: Backend) -> Upstream | None:
        """One that was kept open, the most recent first."""
        while self._idle:
            upstream, timer = self._idle.pop()
            timer.cancel()
            if upstream.backend == backend and upstream.quiet:
                return upstream
            upstream.close()
        return None

    def give_back(self, upstream: Upstream) -> None:
        """Nobody uses it any more."""
        if not upstream.reusable or len(self._idle) >= IDLE_MAX:
            upstream.close()
            return
        timer = asyncio.get_running_loop().call_later(IDLE_TIME, self._expire, upstream)
        self._idle.append((upstream, timer))

    def _expire(self, upstream: Upstream) -> None:
        self._idle = [entry for entry in self._idle if entry[0] is not upstream]
        upstream.close()

    async def connect(self, backend: Backend) -> Upstream:
        """Raises BackendError."""
        loop, reader = asyncio.get_running_loop(), _Reader()
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        tls = self._context() if backend.tls else None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                transport, _ = await loop.create_connection(lambda: protocol, backend.host, backend.port, ssl=tls)
        except TimeoutError:
            raise BackendSlow(f"takes no connection within {CONNECT_TIMEOUT:g} s") from None
        except OSError as error:
            raise BackendError(f"cannot be reached: {error}") from None
        return Upstream(backend, transport, reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    def _context(self) -> ssl.SSLContext:
        """The system's authorities, read once."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def close(self) -> None:
        for upstream, timer in self._idle:
            timer.cancel()
            upstream.close()
        self._idle.clear()
