"""What is written behind clients, and what is kept of it: on each of the databases, and while they are in trouble."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from rport.facts import Facts
from rport.server.credentials import Credential, Credentials
from rport.server.inventory import Client, Inventory, records, upkeep
from rport.server.inventory.changes import Changes
from rport.server.inventory.history import history
from rport.server.inventory.identity import Shown
from rport.server.inventory.records import FLAPS_MAX, KEPT, Records
from rport.server.inventory.start import load
from rport.server.inventory.upkeep import Upkeep
from rport.server.journal import Journal
from rport.server.store import Store, StoreUnavailable, schema
from rport.server.store.engine import url_of
from tests.support.postgres import database_url


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


class Machines:
    """An inventory with a store behind it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.inventory = Inventory()
        self.credentials = Credentials(self.inventory)
        self.records = Records(store, self.inventory)
        self.journal = Journal(store)
        self.changes = Changes(self.journal, self.inventory, self.credentials, self.records, lambda: None)
        self.sessions = 0

    def come(self, id: str, **facts: Any) -> Client:
        client = self.inventory.identify(Shown("", None, id, "p"), None)
        self.sessions += 1
        entry = SimpleNamespace(id=f"{self.sessions:064x}")
        session: Any = SimpleNamespace(process="p", entry=entry, rtt=0.0, tags=lambda: {})
        self.inventory.connect(client, session, Facts(id=id, **facts), "0.1.0\0", "192.0.2.1:5", "")
        self.inventory.greet(client)
        return client

    def go(self, client: Client, why: str = "gone") -> None:
        assert client.session is not None
        self.inventory.disconnect(client, client.session, why)

    async def count(self, table: sa.Table, *where: Any) -> int:
        async with self.store.read() as connection:
            found = await connection.execute(sa.select(sa.func.count()).select_from(table).where(*where))
            return int(found.scalar_one())


@contextlib.asynccontextmanager
async def opened(db: str) -> AsyncIterator[Machines]:
    store = Store(url_of(db, ""))
    try:
        await store.upgrade()
        machines = Machines(store)
        await load(store, machines.journal, machines.inventory, machines.credentials)
        yield machines
    finally:
        await store.close()


def run(db: str, *bodies: Callable[[Machines], Awaitable[None]]) -> None:
    """Each with a server of its own, one after the other."""

    async def main() -> None:
        for body in bodies:
            async with asyncio.timeout(60), opened(db) as machines:
                await body(machines)

    asyncio.run(main())


def test_what_a_client_tells_comes_back(db: str) -> None:
    facts: dict[str, Any] = {"name": "Web \u2603", "tags": ("a", "b"), "os": "linux", "addresses": ("10.0.0.7",)}
    kept: list[Client] = []

    async def before(machines: Machines) -> None:
        client = machines.come("web-1", **facts)
        machines.go(client, "its link\0 broke")
        await machines.records.flush()
        kept.append(client)

    async def after(machines: Machines) -> None:
        client, old = machines.inventory.get("web-1"), kept[0]
        assert client is not None
        assert client.facts == old.facts == Facts(id="web-1", **facts)
        assert (client.version, client.address) == ("0.1.0?", "192.0.2.1:5")
        assert (client.first_seen, client.last_seen) == (old.first_seen, old.last_seen)
        (row,), _ = await history(machines.store, machines.records, client, 10, "")
        assert row["reason"] == "its link\N{REPLACEMENT CHARACTER} broke"

    run(db, before, after)


def test_who_has_no_id_leaves_no_row(db: str) -> None:
    async def body(machines: Machines) -> None:
        machines.go(machines.come(""))
        await machines.records.flush()
        assert await machines.count(schema.clients) == await machines.count(schema.connections) == 0

    run(db, body)


def test_a_client_that_flaps_costs_little(db: str) -> None:
    async def body(machines: Machines) -> None:
        writes = 0
        real = machines.store.write

        def write(*arguments: Any) -> Any:
            nonlocal writes
            writes += 1
            return real(*arguments)

        machines.store.write = write  # type: ignore[method-assign]
        for _ in range(40):
            for _ in range(20):
                machines.go(machines.come("web-1"))
            await machines.records.flush()
        assert writes <= 80
        assert machines.records.lost == 40 * (20 - FLAPS_MAX)
        assert await machines.count(schema.connections) <= KEPT + records.PRUNE_AFTER
        client = machines.inventory.get("web-1")
        assert client is not None
        rows, rest = await history(machines.store, machines.records, client, 1000, "")
        assert rows[0]["session"] == f"{machines.sessions:064x}"
        assert all(row["until"] is not None for row in rows)
        assert rest is None
        await Upkeep(machines.store, machines.inventory, machines.changes, lambda: 0.0).sweep()
        assert await machines.count(schema.connections) == KEPT

    run(db, body)


