"""Routes behind a real front door, in the test's own loop, asked over real sockets; who asks says so in a header."""

import asyncio
import contextlib
import http
import json
import socket
from collections.abc import AsyncIterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI

from rport.server.api.document import Described
from rport.server.api.problems import add_handlers
from rport.server.door.front import make_protocol
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.settings import Settings
from rport.server.store import Store
from rport.server.store.engine import url_of

PATIENCE = 20.0  # seconds; only a failing test takes them
ADMIN = Principal("root", "admin", "user", source="192.0.2.1")


class Served:
    """`people` by the name that a request shows; whoever shows none is ADMIN."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.port = 0
        self.people = {"root": ADMIN}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        names = [value.decode() for name, value in scope["headers"] if name == b"x-who"]
        scope["rport.principal"] = self.people[names[0] if names else "root"]
        scope["rport.stands"] = lambda who: True
        await self.app(scope, receive, send)

    async def connect(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        buffer: int = 1 << 16,
    ) -> "Answer":
        """The answer as far as its head."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 20)
        data = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(data))}
        lines = [f"{name}: {value}\r\n" for name, value in (fields | dict(headers or {})).items()]
        writer.write(f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + data)
        async with asyncio.timeout(PATIENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return Answer(head, reader, writer)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> tuple[http.HTTPStatus, Any]:
        """The whole answer, JSON read."""
        answer = await self.connect(method, path, headers, body)
        async with answer:
            text = await answer.text()
        kind = answer.headers.get("content-type", "")
        return answer.status, json.loads(text) if text and kind.endswith("json") and "ndjson" not in kind else text


class Answer:
    """Its body comes in parts."""

    def __init__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.strip().split("\r\n")
        self.status = http.HTTPStatus(int(first.split()[1]))
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.reader, self.writer = reader, writer

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.transport.abort()

    async def parts(self) -> AsyncIterator[str]:
        """Raises IncompleteReadError when it is cut short."""
        if "content-length" in self.headers:
            yield (await self.reader.readexactly(int(self.headers["content-length"]))).decode()
            return
        if self.headers.get("transfer-encoding") != "chunked":
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2].decode()
        await self.reader.readexactly(2)

    async def text(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return "".join([part async for part in self.parts()])


@contextlib.asynccontextmanager
async def a_journal(url: str) -> AsyncIterator[Journal]:
    """On a database that is brought up to date."""
    store = Store(url_of(url, ""))
    journal = Journal(store)
    try:
        await store.claim()
        await store.upgrade()
        await journal.start()
        yield journal
    finally:
        await journal.close()
        await store.close()


@contextlib.asynccontextmanager
async def serving(plane: Any, *modules: ModuleType) -> AsyncIterator[Served]:
    """These modules' routes."""
    app = Described()
    add_handlers(app, app.methods)
    for module in modules:
        app.include_router(module.router(plane), prefix="/api/v1")
    served = Served(app)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    served.port = listener.getsockname()[1]
    config = uvicorn.Config(
        served,
        http=make_protocol(lambda arrival: None),
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield served
    finally:
        server.should_exit = True
        await running
        listener.close()


def a_plane(journal: Journal, **more: Any) -> Any:
    """As far as these routes look."""
    service = SimpleNamespace(settings=Settings(""), draining=False)
    return SimpleNamespace(journal=journal, store=journal.store, service=service, **more)
