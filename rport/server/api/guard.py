"""While no API credentials are configured, only this machine may ask (a pure ASGI layer).

The peer's address alone would not do: a web page can make a browser on this machine ask (DNS rebinding), hence the
Host; a proxy on this machine asks for others, hence no field that proxies add.
"""

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

ELSEWHERE = "rportd is here: rport clients connect to it, and /api/ is for callers on its own machine"
BODY_MAX = 65536  # bytes; no route takes a body
REFUSAL = (
    "the API answers callers on its own machine only, by the name localhost, 127.0.0.1 or [::1], and through no proxy. "
    "Run curl on the server, or forward a port: ssh -L 8080:127.0.0.1:PORT SERVER, then http://localhost:8080"
)

_HOST = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_PROXIED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}


def loopback_peer(client: Any) -> bool:
    """`client` as ASGI gives it: an address and a port, or None."""
    try:
        address = ipaddress.ip_address(client[0])
    except (TypeError, IndexError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def from_here(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """One acceptable Host, and no trace of a proxy."""
    hosts = [value for name, value in headers if name == b"host"]
    proxied = any(name in _PROXIED for name, _ in headers)
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None and not proxied


class Guard:
    """Answers 403, 404, 411 or 413 itself; lets the rest through."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = list(scope["headers"])
            if not (scope["path"] + "/").startswith("/api/"):
                return await _refuse(send, 404, ELSEWHERE)
            if not loopback_peer(scope.get("client")) or not from_here(headers):
                return await _refuse(send, 403, REFUSAL)
            for name, value in headers:
                if name == b"transfer-encoding":
                    return await _refuse(send, 411, "a request body needs a Content-Length")
                if name == b"content-length" and _too_long(value):
                    return await _refuse(send, 413, f"a request body has at most {BODY_MAX} bytes")
        return await self.app(scope, receive, send)


def _too_long(value: bytes) -> bool:
    # The length first: int() refuses thousands of digits.
    return not value.isdigit() or len(value) > 20 or int(value) > BODY_MAX


async def _refuse(send: Any, status: int, text: str) -> None:
    """The connection ends with it: an unwanted body is not read, and a stranger holds nothing open."""
    body = json.dumps({"error": text}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
