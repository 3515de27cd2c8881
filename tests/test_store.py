"""The store on real databases: SQLite files, full and read-only disks, a real PostgreSQL that comes and goes."""

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rport.errors import UsageError
from rport.server.store import Store, StoreFull, StoreUnavailable, engine, schema, whole
from rport.server.store.engine import url_of
from rport.server.store.migrate import migrate, revision, run_migrations
from tests.support.disks import small_disk
from tests.support.postgres import database_url, own_postgres

KINDS = ["sqlite", "postgresql"]
MIGRATIONS = Path(schema.__file__).with_name("migrations")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = Store(url_of(url, ""))
    try:
        await store.claim()
        await store.upgrade()
        yield store
    finally:
        await store.close()


def with_store(url: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with opened(url) as store:
            return await work(store)

    return asyncio.run(run())


async def put(store: Store, name: str, value: str = "x") -> None:
    async with store.write() as db:
        await db.execute(sa.insert(schema.facts).values(name=name, value=value))


async def names(store: Store) -> set[str]:
    async with store.read() as db:
        return set((await db.execute(sa.select(schema.facts.c.name))).scalars())


# --- which database --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "sqlite+aiosqlite:////state/rportd.db"),
        ("memory", "sqlite+aiosqlite:///%3Amemory%3A"),
        ("sqlite:////x.db", "sqlite+aiosqlite:////x.db"),
        ("postgres://me@h/d", "postgresql+asyncpg://me@h/d"),
        ("postgresql://me:secret@h:1/d", "postgresql+asyncpg://me:***@h:1/d"),
        ("postgresql+asyncpg://me:secret@h/d?sslmode=require", "postgresql+asyncpg://me:***@h/d?ssl=require"),
        ("postgresql://me@/d?host=a:1&host=b:2", "postgresql+asyncpg://me@/d?host=a%3A1&host=b%3A2"),
    ],
)
def test_urls(text: str | None, shown: str) -> None:
    assert str(url_of(text, "/state")) == shown


@pytest.mark.parametrize(
    "text",
    [
        "mysql://me:secret@h/d",
        "nonsense secret",
        "sqlite://",
        "sqlite://secret@h/x",
        "sqlite:////x?mode=secret",
        "postgresql+psycopg://a:secret@h",
        "postgresql://me:secret@h/d?connect_timeout=secret",
        "postgresql://me:secret@h:port/d",
        "postgresql://me:secret@h:99999/d",
        "postgresql://me:secret@/d?host=h&port=secret",
        "postgresql://me:secret@/d?host=a&host=secret",
    ],
)
def test_other_urls_are_refused_without_their_secrets(text: str) -> None:
    with pytest.raises(UsageError, match="--db: ") as caught:
        url_of(text, "")
    assert "secret" not in str(caught.value)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_migrations_make_what_the_schema_says(url: str) -> None:
    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    assert asyncio.run(made(url, lambda db: run_migrations(db, None), differences)) == []


def test_an_empty_database_gets_what_all_migrations_make(tmp_path: Path) -> None:
    def tables(db: sa.Connection) -> dict[str, set[str]]:
        """The parts of what made each: their order is another, and does not matter."""
        rows = db.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        return {name: {part.strip("( )\n\t") for part in re.split(r",\s(?![^()]*\),?\s)", sql)} for name, sql in rows}

    urls = [f"sqlite+aiosqlite:///{tmp_path}/{name}.db" for name in ("at-once", "by-steps")]
    at_once = asyncio.run(made(urls[0], migrate, tables))
    assert asyncio.run(made(urls[1], lambda db: run_migrations(db, None), tables)) == at_once
    assert at_once.keys() > {"alembic_version", "tokens", "ix_audit_at"}


async def made(url: str, make: Callable[[sa.Connection], Any], look: Callable[[sa.Connection], Any]) -> Any:
    """What is seen in an empty database behind that."""
    store = Store(url_of(url, ""))
    try:
        async with store.write() as db:
            await db.run_sync(make)
        async with store.read() as db:
            return await db.run_sync(look)
    finally:
        await store.close()


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


