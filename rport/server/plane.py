"""The management plane: who is who, which machines there are, and what happened.

What it is built of, and in which order it starts and ends.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from rport.errors import UsageError
from rport.keys import fingerprint
from rport.server.api_login import ApiLogin
from rport.server.audit_log import AuditLog
from rport.server.enrolments import Enrolments
from rport.server.errors import ServerError
from rport.server.events import Events
from rport.server.inventory import start
from rport.server.inventory.changes import Changes
from rport.server.inventory.records import Records
from rport.server.inventory.telling import Telling
from rport.server.inventory.upkeep import Upkeep
from rport.server.journal import Journal
from rport.server.metrics import Metrics
from rport.server.people import People
from rport.server.principal import Principal
from rport.server.retention import Retention
from rport.server.store import Store
from rport.server.tunnel_book import TunnelBook
from rport.server.webhooks import Webhooks

if TYPE_CHECKING:
    from rport.server.service import Service

CLOSE_TIME = 5.0  # seconds: whoever stops the server waits no longer for a database that hangs

log = logging.getLogger("rport")


class Plane:
    """One per server, beside its Service, which tells it what sessions do."""

    def __init__(self, service: "Service", store: Store) -> None:
        self.service = service
        self.store = store
        self.journal = Journal(store)
        self.people = People(store, self.journal)
        self.inventory, self.credentials = service.inventory, service.credentials
        self.events = Events(self.journal, self.inventory.tags_then, self._stands)
        self.webhooks = Webhooks(store, self.journal)
        self.audit = AuditLog(store, self.inventory.tags_then, self.people.stands)
        self.metrics = Metrics(self)
        self.retention = Retention(store, lambda: service.settings)
        self.login = ApiLogin(self.people, self.journal)
        self.records = Records(store, self.inventory)
        service.on_login_failed = Telling(self.journal, self.inventory).login_failed
        self.changes = Changes(self.journal, self.inventory, self.credentials, self.records, service.review)
        self.upkeep = Upkeep(store, self.inventory, self.changes, lambda: service.settings.keep_disconnected)
        self.tunnels = TunnelBook(service, self.journal, self.changes)
        self.enrolments = Enrolments(store, self.changes, fingerprint(service.key.public))
        service.enroller = self.enrolments

    def _stands(self, who: Principal) -> bool:
        """Whether somebody may still listen; a server that goes down has nothing more to say."""
        return not self.service.draining and self.people.stands(who)

    async def start(self) -> None:
        """Read what the store has; from then on nothing waits for it but the API. Raises UsageError."""
        await self.store.claim()
        await self.store.upgrade()
        await self._load()
        self.records.start()
        self.upkeep.start()
        self.tunnels.start()
        self.retention.start()
        self.people.start()

    async def _load(self) -> None:
        try:
            await self.people.load()
            await self.webhooks.start()
            await start.load(self.store, self.journal, self.inventory, self.credentials)
            await self.enrolments.load()
            await self.tunnels.load(self.store)
            await self.journal.start()
        except ServerError as error:
            raise UsageError(f"--db: {error}") from None

    async def close(self) -> None:
        """What waits to be written is written, if the database takes it within CLOSE_TIME."""
        self.events.close()
        self.login.close()
        self.retention.close()
        try:
            async with asyncio.timeout(CLOSE_TIME):
                for part in (self.people, self.tunnels, self.upkeep, self.records, self.webhooks, self.journal):
                    await _end(part.close())
        except TimeoutError:
            log.error("%d audit entries and events could not be saved", self.journal.waiting)
        await self.store.close()


async def _end(closing: Awaitable[None]) -> None:
    """A mistake of ours in one part must not keep the others from saving what they have."""
    try:
        await closing
    except Exception:
        log.exception("something failed while the server stopped")
