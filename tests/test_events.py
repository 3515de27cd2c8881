"""Listening to events, over real connections."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rport.server import events as hub
from rport.server.api.routes import events as routes
from rport.server.events import LISTENERS_MAX, LISTENERS_OF_ONE, PAGE, QUEUE_MAX, RING, Events
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.store import schema
from tests.support.postgres import database_url
from tests.support.served import PATIENCE, Answer, Served, a_journal, a_plane, serving

TAGS = {"web-1": {"web"}, "db-1": {"db"}}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


class Setting:
    """A journal, its events, and a server that has their route."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.gone: set[str] = set()
        self.events = Events(journal, lambda id, at: TAGS.get(id), lambda who: who.name not in self.gone)
        self.served: Served

    async def tell(self, count: int, type: str = "client.connected", client: str | None = "web-1") -> None:
        before = self.journal.newest
        for i in range(count):
            self.journal.tell(type, client, n=i)
        await until(lambda: self.journal.newest >= before + count)

    @contextlib.asynccontextmanager
    async def listen(
        self, query: str = "", headers: Mapping[str, str] | None = None, buffer: int = 1 << 16
    ) -> AsyncIterator["Listening"]:
        answer = await self.served.connect("GET", f"/api/v1/events{query}", headers, buffer=buffer)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        async with answer:
            yield Listening(answer)


class Listening:
    """Server-sent events, parsed."""

    def __init__(self, answer: Answer) -> None:
        self._parts = answer.parts()
        self._text = ""
        self.last = ""

    async def block(self) -> dict[str, str]:
        """The next one's fields; comments are under ""."""
        async with asyncio.timeout(PATIENCE):
            while "\n\n" not in self._text:
                self._text += await anext(self._parts)
        block, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) if ": " in line else ("", line[1:]) for line in block.split("\n"))
        self.last = fields.get("id", self.last)
        return fields

    async def next(self) -> dict[str, Any]:
        """The next event's object."""
        async with asyncio.timeout(PATIENCE):
            while "data" not in (fields := await self.block()):
                pass
        event: dict[str, Any] = json.loads(fields["data"])
        assert fields["event"] == event["type"]
        assert fields.get("id", "0") == str(event["id"])
        return event

    async def numbers(self, count: int) -> list[int]:
        return [(await self.next())["id"] for _ in range(count)]

    async def end(self) -> None:
        """It ends, and as it should."""
        with pytest.raises(StopAsyncIteration):
            while True:
                await self.block()


