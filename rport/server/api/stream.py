"""An answer in parts, as they come: bounded in what waits for a client that does not read, and in how long."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from fastapi.responses import Response

from rport.server.door.front import ABORT
from rport.server.errors import ServerError

STALL = 30.0  # seconds in which a client has to take something; what waits for it is one part and the socket's buffers
LEAVE = 1.0  # seconds to take the rest, once it is to end

log = logging.getLogger("rport")


class Stream(Response):
    """`parts` is closed however it ends. Once `cut` is set, a client that does not take the rest is cut off."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        media_type: str,
        cut: asyncio.Event | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.parts, self.cut = parts, cut
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]  # nobody knows

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        sending = loop.create_task(self._send(send))
        gone = loop.create_task(_gone(receive))
        cut = [loop.create_task(self.cut.wait())] if self.cut is not None else []
        try:
            done, _ = await asyncio.wait({sending, gone, *cut}, return_when=asyncio.FIRST_COMPLETED)
            if not done & {sending, gone}:
                done, _ = await asyncio.wait({sending, gone}, timeout=LEAVE, return_when=asyncio.FIRST_COMPLETED)
            if gone not in done and (sending not in done or not sending.result()):
                _abort(scope)
        finally:
            tasks = [sending, gone, *cut]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.parts.aclose()

    async def _send(self, send: Callable[[Any], Any]) -> bool:
        """False: it is not whole, which the client must see."""
        try:
            await _in_time(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for part in self.parts:
                await _in_time(send, {"type": "http.response.body", "body": part, "more_body": True})
            await _in_time(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except ServerError as error:
            log.warning("an answer was cut short: %s", error)
            return False
        except TimeoutError:
            return False
        return True


async def _in_time(send: Callable[[Any], Any], message: Any) -> None:
    async with asyncio.timeout(STALL):
        await send(message)


async def _gone(receive: Callable[[], Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _abort(scope: Any) -> None:
    with contextlib.suppress(KeyError):
        scope["extensions"][ABORT]["call"]()
