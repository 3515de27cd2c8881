"""Tunnels that end by themselves, and the samples that rates are made of: one timer for all."""

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from rport.server.errors import ServerError
from rport.server.principal import Principal
from rport.server.tunnels.deeds import TunnelDeeds
from rport.server.tunnels.figures import SAMPLE_EVERY
from rport.server.tunnels.table import Table
from rport.server.tunnels.tunnel import Tunnel

if TYPE_CHECKING:
    from rport.server.service import Service

TICK = 1.0  # seconds
RETRY = 10.0  # seconds until a store that was in trouble is asked again

SELF = Principal("rportd", "admin", "")

log = logging.getLogger("rport")


class Clock:
    """Looks each second at those that have an end, and each SAMPLE_EVERY seconds at all, some at a time."""

    def __init__(self, service: "Service", table: Table, deeds: TunnelDeeds) -> None:
        self.service = service
        self.table = table
        self.deeds = deeds
        self._ticks = 0
        self._ticking: asyncio.Task[None] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """What expired while no server was there is closed now."""
        now = time.time()
        for tunnel in [*self.table.timed.values()]:
            if tunnel.properties.expires is not None and tunnel.properties.expires <= now:
                self._end(tunnel, "it expired while the server was down")
        self._ticking = asyncio.get_running_loop().create_task(self._tick_for_ever())

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *([self._ticking] if self._ticking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self.tick()
            except Exception:
                log.exception("the tunnels' clock failed")

    def tick(self) -> None:
        """Once a second."""
        self._ticks += 1
        for tunnel in [*self.table.timed.values()]:
            self._look_at(tunnel)
        every = int(SAMPLE_EVERY / TICK)
        now = time.monotonic()
        for number, session in enumerate(self.service.sessions()):
            if (number + self._ticks) % every == 0:
                for live in session.tunnels.live.values():
                    live.meter.sample(live.figures, now)

    def _look_at(self, tunnel: Tunnel) -> None:
        properties, live = tunnel.properties, tunnel.live
        if tunnel.ending:
            if time.monotonic() >= tunnel.retry_at:
                self._end(tunnel, tunnel.ending)
        elif properties.expires is not None and properties.expires <= time.time():
            self._end(tunnel, "it expired")
        elif properties.idle_timeout is not None and live is not None and live.figures.idle >= properties.idle_timeout:
            self._end(tunnel, f"nothing came through it for {properties.idle_timeout:g} s")

    def _end(self, tunnel: Tunnel, reason: str) -> None:
        """It is closed whatever the store says; whether it is forgotten is for the store to say."""
        if tunnel.id in self._tasks:
            return
        tunnel.ending = tunnel.error = reason
        tunnel.retry_at = time.monotonic() + RETRY
        self.table.shut(tunnel, reason)
        task = self._tasks[tunnel.id] = asyncio.get_running_loop().create_task(self._forget(tunnel, reason))
        task.add_done_callback(lambda _: self._tasks.pop(tunnel.id, None))

    async def _forget(self, tunnel: Tunnel, reason: str) -> None:
        with contextlib.suppress(ServerError):  # it is tried again, or was closed meanwhile
            await self.deeds.close(SELF, tunnel, reason)
