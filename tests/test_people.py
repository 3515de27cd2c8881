"""Users, tokens and cookies in memory and in real databases, changed by two processes' worth of People at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rport.server import people as module
from rport.server.accounts import (
    COOKIES_MAX,
    TOKENS_MAX,
    USERS_MAX,
    add_cookie,
    add_token,
    add_user,
    bounds,
    change_user,
    remove_cookie,
    remove_token,
    remove_user,
)
from rport.server.errors import NotAllowed, TokenNotFound, Unauthorized, UserConflict, UserNotFound
from rport.server.journal import Journal
from rport.server.opaque import digest
from rport.server.people import People
from rport.server.principal import Principal
from rport.server.store import Store, schema
from rport.server.store.engine import url_of
from tests.support.postgres import database_url

ME = Principal("root", "admin", "user", source="192.0.2.1")
BERLIN = frozenset({"berlin"})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[People]:
    store = Store(url_of(url, ""))
    people = People(store, Journal(store))
    try:
        await store.upgrade()
        await people.load()
        yield people
    finally:
        await people.close()
        await store.close()


def with_people(url: str, work: Callable[[People], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), opened(url) as people:
            await work(people)

    asyncio.run(run())


async def add(people: People, name: str, role: str = "admin", tags: frozenset[str] | None = None) -> None:
    async with people.changing(ME, "user.add", f"user {name}") as change:
        await add_user(change.db, change.before, name, "$hash", role, tags)


async def token(
    people: People, user: str, role: str = "admin", tags: frozenset[str] | None = None, expires: float | None = None
) -> tuple[str, str]:
    async with people.changing(ME, "token.create", f"user {user}") as change:
        return await add_token(change.db, change.before, user, role, tags, expires, "")


async def cookie(people: People, user: str) -> str:
    async with people.changing(ME, "login", "api") as change:
        return await add_cookie(change.db, change.before, user)


async def alter(people: People, name: str, keep: str = "", **columns: Any) -> None:
    async with people.changing(ME, "user.change", f"user {name}") as change:
        await change_user(change.db, change.before, name, columns, keep)


async def drop(people: People, name: str, force: bool = False) -> None:
    async with people.changing(ME, "user.remove", f"user {name}") as change:
        await remove_user(change.db, change.before, name, force)


# --- users -----------------------------------------------------------------------------------------------------------


def test_a_user_is_there_and_outlives_the_process(url: str) -> None:
    async def first(people: People) -> None:
        assert not people.any_users
        await add(people, "alice")
        await add(people, "bob", "viewer", BERLIN)
        assert people.any_users

    async def then(people: People) -> None:
        bob = people.accounts.user("bob")
        assert (bob.role, bob.tags, bob.totp, bob.secret) == ("viewer", BERLIN, None, "$hash")
        assert people.accounts.user("alice").tags is None
        assert "hash" not in repr(bob)
        with pytest.raises(UserNotFound):
            people.accounts.user("carol")

    with_people(url, first)
    with_people(url, then)


def test_one_of_many_at_once_gets_the_name(url: str) -> None:
    """In one process, and in another beside it: no IntegrityError gets out."""

    async def work(people: People) -> None:
        await add(people, "root")
        async with opened(url) as other:
            tries = [add(each, "alice", "viewer") for each in (people, other) for _ in range(10)]
            results = await asyncio.gather(*tries, return_exceptions=True)
        assert results.count(None) == 1
        assert all(isinstance(result, UserConflict) for result in results if result is not None)

    with_people(url, work)


def test_there_is_always_an_admin(url: str) -> None:
    async def work(people: People) -> None:
        with pytest.raises(UserConflict, match="first user has to be an admin"):
            await add(people, "bob", "operator")
        with pytest.raises(UserConflict, match="first user has to be an admin"):
            await add(people, "bob", "admin", BERLIN)
        await add(people, "alice")
        await add(people, "bob", "admin", BERLIN)
        for attempt in (
            drop(people, "alice"),
            alter(people, "alice", role="operator"),
            alter(people, "alice", tags=BERLIN),
        ):
            with pytest.raises(UserConflict, match="alice is the last admin"):
                await attempt
        await alter(people, "bob", tags=None)
        results = await asyncio.gather(drop(people, "alice"), drop(people, "bob"), return_exceptions=True)
        assert results.count(None) == 1  # never both
        (last,) = people.accounts.users
        await drop(people, last, force=True)
        assert not people.any_users

    with_people(url, work)


def test_there_are_only_so_many(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rport.server.accounts.USERS_MAX", 3)
    monkeypatch.setattr("rport.server.accounts.TOKENS_MAX", 3)
    assert USERS_MAX >= 1000
    assert TOKENS_MAX >= 100

    async def work(people: People) -> None:
        for name in ("a", "b", "c"):
            await add(people, name)
            await token(people, "a")
        with pytest.raises(UserConflict, match="there are 3 users already"):
            await add(people, "d")
        with pytest.raises(UserConflict, match="a has 3 tokens already"):
            await token(people, "a")
        await token(people, "b")

    with_people(url, work)


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_may_never_do_more_than_its_user_may_now(url: str) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        await add(people, "alice")
        _, secret = await token(people, "alice", "operator", frozenset({"berlin", "paris"}))
        who = people.of_token(secret, "192.0.2.7")
        assert who is not None
        assert (who.name, who.role, who.kind, who.source) == ("alice", "operator", "token", "192.0.2.7")
        assert who.tags == {"berlin", "paris"}
        assert people.stands(who)
        await alter(people, "alice", role="viewer", tags=frozenset({"berlin", "rome"}))
        assert not people.stands(who)
        now = people.of_token(secret, "")
        assert now is not None
        assert (now.role, now.tags) == ("viewer", BERLIN)
        await alter(people, "alice", tags=frozenset({"rome"}))
        now = people.of_token(secret, "")
        assert now is not None
        assert now.tags == frozenset()  # nothing, and not everything

    with_people(url, work)


def test_a_token_reaches_those_that_may_do_no_more(url: str) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        ids = {}
        for name, role, tags in (
            ("all", "admin", None), ("look", "viewer", None), ("berlin", "viewer", BERLIN),
            ("both", "viewer", BERLIN | {"paris"}), ("open", "operator", BERLIN),
        ):  # fmt: skip
            ids[name] = await token(people, "root", role, tags)

        def reached(name: str) -> set[str]:
            who = people.of_token(ids[name][1], "")
            assert who is not None
            return {other for other, (id, _) in ids.items() if people.reaches(who, people.accounts.tokens[id])}

        assert reached("all") == set(ids)
        assert reached("look") == {"look", "berlin", "both"}
        assert reached("berlin") == {"berlin"}
        assert reached("both") == {"both", "berlin"}
        assert reached("open") == {"open", "berlin"}
        root = people.of_password(people.accounts.user("root"), "")
        assert all(people.reaches(root, one) for one in people.accounts.tokens.values())

    with_people(url, work)


def test_a_token_ends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        await add(people, "alice")
        id, revoked = await token(people, "alice")
        _, expiring = await token(people, "alice", expires=time.time() + 1000)
        _, third = await token(people, "alice")
        who = [people.of_token(secret, "") for secret in (revoked, expiring, third)]
        async with people.changing(ME, "token.revoke", f"token {id}") as change:
            with pytest.raises(TokenNotFound):
                await remove_token(change.db, change.before, id, owner="root")
            await remove_token(change.db, change.before, id, owner="alice")
        assert people.of_token(revoked, "") is None
        now = time.time()
        monkeypatch.setattr(module.time, "time", lambda: now + 2000)
        assert people.of_token(expiring, "") is None
        assert [people.stands(each) for each in who if each is not None] == [False, False, True]
        await drop(people, "alice")
        assert people.of_token(third, "") is None
        assert who[2] is not None
        assert not people.stands(who[2])
        assert people.of_token("rpt_", "") is None

    with_people(url, work)


def test_whoever_may_no_more_changes_nothing(url: str) -> None:
    """Between being let in and his turn to write lie a password's hash, and all who write before him."""

    async def work(people: People) -> None:
        await add(people, "root")
        await add(people, "alice")
        _, secret = await token(people, "alice")
        who = people.of_token(secret, "")
        assert who is not None
        async with people.changing(who, "user.add", "user x"):
            pass
        await alter(people, "alice", role="viewer")
        with pytest.raises(Unauthorized, match="counts no more"):
            async with people.changing(who, "user.add", "user x"):
                raise AssertionError

    with_people(url, work)


