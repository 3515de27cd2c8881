"""The store that cannot be written: told when that begins and when it is over, not at each try."""

import asyncio
import logging
from typing import Any, Protocol

from rport.server.store import Store

SETTLED = 5.0  # seconds without trouble, after which it is over: a disk that is almost full takes some writes

log = logging.getLogger("rport")


class _Tell(Protocol):
    def __call__(self, type: str, **data: Any) -> None: ...


class Trouble:
    """`tell` is for what is to be kept; `alarm` tells at once, since the former has to wait for its end."""

    def __init__(self, store: Store, tell: _Tell, alarm: _Tell) -> None:
        self._tell, self._alarm = tell, alarm
        self.error = ""  # what it is, as long as it is not over
        self._settling: asyncio.TimerHandle | None = None
        store.on_trouble = self._changed

    def close(self) -> None:
        if self._settling is not None:
            self._over()

    def _changed(self, error: str) -> None:
        """`error` is empty when a write went well again."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if error and not self.error:
            log.error("%s; tunnels go on, and what happens meanwhile is written later", error)
            self._tell("store.trouble", error=error)
            self._alarm("store.trouble", error=error)
        if error:
            self.error = error
        elif self.error:
            self._settling = asyncio.get_running_loop().call_later(SETTLED, self._over)

    def _over(self) -> None:
        self.error, self._settling = "", None
        log.info("The server's database can be written again")
        self._tell("store.recovered")
