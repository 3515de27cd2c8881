"""Around all answers: what browsers are told not to do with them, and how long they may take (pure ASGI)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from rport.server.api.guard import App, Scope, refuse
from rport.server.door.fields import Headers, values

TIME_MAX = 30.0  # seconds until an answer begins: a client is asked for 10 at most, the database 10 again
LONG = {"/api/v1/events", "/api/v1/audit/export"}  # begin at once, and go on

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
}


class Shield:
    """`time` in seconds."""

    def __init__(self, app: App, time: float = TIME_MAX) -> None:
        self._app = app
        self._time = time

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        answer = _Answer(scope["headers"], receive, send)
        try:
            async with asyncio.timeout(None if scope["path"] in LONG else self._time) as limit:
                answer.on_start = lambda: limit.reschedule(None)
                await self._app(scope, answer.receive, answer.send)
        except TimeoutError:
            if answer.started:
                raise
            if answer.heard:
                await refuse(answer.send, 503, f"this was not done within {self._time:g} s, and was given up")
            else:
                await refuse(answer.send, 408, f"the request's body did not come within {self._time:g} s")
        return None


class _Answer:
    """One request's."""

    def __init__(
        self, headers: Headers, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self._headers, self._receive, self._send = headers, receive, send
        self.on_start: Callable[[], None] = lambda: None
        self.started = False
        self.heard = not any(value.strip(b"0") for value in values(headers, b"content-length"))

    async def receive(self) -> Any:
        message = await self._receive()
        self.heard = self.heard or not message.get("more_body", False)
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            with contextlib.suppress(RuntimeError):  # the time is over at this very moment
                self.on_start()
            message = message | {"headers": self._completed(message["status"], list(message.get("headers", ())))}
        await self._send(message)

    def _completed(self, status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        there = {name.lower() for name, _ in headers}
        headers += [pair for pair in _HEADERS.items() if pair[0] not in there]
        if status == 401 and b"www-authenticate" not in there:
            headers += [(b"www-authenticate", challenge) for challenge in self._challenges()]
        return headers

    def _challenges(self) -> list[bytes]:
        """A script that asks gets none that would have the browser put up its own window."""
        modes = values(self._headers, b"sec-fetch-mode")
        script = values(self._headers, b"x-requested-with") or any(mode != b"navigate" for mode in modes)
        basic = [] if script else [b'Basic realm="rport", charset="UTF-8"']
        return [b'Bearer realm="rport"', *basic]