def test_the_token_itself_is_nowhere(url: str, tmp_path: Path) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        _, secret = await token(people, "root")
        value = await cookie(people, "root")
        async with people._store.read() as db:
            rows = [str(row) for table in schema.metadata.sorted_tables for row in await db.execute(sa.select(table))]
        assert any(digest(secret) in row for row in rows)
        assert not any(secret in row or value in row for row in rows)
        assert secret not in repr(people.accounts.tokens)

    with_people(url, work)


def test_the_last_use_is_written_behind(url: str) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        id, secret = await token(people, "root")
        assert people.used(people.accounts.tokens[id]) == (None, None)
        for source in ("192.0.2.1", "192.0.2.2"):
            people.of_token(secret, source)
        at, source = people.used(people.accounts.tokens[id])
        assert (at is not None and abs(at - time.time()) < 60, source) == (True, "192.0.2.2")

    async def then(people: People) -> None:
        (kept,) = people.accounts.tokens.values()
        assert kept.used is not None
        assert kept.used_from == "192.0.2.2"

    with_people(url, work)
    with_people(url, then)


@pytest.mark.parametrize(
    ("who", "role", "tags", "made"),
    [
        (Principal("a", "operator"), None, None, ("operator", None)),
        (Principal("a", "operator"), "viewer", BERLIN, ("viewer", BERLIN)),
        (Principal("a", "viewer", tags=BERLIN), None, None, ("viewer", BERLIN)),
        (Principal("a", "operator"), "admin", None, None),
        (Principal("a", "viewer", tags=BERLIN), None, frozenset({"berlin", "paris"}), None),
        (Principal("a", "admin", tags=frozenset()), None, BERLIN, None),
    ],
)
def test_nobody_makes_a_token_that_may_more_than_he(who: Principal, role: Any, tags: Any, made: Any) -> None:
    if made is None:
        with pytest.raises(NotAllowed):
            bounds(who, role, tags)
    else:
        assert bounds(who, role, tags) == made


