"""Requests and answers as they are passed on between a client and the backend (RFC 9110, section 7.6). Pure.

Both heads are written anew from what the parser understood: what one end could read otherwise than the other does not
get through.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from rport.server.door.backend import Backend
from rport.server.door.fields import Headers, elements, values
from rport.server.door.refusal import Refusal
from rport.server.networks import Peer

_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    b"proxy-authenticate", b"proxy-authorization",
}  # fmt: skip
# What only this server may say, also x-forwarded-*; `Proxy` becomes HTTP_PROXY in a CGI program.
_OURS = {b"host", b"content-length", b"forwarded", b"x-real-ip", b"proxy"}
_TARGET = re.compile(rb"/[!-~]*|\*")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_REPEATABLE = {b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"}  # RFC 9110, section 9.2.2
_NO_BODY = {204, 304}
_H2C = b"h2c"  # through that, requests would pass that nobody here has looked at


class Request(NamedTuple):
    """What a client asks, as the parser tells it. `target`: path and query."""

    method: bytes
    target: bytes
    version: str
    headers: Headers
    upgrades: bool
    client: Peer
    scheme: str
    trusted: bool  # it came through a proxy whose word is taken


class Passage(NamedTuple):
    """A request that goes to the backend. `length` of its body: None when chunked, 0 without one."""

    backend: Backend
    client: Peer
    head: bytes
    method: bytes
    version: str
    length: int | None
    expects: bool  # the client waits for a 100 before it sends the body
    upgrade: bytes  # the protocol that it wants to change to, or nothing

    @property
    def repeatable(self) -> bool:
        """It may be sent once more, when the connection that was kept open turns out to be dead."""
        return self.length == 0 and not self.upgrade and self.method in _REPEATABLE


class Head(NamedTuple):
    """Of an answer. `length`: None when its end is told otherwise, by a last chunk or by the connection's end."""

    status: int
    reason: bytes
    headers: Headers
    length: int | None

    def has_body(self, method: bytes) -> bool:
        """Whatever its fields say (RFC 9112, section 6.3)."""
        return self.status >= 200 and self.status not in _NO_BODY and method != b"HEAD"


def pass_on(request: Request, backend: Backend) -> Passage:
    """Raises Refusal for what the backend must not see."""
    if not _TARGET.fullmatch(request.target) or not all(_VALUE.fullmatch(value) for _, value in request.headers):
        raise Refusal(400, "this request cannot be passed on")
    length = _length(request)
    expects = request.version == "1.1" and length != 0 and _value(request.headers, b"expect").lower() == b"100-continue"
    upgrade = _upgrade(request)
    if upgrade and length != 0:
        raise Refusal(400, "an upgrade request has no body")
    left_out = _HOP_BY_HOP | _named(request.headers) | (set() if expects else {b"expect"})
    fields = [
        (b"host", backend.authority.encode()),
        *((name, value) for name, value in request.headers if not _is_ours(name) and _dashed(name) not in left_out),
        *_about(request),
        *_framing(length, stated=bool(values(request.headers, b"content-length"))),
        *([(b"connection", b"upgrade"), (b"upgrade", upgrade)] if upgrade else []),
    ]
    target = request.target if request.target == b"*" else backend.prefix.encode() + request.target
    head = _lines(b"%s %s HTTP/1.1" % (request.method, target), fields)
    return Passage(backend, request.client, head, request.method, request.version, length, expects, upgrade)


def answer_head(head: Head, passage: Passage, *, close: bool) -> tuple[bytes, bool]:
    """What the client gets, and whether its body is chunked. `close`: the connection ends behind it."""
    left_out = _HOP_BY_HOP | _named(head.headers) | ({b"content-length"} if head.status == 204 else set())
    fields = [(name, value) for name, value in head.headers if name not in left_out]
    chunked = head.length is None and head.has_body(passage.method) and passage.version == "1.1"
    if chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    if close:
        fields.append((b"connection", b"close"))
    return _lines(b"HTTP/1.1 %d %s" % (head.status, head.reason), fields), chunked


def interim_head(head: Head) -> bytes:
    """A 1xx; of a 101, with the protocol that it changes to."""
    fields = [(name, value) for name, value in head.headers if name not in _HOP_BY_HOP | _named(head.headers)]
    if head.status == 101:
        fields += [(b"connection", b"upgrade"), (b"upgrade", _value(head.headers, b"upgrade"))]
    return _lines(b"HTTP/1.1 %d %s" % (head.status, head.reason), fields)


def body_length(headers: Headers) -> int | None:
    """Of an answer, by its fields."""
    text = _value(headers, b"content-length").strip()
    return int(text) if text.isdigit() else None


def transfer_coding(headers: Headers) -> bytes:
    return _value(headers, b"transfer-encoding").lower()


def wants_close(headers: Headers) -> bool:
    """No other request may follow on this connection."""
    return b"close" in _named(headers)


def _length(request: Request) -> int | None:
    """Of the request's body. The parser has refused both fields together, and numbers that are none."""
    encodings, lengths = values(request.headers, b"transfer-encoding"), values(request.headers, b"content-length")
    if not encodings and len(lengths) <= 1:
        return int(lengths[0]) if lengths else 0
    if [encoding.lower() for encoding in encodings] != [b"chunked"] or lengths or request.version != "1.1":
        raise Refusal(400, "where this request's body ends cannot be told for sure")
    return None


def _upgrade(request: Request) -> bytes:
    wanted = [item.strip() for item in _value(request.headers, b"upgrade").split(b",")]
    return b", ".join(item for item in wanted if item.lower() != _H2C) if request.upgrades else b""


def _about(request: Request) -> Iterable[tuple[bytes, bytes]]:
    """Who asks, how, and for what name."""
    hosts = values(request.headers, b"host")
    if len(hosts) > 1 or (not hosts and request.version == "1.1"):
        raise Refusal(400, "a request has one Host field")
    scheme = _value(request.headers, b"x-forwarded-proto").lower() if request.trusted else b""
    yield b"x-forwarded-for", request.client[0].encode()
    yield b"x-forwarded-proto", scheme if scheme in (b"http", b"https") else request.scheme.encode()
    if hosts:
        yield b"x-forwarded-host", hosts[0]


def _framing(length: int | None, *, stated: bool) -> list[tuple[bytes, bytes]]:
    if length is None:
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", b"%d" % length)] if stated else []


def _is_ours(name: bytes) -> bool:
    name = _dashed(name)
    return name in _OURS or name.startswith(b"x-forwarded-")


def _dashed(name: bytes) -> bytes:
    """To CGI, WSGI and PHP both signs are the same."""
    return name.replace(b"_", b"-")


def _named(headers: Headers) -> set[bytes]:
    """What Connection says is meant for the next hop alone."""
    return {item.lower() for item in elements(headers, b"connection")}


def _value(headers: Headers, wanted: bytes) -> bytes:
    """All of them as one list (RFC 9110, section 5.3)."""
    return b", ".join(values(headers, wanted))


def _lines(first: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"\r\n".join([first, *(b"%s: %s" % field for field in fields), b"", b""])
