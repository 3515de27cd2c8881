"""The server's address as a user writes it: `[http[s]://]HOST[:PORT][/PATH]`. Pure."""

import re
from dataclasses import dataclass

from rport.errors import UsageError
from rport.hosts import host_port, read_host, read_port

PORTS = {False: 80, True: 443}  # by whether there is TLS

# A login goes up to the last @ of all: a slash in a password must not make a part of it a host, which is shown.
_URL = re.compile(r"(?:([A-Za-z0-9+.-]*)://)?(?:(.*)@)?([^/?#]*)(.*)", re.DOTALL)
_HOST_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([^:]*))?")
_FORM = "give HOST[:PORT], such as example.com:8080 or [::1]:8080"


@dataclass(frozen=True)
class Address:
    """Where the server is. `host` is a name in ASCII or an address without brackets."""

    host: str
    port: int
    path: str
    tls: bool = False

    @property
    def netloc(self) -> str:
        return host_port(self.host, self.port)

    @property
    def authority(self) -> str:
        """For the Host field: reverse proxies know names without the usual port; a zone has a meaning on this machine
        alone (RFC 6874, section 1)."""
        return host_port(self.host.partition("%")[0], self.port).removesuffix(f":{PORTS[self.tls]}")

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.netloc}"


def parse_address(text: str) -> Address:
    """Raises UsageError naming what is wrong; a login that was written into the address is never shown."""
    match = _URL.fullmatch(text)
    assert match is not None, "it takes any text"
    scheme, login, where, path = match.groups()
    try:
        tls = _has_tls(scheme)
        host, port = _host_and_port(where)
        address = Address(host, PORTS[tls] if port is None else port, _path(path), tls)
        if login is not None:
            raise ValueError("give the login with --auth or RPORT_AUTH, not in the address")
    except ValueError as error:
        shown = text if login is None else text.replace(f"{login}@", "...@", 1)
        raise UsageError(f"server {shown!r}: {error}") from None
    return address


def _has_tls(scheme: str | None) -> bool:
    if scheme is None or scheme.lower() in ("http", "ws"):
        return False
    if scheme.lower() not in ("https", "wss"):
        raise ValueError("the scheme must be http, https, ws or wss")
    return True


def _host_and_port(text: str) -> tuple[str, int | None]:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(_FORM)
    ipv6, name, port = match.groups()
    try:
        host = read_host(ipv6, name)
    except ValueError as error:
        raise ValueError(f"{error}; {_FORM}") from None
    return host, None if port is None else read_port(port)


def _path(text: str) -> str:
    if not all("!" <= char <= "~" for char in text) or "#" in text:
        raise ValueError("the path must be plain ASCII without a space or #; write %20 for a space")
    return text if text.startswith("/") else f"/{text}"
