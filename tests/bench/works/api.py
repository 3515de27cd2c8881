"""The API of a server that knows thousands of machines."""

from __future__ import annotations

import asyncio
import http.client
import json
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench import procfs
from tests.bench.peers import Peer, Running
from tests.bench.peers.rport import Rport
from tests.bench.ports import HOST, free_port
from tests.bench.process import ProgramFailed
from tests.bench.setting import Scale, Setting
from tests.bench.swarmctl import SwarmControl
from tests.bench.tools import run_wrk
from tests.bench.works.base import Metric, Sample, Work, only_rport

KNOWN = 10_000  # clients in the store, none connected
CONNECTIONS = 4  # what a dashboard and a few scripts have open
LISTENERS = 100
CLIENTS = 10  # whose tunnels are opened and closed
TUNNELS = 1000

STATUS = Metric("status_per_second", "status/s", 0, ratio=False)
PAGES = Metric("pages_per_second", "pages of 100/s", 0, ratio=False)
LIST = Metric("list_ms", "list of 100 ms", 1, ratio=False)
SEARCH = Metric("search_ms", "search, sorted ms", 1, ratio=False)
PER_KNOWN = Metric("kib_per_known_client", "KiB/known client", 2, ratio=False)
OPEN = Metric("open_ms", "open ms", 2, ratio=False)
CLOSE = Metric("close_ms", "close ms", 2, ratio=False)
EVENTS = Metric("events_per_second", "events/s", 0, ratio=False)
DELIVERED = Metric("cpu_us_per_delivery", "CPU us/delivery", 1, ratio=False)
_SETTLE = 0.5  # seconds for a started program to come to rest
_WAIT = 60.0  # seconds for what must come


