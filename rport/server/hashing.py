"""Argon2id off the event loop: few at a time, and few that wait."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rport.server import passwords
from rport.server.errors import Busy

T = TypeVar("T")

API_THREADS = 1  # 64 MiB and a processor: ten logins a second, and those of clients go on beside them
API_WAITING_MAX = 32  # three seconds' worth

# Nobody's password: that of a user who does not exist is verified against it, so that it takes as long.
DECOY = "$argon2id$v=19$m=65536,t=2,p=1$cnBvcnRkJ3Mgb3duIHNhbA$AFq0m3Zf0hCq7yD5sWnXbTg9cKJ2e4uR8oQvLwMxYzE"


class HashingThreads:
    """`count` threads that stand back behind what is carried, and at most `waiting_max` calls that wait for one."""

    def __init__(self, count: int, waiting_max: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name, _stand_back)
        self._calls_max = count + waiting_max
        self.calls = 0  # those that wait, too

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. One that is cancelled while it waits is never begun. Raises Busy."""
        if self.calls >= self._calls_max:
            raise Busy("too many logins at once; try again in a moment")
        self.calls += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: _tell(loop, self._done))  # also of one that is cancelled before it begins
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self.calls -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Hashing:
    """Passwords of the API's users, verified and hashed in a thread."""

    def __init__(self) -> None:
        self.threads = HashingThreads(API_THREADS, API_WAITING_MAX, "api-login")

    async def verify(self, secret: str | None, password: str) -> bool:
        """Whether it is the one; takes as long without a `secret`. Raises Busy."""
        right = await self.threads.run(lambda: passwords.verify(secret or DECOY, password))
        return right and secret is not None

    async def make(self, password: str) -> str:
        """Its hash. Raises Busy, and UsageError for a password that cannot be one."""
        return await self.threads.run(lambda: passwords.make_hash(password))

    def close(self) -> None:
        self.threads.close()


def _stand_back() -> None:
    """Strangers who try to log in cost the carried connections no processor.

    A fourth of what another gets, not less, so that who knows his password comes in at a busy server too.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process's, or another's
        with contextlib.suppress(OSError):  # a service manager may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 6)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """From a thread; the loop may be gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
