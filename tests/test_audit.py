"""The audit log by its routes, on real databases."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rport.server import audit_log
from rport.server.api import stream
from rport.server.api.routes import audit as routes
from rport.server.audit_log import PAGE, AuditLog
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.store import StoreUnavailable, schema
from tests.support.postgres import database_url
from tests.support.served import PATIENCE, Served, a_journal, a_plane, serving

TAGS = {"web-1": {"web"}, "db-1": {"db"}}
ENTRY = {"actor": "user me", "source": "192.0.2.1", "action": "x", "subject": "s", "result": "ok", "details": {}}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


def with_audit(
    url: str, work: Callable[[Journal, Served], Awaitable[Any]], stands: Callable[[Principal], bool] = lambda who: True
) -> Any:
    async def run() -> Any:
        async with a_journal(url) as journal:
            plane = a_plane(journal, audit=AuditLog(journal.store, lambda id, at: TAGS.get(id), stands))
            async with serving(plane, routes) as served:
                return await work(journal, served)

    return asyncio.run(run())


async def fill(journal: Journal, *entries: dict[str, Any]) -> None:
    async with journal.store.write() as db:
        await db.execute(
            sa.insert(schema.audit),
            [ENTRY | {"at": 1000.0 + i, "client": None} | entry for i, entry in enumerate(entries)],
        )


async def get(served: Served, query: str = "", who: str = "root") -> Any:
    status, page = await served.ask("GET", f"/api/v1/audit{query}", {"X-Who": who})
    assert status == 200, page
    return page


async def lines(served: Served, query: str = "", who: str = "root") -> list[Any]:
    answer = await served.connect("GET", f"/api/v1/audit/export{query}", {"X-Who": who})
    async with answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
        return [json.loads(line) for line in (await answer.text()).splitlines()]


def test_an_entry_as_it_is_shown(url: str) -> None:
    async def work(journal: Journal, served: Served) -> None:
        before = datetime.now(UTC)
        async with journal.deed(
            Principal("me", "admin", "token", token="3f", source="192.0.2.7"),
            "tunnel.open",
            "client web-1",
            "web-1",
            lport=22,
        ):
            pass
        (entry,) = (page := await get(served))["items"]
        assert page["next"] is None
        assert before <= datetime.fromisoformat(entry.pop("at")) <= datetime.now(UTC)
        assert entry == {
            "id": 1,
            "actor": "token 3f of me",
            "source": "192.0.2.7",
            "action": "tunnel.open",
            "subject": "client web-1",
            "client": "web-1",
            "result": "ok",
            "details": {"lport": 22},
        }
        (exported,) = await lines(served)
        assert exported == (await get(served))["items"][0]

    with_audit(url, work)


def test_pages_are_whole_whatever_comes_meanwhile(url: str) -> None:
    async def work(journal: Journal, served: Served) -> None:
        await fill(journal, *({"subject": str(i)} for i in range(25)))
        seen, query = list[str](), "?limit=10"
        while True:
            page = await get(served, query)
            assert len(page["items"]) <= 10
            seen += [item["subject"] for item in page["items"]]
            await fill(journal, {"subject": "later"})
            if page["next"] is None:
                break
            query = f"?limit=10&cursor={page['next']}"
        assert seen == [str(i) for i in range(24, -1, -1)]
        page = await get(served, f"?limit={25 + 3}")
        assert (len(page["items"]), page["next"]) == (28, None)

    with_audit(url, work)


FILTERS = {
    "actor=me": {"a", "b"},
    "actor=user me": {"a"},
    "actor=m_": set(),
    "action=tunnel.open": {"a", "c"},
    "action=tunnel.": {"a", "b", "c"},
    "action=tunnel": set(),
    "client=web-1": {"a"},
    "since=1970-01-01T00:16:41Z": {"b", "c", "d"},
    "until=1970-01-01T00:16:41Z": {"a"},
    "since=1970-01-01T01:16:41%2B01:00&until=1970-01-01T00:16:42Z": {"b"},
    "q=TAKEN": {"c"},
    "q=100%25": {"d"},
    "q=192.0.2.9": {"b"},
    "actor=me&client=web-1&q=a": {"a"},
    "actor=me&client=db-1": set(),
}


def test_filters_are_those_of_the_export_too(url: str) -> None:
    async def work(journal: Journal, served: Served) -> None:
        await fill(
            journal,
            {"subject": "a", "actor": "user me", "action": "tunnel.open", "client": "web-1"},
            {"subject": "b", "actor": "token 3f of me", "action": "tunnel.close", "source": "192.0.2.9"},
            {
                "subject": "c",
                "actor": "user you",
                "action": "tunnel.open",
                "client": "db-1",
                "result": "port 22 is taken",
            },
            {"subject": "d", "actor": "rportd", "action": "tunnels.open", "result": "100% bad_luck"},
        )
        for query, subjects in FILTERS.items():
            query = query.replace(" ", "%20")
            assert {item["subject"] for item in (await get(served, f"?{query}"))["items"]} == subjects, query
            assert {item["subject"] for item in await lines(served, f"?{query}")} == subjects, query

    with_audit(url, work)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=1001", 400),
        ("since=yesterday", 400),
        ("since=0", 400),
        ("until=2026-01-01T00:00:00", 400),
        ("q=" + "x" * 201, 400),
        ("q=%00", 400),
        ("client=%0a", 400),
        ("cursor=" + "9" * 2049, 400),
        ("cursor=x", 422),
        ("cursor=-1", 422),
        ("cursor=" + "9" * 30, 422),
        ("cursor=%D9%A3", 422),
    ],
)
def test_bad_questions(tmp_path: Path, query: str, status: int) -> None:
    async def work(journal: Journal, served: Served) -> None:
        got, problem = await served.ask("GET", f"/api/v1/audit?{query}")
        assert (got, problem["error"]) == (status, problem["detail"])
        assert query.partition("=")[0] in problem["error"]

    with_audit(database_url("sqlite", tmp_path), work)


def test_it_takes_an_administrator_and_shows_him_his_clients(url: str) -> None:
    async def work(journal: Journal, served: Served) -> None:
        served.people |= {
            "operator": Principal("operator", "operator"),
            "web": Principal("web", "admin", tags=frozenset({"web"})),
        }
        for path in ("", "/export"):
            assert (await served.ask("GET", f"/api/v1/audit{path}", {"X-Who": "operator"}))[0] == 403
        clients = ["web-1", "db-1", None, "gone"]
        await fill(journal, *({"client": clients[i % 4], "subject": str(i)} for i in range(2 * PAGE)))
        mine = [str(i) for i in range(0, 2 * PAGE, 4)]
        assert [item["subject"] for item in await lines(served, "", "web")] == mine
        page = await get(served, "?limit=100", "web")
        assert [item["subject"] for item in page["items"]] == mine[:-101:-1]
        page = await get(served, f"?limit=1000&cursor={page['next']}", "web")
        assert ([item["subject"] for item in page["items"]], page["next"]) == (mine[:-100][::-1], None)

    with_audit(url, work)


def test_a_search_for_little_in_much_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "PAGE", 10)

    async def work(journal: Journal, served: Served) -> None:
        served.people["web"] = Principal("web", "admin", tags=frozenset({"web"}))
        await fill(journal, {"client": "web-1"}, *[{"client": "db-1"}] * 250)
        page = await get(served, "", "web")
        assert page["items"] == []
        page = await get(served, f"?cursor={page['next']}", "web")
        assert [item["client"] for item in page["items"]] == ["web-1"]

    with_audit(database_url("sqlite", tmp_path), work)


def test_an_export_is_whole_and_in_parts(url: str) -> None:
    async def work(journal: Journal, served: Served) -> None:
        count = 3 * PAGE + 7
        await fill(journal, *({"subject": "\u00e9\n" + str(i)} for i in range(count)))
        found = await lines(served)
        assert [entry["subject"] for entry in found] == ["\u00e9\n" + str(i) for i in range(count)]
        assert await lines(served, "?q=nothing") == []

    with_audit(url, work)


def test_an_export_that_nobody_reads_ends_and_is_seen_to_be_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STALL", 0.2)

    async def work(journal: Journal, served: Served) -> None:
        await fill(journal, *[{"details": {"x": "x" * 2000}}] * (20 * PAGE))
        answer = await served.connect("GET", "/api/v1/audit/export", buffer=4096)
        async with answer:
            answer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            async with asyncio.timeout(PATIENCE):
                while any("Stream._send" in str(task.get_coro()) for task in asyncio.all_tasks()):
                    await asyncio.sleep(0.05)
            answer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await answer.text()

    with_audit(database_url("sqlite", tmp_path), work)


def test_an_export_without_a_database_is_an_error_or_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(journal: Journal, served: Served) -> None:
        await fill(journal, *[{}] * (2 * PAGE))
        rows, calls = AuditLog._rows, 0

        async def failing(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise StoreUnavailable("away")
            return await rows(*args)

        monkeypatch.setattr(AuditLog, "_rows", failing)
        fails_at = 1
        assert (await served.ask("GET", "/api/v1/audit/export"))[0] == 503
        calls, fails_at = 0, 2
        answer = await served.connect("GET", "/api/v1/audit/export")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await answer.text()

    with_audit(database_url("sqlite", tmp_path), work)


def test_an_export_ends_with_the_credentials(tmp_path: Path) -> None:
    gone = set[str]()

    async def work(journal: Journal, served: Served) -> None:
        served.people["me"] = Principal("me", "admin")
        await fill(journal, *[{"details": {"x": "x" * 2000}}] * (20 * PAGE))
        answer = await served.connect("GET", "/api/v1/audit/export", {"X-Who": "me"}, buffer=4096)
        async with answer:
            gone.add("me")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await answer.text()
        assert (await served.ask("GET", "/api/v1/audit/export", {"X-Who": "me"}))[0] == 401

    with_audit(database_url("sqlite", tmp_path), work, lambda who: who.name not in gone)
