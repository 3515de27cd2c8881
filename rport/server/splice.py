"""Two connections whose bytes go to each other as they come: what an upgrade becomes between client and backend."""

import asyncio
import contextlib

LINGER = 60.0  # seconds in which one end takes what was written to it, when the other is gone


class Splice(asyncio.Protocol):
    """One of the two ends. A slow one holds the other's reading up."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.other: Splice = self
        self.lost = asyncio.Event()
        self.lost_either = asyncio.Event()
        self._half = False  # nothing more comes from here

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        self._half = True
        if self.other._half or not self.other.transport.can_write_eof():
            self.other.transport.close()  # once what is written is out
            return False
        self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        for event in (self.lost, self.lost_either, self.other.lost_either):
            event.set()
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()


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
        await one.lost_either.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await one.lost.wait()
                await other.lost.wait()
    finally:
        near.abort()
        far.abort()
