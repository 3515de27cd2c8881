"""The server's URL as a user writes it. Pure."""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from rport.errors import UsageError
from rport.hosts import host_port, read_host

PORTS = {False: 80, True: 443}  # by whether there is TLS


class Place(NamedTuple):
    """Where the API is: below `path`, which has no slash at its end."""

    host: str
    port: int
    path: str
    tls: bool

    @property
    def authority(self) -> str:
        return host_port(self.host, self.port).removesuffix(f":{PORTS[self.tls]}")

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"

    @property
    def is_here(self) -> bool:
        """By its name, on this machine's loopback."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_place(text: str) -> Place:
    """`[http[s]://]HOST[:PORT][/PATH]`; https unless it says otherwise or is this machine. Raises UsageError."""
    shown = text.rpartition("@")[2][:80]
    scheme, separator, _ = text.partition("://")
    try:
        parts = urlsplit(text if separator else f"//{text}")
        host = read_host(None if ":" not in (parts.hostname or "") else parts.hostname, parts.hostname or "")
        port = parts.port
    except ValueError as error:
        raise UsageError(f"server {shown!r}: {error}; give a URL such as https://tunnel.example.com") from None
    if parts.username is not None:
        raise UsageError(f"server {shown!r}: a login does not belong into the URL; give --user")
    if separator and scheme.lower() not in ("http", "https"):
        raise UsageError(f"server {shown!r}: give a URL that begins with https:// or http://")
    if parts.query or parts.fragment or not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
        raise UsageError(f"server {shown!r}: the path must be plain ASCII without a space, ? or #")
    path = parts.path.rstrip("/").removesuffix("/api/v1").removesuffix("/api")
    place = Place(host, port or 0, path, tls=scheme.lower() == "https")
    if not separator:
        place = place._replace(tls=not place.is_here)
    return place._replace(port=port or PORTS[place.tls])
