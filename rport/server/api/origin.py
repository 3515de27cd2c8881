"""Where a request seems to come from, as its head says it: which machine, by which name, from which web page. Pure."""

import ipaddress
import re
from typing import Any, NamedTuple

from rport.server.door.fields import Headers, values

SAFE = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1

_NAME = re.compile(rb"([A-Za-z0-9]([A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_HERE = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_PROXIED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}


def loopback_peer(client: Any) -> bool:
    """`client` as ASGI gives it: an address and a port, or None."""
    try:
        address = ipaddress.ip_address(client[0])
    except (TypeError, IndexError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def has_host(headers: Headers) -> bool:
    """One Host, and it is one (RFC 9112, section 3.2)."""
    hosts = values(headers, b"host")
    return len(hosts) == 1 and _NAME.fullmatch(hosts[0]) is not None


def from_here(headers: Headers) -> bool:
    """By a name of this machine for itself, and no trace of a proxy."""
    hosts = values(headers, b"host")
    proxied = any(name in _PROXIED for name, _ in headers)
    return len(hosts) == 1 and _HERE.fullmatch(hosts[0]) is not None and not proxied


class Reached(NamedTuple):
    """How: whether by TLS, and whether a reverse proxy's word on what the browser said counts."""

    secure: bool
    trusted: bool


def from_elsewhere(headers: Headers, reached: Reached) -> bool:
    """A browser says that it is another site's page that asks."""
    if any(value.lower() not in (b"same-origin", b"none") for value in values(headers, b"sec-fetch-site")):
        return True
    origins = values(headers, b"origin")
    return not all(_is_ours(origin.lower(), headers, reached) for origin in origins)


def from_own_page(headers: Headers, reached: Reached) -> bool:
    """A browser says that it is a page of ours that asks: no other page can make it say so."""
    sites = [value.lower() for value in values(headers, b"sec-fetch-site")]
    if not sites and not values(headers, b"origin"):
        return False
    return all(site == b"same-origin" for site in sites) and not from_elsewhere(headers, reached)


def _is_ours(origin: bytes, headers: Headers, reached: Reached) -> bool:
    scheme, _, authority = origin.partition(b"://")
    names = values(headers, b"host") + (values(headers, b"x-forwarded-host") if reached.trusted else [])
    if scheme not in ((b"https",) if reached.secure else (b"http", b"https")):
        return False
    return authority in {name.lower() for name in names}