def with_events(url: str, work: Callable[[Setting], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with a_journal(url) as journal:
            setting = Setting(journal)
            async with serving(a_plane(journal, events=setting.events), routes) as setting.served:
                try:
                    return await work(setting)
                finally:
                    setting.events.close()

    return asyncio.run(run())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def test_events_come_as_they_are_saved(url: str) -> None:
    async def work(setting: Setting) -> None:
        await setting.tell(3)
        async with setting.listen() as here:
            assert await here.block() == {"retry": "2000"}
            await until(lambda: setting.events._listeners)
            setting.journal.tell("tunnel.opened", "web-1", lport=2222)
            event = await here.next()
            at = event.pop("at")
            assert event == {"id": 4, "type": "tunnel.opened", "client": "web-1", "data": {"lport": 2222}}
            assert at.endswith("Z")
            assert at.startswith("20")
            await setting.tell(2)
            assert await here.numbers(2) == [5, 6]
        await until(lambda: not len(setting.events))

    with_events(url, work)


@pytest.mark.parametrize("told", [5, RING + PAGE + 7])
def test_whoever_was_away_goes_on_behind_the_last_one(url: str, told: int) -> None:
    async def work(setting: Setting) -> None:
        await setting.tell(told)
        for how in (
            {"query": "?after=2"},
            {"headers": {"Last-Event-ID": "2"}},
            {"query": "?after=9", "headers": {"Last-Event-ID": "2"}},
        ):
            async with setting.listen(**how) as here:  # type: ignore[arg-type]
                newest = setting.journal.newest
                assert await here.numbers(newest - 2) == list(range(3, newest + 1))
                await setting.tell(1)
                assert await here.numbers(1) == [newest + 1]

    with_events(url, work)


def test_nothing_is_missed_or_doubled_between_the_store_and_what_comes(url: str) -> None:
    async def work(setting: Setting) -> None:
        await setting.tell(RING + 2 * PAGE)
        start = setting.journal.newest
        telling = asyncio.create_task(setting.tell(2 * RING))
        async with setting.listen("?after=0") as here:
            assert await here.numbers(start + 2 * RING) == list(range(1, start + 2 * RING + 1))
        await telling

    with_events(url, work)


def test_a_restart_loses_nothing(url: str) -> None:
    async def first(setting: Setting) -> str:
        async with setting.listen() as here:
            await here.block()
            await until(lambda: setting.events._listeners)
            await setting.tell(2)
            await here.numbers(2)
            last = here.last
        await setting.tell(5)
        return last

    async def second(setting: Setting) -> None:
        async with setting.listen(headers={"Last-Event-ID": last}) as here:
            assert await here.numbers(5) == [3, 4, 5, 6, 7]

    last = with_events(url, first)
    with_events(url, second)


def test_what_is_no_longer_kept_is_a_gap(url: str) -> None:
    async def fill(setting: Setting) -> None:
        await setting.tell(10)
        async with setting.journal.store.write() as db:
            await db.execute(sa.delete(schema.events).where(schema.events.c.id <= 6))

    async def look(setting: Setting) -> None:
        for after, first in ((3, {"asked": 3, "oldest": 7}), (99, {"asked": 99, "oldest": 7})):
            async with setting.listen(f"?after={after}") as here:
                gap = await here.next()
                assert (gap["type"], gap["client"], gap["data"]) == ("gap", None, first)
                assert here.last == str(6 if after == 3 else 10)  # from where it goes on
                if after == 3:
                    assert await here.numbers(4) == [7, 8, 9, 10]
        async with setting.listen("?after=0") as here:  # all that there are
            assert await here.numbers(4) == [7, 8, 9, 10]
        async with setting.listen("?after=6") as here:
            assert await here.numbers(4) == [7, 8, 9, 10]

    with_events(url, fill)
    with_events(url, look)  # the ring is empty


def test_filters(url: str) -> None:
    async def work(setting: Setting) -> None:
        def tell() -> None:
            for type in ("tunnel.opened", "tunnel.closed"):
                for client in TAGS:
                    setting.journal.tell(type, client)

        async def seen(query: str, before: int, new: int) -> list[tuple[str, str]]:
            async with setting.listen(f"?after=0&{query}") as here:
                events = [await here.next() for _ in range(before)]
                tell()
                events += [await here.next() for _ in range(new)]
                return [(event["type"], event["client"]) for event in events]

        tell()
        await until(lambda: setting.journal.newest == 4)
        assert await seen("client=db-1&type=tunnel.opened", 1, 1) == [("tunnel.opened", "db-1")] * 2
        both = await seen("type=tunnel.opened&type=tunnel.closed&client=web-1", 4, 2)
        assert set(both) == {("tunnel.opened", "web-1"), ("tunnel.closed", "web-1")}
        for query in ("type=nonsense", "after=x", "after=-1", f"after={2**53 + 1}", "client=" + "x" * 65):
            assert (await setting.served.ask("GET", f"/api/v1/events?{query}"))[0] == 400

    with_events(url, work)


def test_everybody_sees_what_is_his(url: str) -> None:
    async def work(setting: Setting) -> None:
        setting.served.people |= {
            "viewer": Principal("viewer", "viewer"),
            "web": Principal("web", "operator", tags=frozenset({"web"})),
            "webadmin": Principal("webadmin", "admin", tags=frozenset({"web"})),
        }
        told = [("client.connected", "web-1"), ("client.connected", "db-1"), ("client.removed", "gone")]
        told += [("login.failed", None), ("store.recovered", None), ("client.connected", "web-1")]
        for type, client in told:
            setting.journal.tell(type, client)
        await until(lambda: setting.journal.newest == 6)
        wanted = {"root": [1, 2, 3, 4, 5, 6], "viewer": [1, 2, 3, 6], "web": [1, 6], "webadmin": [1, 6]}
        for who, numbers in wanted.items():
            for _ in range(2):
                async with setting.listen("?after=0", {"X-Who": who}) as here:
                    assert await here.numbers(len(numbers)) == numbers
            async with setting.listen("", {"X-Who": who}) as here:  # and what comes now
                await here.block()
                await until(lambda: setting.events._listeners)
                before = setting.journal.newest
                for type, client in told:
                    setting.journal.tell(type, client)
                assert await here.numbers(len(numbers)) == [before + number for number in numbers]
            setting.journal.newest, kept = 0, setting.journal.newest  # the store's pages, not the ring
            setting.events._ring.clear()
            setting.journal.newest = kept
            async with setting.listen("?after=0", {"X-Who": who}) as here:
                assert (await here.numbers(len(numbers))) == numbers

    with_events(url, work)


def test_silence_has_comments(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TICK", 0.05)
    monkeypatch.setattr(hub, "KEEP_ALIVE", 0.1)

    async def work(setting: Setting) -> None:
        async with setting.listen() as here:
            assert await here.block() == {"retry": "2000"}
            for _ in range(3):
                assert await here.block() == {"": ""}

    with_events(url, work)


def test_it_ends_with_the_credentials_and_with_the_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TICK", 0.05)

    async def work(setting: Setting) -> None:
        setting.served.people["me"] = Principal("me", "viewer")
        async with setting.listen("", {"X-Who": "me"}) as mine, setting.listen() as others:
            await until(lambda: len(setting.events._listeners) == 2)
            setting.gone.add("me")
            await mine.end()
            await setting.tell(1)
            assert await others.numbers(1) == [1]
            setting.events.close()
            await others.end()

    with_events(url, work)


def test_one_that_does_not_read_is_cut_off_and_harms_nobody(tmp_path: Path) -> None:
    async def work(setting: Setting) -> None:
        async with setting.listen(buffer=4096) as deaf, setting.listen() as here:
            await until(lambda: len(setting.events._listeners) == 2)
            total = 0
            while len(setting.events) == 2:
                for _ in range(QUEUE_MAX // 2):
                    setting.journal.tell("client.connected", "web-1", big=["x" * 300] * 20)
                await here.numbers(QUEUE_MAX // 2)
                total += QUEUE_MAX // 2
            await setting.tell(1)
            assert await here.numbers(1) == [total + 1]
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                while True:
                    await deaf.next()  # what was on the way
            last = int(deaf.last)
            assert last < total
        async with setting.listen(headers={"Last-Event-ID": str(last)}) as again:
            assert await again.numbers(3) == [last + 1, last + 2, last + 3]

    with_events(database_url("sqlite", tmp_path), work)


def test_there_are_only_so_many_listeners(tmp_path: Path) -> None:
    async def work(setting: Setting) -> None:
        async with contextlib.AsyncExitStack() as stack:
            setting.served.people |= {"me": Principal("me", "viewer"), "you": Principal("you", "viewer")}
            for _ in range(LISTENERS_OF_ONE):
                await stack.enter_async_context(setting.listen(headers={"X-Who": "me"}))
            await until(lambda: len(setting.events) == LISTENERS_OF_ONE)
            status, problem = await setting.served.ask("GET", "/api/v1/events", {"X-Who": "me"})
            assert (status, problem["detail"].partition(" times")[0]) == (503, f"you listen {LISTENERS_OF_ONE}")
            for _ in range(LISTENERS_OF_ONE, LISTENERS_MAX):
                here = await stack.enter_async_context(setting.listen(headers={"X-Who": "you"}))
            await until(lambda: len(setting.events) == LISTENERS_MAX)
            status, problem = await setting.served.ask("GET", "/api/v1/events")
            assert (status, problem["type"]) == (503, "urn:rport:too-many-listeners")
            await until(lambda: len(setting.events._listeners) == LISTENERS_MAX)
            await setting.tell(1)
            assert await here.numbers(1) == [1]
        await until(lambda: not len(setting.events))
        async with setting.listen("?after=0") as here:
            assert await here.numbers(1) == [1]

    with_events(database_url("sqlite", tmp_path), work)


def test_an_alarm_has_no_number(tmp_path: Path) -> None:
    async def work(setting: Setting) -> None:
        await setting.tell(1)
        async with setting.listen("?after=0") as here:
            await here.numbers(1)
            setting.journal._alarm("store.trouble", error="full")
            alarm = await here.next()
            assert (alarm["id"], alarm["type"], here.last) == (0, "store.trouble", "1")
        async with setting.listen("?after=0") as here:
            await here.numbers(1)
            await setting.tell(1)
            assert await here.numbers(1) == [2]

    with_events(database_url("sqlite", tmp_path), work)


def test_it_ends_with_the_credentials_also_for_one_that_is_still_behind(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads slowly could else look at the store's pages for hours behind the end of his token."""
    monkeypatch.setattr(hub, "TICK", 0.05)

    async def work(setting: Setting) -> None:
        async with setting.journal.store.write() as db:
            row = {"at": 1.0, "type": "client.connected", "client": "web-1", "data": {"big": ["x" * 300] * 20}}
            for _ in range(20):
                await db.execute(sa.insert(schema.events), [row] * PAGE)
        setting.journal.newest = 20 * PAGE
        setting.served.people |= {"me": Principal("me", "viewer"), "you": Principal("you", "viewer")}

        async def is_cut_off(here: Listening) -> None:
            with contextlib.suppress(StopAsyncIteration, asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await here.next()
            assert int(here.last) < 10 * PAGE

        async with setting.listen("?after=0", {"X-Who": "me"}, 4096) as mine:
            assert await mine.numbers(1) == [1]
            assert not setting.events._listeners
            setting.gone.add("me")
            await is_cut_off(mine)
        await until(lambda: not len(setting.events))
        async with setting.listen("?after=0", {"X-Who": "you"}, 4096) as yours:
            assert await yours.numbers(1) == [1]
            setting.events.close()
            await is_cut_off(yours)

    with_events(url, work)
