"""What users do to tunnels through the API. What a client has to be asked for comes first, and is taken back when the
store does not take it: nothing is done by half."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from rport.remote import Remote
from rport.server import opaque
from rport.server.errors import (
    ClientAway,
    ConnectionNotFound,
    NotAllowed,
    PortUnavailable,
    ServerError,
    TunnelDeclared,
    TunnelNotFound,
)
from rport.server.inventory import Client, ClientNotFound
from rport.server.inventory.changes import Changes
from rport.server.principal import Principal
from rport.server.store import schema
from rport.server.tunnels.claim import claim
from rport.server.tunnels.listening import Offer
from rport.server.tunnels.pool import Hold, PortTaken
from rport.server.tunnels.rows import changing, row_of
from rport.server.tunnels.table import Table, closed, opened
from rport.server.tunnels.tunnel import Properties, Tunnel
from rport.session import CODE_FORBIDDEN

if TYPE_CHECKING:
    from rport.server.journal import Deed

UNSTABLE = "this client has no id by which it is known again: give it --id or --identity, or open it with stored: false"

GONE = "the client is gone; try again when it is back"


@dataclass(slots=True, eq=False)
class _Pending:
    """A port that is held, and what the client said; None = it is not there."""

    hold: Hold
    offer: Offer | None
    done: bool = False


class TunnelDeeds:
    """Each is one transaction with its audit entry."""

    def __init__(self, table: Table, clients: Changes, reopen: Callable[[Client], None]) -> None:
        self.reopen = reopen
        self.table = table
        self.clients = clients
        self.journal = table.journal

    # --- opening -------------------------------------------------------------------------------------------------

    async def open(
        self, who: Principal, client: Client, remote: Remote, properties: Properties, stored: bool
    ) -> Tunnel:
        """Raises PortTaken, PortUnavailable, TunnelExists, NotAllowed, ClientAway, ClientSilent, StoreFull,
        StoreUnavailable; behind each of them there is no tunnel."""
        id = opaque.new_id()
        details = _details(properties) | {"listen": remote.listen, "target": remote.target, "stored": stored}
        try:
            pending = await self._reserve(client, remote, id, stored)
        except ServerError as error:
            error = _named(error, who, client, self.table)
            self.journal.note(
                str(who), who.source, "tunnel.open", f"{client} tunnel {id}", str(error), client.id, **details
            )
            raise error from None
        tunnel = Tunnel(id, client.id, pending.hold, properties, stored, time.time(), str(who)[:64])
        try:
            async with self.journal.deed(who, "tunnel.open", str(tunnel), client.id, **details) as deed:
                self._check_there(client)
                deed.details["listen"] = tunnel.remote.listen
                if stored:
                    await self.clients.keep(deed, client)
                    await deed.db.execute(sa.insert(schema.tunnels), [row_of(tunnel)])
                if pending.offer is not None:
                    deed.tell("tunnel.opened", client.id, **opened(tunnel.hold, tunnel.created_by))
                deed.then(lambda: self._opened(client, tunnel, pending))
        except BaseException:
            if not pending.done:
                self._take_back(pending)
            raise
        if not stored and tunnel.live is None:
            raise ClientAway(GONE)
        return tunnel

    async def _reserve(self, client: Client, remote: Remote, id: str, stored: bool) -> _Pending:
        session = client.session
        if stored and not client.stable:
            raise ClientAway(UNSTABLE)
        if session is not None:
            offer = await session.tunnels.offer(remote, id)
            return _Pending(offer.hold, offer)
        if not stored:
            raise ClientAway(f"{client} is not connected; with stored: true it is opened once the client is back")

        def check(lhost: str, lport: int) -> None:
            if not client.acl.allow(lhost, lport):
                raise NotAllowed(f"listening on port {lport} there is not allowed for {client}")

        sock, hold = claim(self.table.pool, remote, client.id, id, check)
        sock.close()
        return _Pending(hold, None)

    def _check_there(self, client: Client) -> None:
        if self.table.inventory.get(client.id) is not client:
            raise ClientNotFound(f"{client} is there no more")

    def _opened(self, client: Client, tunnel: Tunnel, pending: _Pending) -> None:
        """It is in the store. The client may have gone meanwhile."""
        pending.done = True
        table = self.table
        table.put(tunnel)
        if pending.offer is not None:
            limits = tunnel.properties.limits
            tunnel.live = pending.offer.accept(limits, lambda reason, over: table.live_ended(tunnel, reason, over))
        if tunnel.live is not None:
            return
        if pending.offer is not None:
            table.tell_closed(tunnel.hold, GONE)
        if tunnel.stored:
            self.reopen(client)
        else:
            table.drop(tunnel, GONE)

    def _take_back(self, pending: _Pending) -> None:
        if pending.offer is not None:
            pending.offer.withdraw("the server could not save it")
        self.table.pool.release(pending.hold)

    # --- changing ------------------------------------------------------------------------------------------------

    async def change(self, who: Principal, tunnel: Tunnel, values: Mapping[str, Any]) -> None:
        """Fields of its properties or limits: at once, for open connections too.

        Raises TunnelNotFound, StoreFull, StoreUnavailable.
        """
        details = {name: list(map(str, value)) if name == "sources" else value for name, value in values.items()}
        async with self.journal.deed(who, "tunnel.change", str(tunnel), tunnel.client, **details) as deed:
            self._check_has(tunnel)
            properties = tunnel.properties.changed(values)
            if tunnel.stored:
                row = changing(properties, tunnel.remote)
                table = schema.tunnels
                await deed.db.execute(sa.update(table).where(table.c.id == tunnel.id).values(**row))
            deed.then(lambda: self._changed(tunnel, properties))

    def _changed(self, tunnel: Tunnel, properties: Properties) -> None:
        tunnel.properties = properties
        if self.table.has(tunnel):
            self.table.watch(tunnel)
            if tunnel.live is not None:
                tunnel.live.limit(properties.limits)

    def _check_has(self, tunnel: Tunnel) -> None:
        if not self.table.has(tunnel):
            raise TunnelNotFound(f"client {tunnel.client} has no tunnel {tunnel.id!r} any more")

    # --- closing -------------------------------------------------------------------------------------------------

    async def close(self, who: Principal, tunnel: Tunnel, reason: str) -> None:
        """Raises TunnelDeclared, TunnelNotFound, StoreFull, StoreUnavailable."""
        if tunnel.declared:
            raise TunnelDeclared("this tunnel is declared by the client: take it out of its command line or config")
        async with self.journal.deed(who, "tunnel.close", str(tunnel), tunnel.client, reason=reason) as deed:
            self._check_has(tunnel)
            await self._delete(deed, tunnel)
            deed.tell("tunnel.closed", tunnel.client, **closed(tunnel.hold, reason))
            deed.then(lambda: self.table.drop(tunnel, reason))

    async def _delete(self, deed: "Deed", tunnel: Tunnel) -> None:
        if tunnel.stored:
            await deed.db.execute(sa.delete(schema.tunnels).where(schema.tunnels.c.id == tunnel.id))

    async def cut(self, who: Principal, tunnel: Tunnel, connection: int) -> None:
        """One of its connections, at both ends. Raises ConnectionNotFound, StoreFull, StoreUnavailable."""
        visitor = self._visitor(tunnel, connection)
        subject = f"{tunnel} connection {connection}"
        async with self.journal.deed(who, "connection.close", subject, tunnel.client, visitor=visitor) as deed:
            self._visitor(tunnel, connection)
            deed.then(lambda: self._cut(tunnel, connection))

    def _visitor(self, tunnel: Tunnel, connection: int) -> str:
        live = tunnel.live
        for number, visitor, *_ in live.listener.connections() if live is not None else ():
            if number == connection:
                return visitor
        raise ConnectionNotFound(f"{tunnel} has no connection {connection}")

    def _cut(self, tunnel: Tunnel, connection: int) -> None:
        if tunnel.live is not None:
            tunnel.live.session.link.cut_stream(connection, CODE_FORBIDDEN)


def _named(error: ServerError, who: Principal, client: Client, table: Table) -> ServerError:
    """Whose the port is, for whoever may see that."""
    if isinstance(error, PortTaken):
        holder = table.inventory.get(error.hold.client)
        if holder is not None and who.sees(holder.tags):
            return PortUnavailable(f"port {error.port} is {error.hold.shown}")
    return error


def _details(properties: Properties) -> dict[str, Any]:
    """Those that are not as they are by themselves."""
    given = properties._asdict() | properties.limits._asdict()
    del given["limits"]
    given["sources"] = [str(network) for network in properties.limits.sources]
    return {name: value for name, value in given.items() if value}
