"""Two connections whose bytes go to each other as they come: what an upgrade becomes between client and backend."""

import asyncio
import contextlib

LINGER = 300.0  # seconds without a move after one end has ended, as a tunnel's half-closed streams have


class Splice(asyncio.Protocol):
    """One of the two ends. A slow one holds the other's reading up."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.other: Splice = self
        self.ended = asyncio.Event()  # nothing more comes from here
        self.lost = asyncio.Event()
        self.received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ended.set()
        if self.other.ended.is_set() or not self.other.transport.can_write_eof():
            self.other.transport.close()  # once what is written is out
            return False
        self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self.lost.set()
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()

    def state(self) -> tuple[int, int]:
        """It is another when something has moved here."""
        return self.received, self.transport.get_write_buffer_size()


async def splice(near: asyncio.Transport, early: bytes, far: asyncio.Transport, rest: bytes, far_ended: bool) -> None:
    """Until both are gone. `early` and `rest` came from near and far before. Cancelled, it ends both."""
    one, other = Splice(near), Splice(far)
    one.other, other.other = other, one
    near.set_protocol(one)
    far.set_protocol(other)
    try:
        far.write(early)
        near.write(rest)
        near.resume_reading()
        if far.is_closing():
            other.connection_lost(None)
        elif far_ended:
            other.eof_received()
        else:
            far.resume_reading()
        await _first(one.ended, other.ended)
        await _settle(one, other)
    finally:
        near.abort()
        far.abort()


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _settle(one: Splice, other: Splice) -> None:
    """Until both are lost, or nothing moves any more."""
    before = None
    while before != (before := (one.state(), other.state())):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await one.lost.wait()
                await other.lost.wait()
                return
