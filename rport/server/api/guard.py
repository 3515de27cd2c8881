"""While no API credentials are configured, only this machine may ask (a pure ASGI layer)."""

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

BODY_MAX = 65536
REFUSAL = (
    "the API answers only its own machine while no API credentials are configured: ask from the server itself, "
    "for example with curl http://127.0.0.1:PORT/api/v1/status"
)


def loopback_peer(client: Any) -> bool:
    try:
        address = ipaddress.ip_address(client[0])
    except (TypeError, IndexError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def acceptable_host(value: str) -> bool:
    """A Host that no web page elsewhere can make a browser send (DNS rebinding)."""
    host = value.rpartition(":")[0] if value.rpartition(":")[2].isdecimal() else value
    host = host.removeprefix("[").removesuffix("]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Answers 403 or 413 itself; lets the rest through."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if not loopback_peer(scope.get("client")) or len(hosts) != 1 or not acceptable_host(hosts[0]):
                await _refuse(send, 403, REFUSAL)
                return
            if any(_too_long(name, value) for name, value in scope["headers"]):
                await _refuse(send, 413, f"a request body has at most {BODY_MAX} octets")
                return
        await self.app(scope, receive, send)


def _too_long(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (
        name == b"content-length" and not (value.isdigit() and int(value) <= BODY_MAX)
    )


async def _refuse(send: Any, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