# --- cookies ---------------------------------------------------------------------------------------------------------


def test_a_cookie_ends_with_time_password_user_and_logout(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        await add(people, "alice")
        values = [await cookie(people, "alice") for _ in range(3)]
        who = people.of_cookie(values[0], "192.0.2.1")
        assert who is not None
        assert (who.name, who.kind, who.proof) == ("alice", "user", f"cookie {digest(values[0])}")
        async with people.changing(ME, "logout", "api") as change:
            await remove_cookie(change.db, digest(values[0]))
        assert people.of_cookie(values[0], "") is None
        assert not people.stands(who)
        await alter(people, "alice", keep=digest(values[1]), secret="$other")
        assert [people.of_cookie(value, "") is not None for value in values] == [False, True, False]
        now = time.time()
        with monkeypatch.context() as patch:
            patch.setattr(module.time, "time", lambda: now + 13 * 3600)
            assert people.of_cookie(values[1], "") is None
        await drop(people, "alice")
        assert people.of_cookie(values[1], "") is None

    with_people(url, work)


def test_the_oldest_browser_goes(url: str) -> None:
    async def work(people: People) -> None:
        await add(people, "root")
        await add(people, "alice")
        other = await cookie(people, "root")
        values = [await cookie(people, "alice") for _ in range(COOKIES_MAX + 2)]
        there = [people.of_cookie(value, "") is not None for value in values]
        assert there == [False, False] + [True] * COOKIES_MAX
        assert people.of_cookie(other, "") is not None

    with_people(url, work)


# --- what another process does ---------------------------------------------------------------------------------------


def test_what_another_process_changes_is_known_soon(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.02)

    async def work(people: People) -> None:
        told: list[int] = []
        people.on_change.append(lambda: told.append(people.accounts.number))
        people.start()
        async with opened(url) as other:
            await add(other, "alice")
            _, secret = await token(other, "alice")
            while people.of_token(secret, "") is None:
                await asyncio.sleep(0.01)
            who = people.of_token(secret, "")
            assert who is not None
            await drop(other, "alice", force=True)
            while people.stands(who):
                await asyncio.sleep(0.01)
        assert told == sorted(told)
        assert not people.any_users

    with_people(url, work)


def test_what_was_read_too_early_changes_nothing(url: str) -> None:
    async def work(people: People) -> None:
        await add(people, "alice")
        old = people.accounts
        await add(people, "bob")
        people._take(old)
        assert "bob" in people.accounts.users

    with_people(url, work)


# --- second factors --------------------------------------------------------------------------------------------------


def test_a_step_counts_once_also_behind_a_restart(url: str) -> None:
    async def first(people: People) -> None:
        await add(people, "alice")
        user = people.accounts.user("alice")
        results = await asyncio.gather(*(people.use_step(user, 100) for _ in range(10)))
        assert results.count(True) == 1
        assert not await people.use_step(user, 99)
        assert await people.use_step(user, 101)

    async def then(people: People) -> None:
        user = people.accounts.user("alice")
        assert people.step(user) == 101
        assert not await people.use_step(user, 101)

    with_people(url, first)
    with_people(url, then)


def test_what_is_done_is_audited(url: str) -> None:
    async def work(people: People) -> None:
        await add(people, "alice")
        with pytest.raises(UserConflict):
            await add(people, "alice")
        await people._journal.start()
        await people._journal.close()
        async with people._store.read() as db:
            rows = (await db.execute(sa.select(schema.audit).order_by(schema.audit.c.id))).mappings().all()
        assert [(row["actor"], row["source"], row["action"], row["result"]) for row in rows] == [
            ("user root", "192.0.2.1", "user.add", "ok"),
            ("user root", "192.0.2.1", "user.add", "there is a user alice already"),
        ]

    with_people(url, work)
