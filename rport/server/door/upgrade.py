"""Whether an HTTP request is a fitting way into the tunnel (PROTOCOL.md, section 2; RFC 6455, section 4.2.1). Pure."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

from rport.channel import Channel
from rport.server.door.fields import Headers, elements
from rport.server.door.refusal import Refusal
from rport.websocket import SUBPROTOCOL, accept_key

_OURS, _ORIGINALS = SUBPROTOCOL.encode(), b"rport-v1"  # the latter is the original program's


@dataclass(frozen=True)
class Arrival:
    """A connection that was upgraded. Its receiver owns the channel, and calls `leave` once the peer is authenticated
    or gone: until then it counts at the gate. `deadline` is in the loop's time; `early` came behind the request."""

    channel: Channel
    early: bytes
    peer: tuple[str, int]
    deadline: float
    leave: Callable[[], None]


def upgrade_response(key: str) -> bytes:
    """The answer that lets the tunnel begin."""
    fields = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    ]
    return "\r\n".join([*fields, "", ""]).encode()


def names_websocket(headers: Headers) -> bool:
    """Its Upgrade field says so."""
    return any(name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in headers)


def wants_websocket(headers: Headers) -> bool:
    """It was sent as a WebSocket handshake, whatever a proxy on the way took out of it."""
    return names_websocket(headers) or any(name == b"sec-websocket-key" for name, _ in headers)


def offers_tunnel(headers: Headers) -> bool:
    """A client's of this project, or of the original, whatever else is wrong with it."""
    return any(offer in (_OURS, _ORIGINALS) for offer in elements(headers, b"sec-websocket-protocol"))


def websocket_key(method: bytes, version: str, headers: Headers, upgrades: bool) -> str:
    """The key to answer. `upgrades`: the HTTP parser will stop behind this request. Raises Refusal."""
    if method != b"GET" or version != "1.1":
        raise Refusal(400, "the tunnel begins with a GET request in HTTP/1.1; a proxy may have changed it")
    if not upgrades or not names_websocket(headers):
        raise Refusal(400, "a field 'Upgrade: websocket' or 'Connection: Upgrade' is missing; a proxy may drop it")
    if has_body(headers):
        raise Refusal(400, "an upgrade request has no body")
    _check_subprotocol(elements(headers, b"sec-websocket-protocol"))
    if elements(headers, b"sec-websocket-version") != [b"13"]:
        raise Refusal(426, "only version 13 of WebSocket is spoken here")
    keys = elements(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refusal(400, "Sec-WebSocket-Key must be there once: 16 bytes in base64")
    return keys[0].decode()


def has_body(headers: Headers) -> bool:
    """More than a head, which comes behind it."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t"))
        for name, value in headers
    )  # fmt: skip


def _check_subprotocol(offers: list[bytes]) -> None:
    if _OURS in offers:
        return
    if _ORIGINALS in offers:
        raise Refusal(
            400, f"rport-v1 is the original program's; {SUBPROTOCOL} is spoken here, by the client of this project"
        )
    raise Refusal(400, f"the WebSocket subprotocol that is spoken here is {SUBPROTOCOL}, which was not offered")


def _is_key(text: bytes) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except binascii.Error:
        return False
