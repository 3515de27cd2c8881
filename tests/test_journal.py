"""The journal on real databases: what is told, noted and done, in order, through trouble, kills and ends."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rport.server import backlog, retention, trouble
from rport.server.errors import ServerError
from rport.server.event import UNSAVED, Event
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.retention import BATCH, Retention
from rport.server.settings import Settings
from rport.server.store import StoreFull, StoreUnavailable, schema
from tests.support.disks import small_disk
from tests.support.postgres import database_url, own_postgres
from tests.support.served import a_journal

ME = Principal("me", "admin", "user", source="192.0.2.1")
PATIENCE = 20.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


def with_journal(url: str, work: Callable[[Journal], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with a_journal(url) as journal:
            return await work(journal)

    return asyncio.run(run())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def heard(journal: Journal) -> list[Event]:
    events: list[Event] = []
    journal.subscribers.append(events.extend)
    return events


async def rows(journal: Journal, table: sa.Table) -> list[dict[str, Any]]:
    async with journal.store.read() as db:
        return [dict(row) for row in (await db.execute(sa.select(table).order_by(table.c.id))).mappings()]


# --- events and entries ----------------------------------------------------------------------------------------------


def test_what_is_told_is_saved_then_published_in_order(url: str) -> None:
    async def work(journal: Journal) -> None:
        events = heard(journal)
        before = time.time()
        for i in range(1200):
            journal.tell("client.connected", f"c{i}", session=str(i))
        await until(lambda: len(events) == 1200)
        assert [event.client for event in events] == [f"c{i}" for i in range(1200)]
        assert [event.id for event in events] == sorted({event.id for event in events})
        assert before <= events[0].at <= time.time()
        saved = await rows(journal, schema.events)
        assert [(row["id"], row["client"], row["data"]) for row in saved] == [
            (event.id, event.client, event.data) for event in events
        ]
        assert (journal.waiting, journal.lost, journal.newest) == (0, 0, events[-1].id)
        assert journal.told == {"client.connected": 1200}

    with_journal(url, work)


def test_numbers_rise_over_restarts(url: str) -> None:
    async def work(journal: Journal) -> list[int]:
        before, events = journal.newest, heard(journal)
        journal.tell("client.connected", "c")
        await until(lambda: events)
        async with journal.store.write() as db:
            await db.execute(sa.delete(schema.events))  # the newest number is not used again, all the same
        return [before, events[0].id]

    first, second = with_journal(url, work), with_journal(url, work)
    assert first[0] == 0
    assert second[1] > first[1]


def test_an_event_is_one_line_of_json() -> None:
    event = Event(7, 1769860800.25, "tunnel.opened", "web-1", {"lport": 2222, "target": "a\nb\u00e9"})
    assert json.loads(event.json) == {
        "id": 7,
        "at": "2026-01-31T12:00:00.250000Z",
        "type": "tunnel.opened",
        "client": "web-1",
        "data": {"lport": 2222, "target": "a\nb\u00e9"},
    }
    assert "\n" not in event.json


def test_a_deed_is_an_entry_its_events_and_what_changes_in_memory(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(journal: Journal) -> None:
        events, order = heard(journal), list[str]()
        journal.subscribers.append(lambda batch: order.append("published"))
        with caplog.at_level(logging.INFO, "rport"):
            async with journal.deed(ME, "tunnel.open", "client web-1 tunnel 3f", "web-1", lport=2222) as deed:
                await deed.db.execute(sa.insert(schema.facts).values(name="x", value="y"))
                deed.tell("tunnel.opened", "web-1", lport=2222)
                deed.details["more"] = ["z"]
                deed.then(lambda: order.append("then"))
        assert order == ["then", "published"]
        assert [(event.type, event.client, event.data) for event in events] == [
            ("tunnel.opened", "web-1", {"lport": 2222})
        ]
        (entry,) = await rows(journal, schema.audit)
        assert entry["details"] == {"lport": 2222, "more": ["z"]}
        shown = {name: entry[name] for name in ("actor", "source", "action", "subject", "client", "result")}
        assert list(shown.values()) == [
            "user me",
            "192.0.2.1",
            "tunnel.open",
            "client web-1 tunnel 3f",
            "web-1",
            "ok",
        ]
        (record,) = [record for record in caplog.records if hasattr(record, "audit")]
        assert (record.levelname, record.getMessage()) == (
            "INFO",
            "audit: user me from 192.0.2.1: tunnel.open client web-1 tunnel 3f: ok",
        )
        assert record.audit == shown | {"details": entry["details"]}

    with_journal(url, work)


def test_what_is_refused_in_a_deed_is_undone_and_its_result(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(journal: Journal) -> None:
        events, called = heard(journal), list[int]()
        with caplog.at_level(logging.INFO, "rport"), pytest.raises(ServerError, match="port 22 is taken"):
            async with journal.deed(ME, "tunnel.open", "client web-1", "web-1", lport=22) as deed:
                await deed.db.execute(sa.insert(schema.facts).values(name="x", value="y"))
                deed.tell("tunnel.opened", "web-1")
                deed.then(lambda: called.append(1))
                raise ServerError("port 22 is taken")
        await until(lambda: not journal.waiting)
        assert (events, called, await rows(journal, schema.events)) == ([], [], [])
        (entry,) = await rows(journal, schema.audit)
        assert (entry["result"], entry["details"]) == ("port 22 is taken", {"lport": 22})
        assert [record.getMessage() for record in caplog.records if hasattr(record, "audit")] == [
            "audit: user me from 192.0.2.1: tunnel.open client web-1: port 22 is taken"
        ]
        async with journal.store.read() as db:
            assert (await db.execute(sa.select(schema.facts))).all() == []

    with_journal(url, work)


def test_whatever_follows_from_it_fails_it_is_saved_once_and_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(journal: Journal) -> None:
        def fails(events: list[Event]) -> None:
            raise StoreUnavailable("not at all")

        journal.subscribers.append(fails)
        events = heard(journal)
        called: list[str] = []
        async with journal.deed(ME, "tunnel.open", "client c") as deed:
            deed.then(lambda: fails([]))
            deed.then(lambda: called.append("the next one"))
            deed.tell("tunnel.opened", "c")
        assert called == ["the next one"]
        journal.tell("client.connected", "d")
        await until(lambda: len(events) == 2)
        await until(lambda: not journal.waiting)
        assert [row["client"] for row in await rows(journal, schema.events)] == ["c", "d"]
        assert [row["result"] for row in await rows(journal, schema.audit)] == ["ok"]

    with_journal(url, work)
    assert caplog.text.count("something was saved, and what follows from it failed") == 3


@pytest.mark.parametrize("text", ["x" * 100_000, "a\0b", "\ud800", "\U0001f600" * 400, "\u202e"])
def test_whatever_peers_are_called_is_saved(url: str, text: str) -> None:
    async def work(journal: Journal) -> None:
        events = heard(journal)
        journal.tell("client.connected", text, version=text, many=[text] * 1000, deep={"a": {"b": {"c": {"d": text}}}})
        journal.note(text, text, "login", text, text, text, user=text, odd=object())
        await until(lambda: events and not journal.waiting)
        assert len(events[0].json) < 30_000 * 4
        assert len(await rows(journal, schema.audit)) == 1
        assert journal.lost == 0

    with_journal(url, work)


def test_a_row_that_the_database_does_not_take_keeps_back_no_other(url: str) -> None:
    async def work(journal: Journal) -> None:
        events = heard(journal)
        journal.tell("before")
        journal._backlog.put((schema.events, {"at": None, "type": "bad", "client": None, "data": {}}))
        journal.tell("behind")
        await until(lambda: len(events) == 2)
        assert [event.type for event in events] == ["before", "behind"]
        assert journal.lost == 1

    with_journal(url, work)


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_at_once_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "SETTLED", 0.3)
    monkeypatch.setattr(backlog, "RETRY", 0.05)
    with small_disk(tmp_path / "disk") as disk:

        async def work(journal: Journal) -> None:
            events = heard(journal)
            disk.fill()
            for turn in range(4):
                with contextlib.suppress(StoreFull):
                    async with journal.deed(ME, "user.add", "user x") as deed:
                        for i in range(50):
                            row = {"name": f"{turn} {i}", "value": "x" * 5000}
                            await deed.db.execute(sa.insert(schema.facts).values(row))
            assert [(event.id, event.type) for event in events] == [(UNSAVED, "store.trouble")]
            journal.tell("client.connected", "c")
            disk.free()
            await until(lambda: events[-1].type == "store.recovered")
            assert [event.type for event in events[1:]] == ["store.trouble", "client.connected", "store.recovered"]
            assert all(event.id for event in events[1:])
            assert events[1].data == events[0].data
            assert "disk" in events[1].data["error"]
            assert [row["type"] for row in await rows(journal, schema.events)] == [event.type for event in events[1:]]

        with caplog.at_level(logging.INFO, "rport"):
            with_journal(f"sqlite+aiosqlite:///{disk.path}/rportd.db", work)
    lines = [
        record.getMessage() for record in caplog.records if record.name == "rport" and not hasattr(record, "audit")
    ]
    assert [line for line in lines if "database" in line] == [
        "the disk of the server's database is full; nothing was saved; tunnels go on, and what happens meanwhile is "
        "written later",
        "The server's database can be written again",
    ]


def test_what_happens_while_postgresql_is_away_is_saved_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "RETRY", 0.05)
    with own_postgres() as server:

        async def work(journal: Journal) -> None:
            events = heard(journal)
            journal.tell("client.connected", "c0")
            await until(lambda: events)
            server.stop(signal.SIGQUIT)
            for i in range(1, 700):
                journal.tell("client.connected", f"c{i}")
            await until(lambda: any(event.id == UNSAVED for event in events))
            with pytest.raises(StoreUnavailable):
                async with journal.deed(ME, "user.add", "user x"):
                    pass
            server.start()
            await until(lambda: len(events) >= 702)
            clients = [event.client for event in events if event.type == "client.connected"]
            assert clients == [f"c{i}" for i in range(700)]
            await until(lambda: not journal.waiting)
            (entry,) = await rows(journal, schema.audit)
            assert entry["result"].startswith("the server's database")

        with_journal(server.database(), work)


def test_the_backlog_is_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "RETRY", 0.01)

    async def work() -> None:
        written: list[int] = []
        away = True

        async def write(batch: list[int]) -> None:
            await asyncio.sleep(0)
            if away:
                raise StoreUnavailable("away")
            written.extend(batch)

        queue = backlog.Backlog[int](write)
        queue.start()
        for i in range(backlog.WAITING_MAX + 1000):
            queue.put(i)
            if not i % 100:
                await asyncio.sleep(0)  # batches are out of the queue now and then, and must come back to their place
        assert queue.lost >= 1000 - backlog.BATCH
        away = False
        await queue.close()
        assert written == list(range(backlog.WAITING_MAX + 1000))[queue.lost :]

    asyncio.run(work())


def test_a_close_without_a_database_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async def write(batch: list[int]) -> None:
            raise StoreUnavailable("away")

        queue = backlog.Backlog[int](write)
        queue.start()
        queue.put(1)
        async with asyncio.timeout(PATIENCE):
            await queue.close()

    asyncio.run(work())
    assert "1 audit entries and events could not be saved" in caplog.text


def test_a_close_that_is_given_up_says_how_much_waits() -> None:
    async def work() -> None:
        async def write(batch: list[int]) -> None:
            await asyncio.sleep(3600)

        queue = backlog.Backlog[int](write)
        queue.start()
        for i in range(3):
            queue.put(i)
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await queue.close()
        assert len(queue) == 3

    asyncio.run(work())


def test_a_close_saves_what_waits(url: str) -> None:
    async def tell(journal: Journal) -> None:
        for i in range(1500):
            journal.tell("client.connected", f"c{i}")

    with_journal(url, tell)
    saved = with_journal(url, lambda journal: rows(journal, schema.events))
    assert [row["client"] for row in saved] == [f"c{i}" for i in range(1500)]


KILLED = """
import asyncio, sys
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.store import Store
from rport.server.store.engine import url_of

