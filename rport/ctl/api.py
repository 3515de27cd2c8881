"""The server's API over one kept connection: a question, an answer, and errors as this program has them."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from rport import __version__
from rport.ctl.errors import NotFound, ServerTrouble, of_status
from rport.ctl.place import Place
from rport.errors import UsageError
from rport.text import QUOTED_MAX
from rport.text import quote as quoted

ANSWER_MAX = 1 << 26  # octets: a page of 1,000 clients is a hundredth of it
PAGE = 1000  # rows that are asked for at once, the most that there may be
RETRIABLE = ("GET",)  # asked again when the kept connection turns out to have ended meanwhile


class Api:
    """`credentials`: fields of each request. Nothing is asked before the first call."""

    def __init__(
        self,
        place: Place,
        credentials: Mapping[str, str],
        *,
        timeout: float = 15.0,
        ca: str | None = None,
        insecure: bool = False,
    ) -> None:
        self.place = place
        self.credentials = credentials
        self._timeout = timeout
        self._ca, self._insecure = ca, insecure
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **query: Any) -> Any:
        return self.ask("GET", path, query)

    def ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """The answer's JSON; None where it has no body. Raises what its status means, and ServerTrouble."""
        answer, text = self._ask_twice(method, target(path, query), body)
        if answer.status >= 300:
            raise self._problem(answer, text)
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise ServerTrouble(f"{self.place.url}: the answer is no JSON; is this an rportd?") from None

    def rows(self, path: str, limit: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """Of all pages of a list, or as many as `limit`."""
        cursor = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            page = self.get(path, **query, limit=size, cursor=cursor)
            yield from page["items"]
            cursor = page.get("next")
            limit = None if limit is None else limit - len(page["items"])
            if cursor is None:
                return

    @contextlib.contextmanager
    def stream(
        self, path: str, query: Mapping[str, Any], fields: Mapping[str, str], patience: float
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that goes on, on a connection of its own. Each part of it may take `patience` seconds."""
        connection = self._connect()
        try:
            with self._explained():
                connection.connect()
                sock = connection.sock  # the connection knows it no more once the answer has begun
                connection.request("GET", target(path, query), headers={**self._fields(), **fields})
                answer = connection.getresponse()
                if answer.status >= 300:
                    raise self._problem(answer, answer.read(ANSWER_MAX))
                sock.settimeout(patience)
            yield answer
        finally:
            connection.close()

    def peer(self) -> tuple[socket.AddressFamily, str]:
        """The address that answers, and its family."""
        self._connection = self._connection or self._connect()
        sock = self._connection.sock
        if sock is None:
            with self._explained():
                self._connection.connect()
            sock = self._connection.sock
        return sock.family, str(sock.getpeername()[0]).removeprefix("::ffff:")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _ask_twice(self, method: str, where: str, body: Any) -> tuple[http.client.HTTPResponse, bytes]:
        kept = self._connection is not None and self._connection.sock is not None
        try:
            return self._ask_once(method, where, body)
        except (ConnectionError, http.client.RemoteDisconnected):
            if not kept or method not in RETRIABLE:
                with self._explained():
                    raise
        return self._ask_once(method, where, body, last=True)

    def _ask_once(
        self, method: str, where: str, body: Any, *, last: bool = False
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._connection = self._connection or self._connect()
        fields = self._fields()
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            fields["Content-Type"] = "application/json"
        try:
            connection.request(method, where, data, fields)
            answer = connection.getresponse()
            text = answer.read(ANSWER_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, ConnectionError | http.client.RemoteDisconnected) and not last:
                raise
            with self._explained():
                raise
        if len(text) > ANSWER_MAX:
            raise ServerTrouble(f"{self.place.url}: the answer is longer than {ANSWER_MAX} bytes")
        return answer, text

    def _fields(self) -> dict[str, str]:
        return {"Accept": "application/json", "User-Agent": f"rportctl/{__version__}", **self.credentials}

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self.place.host, self.place.port
        if not self.place.tls:
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._context())

    def _context(self) -> Any:
        import ssl

        from rport.tls import load_authorities

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._ca is None:
            context.load_default_certs()
        else:
            load_authorities(context, self._ca, "--ca")
        return context

    def _problem(self, answer: http.client.HTTPResponse, body: bytes) -> Exception:
        if 300 <= answer.status < 400:
            place = quoted(answer.headers.get("Location", ""))
            return ServerTrouble(f"{self.place.url}: the answer is a redirect to {place}: log in there instead")
        problem = _problem(body)
        if problem is None:
            what = f"status {answer.status} {quoted(answer.reason, 40)}"
            return ServerTrouble(f"{self.place.url}: {what}, and no word of an rportd; is it the right URL?")
        detail, kind = problem
        if answer.status == 404 and detail == "Not Found":
            return ServerTrouble(f"{self.place.url}: this rportd does not know how to do that: is it an older version?")
        if answer.status == 401:
            detail += "" if self.credentials else "; rportctl login makes one"
        return of_status(answer.status, detail, kind)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise ServerTrouble(f"{self.place.url}: {_reason(error)}") from None


def target(path: str, query: Mapping[str, Any] | None = None) -> str:
    """The request's target, of a path below /api/v1 whose parts are quoted already. What is None is left out."""
    given = [(key, value) for key, value in (query or {}).items() if value is not None and value != ()]
    try:
        words = urlencode(given, doseq=True)
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r} is not UTF-8") from None
    return f"/api/v1{path}" + (f"?{words}" if words else "")


def part(text: str) -> str:
    """Of a path, quoted, so that nothing in it is taken for a separator."""
    if text in ("", ".", ".."):
        raise NotFound(f"there is nothing that is called {text!r}")
    return quote(utf8(text), safe="")


def utf8(text: str) -> bytes:
    """Raises UsageError for what a terminal or an argument had in another encoding."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8") from None


def _problem(body: bytes) -> tuple[str, str] | None:
    """Its text and kind: RFC 9457. None: it is none."""
    try:
        problem = json.loads(body)
        return str(problem["detail"]), str(problem["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        return None


def _reason(error: Exception) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}; give --ca FILE with its authority"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}; a server without TLS has an http:// URL"
    if isinstance(error, TimeoutError):
        return "no answer in time; --timeout waits longer"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be found: {error.strerror}"
    if isinstance(error, http.client.HTTPException):
        return f"this is no HTTP answer ({type(error).__name__}); a server with TLS has an https:// URL"
    return str(getattr(error, "strerror", None) or error)[:QUOTED_MAX]
