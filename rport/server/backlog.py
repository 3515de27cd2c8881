"""Rows that are written behind what happens: in order, many at a time, and again while the database is in trouble.

Whoever puts one goes on at once.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from rport.server.errors import ServerError

WAITING_MAX = 10_000  # rows that wait for a database in trouble, some 1 KiB each; then the oldest are given up
BATCH = 500  # rows in one transaction: one fsync for many
RETRY = 1.0  # seconds between tries while the database is in trouble

T = TypeVar("T")

log = logging.getLogger("rport")


class Backlog(Generic[T]):
    """`write` saves a batch in one transaction. It raises ServerError when nothing was saved, through no
    fault of the batch."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self.lost = 0  # rows that were given up
        self._write = write
        self._waiting: deque[T] = deque()
        self._batch: list[T] = []  # is being written
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._size = BATCH
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._batch)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """What waits is written, if that can be."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await self._task

    def put(self, row: T) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(row)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if self._waiting:
                if not await self._flush():
                    if self._closing.is_set():
                        log.error("%d audit entries and events could not be saved", len(self))
                        return
                    await self._rest()
            elif self._closing.is_set():
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY):
                await self._closing.wait()

    async def _flush(self) -> bool:
        """False: the same again later. The batch is out of the queue meanwhile, which may run over."""
        self._batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
        try:
            await self._write(self._batch)
        except ServerError:
            self._waiting.extendleft(reversed(self._batch))
            return False
        except Exception as error:
            self._one_is_bad(error)
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(self._batch))
            raise
        else:
            self._size = BATCH
        finally:
            self._batch = []
        return True

    def _one_is_bad(self, error: Exception) -> None:
        """A row that the database does not take is a mistake of ours; it must not keep back those behind it."""
        if len(self._batch) > 1:
            self._waiting.extendleft(reversed(self._batch))
            self._size = 1
            return
        self.lost += 1
        log.error("an audit entry or event could not be saved", exc_info=error)
