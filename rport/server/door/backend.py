"""Where requests go that are neither the tunnel's nor the API's: `rportd --proxy URL`. Pure."""

import re
from typing import NamedTuple

from rport.errors import UsageError
from rport.hosts import host_port, read_host, read_port

_URL = re.compile(r"(https?)://(?:\[([^\[\]]+)\]|([^:\[\]/?#@]+))(?::([^/?#@]*))?(/[!-~]*)?", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class Backend(NamedTuple):
    """A web server. `host`: ASCII, without brackets; `prefix` goes before each path and ends without a slash."""

    tls: bool
    host: str
    port: int
    prefix: str = ""

    @property
    def authority(self) -> str:
        """As it stands in Host: the port only where it is not the scheme's."""
        shown = host_port(self.host, self.port)
        return shown.rpartition(":")[0] if self.port == _PORTS["https" if self.tls else "http"] else shown

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


def parse_backend(text: str) -> Backend:
    """`http[s]://HOST[:PORT][/PREFIX]`. Raises UsageError; a login in it is never shown."""
    if "@" in text:
        raise UsageError("a backend's URL has no login in it")
    match = _URL.fullmatch(text)
    if match is None or any(mark in (match[5] or "") for mark in "?#"):
        raise UsageError(f"{text[:80]!r} is no backend: give http://HOST[:PORT][/PREFIX], or https")
    scheme, ipv6, name, port, prefix = match.groups()
    scheme = scheme.lower()
    try:
        number = _PORTS[scheme] if port is None else read_port(port)
        host = read_host(ipv6, name)
        host.encode("idna")  # as asyncio does when it connects: it must not fail then
    except ValueError as error:
        raise UsageError(f"{text[:80]!r}: {error}") from None
    return Backend(scheme == "https", host, number, (prefix or "").rstrip("/"))
