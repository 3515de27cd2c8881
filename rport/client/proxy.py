"""Which proxy, if any, leads to the server: --proxy, else the environment. Pure, and loaded only where one is named.

A tunnel is one long connection, so the variables that count are those for connections that a proxy only passes on:
HTTPS_PROXY, then ALL_PROXY, for servers with TLS and without. HTTP_PROXY is about requests that a proxy makes itself.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rport.client.policy import is_local
from rport.client.settings import PROXY_VARIABLES
from rport.errors import UsageError
from rport.hosts import host_port, read_host, read_port

EXCEPTIONS = ("no_proxy", "NO_PROXY")
LOGIN_MAX = 255  # octets of a user or password in SOCKS5, RFC 1929 section 2; ample for HTTP

_SCHEMES = {"http": "http", "https": "https", "socks": "socks5", "socks5": "socks5", "socks5h": "socks5"}
_PORTS = {"http": 80, "https": 443, "socks5": 1080}
_URL = re.compile(r"(?:([A-Za-z0-9+.-]*)://)?(?:(.*)@)?(?:\[([^\[\]]+)\]|([^/?#:\[\]]*))(?::([^/?#:]*))?/?", re.DOTALL)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_EXCEPTION = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class Proxy:
    """`scheme` is http, https, socks5 or, for no proxy at all, none; the login is what it is on the wire."""

    scheme: str
    host: str
    port: int
    user: bytes | None = field(default=None, repr=False)
    password: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{host_port(self.host, self.port)}"  # never the login


NO_PROXY = Proxy("none", "", 0)


def parse_proxy(text: str) -> Proxy:
    """`[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`, or `none`. Raises UsageError, which shows no login."""
    if text == "none":
        return NO_PROXY
    match = _URL.fullmatch(text)
    try:
        if match is None:
            raise ValueError("it is more than SCHEME://USER:PASSWORD@HOST:PORT")
        scheme, login, ipv6, name, port = match.groups()
        kind = _kind(scheme)
        host = read_host(ipv6, name)
        number = _PORTS[kind] if port is None else read_port(port)
        user, password = _login(kind, login)
    except ValueError as error:  # the text itself is not shown: where its login ends cannot always be told
        raise UsageError(f"no URL of a proxy, such as http://proxy.example.com:3128: {error}") from None
    return Proxy(kind, host, number, user, password)


def _kind(scheme: str | None) -> str:
    kind = _SCHEMES.get("http" if scheme is None else scheme.lower())
    if kind is None:
        raise ValueError("the scheme must be http, https or socks5")
    return kind


def _login(kind: str, login: str | None) -> tuple[bytes | None, bytes]:
    if login is None:
        return None, b""
    user, _, password = (_unescape(part) for part in login.partition(":"))
    if not 0 < len(user) <= LOGIN_MAX or len(password) > LOGIN_MAX:
        raise ValueError(f"the user must have 1 to {LOGIN_MAX} octets, the password at most {LOGIN_MAX}")
    if kind != "socks5" and b":" in user:
        raise ValueError("a user with a colon cannot log in over HTTP (RFC 7617)")
    return user, password


def _unescape(text: str) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "surrogateescape"))


def choose(given: Proxy | None, environ: Mapping[str, str], host: str, port: int) -> Proxy | None:
    """The proxy that leads to this server: the `given` one, else the environment's, which the loopback never needs.

    Raises UsageError naming the variable.
    """
    proxy = _from_environment(environ, host, port) if given is None else given
    return None if proxy == NO_PROXY else proxy


def _from_environment(environ: Mapping[str, str], host: str, port: int) -> Proxy | None:
    name = next((name for name in PROXY_VARIABLES if environ.get(name)), None)
    exceptions = next((value for name in EXCEPTIONS if (value := environ.get(name))), "")
    if name is None or is_local(host) or is_excepted(exceptions, host, port):
        return None
    try:
        return parse_proxy(environ[name])
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def is_excepted(exceptions: str, host: str, port: int) -> bool:
    """Whether NO_PROXY names the server: `*`, hosts with all below them, addresses, networks, each perhaps with a port.

    What cannot be read is passed over, as others do: the variable is not ours alone.
    """
    return any(_covers(word, host, port) for word in exceptions.replace(",", " ").split())


def _covers(word: str, host: str, port: int) -> bool:
    if word == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    try:
        network = ipaddress.ip_network(word, strict=False)
        return address is not None and address in network
    except ValueError:
        pass
    match = _EXCEPTION.fullmatch(word)
    if match is None or (match[3] and int(match[3]) != port):
        return False
    if address is not None:
        try:
            return ipaddress.ip_address(match[1] or match[2]) == address
        except ValueError:
            return False
    name, domain = (text.lower().rstrip(".") for text in (host, (match[2] or "").removeprefix("*").lstrip(".")))
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))