def test_pages_of_a_history(db: str) -> None:
    async def body(machines: Machines) -> None:
        for _ in range(7):
            client = machines.come("web-1")
            machines.go(client)
        rows, cursor = await history(machines.store, machines.records, client, 3, "")
        seen = [row["session"] for row in rows]
        while cursor is not None:
            rows, cursor = await history(machines.store, machines.records, client, 3, cursor)
            seen += [row["session"] for row in rows]
        assert seen == [f"{number:064x}" for number in range(7, 0, -1)]

    run(db, body)


def test_a_connection_that_ends_while_it_is_written(db: str) -> None:
    async def body(machines: Machines) -> None:
        client = machines.come("web-1")
        writing = asyncio.ensure_future(machines.records.flush())
        while not machines.store._writing.locked():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        machines.go(client, "meanwhile")
        await writing
        (row,), _ = await history(machines.store, machines.records, client, 10, "")
        assert (row["reason"], row["until"]) == ("meanwhile", client.last_seen)

    run(db, body)


def test_trouble_loses_nothing_that_fits(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(machines: Machines) -> None:
        real = records._write_clients

        async def fail(*arguments: Any) -> None:
            await real(*arguments)
            raise StoreUnavailable("away")

        monkeypatch.setattr(records, "_write_clients", fail)
        clients = [machines.come(f"web-{number}") for number in range(3)]
        machines.go(clients[0])
        with pytest.raises(StoreUnavailable):
            await machines.records.flush()
        assert await machines.count(schema.clients) == 0
        monkeypatch.setattr(records, "_write_clients", real)
        machines.go(clients[1])
        await machines.records.flush()
        assert await machines.count(schema.clients) == 3
        assert await machines.count(schema.connections) == 3
        assert await machines.count(schema.connections, schema.connections.c.until.is_(None)) == 1

    run(db, body)


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "WAITING_MAX", 50)

    async def body(machines: Machines) -> None:
        for number in range(200):
            machines.go(machines.come(f"web-{number}"))
        assert len(machines.records._new) == 50
        await machines.records.flush()
        assert await machines.count(schema.clients) == 200
        assert await machines.count(schema.connections) == 50

    run(database_url("sqlite", tmp_path), body)


def test_a_fleet_that_comes_at_once_is_written_in_parts(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BATCH", 7)

    async def body(machines: Machines) -> None:
        for number in range(50):
            client = machines.come(f"web-{number}")
            if number % 2:
                machines.go(client)
        await machines.records.flush()
        assert await machines.count(schema.clients) == await machines.count(schema.connections) == 50

    run(db, body)


def test_who_was_removed_is_not_written_again(db: str) -> None:
    async def body(machines: Machines) -> None:
        kept = machines.come("web-1")
        gone = machines.come("web-2")
        gone.session.expel = lambda error: None  # type: ignore[union-attr, method-assign]
        await machines.changes.remove(upkeep.SELF, gone)
        await machines.records.flush()
        assert await machines.count(schema.clients) == await machines.count(schema.connections) == 1
        assert [*machines.inventory] == [kept]
        assert await machines.count(schema.audit, schema.audit.c.actor == "rportd") == 1

    run(db, body)


def test_offline_clients_age(db: str) -> None:
    async def body(machines: Machines) -> None:
        old, recent, connected, managed, keyed = (
            machines.come(f"web-{name}") for name in ("old", "recent", "connected", "managed", "keyed")
        )
        for client in (old, recent, managed, keyed):
            machines.go(client)
        managed.owner = "managed"
        machines.credentials.put(Credential("a", keyed.id, "key", "00", 0.0))
        for client in (old, connected, managed, keyed):
            client.last_seen = time.time() - 100
        keep = 0.0
        tending = Upkeep(machines.store, machines.inventory, machines.changes, lambda: keep)
        await tending.sweep()
        assert len(machines.inventory) == 5  # 0 = for ever
        keep = 60.0
        await tending.sweep()
        assert {client.id for client in machines.inventory} == {
            client.id for client in (recent, connected, managed, keyed)
        }
        assert await machines.count(schema.events, schema.events.c.type == "client.removed") == 1

    run(db, body)


def test_a_killed_servers_sessions_end_when_it_was_last_there(db: str) -> None:
    async def before(machines: Machines) -> None:
        for name in ("old", "new"):
            machines.come(f"web-{name}").since = 1000.0 if name == "old" else 3000.0
        for row in machines.records._new.values():
            row["since"] = 1000.0 if row["client"] == "web-old" else 3000.0
        await machines.records.flush()
        async with machines.store.write() as connection:
            await connection.execute(sa.insert(schema.facts).values(name="alive", value="2000.5"))

    async def after(machines: Machines) -> None:
        for name, until in (("old", 2000.5), ("new", 3000.0)):
            client = machines.inventory.get(f"web-{name}")
            assert client is not None
            assert client.last_seen == until
            (row,), _ = await history(machines.store, machines.records, client, 10, "")
            assert (row["until"], row["reason"]) == (until, "the server was restarted")
        assert await machines.count(schema.events, schema.events.c.type == "client.disconnected") == 2

    async def once_more(machines: Machines) -> None:
        assert await machines.count(schema.events) == 2  # told once

    run(db, before, after, once_more)