class Api:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=_WAIT)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Raises ProgramFailed for an answer that is an error."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        self._connection.request(method, f"/api/v1{path}", data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise ProgramFailed(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def median_ms(self, path: str, count: int = 20) -> float:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self.ask("GET", path)
            times.append(time.perf_counter() - started)
        return sorted(times)[count // 2] * 1000


class ApiWork(Work):
    """Beside a server of its own."""

    def rounds(self, scale: Scale) -> int:
        return scale.heavy_rounds

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return only_rport(chosen)


class Inventory(ApiWork):
    """Status and lists, with KNOWN clients in the store."""

    name = "api"
    title = f"The API with {KNOWN:,} known clients, {CONNECTIONS} connections"
    metrics = (STATUS, PAGES, LIST, SEARCH, PER_KNOWN)

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        with _server(setting, known=1) as (running, _):  # whoever finds no tables makes them, which takes memory
            empty = procfs.resident_mib(running.server_pids)
        with _server(setting, known=KNOWN) as (running, port):
            full = procfs.resident_mib(running.server_pids)
            api, seconds = Api(port), setting.scale.requests
            return {
                STATUS.key: run_wrk(port, seconds, connections=CONNECTIONS, path="/api/v1/status").per_second,
                PAGES.key: run_wrk(port, seconds, connections=CONNECTIONS, path="/api/v1/clients").per_second,
                LIST.key: api.median_ms("/clients?limit=100"),
                SEARCH.key: api.median_ms("/clients?limit=100&q=host-77&sort=-last_seen"),
                PER_KNOWN.key: (full - empty) * 1024 / KNOWN,
            }


class ApiTunnels(ApiWork):
    """One after the other, each answered when the client has agreed and the store has it."""

    name = "api-tunnels"
    title = f"Opening and closing {TUNNELS:,} tunnels of {CLIENTS} clients through the API"
    metrics = (OPEN, CLOSE)

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        with _server(setting, known=0) as (_, port):
            swarm = SwarmControl(port, CLIENTS)
            try:
                swarm.wait_up()
                api = Api(port)
                ids = [client["id"] for client in api.ask("GET", "/clients")["items"]]
                opened, started = [], time.perf_counter()
                for i in range(TUNNELS):
                    client = ids[i % CLIENTS]
                    made = api.ask("POST", f"/clients/{client}/tunnels", {"target": "127.0.0.1:9", "stored": False})
                    opened.append(f"/clients/{client}/tunnels/{made['id']}")
                middle = time.perf_counter()
                for path in opened:
                    api.ask("DELETE", path)
                ended = time.perf_counter()
            finally:
                swarm.stop()
        return {OPEN.key: (middle - started) * 1000 / TUNNELS, CLOSE.key: (ended - middle) * 1000 / TUNNELS}


class ApiEvents(ApiWork):
    """From the store to everybody who listens."""

    name = "api-events"
    title = f"Events to {LISTENERS} listeners"
    metrics = (EVENTS, DELIVERED)
    _count = 400

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        with _server(setting, known=0) as (running, port), ExitStack() as own:
            swarm = SwarmControl(port, 1)
            own.callback(swarm.stop)
            swarm.wait_up()
            api = Api(port)
            client = api.ask("GET", "/clients")["items"][0]["id"]
            listeners = [own.enter_context(_listen(port)) for _ in range(LISTENERS)]
            time.sleep(_SETTLE)
            cpu, started = procfs.cpu_seconds(running.server_pids), time.perf_counter()
            for _ in range(self._count // 2):
                path = f"/clients/{client}/tunnels"
                made = api.ask("POST", path, {"target": "127.0.0.1:9", "stored": False})
                api.ask("DELETE", f"{path}/{made['id']}")
            _count_events(listeners, self._count)
            seconds = time.perf_counter() - started
            used = procfs.cpu_seconds(running.server_pids) - cpu
        return {EVENTS.key: self._count / seconds, DELIVERED.key: used * 1e6 / (self._count * LISTENERS)}


@contextmanager
def _server(setting: Setting, known: int) -> Iterator[tuple[Running, int]]:
    port = free_port()
    with ExitStack() as own:
        launch = setting.launch(own)
        if known:
            asyncio.run(fill(launch.directory / "server", known))
        Rport().start_server(launch, port)
        Api(port).ask("GET", "/status")  # the port is open before the store has been read
        time.sleep(_SETTLE)
        yield launch.running, port


async def fill(state: Path, count: int) -> None:
    """A store with so many clients that were there once."""
    import sqlalchemy as sa

    from rport.server.store import Store, schema
    from rport.server.store.engine import url_of

    store = Store(url_of(None, str(state)))
    await store.upgrade()
    now = time.time()
    system = {
        "os": "linux",
        "os_version": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.1.0-30-amd64",
        "arch": "x86_64",
    }
    rows = [
        {
            "id": f"machine-{i:05}",
            "owner": "managed",
            "name": f"host-{i}.example.com",
            "named": False,
            "tags": [f"site-{i % 50}", "linux"],
            "note": "",
            "listen": None,
            "facts": system | {"hostname": f"host-{i}", "addresses": [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"]},
            "version": "0.1.0",
            "address": f"203.0.113.{i % 256}:40000",
            "created": now - i,
            "first_seen": now - i,
            "last_seen": now - i % 1000,
            "cloned": None,
        }
        for i in range(count)
    ]
    async with store.write() as db:
        await db.execute(sa.insert(schema.clients), rows)
    await store.close()


@contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
    """Somebody who listens to all events, from now on."""
    with socket.create_connection((HOST, port)) as sock:
        sock.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(4096)
            if not data:
                raise ProgramFailed(f"events: {head!r}")
            head += data
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ProgramFailed(f"events: {head!r}")
        yield sock


def _count_events(listeners: Sequence[socket.socket], wanted: int) -> None:
    """Until each has had so many. Raises ProgramFailed."""
    deadline = time.monotonic() + _WAIT
    counts = dict.fromkeys(listeners, 0)
    with selectors.DefaultSelector() as selector:
        for sock in listeners:
            selector.register(sock, selectors.EVENT_READ)
        while min(counts.values()) < wanted:
            ready = selector.select(deadline - time.monotonic())
            if not ready:
                raise ProgramFailed(f"a listener had {min(counts.values())} of {wanted} events")
            for key, _ in ready:
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                if not data:
                    raise ProgramFailed("a listener's stream ended")
                counts[key.fileobj] += data.count(b"\nid: ") + data.startswith(b"id: ")  # type: ignore[index]
