"""`rportd db` on real databases: what it saves it can put back, and what is no copy changes nothing."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rport.server.store import Store, schema
from rport.server.store.commands import db_command
from rport.server.store.engine import url_of
from tests.support import warm
from tests.support.disks import small_disk
from tests.support.postgres import database_url, own_postgres, postgres

KINDS = ["sqlite", "postgresql"]
REVISION = schema.REVISION
Db = Callable[..., tuple[int, str]]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RPORT_CONFIG", "none")
    monkeypatch.setenv("RPORT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("RPORT_DB", raising=False)


@pytest.fixture
def db(capsys: pytest.CaptureFixture[str]) -> Db:
    """The exit code and all that was printed, by the command in this process."""

    def run(*argv: str) -> tuple[int, str]:
        try:
            code = db_command(argv)
        except SystemExit as end:
            code = int(str(end.code))
        shown = capsys.readouterr()
        assert (shown.err == "") or (code == 1 and shown.err.count("\n") == 1), "one line, or a traceback?"
        return code, shown.out + shown.err

    return run


def process(*argv: str, **env: str) -> tuple[int, str]:
    """The same of a process of its own."""
    done = warm.Process("rport.server", ("db", *argv), os.environ | env)
    with done.stdout:
        shown = done.stdout.read()
    return done.wait(), shown


def with_store(url: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = Store(url_of(url, ""))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def put(url: str, *names: str) -> None:
    """Rows of `facts`, in a database that has all tables."""

    async def work(store: Store) -> None:
        await store.upgrade()
        async with store.write() as db:
            for name in names:
                await db.execute(sa.insert(schema.facts).values(name=name, value="x"))

    with_store(url, work)


def run_sql(url: str, *statements: str) -> None:
    async def work(store: Store) -> None:
        async with store.write() as db:
            for statement in statements:
                await db.execute(sa.text(statement))

    with_store(url, work)


def rows(url: str, table: sa.Table = schema.facts) -> list[tuple[Any, ...]]:
    async def work(store: Store) -> list[tuple[Any, ...]]:
        async with store.read() as db:
            return [tuple(row) for row in await db.execute(sa.select(table).order_by(*table.primary_key))]

    return list(with_store(url, work))


def names(url: str) -> set[str]:
    return {row[0] for row in rows(url)}


@pytest.fixture
def saved(url: str, tmp_path: Path, db: Db) -> Path:
    """A copy of the database at `url`, in which "kept" stands."""
    put(url, "kept")
    file = tmp_path / "saved"
    assert db("backup", str(file), "--db", url)[0] == 0
    return file


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [("repair",), ("backup",), ("restore",), ("backup", ""), ("check", "file"), ("upgrade", "file"), ("Check",)],
    ids=" ".join,
)
def test_wrong_words(db: Db, argv: tuple[str, ...]) -> None:
    expected = "rportd db: give upgrade, backup FILE, restore FILE or check; see rportd db --help\n"
    assert db(*argv) == (1, expected)


@pytest.mark.parametrize("argv", [(), ("check", "--nonsense"), ("backup", "a", "b"), ("check", "--db")], ids=" ".join)
def test_wrong_options_are_one_line(db: Db, argv: tuple[str, ...]) -> None:
    code, out = db(*argv)
    assert code == 1
    assert out.startswith("rportd db: ")


def test_help_names_every_verb_and_where_the_database_is() -> None:
    code, out = process("--help")
    assert code == 0
    assert all(word in out for word in ("upgrade", "backup FILE", "restore FILE", "check", "--state-dir", "--config"))


@pytest.mark.parametrize("verb", [("check",), ("backup", "x"), ("restore", "x"), ("upgrade",)], ids=lambda v: v[0])
def test_a_database_in_memory_has_nothing_to_look_after(db: Db, verb: tuple[str, ...]) -> None:
    code, out = db(*verb, "--db", "memory")
    assert code == 1
    assert "--db memory: that database is gone when rportd ends" in out


@pytest.mark.parametrize("verb", [("check",), ("backup", "x")], ids=lambda v: v[0])
def test_no_database_yet(db: Db, verb: tuple[str, ...], tmp_path: Path) -> None:
    assert db(*verb) == (
        1,
        f"rportd db: there is no database at {tmp_path}/state/rportd.db; rportd makes one at its first start\n",
    )
    assert not (tmp_path / "state").exists(), "looking makes nothing"


def test_the_database_is_the_one_that_rportd_would_use(tmp_path: Path) -> None:
    """By --state-dir, --db, RPORT_DB, @FILE and the configuration file."""

    def made(where: str) -> str:
        path = tmp_path / where
        put(f"sqlite+aiosqlite:///{path}", where)
        return f"sqlite+aiosqlite:///{path}"

    (tmp_path / "d").mkdir()
    put(f"sqlite+aiosqlite:///{tmp_path}/d/rportd.db", "d")
    (tmp_path / "url").write_text(made("a") + "\n")
    (tmp_path / "rportd.toml").write_text(f'db = "{made("b")}"\n')
    (tmp_path / "rportd.toml").chmod(0o600)
    found = f"sound, at revision {REVISION}\n"
    assert process("check", "--state-dir", str(tmp_path / "d")) == (0, found)
    assert process("check", RPORT_STATE_DIR=str(tmp_path / "d")) == (0, found)
    assert process("check", RPORT_DB=made("c")) == (0, found)
    for words, name in ((("--db", f"@{tmp_path}/url"), "a"), (("--config", f"{tmp_path}/rportd.toml"), "b")):
        file = tmp_path / f"copy-{name}"
        code, out = process("backup", str(file), *words)
        assert code == 0, out
        assert names(f"sqlite+aiosqlite:///{file}") == {name}


# --- upgrade ---------------------------------------------------------------------------------------------------------


def test_upgrade_makes_the_tables_once(db: Db, url: str) -> None:
    assert db("upgrade", "--db", url) == (0, f"upgraded from none to {REVISION}\n")
    assert db("upgrade", "--db", url) == (0, f"is at revision {REVISION} already\n")
    assert db("check", "--db", url) == (0, f"sound, at revision {REVISION}\n")


def test_an_upgrade_waits_for_the_server_to_stop(db: Db, url: str) -> None:
    async def work(store: Store) -> tuple[int, str]:
        await store.claim()
        return await asyncio.to_thread(db, "upgrade", "--db", url)

    code, out = with_store(url, work)
    assert code == 1
    assert "another rportd works with it: stop that one" in out


# --- backup and restore ----------------------------------------------------------------------------------------------


def test_a_copy_is_put_back_as_it_was(db: Db, url: str, saved: Path) -> None:
    put(url, "later")
    assert db("restore", str(saved), "--db", url) == (
        0,
        f"the database is what was saved in {saved}, at revision {REVISION}\n",
    )
    assert names(url) == {"kept"}
    assert db("check", "--db", url)[0] == 0
    put(url, "after")  # and is worked with


def test_a_copy_is_private_and_alone(saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    assert not [path.name for path in saved.parent.iterdir() if path.name.startswith("saved") and path != saved]


def test_a_copy_goes_into_an_empty_place(db: Db, url: str, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = database_url("sqlite" if url.startswith("sqlite") else "postgresql", tmp_path / "other")
    assert db("restore", str(saved), "--db", other)[0] == 0
    assert names(other) == {"kept"}
    if other.startswith("sqlite"):
        assert (tmp_path / "other/rportd.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_stands_in_the_audit_log(url: str, saved: Path) -> None:
    assert [(row.action, row.subject) for row in _audit(url)] == [("store.backup", str(saved))]


def _audit(url: str) -> list[Any]:
    async def work(store: Store) -> list[Any]:
        async with store.read() as db:
            return list(await db.execute(sa.select(schema.audit)))

    return list(with_store(url, work))


def test_nothing_is_overwritten(db: Db, url: str, saved: Path) -> None:
    before = saved.read_bytes()
    assert db("backup", str(saved), "--db", url) == (1, f"rportd db: {saved} is there already; name a new file\n")
    assert saved.read_bytes() == before


def test_a_place_where_nothing_can_be_written(db: Db, url: str) -> None:
    put(url, "kept")
    code, out = db("backup", "/nowhere/at/all", "--db", url)
    assert (code, out) == (1, "rportd db: /nowhere/at/all cannot be written: No such file or directory\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_no_half_copy(db: Db, tmp_path: Path, kind: str) -> None:
    url = database_url(kind, tmp_path)
    put(url, "kept")
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        code, out = db("backup", str(disk.path / "copy"), "--db", url)
        assert code == 1, out
        assert [path.name for path in disk.path.iterdir()] == ["filler"]


def test_a_restore_on_a_full_disk_changes_nothing(db: Db, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite+aiosqlite:///{disk.path}/rportd.db"
        put(url, "kept")
        assert db("backup", str(tmp_path / "copy"), "--db", url)[0] == 0
        put(url, "later")
        disk.fill()
        code, out = db("restore", str(tmp_path / "copy"), "--db", url)
        assert code == 1
        assert "cannot be copied" in out
        disk.free()
        assert names(url) == {"kept", "later"}
        assert "restoring" not in " ".join(os.listdir(disk.path))


def test_a_restore_is_refused_while_a_server_works(db: Db, url: str, saved: Path) -> None:
    put(url, "later")

    async def work(store: Store) -> tuple[int, str]:
        await store.claim()
        return await asyncio.to_thread(db, "restore", str(saved), "--db", url)

    code, out = with_store(url, work)
    assert code == 1
    assert "another rportd works with it: stop that one" in out
    assert names(url) == {"kept", "later"}


def damaged(saved: Path) -> Iterator[tuple[str, bytes]]:
    whole = saved.read_bytes()
    yield "empty", b""
    yield "another file", b"something else entirely\n" * 100
    yield "cut", whole[: len(whole) // 2]
    yield "cut in the first block", whole[:50]
    middle = len(whole) // 2
    yield "overwritten", whole[:4096] + os.urandom(middle - 4096) + whole[middle:]


def test_damaged_copies_change_nothing(db: Db, url: str, saved: Path) -> None:
    put(url, "later")
    for name, content in damaged(saved):
        bad = saved.with_name("bad")
        bad.write_bytes(content)
        code, out = db("restore", str(bad), "--db", url)
        assert code == 1, f"{name}: {out}"
        assert str(bad) in out or "pg_restore" in out
        assert names(url) == {"kept", "later"}, name


def test_a_copy_that_is_not_there(db: Db, url: str) -> None:
    put(url, "kept")
    assert db("restore", "/nowhere/x", "--db", url) == (
        1,
        "rportd db: the copy /nowhere/x: No such file or directory\n",
    )
    assert db("restore", "/proc", "--db", url)[1] == "rportd db: the copy /proc: Is a directory\n"
    assert names(url) == {"kept"}


def test_a_copy_of_a_newer_version_is_refused(db: Db, url: str, saved: Path) -> None:
    newer = saved.with_name("newer")
    run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    if url.startswith("sqlite"):  # a newer rportd has made it
        shutil.copy(url.removeprefix("sqlite+aiosqlite:///"), newer)
    else:
        assert db("backup", str(newer), "--db", url)[0] == 0
    assert db("restore", str(saved), "--db", url)[0] == 0
    code, out = db("restore", str(newer), "--db", url)
    assert (code, out) == (
        1,
        f"rportd db: {newer} is of a newer rportd, revision 9999; update this one first\n",
    )
    assert names(url) == {"kept"}


def test_a_copy_of_another_program_is_refused(db: Db, url: str, tmp_path: Path) -> None:
    put(url, "kept")
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    connection.close()
    code, out = db("restore", str(other), "--db", url)
    assert (code, out) == (1, f"rportd db: {other} has no tables of rportd's\n")
    assert names(url) == {"kept"}


def test_what_is_not_folded_into_a_file_yet_is_restored(db: Db, tmp_path: Path) -> None:
    """Of a database that was copied by hand with all its files."""
    (tmp_path / "live").mkdir()
    (tmp_path / "hand").mkdir()
    url = f"sqlite+aiosqlite:///{tmp_path}/live/rportd.db"

    async def work(store: Store) -> None:
        await store.upgrade()
        async with store.write() as connection:
            await connection.execute(sa.insert(schema.facts).values(name="in the log", value=""))
        for path in (tmp_path / "live").iterdir():
            shutil.copy(path, tmp_path / "hand")

    with_store(url, work)
    target = f"sqlite+aiosqlite:///{tmp_path}/rportd.db"
    assert db("restore", str(tmp_path / "hand/rportd.db"), "--db", target)[0] == 0
    assert names(target) == {"in the log"}


def test_a_damaged_database_is_replaced(db: Db, tmp_path: Path) -> None:
    url = database_url("sqlite", tmp_path)
    put(url, "kept")
    assert db("backup", str(tmp_path / "copy"), "--db", url)[0] == 0
    (tmp_path / "rportd.db").write_bytes(os.urandom(20000))
    assert db("check", "--db", url)[0] == 1
    assert db("restore", str(tmp_path / "copy"), "--db", url)[0] == 0
    assert names(url) == {"kept"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives files to others")
def test_root_leaves_the_database_to_the_user_of_its_directory(db: Db, tmp_path: Path) -> None:
    url = database_url("sqlite", tmp_path)
    put(url, "kept")
    assert db("backup", str(tmp_path / "copy"), "--db", url)[0] == 0
    state = tmp_path / "of-another"
    state.mkdir()
    os.chown(state, 12345, 12345)
    for _ in range(2):
        assert db("restore", str(tmp_path / "copy"), "--state-dir", str(state))[0] == 0
        assert {(p.name, p.stat().st_uid) for p in state.iterdir()} == {("rportd.db", 12345), ("rportd.db.lock", 12345)}


# --- PostgreSQL alone ------------------------------------------------------------------------------------------------


def test_what_others_have_in_the_database_stays_theirs(db: Db, tmp_path: Path) -> None:
    url = postgres().database()
    put(url, "kept")
    run_sql(url, "CREATE TABLE theirs (x int)", "INSERT INTO theirs VALUES (1)")
    assert db("backup", str(tmp_path / "copy"), "--db", url)[0] == 0
    run_sql(url, "UPDATE theirs SET x = 2")
    assert db("restore", str(tmp_path / "copy"), "--db", url)[0] == 0
    theirs = sa.Table("theirs", sa.MetaData(), sa.Column("x", sa.Integer, primary_key=True))
    assert rows(url, theirs) == [(2,)]


def test_numbers_go_on_after_a_restore(db: Db, url: str, tmp_path: Path) -> None:
    put(url)
    event = "INSERT INTO events (at, type, data) VALUES (1, 'x', '{}')"
    run_sql(url, event, event, "DELETE FROM events WHERE id = 2")
    assert db("backup", str(tmp_path / "copy"), "--db", url)[0] == 0
    assert db("restore", str(tmp_path / "copy"), "--db", url)[0] == 0
    run_sql(url, event)
    assert [row[0] for row in rows(url, schema.events)] == [1, 3]


def test_postgresql_s_programs_are_named_when_they_are_missing(
    db: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres().database()
    put(url)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out = db("backup", str(tmp_path / "copy"), "--db", url)
    assert (code, out) == (1, "rportd db: pg_dump is not installed: apt install postgresql-client\n")
    assert not (tmp_path / "copy").exists()


def test_a_password_is_used_and_shown_nowhere(tmp_path: Path) -> None:
    with own_postgres() as server:
        plain = server.database()
        run_sql(plain, "ALTER ROLE rport PASSWORD 'se-cret'")
        (server.directory / "data/pg_hba.conf").write_text("local all all scram-sha-256\n")
        run_sql(plain, "SELECT pg_reload_conf()")
        right = plain.replace("rport@", "rport:se-cret@")
        shown = []
        for verb in (("upgrade",), ("backup", f"{tmp_path}/copy"), ("restore", f"{tmp_path}/copy"), ("check",)):
            code, out = process(*verb, RPORT_DB=right)
            assert code == 0, out
            code, wrong = process(*(word + "-2" if "/" in word else word for word in verb), RPORT_DB=right + "x")
            assert code == 1
            shown += [out, wrong]
            code, wrong = process(*verb, RPORT_DB=right.replace("se-cret", "se-cret-2"))
            assert code == 1, wrong
            shown.append(wrong)
        server.stop()
        shown += [process(*verb, RPORT_DB=right)[1] for verb in (("check",), ("backup", f"{tmp_path}/c3"))]
        assert "se-cret" not in "".join(shown)
        assert all(text.count("\n") == 1 for text in shown), shown


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_tells_what_is_wrong(db: Db, url: str) -> None:
    put(url)
    assert db("check", "--db", url) == (0, f"sound, at revision {REVISION}\n")
    run_sql(url, "DROP TABLE deliveries")
    assert db("check", "--db", url) == (1, "the table deliveries is missing\n")
    run_sql(url, "UPDATE alembic_version SET version_num = '0000'")
    text = f"it is at revision 0000, this version wants {REVISION}: run `rportd db upgrade`\n"
    assert db("check", "--db", url) == (1, text)
    run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    assert db("check", "--db", url) == (1, "it is of a newer rportd, revision 9999; update this one\n")
    assert db("upgrade", "--db", url)[0] == 1
    run_sql(url, "DROP TABLE alembic_version")
    assert db("check", "--db", url) == (1, "it has no tables of rportd's: run `rportd db upgrade`\n")


def test_check_finds_rows_that_belong_to_nothing(db: Db, tmp_path: Path) -> None:
    url = database_url("sqlite", tmp_path)
    put(url)
    with sqlite3.connect(tmp_path / "rportd.db") as connection:
        connection.execute("INSERT INTO cookies VALUES ('h', 'nobody', 1, 2)")
    connection.close()
    assert db("check", "--db", url) == (1, "a row of cookies belongs to nothing\n")
    code, out = db("backup", str(tmp_path / "copy"), "--db", url)
    assert (code, out) == (
        1,
        f"rportd db: {tmp_path}/rportd.db is damaged: a row of cookies belongs to nothing\n",
    )


def test_check_of_what_is_no_database(db: Db, tmp_path: Path) -> None:
    file = tmp_path / "rportd.db"
    file.write_text("something else\n" * 1000)
    expected = f"rportd db: {file} is no database of rportd's, or damaged: file is not a database\n"
    assert db("check", "--db", f"sqlite+aiosqlite:///{file}") == (1, expected)


def test_check_changes_nothing_and_needs_no_disk_that_can_be_written(db: Db, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite+aiosqlite:///{disk.path}/rportd.db"
        put(url, "kept")
        before = {path.name: path.read_bytes() for path in disk.path.iterdir()}
        assert db("check", "--db", url)[0] == 0
        disk.remount("ro")
        assert db("check", "--db", url)[0] == 0
        assert db("backup", str(tmp_path / "copy"), "--db", url)[0] == 0
        assert {path.name: path.read_bytes() for path in disk.path.iterdir()} == before


# --- from SQLite to PostgreSQL ---------------------------------------------------------------------------------------


def test_a_copy_of_sqlite_moves_to_postgresql(db: Db, tmp_path: Path) -> None:
    """Every column of every table, the numbers that come next, and nothing of what was there."""
    old, new = database_url("sqlite", tmp_path), database_url("postgresql", tmp_path)
    put(new, "was there")
    put(old)
    with_store(old, _fill)
    run_sql(old, "DELETE FROM events WHERE id = 2")
    file = str(tmp_path / "copy")
    assert db("backup", file, "--db", old)[0] == 0
    assert db("restore", file, "--db", new) == (
        0,
        f"the database is what was saved in {file}, at revision {REVISION}\n",
    )
    for table in schema.metadata.sorted_tables:
        found = rows(new, table)
        assert found, table.name
        assert found == rows(f"sqlite+aiosqlite:///{file}", table), table.name
    run_sql(new, "INSERT INTO events (at, type, data) VALUES (1, 'x', '{}')")
    assert [row[0] for row in rows(new, schema.events)] == [1, 3]
    assert db("check", "--db", new)[0] == 0


async def _fill(store: Store) -> None:
    """Two rows in each table: all that is possible, and as little as is."""
    await store.upgrade()
    async with store.write() as db:
        for table in schema.metadata.sorted_tables:
            for number in (1, 2):
                row = {c.name: _value(c, number) for c in table.columns}
                await db.execute(sa.insert(table).values(row))


def _value(column: sa.Column[Any], number: int) -> Any:
    if number == 2 and column.nullable:
        return None
    if column.name == "id" and isinstance(column.type, sa.BigInteger):
        return number
    kind = column.type.python_type if not isinstance(column.type, sa.JSON) else dict
    values = {str: f"text-{number}", int: number, float: 1e9 + number + 0.25, bool: True, dict: {"a": [number, None]}}
    return values[kind]


def test_rows_that_postgresql_does_not_take_change_nothing(db: Db, tmp_path: Path) -> None:
    old, new = database_url("sqlite", tmp_path), database_url("postgresql", tmp_path)
    put(new, "was there")
    put(old, "x" * 100)  # longer than the column
    assert db("backup", str(tmp_path / "copy"), "--db", old)[0] == 0
    code, out = db("restore", str(tmp_path / "copy"), "--db", new)
    assert code == 1
    assert "has a row that PostgreSQL does not take: value too long" in out
    assert names(new) == {"was there"}


def test_there_is_no_way_back_to_sqlite(db: Db, tmp_path: Path) -> None:
    old = database_url("postgresql", tmp_path)
    put(old)
    file = str(tmp_path / "copy")
    assert db("backup", file, "--db", old)[0] == 0
    code, out = db("restore", file)
    assert (code, out) == (1, f"rportd db: {file} is of a PostgreSQL database; name one with --db\n")
