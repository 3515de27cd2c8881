"""The client's side of the upgrade (RFC 6455, section 4.1): what it asks for, and what an answer says of who is there.

Sans-IO.
"""

import os
from binascii import b2a_base64
from collections.abc import Sequence

from rport.errors import ConnectError, UsageError
from rport.text import quote
from rport.websocket import HEAD_MAX, HEADERS_MAX, SUBPROTOCOL, accept_key

WORDS_MAX = 200  # characters of a server's own explanation, which is a sentence
BODY_MAX = 512  # octets of a refusal's body that are waited for: its first line is all that is looked at

_TLS_PORT = "it is a TLS port: write https:// before the server's name"
_NO_RPORTD = "no rportd is there"

_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSALS = (400, 408, 431, 501)  # what rportd says itself, in words of its own; a 426 and a 503 are proxies', too
_MEANINGS = {
    401: "a web server, or a proxy before rportd, wants a login: --header 'Authorization: ...' gives one",
    403: "a web server, or a proxy on the way, does not allow it",
    407: "a proxy is in the way and wants a login: name it with --proxy http://USER:PASSWORD@HOST:PORT",
    426: "it does not speak this version of the tunnel protocol",
    429: "too busy, or what is behind it is down",
}
_MEANINGS |= dict.fromkeys((502, 503, 504), _MEANINGS[429])
RESERVED_HEADERS = {  # of the upgrade request: rport sets them itself
    "host",
    "upgrade",
    "connection",
    "content-length",
    "transfer-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
}


def new_key() -> str:
    """A fresh Sec-WebSocket-Key."""
    return b2a_base64(os.urandom(16), newline=False).decode()


