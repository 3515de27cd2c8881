"""An API of prepared answers, for what rportctl does with each of them; what really happens is for tests/e2e."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.documented import Documented


class Asked(NamedTuple):
    """A request: `query` has lists of values."""

    method: str
    path: str
    query: dict[str, list[str]]
    fields: dict[str, str]
    body: Any


Answer = tuple[int, Any]  # status, and JSON or octets


class ApiDouble:
    """`answers` by method and path below /api/v1: an Answer, or what makes one of the request; `asked` has them all.

    `untrue` is what of its answers the API's document does not know: no server answers so.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer | Callable[[Asked], Answer]] = {}
        self.asked: list[Asked] = []
        self.untrue: list[str] = []
        documented = Documented()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                where = urlsplit(self.path)
                body = json.loads(self.rfile.read(size)) if size else None
                asked = Asked(self.command, where.path, parse_qs(where.query), dict(self.headers.items()), body)
                double.asked.append(asked)
                made = double.answers.get((self.command, where.path.removeprefix("/api/v1")), problem(404, "no such"))
                status, content = made(asked) if callable(made) else made
                double.untrue += documented.unknown(asked.method, asked.path, status, content)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        assert not self.untrue


def problem(status: int, detail: str, kind: str = "some-kind") -> Answer:
    """As the API has them."""
    return status, {"type": f"urn:rport:{kind}", "title": "T", "status": status, "detail": detail, "error": detail}


def page(*rows: Any, next: str | None = None) -> Answer:
    return 200, {"items": list(rows), "next": next}


def client(id: str, name: str, **more: Any) -> dict[str, Any]:
    """A machine as the API lists it."""
    return {"id": id, "name": name, "state": "connected", "tags": [], "address": "192.0.2.7", **more}
