"""URLs that are told of events. What is to be delivered is saved in the transaction that saves the event: a server that
is killed sends it when it starts again, maybe a second time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.server import deliveries
from rport.server.errors import ServerError
from rport.server.event import UNSAVED, Event, event_row
from rport.server.journal import Journal
from rport.server.post import Outcome
from rport.server.sender import Sender, attempt
from rport.server.store import Store, schema
from rport.server.webhook import Webhook, delay

WEBHOOKS_MAX = 64  # each costs a row and a request for each event
REQUESTS_MAX = 8  # at a time, one to a webhook
ALARM_TRIES = 3  # of an event that cannot be saved
TEST = "webhook.test"  # of nothing that happened


class WebhookNotFound(ServerError):
    """There is none of that id."""

    status = 404
    kind = "no-such-webhook"


class DeliveryNotFound(ServerError):
    """It was delivered, deleted, or never there."""

    status = 404
    kind = "no-such-delivery"


class TooManyWebhooks(ServerError):
    """As many as there may be."""

    status = 409
    kind = "too-many-webhooks"


class Webhooks:
    """All of them, in memory; what is to be sent to them is in the store."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self.tries: Counter[str] = Counter()  # "ok" or "failed"
        self._store, self._journal = store, journal
        self._senders: dict[str, Sender] = {}
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        journal.savers.append(self._save)
        journal.subscribers.append(self._published)

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        async with self._store.read() as db:
            for row in (await db.execute(sa.select(schema.webhooks))).mappings():
                types = None if row["types"] is None else frozenset(row["types"])
                waiting, dead = await deliveries.count(db, row["id"])
                self.put(Webhook(**{**row, "types": types}, waiting=waiting, dead=dead))

    async def close(self) -> None:
        tasks = [*self._tasks, *(asyncio.ensure_future(sender.close()) for sender in self._senders.values())]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._senders)

    def __iter__(self) -> Iterator[Webhook]:
        """In no order that means something."""
        return (sender.webhook for sender in self._senders.values())

    def get(self, id: str) -> Webhook:
        """Raises WebhookNotFound."""
        try:
            return self._senders[id].webhook
        except KeyError:
            raise WebhookNotFound(f"no webhook {id[:64]!r}; GET /api/v1/webhooks lists them") from None

    # --- what changes once it is saved ---------------------------------------------------------------------------

    def put(self, webhook: Webhook) -> None:
        """It is new."""
        self._senders[webhook.id] = Sender(self._store, webhook, self._slots, self._on_dead, self._on_tried)

    def changed(self, webhook: Webhook) -> None:
        """It is tried again at once, however it was before."""
        if webhook.id in self._senders:
            self._senders[webhook.id].retry()

    def counted(self, webhook: Webhook, counts: tuple[int, int]) -> None:
        """Its deliveries are others: those that wait, and the dead."""
        webhook.waiting, webhook.dead = counts
        self.changed(webhook)

    def forget(self, webhook: Webhook) -> None:
        if sender := self._senders.pop(webhook.id, None):
            self._spawn(sender)

    # --- deliveries ----------------------------------------------------------------------------------------------

    async def test(self, webhook: Webhook) -> Outcome:
        """Send it something now, whether or not it is enabled."""
        event = Event(UNSAVED, **event_row(TEST, None, {"webhook": webhook.id}))
        async with self._slots:
            return await attempt(webhook, TEST, "test", event.json)

    async def delivery(self, db: AsyncConnection, webhook: Webhook, number: int) -> dict[str, Any]:
        """Raises DeliveryNotFound."""
        found = await deliveries.get(db, webhook.id, number)
        if found is None:
            raise DeliveryNotFound(f"no delivery {number} of webhook {webhook.id}: it was delivered, or deleted")
        return found

    # --- what happens --------------------------------------------------------------------------------------------

    async def _save(self, db: AsyncConnection, events: list[Event]) -> None:
        for webhook in self:
            if wanted := [event for event in events if webhook.wants(event)]:
                await deliveries.add(db, webhook, wanted)

    def _published(self, events: list[Event]) -> None:
        for sender in self._senders.values():
            wanted = [event for event in events if sender.webhook.wants(event)]
            if wanted and wanted[0].id == UNSAVED:
                self._alarm(sender.webhook, wanted[0])
            elif wanted:
                sender.webhook.add(len(wanted))
                sender.wake()

    def _alarm(self, webhook: Webhook, event: Event) -> None:
        """The store is in trouble: what says so must not wait for its end."""

        async def send() -> None:
            for number in range(1, ALARM_TRIES + 1):
                async with self._slots:
                    outcome = await attempt(webhook, event.type, "unsaved", event.json)
                self._on_tried(outcome)
                if not outcome.error:
                    return
                await asyncio.sleep(delay(number))

        self._keep(asyncio.get_running_loop().create_task(send()))

    def _on_tried(self, outcome: Outcome) -> None:
        self.tries["failed" if outcome.error else "ok"] += 1

    def _on_dead(self, webhook: Webhook, numbers: list[int]) -> None:
        self._journal.tell("webhook.dead", webhook=webhook.id, delivery=numbers[-1], count=len(numbers))

    def _spawn(self, sender: Sender) -> None:
        self._keep(asyncio.get_running_loop().create_task(sender.close()))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