def upgrade_request(host: str, path: str, key: str, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The client's HTTP request. `headers` are the user's own. Raises UsageError for what HTTP cannot carry.

    Its head stays within what every server takes.
    """
    for name, _ in headers:
        if name.lower() in RESERVED_HEADERS:
            raise UsageError(f"header {quote(name)} cannot be given: rport sets it itself")
    fields = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
        *headers,
    ]
    if not path.startswith("/") or not _is_token(path):
        raise UsageError(f"path {quote(path)} cannot be requested: it must begin with / and hold no spaces")
    head = _head(f"GET {path} HTTP/1.1", fields)
    if len(fields) > HEADERS_MAX:
        allowed = HEADERS_MAX - len(fields) + len(headers)
        raise UsageError(f"{len(headers)} headers are too many: {allowed} may be given")
    if len(head) > HEAD_MAX:
        raise UsageError(f"the request would be longer than {HEAD_MAX} bytes: the headers and the path have to shrink")
    return head


class UpgradeResponse:
    """Reads the answer to the `upgrade_request` that was made with `key`.

    Anything but a fitting 101 raises ConnectError with a text that names what answered. `tls`: it came through some.
    """

    def __init__(self, key: str, *, tls: bool = False) -> None:
        self._key = key
        self.absence = _NO_RPORTD if tls else f"{_NO_RPORTD}, or {_TLS_PORT}"  # what it may mean that nothing comes
        self._buffer = b""
        self.done = False
        self.rest = b""  # what came behind the head, when it is done

    def feed(self, data: bytes) -> bool:
        """Take bytes as they come, b"" at their end; True, as `done`, when the head is complete and accepted."""
        self._buffer += data
        if not data or len(self._buffer) >= 5:
            self._check_http(ended=not data)
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > HEAD_MAX:
            raise ConnectError(f"the HTTP answer's head is longer than {HEAD_MAX} bytes")
        if end:
            self._accept(head, rest, ended=not data)
        elif not data:
            raise ConnectError("the connection was closed within the HTTP answer")
        return self.done

    def _check_http(self, *, ended: bool) -> None:
        if ended and not self._buffer:
            raise ConnectError(f"the connection was closed without an answer: {self.absence}")
        if not self._buffer.startswith(b"HTTP/"):
            raise ConnectError(name_stranger(self._buffer))

    def _accept(self, head: bytes, rest: bytes, *, ended: bool) -> None:
        status_line, _, block = head.partition(b"\r\n")
        status = _parse_status(status_line)
        fields = _parse_fields(block)
        if status != 101:
            if ended or len(rest) >= min(_text_size(fields), BODY_MAX):
                raise ConnectError(_name_answer(status, fields, rest))
            return
        if fields.get("sec-websocket-accept", "") != accept_key(self._key):
            raise ConnectError("the WebSocket answer does not fit the request: a proxy may be answering from its cache")
        protocol = fields.get("sec-websocket-protocol", "none")
        if protocol != SUBPROTOCOL:
            raise ConnectError(f"a WebSocket server answers there, but it speaks {quote(protocol)}, not {SUBPROTOCOL}")
        self.rest = rest
        self.done = True


def _head(first_line: str, fields: Sequence[tuple[str, str]]) -> bytes:
    for name, value in fields:
        # A line break in a value would be a header, or a request, of its own.
        if not name or ":" in name or not _is_token(name) or not _is_text(value):
            raise UsageError(f"header {quote(name)} cannot be sent: it needs a plain name and one line of Latin-1 text")
    lines = [first_line, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _is_token(text: str) -> bool:
    """Printable ASCII without spaces."""
    return all("!" <= char <= "~" for char in text)


def _is_text(text: str) -> bool:
    return all(char == "\t" or " " <= char <= "~" or "\xa0" <= char <= "\xff" for char in text)


def _parse_status(line: bytes) -> int:
    parts = line.split(b" ", 2)
    if len(parts) < 2 or len(parts[1]) != 3 or not parts[1].isdigit():
        raise ConnectError(f"the HTTP answer begins with {quote(line.decode('latin-1'))}, which is no status line")
    return int(parts[1])


def _parse_fields(block: bytes) -> dict[str, str]:
    """Names in lower case. A repeated name keeps its last value: none that is looked at here may be repeated."""
    lines = block.split(b"\r\n") if block else []
    if len(lines) > HEADERS_MAX:
        raise ConnectError(f"the HTTP answer has more than {HEADERS_MAX} headers")
    fields = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise ConnectError(f"the HTTP answer has a header {quote(name)} without a colon")
        fields[name.lower()] = value.strip(" \t")
    return fields


def _name_answer(status: int, fields: dict[str, str], body: bytes) -> str:
    """What an HTTP answer other than 101 says about who is there."""
    if status in _REDIRECTS:
        return _name_redirect(status, fields.get("location", ""))
    if status == 400 and b"HTTPS" in body:
        return f"answered HTTP 400: {_TLS_PORT}"
    words = _first_line(body) if _text_size(fields) else ""
    if status in _REFUSALS and words:
        return f"answered HTTP {status}: {words}"
    meaning = _MEANINGS.get(status, "it is a web server, but no rport server")
    return f"answered HTTP {status}: {meaning}" + (f"; it says {words}" if words else "")


def _name_redirect(status: int, location: str) -> str:
    return f"answered HTTP {status}, a redirect: use {quote(location)} instead"


def _text_size(fields: dict[str, str]) -> int:
    """Octets of a body that is a text for humans, as rportd's refusals are; 0 for any other."""
    size = fields.get("content-length", "")
    plain = fields.get("content-type", "").lower().startswith("text/plain")
    return int(size) if plain and size.isascii() and size.isdecimal() and len(size) < 10 else 0


def _first_line(body: bytes) -> str:
    line = body.partition(b"\n")[0].decode("utf-8", "replace").strip()
    return quote(line, WORDS_MAX) if line else ""


def name_stranger(data: bytes) -> str:
    """What the first bytes of something that is not HTTP say about who is there."""
    if data.startswith(b"SSH-"):
        return "an SSH server answers there, no rport server"
    if data.startswith(b"\x15\x03"):  # a TLS alert: it took the request for a bad ClientHello
        return _TLS_PORT
    line = data.partition(b"\n")[0].rstrip(b"\r").decode("latin-1")
    return f"what answers there is no rport server and no web server: it sent {quote(line)}"
