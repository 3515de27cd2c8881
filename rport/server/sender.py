"""Sends one webhook what waits for it, in the order in which it happened.

While its server does not work, the oldest delivery is tried again and the others wait behind it. What the server does
not want, for reasons of that delivery, is put aside and tried again by itself.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from rport.server import deliveries
from rport.server.errors import ServerError
from rport.server.post import Outcome, place_of, post
from rport.server.store import Store
from rport.server.webhook import Webhook, blocks, delay, headers

BATCH = 20  # deliveries that are read at a time
SETTLED_AFTER = 1.0  # seconds until the store knows what was taken: a server that is killed sends the rest again
STORE_RETRY = 5.0  # seconds between tries while the store is in trouble


class Sender:
    """`slots` bounds how many requests there are at a time. `dead` is told of deliveries that were given up."""

    def __init__(
        self,
        store: Store,
        webhook: Webhook,
        slots: asyncio.Semaphore,
        dead: Callable[[Webhook, list[int]], None],
        tried: Callable[[Outcome], None],
    ) -> None:
        self.webhook = webhook
        self._store, self._slots, self._dead, self._tried = store, slots, dead, tried
        self._wake = asyncio.Event()
        self._paused_until = 0.0  # while its server does not work
        self._done: list[int] = []  # taken or failed, which the store does not know yet
        self._failed: list[deliveries.Failed] = []
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Something waits, or the webhook is another."""
        self._wake.set()

    def retry(self) -> None:
        """Its server is tried again at once."""
        self._paused_until, self.webhook.failures = 0.0, 0
        self.wake()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(ServerError):
            await self._settle()

    async def _run(self) -> None:
        await self._patiently(self._recall)
        while True:
            wait = await self._patiently(self._step)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
                    self._wake.clear()

    async def _patiently(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return await work()
            except ServerError:
                await asyncio.sleep(STORE_RETRY)

    async def _recall(self) -> None:
        """Where a server that ended before was."""
        async with self._store.read() as db:
            oldest = await deliveries.first(db, self.webhook.id)
        if oldest is not None and oldest["attempts"] and blocks(oldest["status"]):
            self.webhook.failures, self._paused_until = oldest["attempts"], oldest["due"]
            self.webhook.last_error = oldest["error"] or ""

    async def _step(self) -> float | None:
        """Send what is due; seconds until there may be something, None: until somebody says so."""
        await self._settle()
        now = time.time()
        if not self.webhook.enabled:
            return None
        if now < self._paused_until:
            return self._paused_until - now
        async with self._store.read() as db:
            batch = await deliveries.due(db, self.webhook.id, now, BATCH)
            if not batch:
                coming = await deliveries.next_due(db, self.webhook.id)
                return None if coming is None else max(coming - now, 0.0)
        began = time.monotonic()
        for delivery in batch:
            if not self.webhook.enabled or not await self._send(delivery):
                break
            if time.monotonic() - began >= SETTLED_AFTER:
                await self._settle()
                began = time.monotonic()
        return 0.0

    async def _send(self, delivery: dict[str, Any]) -> bool:
        """False: its server does not work now."""
        async with self._slots:
            outcome = await attempt(self.webhook, delivery["type"], str(delivery["id"]), delivery["body"])
        self._tried(outcome)
        now = time.time()
        self.webhook.last_error = outcome.error
        if not outcome.error:
            self._done.append(delivery["id"])
            self.webhook.last_delivered, self.webhook.failures = now, 0
            return True
        attempts, blocked = delivery["attempts"] + 1, blocks(outcome.status)
        self.webhook.failures = self.webhook.failures + 1 if blocked else 0
        due = now + delay(self.webhook.failures if blocked else attempts)
        if blocked:
            self._paused_until = due
        self._failed.append(deliveries.Failed(delivery["id"], due, attempts, outcome.status, outcome.error[:300]))
        return not blocked

    async def _settle(self) -> None:
        if not self._done and not self._failed:
            return
        done, failed, gone, counts = list(self._done), list(self._failed), list[int](), list[tuple[int, int]]()

        def then() -> None:
            del self._done[: len(done)], self._failed[: len(failed)]
            self.webhook.waiting, self.webhook.dead = counts[-1]

        async with self._store.write(then) as db:
            await deliveries.settle(db, done, failed)
            if failed:
                gone += await deliveries.give_up(db, self.webhook.id, time.time())
                await deliveries.bury(db, self.webhook.id)
            counts.append(await deliveries.count(db, self.webhook.id))
        if gone:
            self._dead(self.webhook, gone)


async def attempt(webhook: Webhook, type: str, delivery: str, body: str) -> Outcome:
    """One try."""
    data = body.encode()
    return await post(place_of(webhook.url), headers(webhook, type, delivery, data, time.time()), data)
