"""Webhooks: by their routes, to a real web server, through failures and restarts."""

import asyncio
import hashlib
import hmac
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rport.server import deliveries as deliveries_module
from rport.server import webhook as hook_module
from rport.server.api.routes import deliveries as delivery_routes
from rport.server.api.routes import webhooks as routes
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.store import Store, schema
from rport.server.store.engine import url_of
from rport.server.webhook import blocks, delay, signature
from rport.server.webhooks import WEBHOOKS_MAX, Webhooks
from tests.support.postgres import database_url
from tests.support.receiver import Receiver, receiving
from tests.support.served import PATIENCE, Served, a_plane, serving

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> str:
    return database_url("sqlite", tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_module, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(hook_module, "LONGEST_RETRY", 0.2)


class Setting:
    """A journal, webhooks, and a server with their routes."""

    def __init__(self, journal: Journal, webhooks: Webhooks) -> None:
        self.journal, self.webhooks = journal, webhooks
        self.served: Served

    async def ask(self, method: str, path: str = "", body: object = None, who: str = "root") -> tuple[int, Any]:
        return await self.served.ask(method, f"/api/v1/webhooks{path}", {"X-Who": who}, body)

    async def make(self, url: str, **more: Any) -> Any:
        status, made = await self.ask("POST", "", {"url": url} | more)
        assert status == 201, made
        return made

    async def get(self, path: str) -> Any:
        status, answer = await self.ask("GET", path)
        assert status == 200, answer
        return answer

    async def tell(self, *clients: str, type: str = "client.connected") -> None:
        before = self.journal.newest
        for client in clients:
            self.journal.tell(type, client)
        await until(lambda: self.journal.newest >= before + len(clients))

    async def waiting(self) -> int:
        async with self.journal.store.read() as db:
            query = sa.select(sa.func.count(schema.deliveries.c.due))
            return int((await db.execute(query)).scalar() or 0)

    async def until_sent(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.waiting():
                await asyncio.sleep(0.01)


def with_webhooks(url: str, work: Callable[[Setting], Awaitable[Any]]) -> Any:
    return asyncio.run(_run(url, work))


async def _run(url: str, work: Callable[[Setting], Awaitable[Any]]) -> Any:
    store = Store(url_of(url, ""))
    journal = Journal(store)
    webhooks = Webhooks(store, journal)
    try:
        await store.claim()
        await store.upgrade()
        await webhooks.start()
        await journal.start()
        setting = Setting(journal, webhooks)
        async with serving(a_plane(journal, webhooks=webhooks), routes, delivery_routes) as setting.served:
            return await work(setting)
    finally:
        await webhooks.close()
        await journal.close()
        await store.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def clients(receiver: Receiver) -> list[str]:
    return [json.loads(request.body)["client"] for request in receiver.requests]


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_an_event_is_sent_signed(url: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            made = await setting.make(receiver.url)
            before = int(time.time())
            setting.journal.tell("tunnel.opened", "web-1", lport=2222, name="b\u00fccher")
            await until(lambda: receiver.requests)
            (request,) = receiver.requests
            event = json.loads(request.body)
            at = event.pop("at")
            assert event == {
                "id": event["id"],
                "type": "tunnel.opened",
                "client": "web-1",
                "data": {"lport": 2222, "name": "b\u00fccher"},
            }
            assert at.endswith("Z")
            assert request.headers["content-type"] == "application/json"
            assert request.headers["rport-event"] == "tunnel.opened"
            assert request.headers["rport-delivery"].isdigit()
            assert request.headers["user-agent"].startswith("rportd/")
            found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", request.headers["rport-signature"])
            assert found is not None
            assert before <= int(found[1]) <= time.time()
            signed = found[1].encode() + b"." + request.body
            assert found[2] == hmac.new(made["secret"].encode(), signed, hashlib.sha256).hexdigest()
            await setting.until_sent()

    with_webhooks(url, work)


def test_the_snippet_of_the_docs_tells_true_from_false() -> None:
    page = (ROOT / "docs/webhooks.md").read_text()
    (snippet,) = (part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def verified" in part)
    names: dict[str, Any] = {}
    exec(snippet, names)
    verified, now, body = names["verified"], int(time.time()), b'{"id":1}'
    good = signature("secret", now, body)
    assert verified("secret", good, body)
    assert not verified("another", good, body)
    assert not verified("secret", good, body + b" ")
    assert not verified("secret", signature("secret", now - 3600, body), body)
    assert not verified("secret", good.replace(f"t={now}", f"t={now + 1}"), body)
    for nonsense in ("", "t=,v1=", "v1=x", "t=x,v1=y", good.replace("v1", "v0")):
        assert not verified("secret", nonsense, body)


def test_types_choose(url: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as some, receiving() as all_:
            await setting.make(some.url, types=["tunnel.opened", "tunnel.closed"])
            await setting.make(all_.url)
            off = await setting.make(some.url, enabled=False)
            for type in ("client.connected", "tunnel.opened", "client.disconnected", "tunnel.closed"):
                setting.journal.tell(type, type)
            await until(lambda: len(all_.requests) == 4)
            await setting.until_sent()
            assert clients(some) == ["tunnel.opened", "tunnel.closed"]
            assert clients(all_) == ["client.connected", "tunnel.opened", "client.disconnected", "tunnel.closed"]
            status, _ = await setting.ask("PATCH", f"/{off['id']}", {"enabled": True, "types": ["client.removed"]})
            assert status == 200
            await setting.tell("x", type="client.removed")
            await until(lambda: len(some.requests) == 3)

    with_webhooks(url, work)


# --- when it does not go well ----------------------------------------------------------------------------------------


def test_the_order_is_kept_while_a_server_does_not_work(url: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            receiver.answers = [204, 500, 503, b"", 429, 204]
            made = await setting.make(receiver.url)
            names = [f"c{i}" for i in range(30)]
            await setting.tell(*names)
            await until(lambda: len(receiver.requests) == 34)
            assert clients(receiver) == ["c0", "c1", "c1", "c1", "c1", *names[1:]]
            deliveries = {request.headers["rport-delivery"] for request in receiver.requests}
            assert len(deliveries) == 30  # a delivery is the same at each try
            await setting.until_sent()
            await until(lambda: not setting.webhooks.get(made["id"]).waiting)
            view = await setting.get(f"/{made['id']}")
            assert (view["waiting"], view["dead"], view["last_error"]) == (0, 0, None)
            assert view["last_delivered_at"] is not None
            assert setting.webhooks.tries == {"ok": 30, "failed": 4}

    with_webhooks(url, work)


def test_what_is_not_wanted_keeps_back_nothing(url: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            receiver.answers = [204, 400, 204, 404, 204]
            await setting.make(receiver.url)
            await setting.tell("a", "b", "c")
            await until(lambda: len(receiver.requests) == 5)
            assert clients(receiver)[:3] == ["a", "b", "c"]
            assert clients(receiver)[3:] == ["b", "b"]
            await setting.until_sent()

    with_webhooks(url, work)


def test_one_that_does_not_answer_harms_no_other(one: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as good, receiving() as slow:
            slow.gate.clear()
            await setting.make(slow.url)
            await setting.make(good.url)
            await setting.tell(*(f"c{i}" for i in range(10)))
            await until(lambda: len(good.requests) == 10 and slow.requests)
            assert len(slow.requests) == 1  # one at a time, for the order
            slow.gate.set()
            await setting.until_sent()
            assert clients(slow) == [f"c{i}" for i in range(10)]
            assert slow.most == 1

    with_webhooks(one, work)


def test_a_day_of_failures_is_the_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries_module, "GIVEN_UP", 0.5)

    async def work(setting: Setting) -> None:
        async with receiving() as receiver, receiving() as notices:
            receiver.answers = [500]
            made = await setting.make(receiver.url)
            await setting.make(notices.url, types=["webhook.dead"])
            await setting.tell("a", "b", "c")
            await until(lambda: notices.requests)
            await until(lambda: setting.webhooks.get(made["id"]).dead == 3)
            notice = json.loads(notices.requests[0].body)
            page = await setting.get(f"/{made['id']}/deliveries?state=dead")
            assert page["items"][0]["id"] == str(notice["data"]["delivery"])
            assert notice["data"] == {"webhook": made["id"], "delivery": notice["data"]["delivery"], "count": 3}
            assert [item["state"] for item in page["items"]] == ["dead"] * 3
            first = page["items"][-1]
            assert (first["due_at"], first["status"], first["error"]) == (None, 500, "it answered 500")
            assert json.loads(first["body"])["client"] == "a"
            assert (await setting.get(f"/{made['id']}/deliveries?state=waiting"))["items"] == []

            receiver.answers = [204]
            status, again = await setting.ask("POST", f"/{made['id']}/deliveries/{first['id']}/retry")
            assert (status, again["state"], again["attempts"]) == (200, "waiting", 0)
            await until(lambda: setting.webhooks.get(made["id"]).dead == 2)
            assert clients(receiver)[-1] == "a"
            last = page["items"][0]["id"]
            assert (await setting.ask("DELETE", f"/{made['id']}/deliveries/{last}"))[0] == 204
            assert (await setting.get(f"/{made['id']}"))["dead"] == 1
            for method, path in (("POST", f"{last}/retry"), ("DELETE", last), ("DELETE", "x"), ("DELETE", "9" * 40)):
                status, problem = await setting.ask(method, f"/{made['id']}/deliveries/{path}")
                assert (status, problem["type"]) == (404, "urn:rport:no-such-delivery")

    with_webhooks(url, work)


def test_notices_of_two_that_fail_end(one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries_module, "GIVEN_UP", 0.2)

    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            receiver.answers = [500]
            first, second = [await setting.make(receiver.url) for _ in range(2)]
            await setting.tell("a")
            await until(lambda: setting.journal.told["webhook.dead"] == 2)
            hooks = [setting.webhooks.get(made["id"]) for made in (first, second)]
            await until(lambda: all(hook.dead == 2 and not hook.waiting for hook in hooks))  # the event, and the notice
            await setting.tell("b")
            await until(lambda: all(hook.dead == 4 and not hook.waiting for hook in hooks))
            assert setting.journal.told["webhook.dead"] == 4

    with_webhooks(one, work)


def test_what_waits_and_what_is_dead_is_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries_module, "WAITING_MAX", 50)
    monkeypatch.setattr(hook_module, "WAITING_MAX", 50)
    monkeypatch.setattr(hook_module, "DEAD_MAX", 20)
    monkeypatch.setattr(deliveries_module, "DEAD_MAX", 20)

    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            receiver.gate.clear()
            made = await setting.make(receiver.url)
            for turn in range(10):
                await setting.tell(*(f"c{turn * 12 + i}" for i in range(12)))
            states = [item["state"] for item in (await setting.get(f"/{made['id']}/deliveries?limit=1000"))["items"]]
            assert states == ["waiting"] * 50 + ["dead"] * 20
            view = await setting.get(f"/{made['id']}")
            assert (view["waiting"], view["dead"]) == (50, 20)
            receiver.gate.set()
            await setting.until_sent()
            assert clients(receiver)[-50:] == [f"c{i}" for i in range(70, 120)]

    with_webhooks(url, work)


# --- restarts and trouble --------------------------------------------------------------------------------------------


def test_a_restart_goes_on_where_it_was(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    async def first(setting: Setting) -> None:
        made = await setting.make(f"http://127.0.0.1:{port}/")
        await setting.tell("a", "b", "c")
        await until(lambda: setting.webhooks.get(made["id"]).failures >= 2)

    async def second(setting: Setting) -> None:
        (webhook,) = setting.webhooks
        async with receiving(port=port) as receiver:
            await setting.tell("d")
            await until(lambda: len(receiver.requests) == 4)
            assert clients(receiver) == ["a", "b", "c", "d"]
            await until(lambda: not webhook.waiting)

    with_webhooks(url, first)
    with_webhooks(url, second)


KILLED = """
import asyncio, sys
import sqlalchemy as sa
from rport.server.journal import Journal
from rport.server.store import Store, schema
from rport.server.store.engine import url_of
from rport.server.webhooks import Webhooks

async def main():
    store = Store(url_of(sys.argv[1], ""))
    journal = Journal(store)
    webhooks = Webhooks(store, journal)
    await store.claim()
    await store.upgrade()
    await webhooks.start()
    await journal.start()
    print("ready", flush=True)
    journal.subscribers.append(lambda events: [print(e.client, flush=True) for e in events])
    for i in range(100000):
        journal.tell("client.connected", f"{sys.argv[2]}-{i}")
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def test_a_kill_loses_no_event(url: str) -> None:
    """Everything that was published is delivered, some of it twice."""

    async def work() -> None:
        async with receiving() as receiver:

            async def make(setting: Setting) -> None:
                await setting.make(receiver.url)

            await _run(url, make)
            published: list[str] = []
            for turn in range(3):
                program = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", KILLED, url, str(turn), stdout=subprocess.PIPE
                )
                assert program.stdout is not None
                count = 0
                async for line in program.stdout:
                    if line != b"ready\n":
                        published.append(line.decode().strip())
                        count += 1
                    if count == 40 + 17 * turn:
                        program.kill()
                await program.wait()

            async def finish(setting: Setting) -> None:
                await setting.until_sent()

            await _run(url, finish)
            assert len(published) > 150
            assert set(published) <= set(clients(receiver))
            seen = list(dict.fromkeys(clients(receiver)))
            assert seen == sorted(seen, key=lambda name: tuple(map(int, name.split("-"))))

    asyncio.run(work())


def test_an_alarm_is_sent_at_once_though_it_cannot_be_saved(one: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            receiver.answers = [500, 204]
            await setting.make(receiver.url, types=["store.trouble"])
            setting.journal._alarm("store.trouble", error="the disk is full")
            await until(lambda: len(receiver.requests) == 2)
            for request in receiver.requests:
                assert json.loads(request.body)["id"] == 0
                assert json.loads(request.body)["data"] == {"error": "the disk is full"}
            assert await setting.waiting() == 0

    with_webhooks(one, work)


# --- the routes ------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_is_in_no_entry(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(setting: Setting) -> None:
        with caplog.at_level("DEBUG", "rport"):
            own = await setting.make("https://h.example/path-secret?q=1", secret="my-own-secret-of-24-characters")
            made = await setting.make("https://h.example/path-secret", note="n")
            assert own["secret"] == "my-own-secret-of-24-characters"
            assert made["secret"].startswith("rpw_")
            changed = "another-secret-of-24-characters"
            status, view = await setting.ask(
                "PATCH", f"/{made['id']}", {"secret": changed, "url": "https://i.example/path-secret"}
            )
            assert status == 200
            assert setting.webhooks.get(made["id"]).secret == changed
            texts = [
                json.dumps(view),
                json.dumps(await setting.get("")),
                json.dumps(await setting.get(f"/{made['id']}")),
            ]
            async with setting.journal.store.read() as db:
                entries = [dict(row) for row in (await db.execute(sa.select(schema.audit))).mappings()]
            assert [entry["action"] for entry in entries] == ["webhook.add", "webhook.add", "webhook.change"]
            assert entries[2]["details"] == {"host": "i.example", "secret": "another"}
            texts += [json.dumps(entry) for entry in entries] + [caplog.text]
        for secret in (own["secret"], made["secret"], changed):
            assert not any(secret in text for text in texts)
        assert not any("path-secret" in text for text in texts[3:])

    with_webhooks(url, work)


def test_they_are_made_changed_and_deleted(url: str) -> None:
    async def work(setting: Setting) -> None:
        made = await setting.make("https://h.example/", types=["client.connected", "client.removed"], note="one")
        view = {name: value for name, value in made.items() if name != "secret"}
        assert await setting.get(f"/{made['id']}") == view
        assert (await setting.get(""))["items"] == [view]
        status, changed = await setting.ask("PATCH", f"/{made['id']}", {"types": None, "note": "two", "enabled": False})
        assert (status, changed) == (200, view | {"types": None, "note": "two", "enabled": False})
        assert (await setting.ask("PATCH", f"/{made['id']}", {}))[1] == changed
        assert (await setting.ask("DELETE", f"/{made['id']}"))[0] == 204
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/test", None),
            ("GET", "/deliveries", None),
            ("POST", "/deliveries/1/retry", None),
            ("DELETE", "/deliveries/1", None),
        ):
            status, problem = await setting.ask(method, f"/{made['id']}{path}", body)
            assert (status, problem["type"]) == (404, "urn:rport:no-such-webhook")

    async def empty(setting: Setting) -> None:
        assert (await setting.get(""))["items"] == []

    with_webhooks(url, work)
    with_webhooks(url, empty)


def test_what_was_made_is_there_after_a_restart(url: str) -> None:
    async def make(setting: Setting) -> Any:
        made = await setting.make("https://h.example/x", types=["client.connected"], note="one", enabled=False)
        del made["secret"]
        return made

    async def look(setting: Setting) -> Any:
        return (await setting.get(""))["items"]

    made = with_webhooks(url, make)
    assert with_webhooks(url, look) == [made]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"url": "https://h/", "more": 1}, 400),
        ({"url": "https://h/", "types": []}, 400),
        ({"url": "https://h/", "types": ["nonsense"]}, 400),
        ({"url": "https://h/", "secret": "short"}, 400),
        ({"url": "https://h/", "note": "a\nb"}, 400),
        ({"url": "https://h/", "note": "x" * 201}, 400),
        ({"url": "https://h/", "enabled": "yes"}, 400),
        ({"url": "https://h/" + "x" * 2000}, 400),
        ({"url": "https://me:secret@h/"}, 422),
        ({"url": "ftp://h/"}, 422),
    ],
)
def test_bad_ones(one: str, body: Any, status: int) -> None:
    async def work(setting: Setting) -> None:
        got, problem = await setting.ask("POST", "", body)
        assert got == status, problem
        if "url" in body and status == 422:
            made = await setting.make("https://h.example/")
            assert (await setting.ask("PATCH", f"/{made['id']}", body))[0] == 422
            assert (await setting.get(f"/{made['id']}"))["url"] == "https://h.example/"

    with_webhooks(one, work)


def test_there_are_only_so_many(one: str) -> None:
    async def work(setting: Setting) -> None:
        slots = asyncio.Semaphore(16)  # the front door takes some more from one address

        async def make() -> int:
            async with slots:
                return (await setting.ask("POST", "", {"url": "https://h.example/", "enabled": False}))[0]

        statuses = await asyncio.gather(*(make() for _ in range(WEBHOOKS_MAX + 5)))
        assert sorted(statuses) == [201] * WEBHOOKS_MAX + [409] * 5

    with_webhooks(one, work)


def test_it_takes_an_administrator_of_all_clients(one: str) -> None:
    async def work(setting: Setting) -> None:
        setting.served.people |= {
            "operator": Principal("operator", "operator"),
            "web": Principal("web", "admin", tags=frozenset({"web"})),
        }
        for who in ("operator", "web"):
            for method, path in (("GET", ""), ("POST", ""), ("GET", "/x"), ("GET", "/x/deliveries"), ("DELETE", "/x")):
                assert (await setting.ask(method, path, {"url": "https://h/"} if method == "POST" else None, who))[
                    0
                ] == 403

    with_webhooks(one, work)


def test_a_test_says_how_it_went(url: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            made = await setting.make(receiver.url, enabled=False)
            receiver.answers = [204, 500]
            status, good = await setting.ask("POST", f"/{made['id']}/test")
            assert (status, good["delivered"], good["status"], good["error"]) == (200, True, 204, None)
            assert receiver.requests[0].headers["rport-event"] == "webhook.test"
            assert json.loads(receiver.requests[0].body)["data"] == {"webhook": made["id"]}
            status, bad = await setting.ask("POST", f"/{made['id']}/test")
            assert (status, bad["delivered"], bad["status"], bad["error"]) == (200, False, 500, "it answered 500")
            assert await setting.waiting() == 0

    with_webhooks(url, work)


def test_deliveries_come_in_pages(one: str) -> None:
    async def work(setting: Setting) -> None:
        async with receiving() as receiver:
            receiver.gate.clear()
            made = await setting.make(receiver.url)
            await setting.tell(*(f"c{i}" for i in range(25)))
            seen, query = list[str](), "?limit=10"
            while True:
                page = await setting.get(f"/{made['id']}/deliveries{query}")
                seen += [json.loads(item["body"])["client"] for item in page["items"]]
                if page["next"] is None:
                    break
                query = f"?limit=10&cursor={page['next']}"
            assert seen == [f"c{i}" for i in range(24, -1, -1)]
            assert (await setting.ask("GET", f"/{made['id']}/deliveries?cursor=x"))[0] == 422
            assert (await setting.ask("GET", f"/{made['id']}/deliveries?state=x"))[0] == 400

    with_webhooks(one, work)


# --- pure ------------------------------------------------------------------------------------------------------------


def test_delays_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [delay(failures) for failures in (1, 2, 3, 10, 11, 1000)] == [5.0, 10.0, 20.0, 2560.0, 3600.0, 3600.0]


@pytest.mark.parametrize("status", [None, 302, 408, 425, 429, 500, 503])
def test_failures_of_the_server(status: int | None) -> None:
    assert blocks(status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_failures_of_one_delivery(status: int) -> None:
    assert not blocks(status)