async def main():
    store = Store(url_of(sys.argv[1], ""))
    journal = Journal(store)
    await store.claim()
    await store.upgrade()
    await journal.start()
    journal.subscribers.append(lambda events: [print("event", e.id, e.client, flush=True) for e in events])
    async def act(who):
        for i in range(100000):
            async with journal.deed(Principal("me", "admin"), "client.change", f"client {who}-{i}") as deed:
                deed.tell("client.removed", f"{who}-{i}")
            print("deed", f"{who}-{i}", flush=True)
            journal.tell("client.connected", f"told-{who}-{i}")
    await asyncio.gather(*map(act, range(3)))

asyncio.run(main())
"""


def test_a_kill_loses_no_deed_and_no_event_that_was_published(url: str) -> None:
    published: dict[int, str] = {}
    done: set[str] = set()
    for number in range(3):
        argv = [sys.executable, "-c", KILLED, url]
        program = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert program.stdout is not None
        for count, line in enumerate(program.stdout):
            kind, *rest = line.split()
            if kind == "deed" and rest:
                done.add(f"{number} {rest[0]}")
            elif len(rest) == 2:
                assert int(rest[0]) not in published
                published[int(rest[0])] = rest[1]
            if count == 60 + number:
                os.kill(program.pid, signal.SIGKILL)
        program.wait()

    async def look(journal: Journal) -> None:
        saved = {row["id"]: row["client"] for row in await rows(journal, schema.events)}
        assert published.items() <= saved.items()
        entries = [row["subject"] for row in await rows(journal, schema.audit)]
        for name in done:
            assert f"client {name.partition(' ')[2]}" in entries
        removed = [client for client in saved.values() if not client.startswith("told")]
        assert sorted(f"client {client}" for client in removed) == sorted(entries)  # both, or none

    with_journal(url, look)


# --- what is forgotten -----------------------------------------------------------------------------------------------


def test_what_is_older_than_it_is_kept_goes(url: str) -> None:
    async def work(journal: Journal) -> None:
        now = 1_000_000_000.0
        settings = Settings("", keep_audit=1000.0, keep_events=10.0)
        entry = {"actor": "a", "source": "", "action": "x", "subject": "", "result": "ok", "details": {}}
        async with journal.store.write() as db:
            for age in (5000, 500, 5):
                many = [{"at": now - age, "type": "x", "data": {}}] * (BATCH + 7)
                await db.execute(sa.insert(schema.events), many)
                await db.execute(sa.insert(schema.audit), [entry | {"at": now - age}] * 3)
        await Retention(journal.store, lambda: settings).forget(now)
        *others, newest = await rows(journal, schema.events)
        assert [row["at"] for row in others] == [now - 5] * (BATCH + 6)
        assert [row["at"] for row in await rows(journal, schema.audit)] == [now - 500] * 3 + [now - 5] * 3
        await Retention(journal.store, lambda: settings._replace(keep_audit=0.0)).forget(now * 2)
        assert len(await rows(journal, schema.audit)) == 6
        assert [row["id"] for row in await rows(journal, schema.events)] == [newest["id"]]

    with_journal(url, work)


def test_there_are_only_so_many_events(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVENTS_MAX", 50)

    async def work(journal: Journal) -> None:
        settings = Settings("", keep_audit=0.0, keep_events=0.0)
        entry = {"actor": "a", "source": "", "action": "x", "subject": "", "result": "ok", "details": {}, "at": 1.0}
        async with journal.store.write() as db:
            await db.execute(sa.insert(schema.events), [{"at": 1.0, "type": "x", "data": {}}] * (BATCH + 70))
            await db.execute(sa.insert(schema.audit), [entry] * 70)
        last = (await rows(journal, schema.events))[-1]["id"]
        await Retention(journal.store, lambda: settings).forget(2.0)
        assert [row["id"] for row in await rows(journal, schema.events)] == [*range(last - 49, last + 1)]
        assert len(await rows(journal, schema.audit)) == 70  # nobody washes out what he did

    with_journal(url, work)
