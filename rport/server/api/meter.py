"""Counts requests and how long they take, by route (a pure ASGI layer around all others)."""

import time
from typing import Any

from rport.server.api.guard import App
from rport.server.metrics import Metrics


class Meter:
    """An answer is counted when it begins: some go on for hours."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path_format", None)
                self._metrics.answered(scope["method"], route, message["status"], time.perf_counter() - began)
            await send(message)

        return await self._app(scope, receive, counted)