def test_an_upgrade_tells_from_where_and_is_done_once(url: str) -> None:
    async def upgrade() -> tuple[str | None, str]:
        store = Store(url_of(url, ""))
        try:
            return await store.upgrade()
        finally:
            await store.close()

    assert asyncio.run(upgrade()) == (None, schema.REVISION)
    assert asyncio.run(upgrade()) == (schema.REVISION, schema.REVISION)


def test_a_newer_database_is_refused(url: str) -> None:
    async def age(store: Store) -> None:
        async with store.write() as db:
            await db.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with_store(url, age)
    with pytest.raises(UsageError, match="revision 9999, which a newer rportd has made"):
        with_store(url, age)


def test_alembic_is_loaded_for_an_upgrade_alone(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom rport.server.store import Store\nfrom rport.server.store.engine import url_of\n"
        f"store = Store(url_of(None, {str(tmp_path)!r}))\nasyncio.run(store.upgrade())\nprint('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# --- transactions ----------------------------------------------------------------------------------------------------


def test_what_raises_is_not_saved(url: str) -> None:
    async def work(store: Store) -> set[str]:
        await put(store, "kept")
        with pytest.raises(KeyError):
            async with store.write() as db:
                await db.execute(sa.insert(schema.facts).values(name="lost", value=""))
                raise KeyError
        return await names(store)

    assert with_store(url, work) == {"kept"}


def test_writers_come_one_behind_the_other_and_memory_changes_in_their_order(url: str) -> None:
    async def work(store: Store) -> list[int]:
        order: list[int] = []

        async def add(i: int) -> None:
            async with store.write(lambda: order.append(i)) as db:
                count = (await db.execute(sa.select(sa.func.count()).select_from(schema.facts))).scalar()
                await asyncio.sleep(0)
                await db.execute(sa.insert(schema.facts).values(name=f"{count:03}", value=""))

        await asyncio.gather(*map(add, range(50)))
        assert await names(store) == {f"{i:03}" for i in range(50)}  # each saw what those before it had saved
        return order

    assert with_store(url, work) == list(range(50))


def test_readers_wait_for_no_writer(url: str) -> None:
    async def work(store: Store) -> None:
        async with store.write() as db:
            await db.execute(sa.insert(schema.facts).values(name="new", value=""))
            async with asyncio.timeout(10):
                assert await asyncio.gather(*(names(store) for _ in range(20))) == [set()] * 20
        assert await names(store) == {"new"}

    with_store(url, work)


def test_a_database_in_memory_ends_with_its_process() -> None:
    async def work(store: Store) -> set[str]:
        await put(store, "x")
        return await names(store)

    assert with_store("memory", work) == {"x"}
    assert with_store("memory", names) == set()


# --- whose it is -----------------------------------------------------------------------------------------------------


def test_a_second_server_is_refused(url: str) -> None:
    async def work(store: Store) -> None:
        with pytest.raises(UsageError, match="another rportd works with it: stop that one, or give each its own"):
            async with opened(url):
                pass

    with_store(url, work)
    with_store(url, names)  # free again


def test_the_files_are_private(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await put(store, "x")
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
        assert modes.keys() == {"rportd.db", "rportd.db-wal", "rportd.db-shm", "rportd.db.lock"}
        assert set(modes.values()) == {0o600}

    old = os.umask(0)
    try:
        with_store(f"sqlite+aiosqlite:///{tmp_path}/state/rportd.db", work)
    finally:
        os.umask(old)


@pytest.mark.parametrize("path", ["/proc/none/rportd.db", "/dev/null/rportd.db"])
def test_a_place_that_cannot_be_is_named(path: str) -> None:
    with pytest.raises(UsageError, match=f"the database {path}: "):
        with_store(f"sqlite+aiosqlite:///{path}", names)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rportd.db").write_text("something else entirely, and long enough to look at\n" * 100)
    with pytest.raises(UsageError, match="--db: the server's database cannot be used now: file is not a database"):
        with_store(f"sqlite+aiosqlite:///{tmp_path}/rportd.db", names)


# --- who is cancelled ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "memory"])
def test_memory_knows_what_is_saved_whenever_its_writer_is_cancelled(kind: str, tmp_path: Path) -> None:
    seen: set[str] = set()
    dice = random.Random(3)

    async def write(store: Store, name: str) -> None:
        async with store.write(lambda: seen.add(name)) as db:
            await db.execute(sa.insert(schema.facts).values(name=name, value="x"))
            await db.execute(sa.select(schema.facts))

    async def work(store: Store) -> None:
        began = time.perf_counter()
        for name in "ab":
            await write(store, name)
        usual = time.perf_counter() - began
        for i in range(60):
            task = asyncio.ensure_future(write(store, f"{i}"))
            await asyncio.sleep(dice.random() * usual)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled() or task.exception() is None
        assert not store.trouble
        assert await names(store) == seen
        await write(store, "c")

    with_store("memory" if kind == "memory" else database_url(kind, tmp_path), work)


def test_a_time_that_is_over_during_a_commit_is_told_behind_it() -> None:
    async def commit() -> None:
        await asyncio.sleep(0.2)
        done.append("saved")

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                cancelled = await whole.to_its_end(commit())
                assert cancelled is not None
                assert done == ["saved"]
                raise cancelled

    done: list[str] = []
    asyncio.run(work())
    assert done


def test_a_commit_that_hangs_holds_nobody_up_who_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "LEAVE", 0.1)

    async def work() -> None:
        async with asyncio.timeout(10):
            task = asyncio.ensure_future(whole.to_its_end(asyncio.sleep(3600)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

    asyncio.run(work())


def test_what_fails_behind_a_write_undoes_nothing(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(store: Store) -> None:
        async with store.write(lambda: [][1]) as db:
            await db.execute(sa.insert(schema.facts).values(name="a", value="x"))
        assert await names(store) == {"a"}
        assert not store.trouble

    with_store(url, work)
    assert "something was saved, and what follows from it failed" in caplog.text


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_saves_nothing_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:

        async def work(store: Store) -> None:
            await put(store, "before")
            disk.fill()
            with pytest.raises(StoreFull, match="the disk of the server's database is full; nothing was saved"):
                for i in range(100):  # the first ones may still fit into pages that are there
                    await put(store, f"during {i}", "x" * 5000)
            assert store.trouble
            kept = await names(store)
            assert "before" in kept
            disk.free()
            await put(store, "after")
            assert not store.trouble
            assert await names(store) == kept | {"after"}

        with_store(f"sqlite+aiosqlite:///{disk.path}/rportd.db", work)


def test_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "rportd.db"

        async def work(store: Store) -> None:
            await put(store, "before")

        with_store(f"sqlite+aiosqlite:///{path}", work)
        disk.remount("ro")
        with pytest.raises(UsageError, match="Read-only file system"):
            with_store(f"sqlite+aiosqlite:///{path}", names)
        disk.remount("rw")
        assert with_store(f"sqlite+aiosqlite:///{path}", names) == {"before"}


def test_a_burst_gives_its_room_back(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        async with store.write() as db:
            for i in range(2000):
                await db.execute(sa.insert(schema.facts).values(name=f"{i}", value="x" * 5000))
        assert (tmp_path / "rportd.db-wal").stat().st_size > 8 << 20
        await put(store, "one more")
        await put(store, "and one")
        assert (tmp_path / "rportd.db-wal").stat().st_size <= 4 << 20

    with_store(f"sqlite+aiosqlite:///{tmp_path}/rportd.db", work)


def test_postgresql_goes_away_and_comes_back() -> None:
    with own_postgres() as server:

        async def work(store: Store) -> None:
            await put(store, "before")
            server.stop(signal.SIGQUIT)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="the server's database"):
                    await put(store, "during")
            with pytest.raises(StoreUnavailable):
                await names(store)
            assert store.trouble
            server.start()
            await put(store, "after")
            assert await names(store) == {"before", "after"}
            assert not store.trouble

        with_store(server.database(), work)


def test_a_claim_outlives_a_restart_of_postgresql() -> None:
    with own_postgres() as server:
        url = server.database()

        async def work(store: Store) -> None:
            server.stop()
            server.start()
            await put(store, "after")  # by then it is known that the old connection has ended
            await put(store, "and again")
            with pytest.raises(UsageError, match="another rportd works with it"):
                async with opened(url):
                    pass

        with_store(url, work)


def test_a_claim_that_another_took_meanwhile_is_lost() -> None:
    with own_postgres() as server:
        url = server.database()

        async def work(store: Store) -> None:
            server.stop()
            server.start()
            async with opened(url) as other:
                with pytest.raises(StoreUnavailable, match="another rportd works with it"):
                    await put(store, "mine")
                await put(other, "its own")
            await put(store, "mine again")
            assert await names(store) == {"its own", "mine again"}

        with_store(url, work)


def test_postgresql_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--db: the server's database cannot be reached"):
        with_store(f"postgresql+asyncpg://me:secret@/x?host={tmp_path}", names)


def test_another_process_that_writes_is_waited_for(url: str, tmp_path: Path) -> None:
    """`rportd user add` beside a server."""

    async def work(store: Store) -> set[str]:
        other = Store(url_of(url, ""))
        try:
            await asyncio.gather(
                *(put(each, f"{name} {i}") for i in range(20) for name, each in (("a", store), ("b", other)))
            )
        finally:
            await other.close()
        async with store.read() as db:
            assert await db.run_sync(revision) == schema.REVISION
        return await names(store)

    assert len(with_store(url, work)) == 40


KILLED = """
import asyncio, sys
import sqlalchemy as sa
from rport.server.store import Store, schema
from rport.server.store.engine import url_of

async def main():
    store = Store(url_of(sys.argv[1], ""))
    await store.claim()
    await store.upgrade()
    async def write(who):
        for i in range(100000):
            async with store.write() as db:
                for part in "ab":
                    row = dict(name=f"{sys.argv[2]} {who} {i} {part}", value="x" * 500)
                    await db.execute(sa.insert(schema.facts).values(row))
            print(f"{sys.argv[2]} {who} {i}", flush=True)
    await asyncio.gather(*map(write, range(4)))

asyncio.run(main())
"""


def test_a_kill_loses_nothing_that_was_acknowledged(url: str) -> None:
    acknowledged: set[str] = set()
    for number in range(4):
        program = subprocess.Popen(
            [sys.executable, "-c", KILLED, url, str(number)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert program.stdout is not None
        for count, line in enumerate(program.stdout):
            acknowledged.add(line.strip())
            if count == 20 + number:
                program.kill()
        program.wait()
    found = with_store(url, names)
    assert {f"{name} {part}" for name in acknowledged for part in "ab"} <= found
    assert {name[:-2] + " a" for name in found} == {name[:-2] + " a" for name in found if name[:-2] + " b" in found}


# --- what is no PostgreSQL -------------------------------------------------------------------------------------------


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.close()


async def _talks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    writer.close()


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _is_full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    body = b"SFATAL\0C53300\0Msorry, too many clients already\0\0"
    writer.write(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
    writer.close()


async def _cuts_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(b"R\xff\xff\xff\xff\0\0")
    writer.close()


@pytest.mark.parametrize("ssl", ["disable", "require"])
@pytest.mark.parametrize("answer", [_hangs_up, _talks_http, _says_nothing, _is_full, _cuts_short])
def test_whatever_answers_there_is_one_line(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ssl: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT", 0.5)

    async def work() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            store = Store(url_of(f"postgresql+asyncpg://me:secret@127.0.0.1:{port}/x?ssl={ssl}", ""))
            try:
                with pytest.raises(StoreUnavailable) as raised:
                    await put(store, "a")
            finally:
                await store.close()
            return str(raised.value)

    text = asyncio.run(work())
    assert text.startswith("the server's database ")
    assert "\n" not in text
    assert "secret" not in text
