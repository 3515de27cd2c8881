"""A server's Service behind a real front door, in the test's own process: for what has no API."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from rport import keys
from rport.server.door.front import make_protocol
from rport.server.service import Service
from rport.server.settings import Settings


async def no_requests(scope: Any, receive: Any, send: Any) -> None:
    """An application that is not asked for anything."""


Body = Callable[[Service, int], Awaitable[None]]


def serving(state: Path, body: Body) -> None:
    """A front door and what is behind it, but for the API."""

    async def main() -> None:
        pair = keys.load_or_create(state / "key")
        service = Service(pair, 0, Settings(state_dir=str(state)))
        config = uvicorn.Config(
            no_requests,
            host="127.0.0.1",
            port=0,
            http=make_protocol(service.on_arrival, rules=service.rules),
            ws="none",
            lifespan="off",
            log_config=None,
        )
        server: Any = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext
        running = asyncio.create_task(server.serve())
        try:
            async with asyncio.timeout(30):
                while not server.started:
                    await asyncio.sleep(0)
                await body(service, server.servers[0].sockets[0].getsockname()[1])
        finally:
            server.should_exit = True
            await running
            await service.drain()

    asyncio.run(main())
