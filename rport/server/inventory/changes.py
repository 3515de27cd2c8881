"""What administrators do to clients and their credentials: in the store first, then in memory, then to the session."""

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from rport.errors import Refused
from rport.server import opaque
from rport.server.credentials import SECRET, Credential, Credentials
from rport.server.inventory.client import MANAGED, Client, ClientExists, ClientNotFound
from rport.server.inventory.inventory import CLIENTS_MAX, Inventory
from rport.server.inventory.records import Records
from rport.server.inventory.rows import row_of
from rport.server.inventory.start import CLOSED, set_fact
from rport.server.principal import Principal
from rport.server.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from rport.server.journal import Deed, Journal

REMOVED = "this client was removed from the server"


class Changes:
    """`review`: who may come in has changed, for all sessions."""

    def __init__(
        self,
        journal: "Journal",
        inventory: Inventory,
        credentials: Credentials,
        records: Records,
        review: "Callable[[], None]",
    ) -> None:
        self.journal = journal
        self.inventory = inventory
        self.credentials = credentials
        self.records = records
        self.review = review

    # --- clients -------------------------------------------------------------------------------------------------

    async def add(self, who: Principal, client: Client) -> None:
        """A managed one, which comes in by credentials that are still to be made. Raises ClientExists."""
        async with self.journal.deed(who, "client.add", str(client), client=client.id) as deed:
            self.check_free(client.id)
            await deed.db.execute(sa.insert(schema.clients), [row_of(client)])
            deed.then(lambda: self._added(client))

    def check_free(self, id: str) -> None:
        """Raises ClientExists, also where there is no room for any."""
        if self.inventory.get(id) is not None:
            raise ClientExists(f"there is a client {id} already")
        if self.inventory.full:
            raise ClientExists(f"the server knows {CLIENTS_MAX} clients already: remove some first")

    def _added(self, client: Client) -> None:
        client.saved = True
        self.inventory.put(client)

    def _check_there(self, client: Client) -> None:
        """Nobody has removed it meanwhile. Raises ClientNotFound."""
        if self.inventory.get(client.id) is not client:
            raise ClientNotFound(f"{client} is there no more")

    async def keep(self, deed: "Deed", client: Client) -> None:
        """The store has its row when the deed's next statement refers to it. For clients with an id of their own."""
        if not client.saved:
            await self.records.save(deed.db, client)
            deed.then(lambda: setattr(client, "saved", True))

    async def change(self, who: Principal, client: Client, values: dict[str, Any]) -> None:
        """`values` by field: name, tags, note, listen. What it may listen on counts at once, for tunnels too."""
        details = {name: list(value.texts) if name == "listen" and value else value for name, value in values.items()}
        async with self.journal.deed(who, "client.change", str(client), client=client.id, **details) as deed:
            self._check_there(client)
            await self.keep(deed, client)
            row = {name: list(value) if name == "tags" else value for name, value in details.items()}
            if "name" in values:
                row["named"] = bool(values["name"])
            await deed.db.execute(sa.update(schema.clients).where(schema.clients.c.id == client.id).values(**row))
            deed.then(lambda: self._changed(client, values))

    def _changed(self, client: Client, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(client, name, value)
        if "name" in values:
            client.named = bool(client.name)
        if "listen" in values and client.session is not None:
            client.session.review()

    async def remove(self, who: Principal, client: Client, why: str = "") -> None:
        """With all that hangs on it: credentials, tunnels, history; its session ends."""
        details = {"why": why} if why else {}
        async with self.journal.deed(who, "client.remove", str(client), client=client.id, **details) as deed:
            self._check_there(client)
            await deed.db.execute(sa.delete(schema.clients).where(schema.clients.c.id == client.id))
            deed.tell("client.removed", client.id)
            deed.then(lambda: self._removed(client))

    def _removed(self, client: Client) -> None:
        self.credentials.drop_all(client.id)
        session = client.session
        client.stable = False  # what is still to be told of it goes into no row
        self.inventory.remove(client)  # first: the end of its session would forget it, and nobody would be told
        if session is not None:
            session.expel(Refused("auth", REMOVED))
            self.inventory.disconnect(client, session, REMOVED)

    # --- credentials ---------------------------------------------------------------------------------------------

    async def add_credential(self, who: Principal, client: Client, public: bytes | None) -> tuple[Credential, str]:
        """A key, or a secret where none is given: the latter is told this once. Raises CredentialExists."""
        secret = opaque.new_secret(SECRET) if public is None else ""
        credential = made(client.id, public.hex() if public is not None else opaque.digest(secret), secret)
        subject = f"{client} credential {credential.id}"
        async with self.journal.deed(who, "credential.create", subject, client.id, kind=credential.kind) as deed:
            self._check_there(client)
            self.credentials.check_room(client, credential.value, who)
            await self.keep(deed, client)
            await self.insert(deed, credential)
        return credential, secret

    async def insert(self, deed: "Deed", credential: Credential) -> None:
        """In somebody's deed: the first one closes a server that was open to all."""
        await deed.db.execute(sa.insert(schema.credentials), [credential._asdict()])
        if not self.credentials.closed:
            await set_fact(deed.db, CLOSED, "1")
        deed.then(lambda: self._put(credential))

    def _put(self, credential: Credential) -> None:
        first = not self.credentials.closed
        self.credentials.put(credential)
        if first:
            self.review()

    async def rotate(
        self, who: Principal, client: Client, old: Credential, public: bytes | None
    ) -> tuple[Credential, str]:
        """Another secret, or this key, in its place; the session that came in by the old one ends. Raises
        CredentialNotFound and CredentialExists."""
        secret = opaque.new_secret(SECRET) if public is None else ""
        value = public.hex() if public is not None else opaque.digest(secret)
        subject = f"{client} credential {old.id}"
        async with self.journal.deed(who, "credential.create", subject, client.id, instead=True) as deed:
            self.credentials.require(client, old.id)
            self.credentials.check_key(client, value, who)
            new = old._replace(value=value, created=time.time())
            table = schema.credentials
            changed = sa.update(table).where(table.c.id == old.id)
            await deed.db.execute(changed.values(value=new.value, created=new.created))
            deed.then(lambda: self._replaced(client, new))
        return new, secret

    def _replaced(self, client: Client, new: Credential) -> None:
        self.credentials.put(new)
        self._review(client)

    async def revoke(self, who: Principal, client: Client, credential: Credential) -> None:
        """The session that came in by it ends. Raises CredentialNotFound."""
        subject = f"{client} credential {credential.id}"
        async with self.journal.deed(who, "credential.revoke", subject, client.id) as deed:
            self.credentials.require(client, credential.id)
            await deed.db.execute(sa.delete(schema.credentials).where(schema.credentials.c.id == credential.id))
            deed.then(lambda: self._revoked(client, credential))

    def _revoked(self, client: Client, credential: Credential) -> None:
        self.credentials.drop(credential)
        self._review(client)

    def _review(self, client: Client) -> None:
        if client.session is not None:
            client.session.review()


def made(client: str, value: str, secret: str = "") -> Credential:
    """A new one."""
    return Credential(opaque.new_id(), client, "secret" if secret else "key", value, time.time())


def managed(id: str, **fields: Any) -> Client:
    """A new client that comes in by credentials alone."""
    return Client(id=id, owner=MANAGED, created=time.time(), **fields)
