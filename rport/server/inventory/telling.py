"""What clients do, as events; and logins that fail, of which strangers may cause as many as they like."""

import time
from typing import TYPE_CHECKING

from rport.server.door.gate import source_of
from rport.server.inventory.client import Client
from rport.server.inventory.inventory import Inventory
from rport.throttle import KEPT_ALL_RATE, KEPT_RATE, Throttle

if TYPE_CHECKING:
    from rport.server.journal import Journal
    from rport.server.session import ServerSession

USER_MAX = 64  # characters of a name that nobody checked


class Telling:
    """Tells the journal."""

    def __init__(self, journal: "Journal", inventory: Inventory) -> None:
        self.journal = journal
        self._throttle = Throttle(time.monotonic(), KEPT_RATE, KEPT_ALL_RATE)
        inventory.on_connected.append(self._connected)
        inventory.on_disconnected.append(self._disconnected)
        inventory.on_cloned.append(self._cloned)

    def _connected(self, client: Client, session: "ServerSession") -> None:
        assert session.entry is not None
        about = {"session": session.entry.id, "address": client.address, "version": client.version}
        self.journal.tell("client.connected", client.id, **about)

    def _disconnected(self, client: Client, session: "ServerSession", reason: str) -> None:
        assert session.entry is not None
        self.journal.tell("client.disconnected", client.id, session=session.entry.id, reason=reason)

    def _cloned(self, client: Client, other: str) -> None:
        self.journal.tell("client.cloned", client.id, address=client.address, other=other)

    def login_failed(self, user: str, address: str) -> None:
        """A burst of each source, then one a minute; and one a second of all together. The log has more."""
        self.journal.logins_failed["client"] += 1
        if self._throttle.admits(source_of(address), time.monotonic()):
            self.journal.tell("login.failed", user=user[:USER_MAX], source=address, what="client")
