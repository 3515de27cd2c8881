"""What a tunnel joins: a listening address on the server and a target that the client dials.

As a user writes it: `[[LHOST:]LPORT:][RHOST:]RPORT[?OPTIONS]`, IPv6 addresses in brackets; one host alone is the
target's. `[LHOST:]LPORT:unix:PATH[?OPTIONS]` leads to a Unix socket.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rport import control
from rport.errors import ProtocolError, UsageError
from rport.hosts import PORT_MAX, clean_host, host_port, is_port, overlap

ANY_HOST = "0.0.0.0"  # listens everywhere; as a target it means the client's own loopback
_DIALLED = {ANY_HOST: "127.0.0.1", "::": "::1"}
UNIX = "unix:"  # in the place of a target's host, before the path of a socket on the client's machine
UNIX_PATH_MAX = 107  # octets: sun_path of unix(7) but for its NUL; other systems than Linux take 103
PROXY_VERSIONS = ("v1", "v2")  # of the PROXY protocol, as HAProxy's proxy-protocol.txt describes it
CAPS = ("check", "proxy", "unix")  # PROTOCOL.md, section 8: messages, and keys of a remote, that not every peer knows

_PARTS_MAX = 4
_PART = re.compile(r"\[[^\[\]]*\]|[^:\[\]]*")
_NUMBER = re.compile(r"-?[0-9]+")
_UNIX = re.compile(r"(?:(.*?):)?unix:(?![0-9])(.*)", re.DOTALL)  # in front of a digit it is a host of that name


@dataclass(frozen=True, slots=True)
class Remote:
    """`lhost:lport` on the server leads to `rhost:rport` seen from the client. IPv6 hosts are without brackets.

    `lport` 0 lets the server pick a port. The target is a Unix socket where `rhost` is `unix:PATH`; `rport` is 0 then.
    `proxy`: the version of the PROXY protocol in which the target is told who the visitor is, "" = it is not.
    """

    lhost: str
    lport: int
    rhost: str
    rport: int
    proxy: str = ""

    @classmethod
    def parse(cls, text: str) -> "Remote":
        """Read what a user wrote. Raises UsageError with a text that names the part that is wrong."""
        try:
            spec, mark, options = text.partition("?")
            proxy = _read_options(options) if mark else ""
            if (unix := _UNIX.fullmatch(spec)) is not None:
                return cls(*_listen_parts(unix[1]), UNIX + clean_path(unix[2]), 0, proxy)
            if "," in spec:
                raise ValueError(f"a list is written with spaces, as {text.replace(',', ' ')!r}")
            return cls._from_parts(_split(_cut_protocol(spec)), proxy)
        except ValueError as error:
            raise UsageError(f"remote {text!r}: {error}") from None

    @classmethod
    def _from_parts(cls, parts: list[str], proxy: str) -> "Remote":
        """From the last part backwards: the remote port and host come before the local ones."""
        ports: list[int] = []
        hosts: list[str] = []
        for part in reversed(parts):
            if _NUMBER.fullmatch(part):
                ports.append(_port(part, lowest=0 if ports else 1))
            elif not ports:
                raise ValueError(f"there must be a port behind the host {part!r}")
            else:
                hosts.append(_host(part))
        if len(ports) > 2:
            raise ValueError(f"a third port, {ports[2]}: there is one to listen on and one to dial")
        if len(hosts) > 2:
            raise ValueError(f"a third host, {hosts[2]!r}: there is one to listen on and one to dial")
        rhost, lhost = [*hosts, ANY_HOST, ANY_HOST][:2]
        return cls(lhost, ports[-1], rhost, ports[0], proxy)

    @classmethod
    def from_wire(cls, value: object) -> "Remote":
        """Read what a peer sent. Raises ProtocolError."""
        if not isinstance(value, Mapping):
            raise ProtocolError("remote that is no map")
        lhost, lport = _wire_text(value, "lhost", clean_host), control.get_int(value, "lport", 0, PORT_MAX)
        proxy = _wire_text(value, "proxy", _proxy_version) if "proxy" in value else ""
        if "unix" in value:
            return cls(lhost, lport, UNIX + _wire_text(value, "unix", clean_path), 0, proxy)
        rhost, rport = _wire_text(value, "rhost", clean_host), control.get_int(value, "rport", 1, PORT_MAX)
        return cls(lhost, lport, rhost, rport, proxy)

    def to_wire(self) -> dict[str, object]:
        """As it stands in control messages."""
        target = {"unix": self.path} if self.path else {"rhost": self.rhost, "rport": self.rport}
        proxy = {"proxy": self.proxy} if self.proxy else {}
        return {"lhost": self.lhost, "lport": self.lport} | target | proxy

    @property
    def path(self) -> str:
        """Of the Unix socket; "" where the target is none."""
        return self.rhost.removeprefix(UNIX) if self.rhost.startswith(UNIX) else ""

    @property
    def proxy_version(self) -> int:
        """As a number; 0 = none."""
        return PROXY_VERSIONS.index(self.proxy) + 1 if self.proxy else 0

    @property
    def needs(self) -> set[str]:
        """Those of CAPS that a peer must have; one that has not would end the session, or leave the key unread."""
        return {name for name, used in (("proxy", self.proxy), ("unix", self.path)) if used}

    def clashes(self, other: "Remote") -> bool:
        """The server cannot listen for both."""
        return 0 != self.lport == other.lport and overlap(self.lhost, other.lhost)

    @property
    def listen(self) -> str:
        """Where visitors come to, as it is written."""
        return host_port(self.lhost, self.lport)

    @property
    def dialled(self) -> str:
        """The host that the client dials: the wildcard addresses mean its own loopback."""
        return _DIALLED.get(self.rhost, self.rhost)

    @property
    def target(self) -> str:
        """What the client dials, as it is written."""
        return target_name(self.dialled, self.rport)

    def __str__(self) -> str:
        return f"{self.listen} => {self.target}" + (f"?proxy={self.proxy}" if self.proxy else "")


def advice(text: str) -> str:
    """What to tell somebody who wrote `HOST:PORT:PORT`, which listens on all addresses and dials HOST; else nothing."""
    spec = text.partition("?")[0]
    parts = [] if _UNIX.fullmatch(spec) else _split(_cut_protocol(spec))
    if len(parts) != 3 or not (is_port(parts[1], 0) and is_port(parts[2])):
        return ""
    host, lport, rport = parts
    return (
        f"remote {text}: the server listens on all its addresses, and {host} is what is dialled; "
        f"to listen on {host} alone, write {host}:{lport}:127.0.0.1:{rport}"
    )


def target_name(host: str, port: int) -> str:
    """As host_port(); of a Unix socket, its path behind `unix:`."""
    return host if host.startswith(UNIX) else host_port(host, port)


def _cut_protocol(text: str) -> str:
    scheme, mark, _ = text.partition("://")
    if mark and scheme.isalnum():
        raise ValueError(f"write it without {scheme}://, such as db.internal:80")
    spec, slash, protocol = text.rpartition("/")
    if not slash or protocol == "tcp":
        return spec or text
    if protocol in ("udp", "tcp+udp"):
        raise ValueError(f"/{protocol} is not supported yet, only TCP is")
    raise ValueError(f"{'/' + protocol!r} is no protocol: leave it out")


def _split(text: str) -> list[str]:
    """Cut at the colons outside brackets."""
    parts = []
    position = -1
    while position < len(text):
        match = _PART.match(text, position + 1)
        if match is None or text[match.end() : match.end() + 1] not in ("", ":"):
            raise ValueError("brackets belong around a whole IPv6 address, such as [::1]")
        if not match[0]:
            raise ValueError(_emptiness(text))
        parts.append(match[0])
        position = match.end()
    if len(parts) > _PARTS_MAX:
        raise ValueError(f"it has {len(parts)} parts, {_PARTS_MAX} at most are allowed (IPv6 needs brackets)")
    return parts


def _read_options(text: str) -> str:
    """What stands behind the question mark: `proxy=v1` or `proxy=v2`."""
    proxy = ""
    for item in text.split("&"):
        key, _, value = item.partition("=")
        if key != "proxy":
            raise ValueError(f"{key!r} is no option: there is ?proxy=v1 and ?proxy=v2")
        if proxy:
            raise ValueError("proxy= is given twice")
        proxy = _proxy_version(value)
    return proxy


def _proxy_version(value: str) -> str:
    if value not in PROXY_VERSIONS:
        raise ValueError(f"{value!r} is no version of the PROXY protocol: give proxy=v1 or proxy=v2")
    return value


def _listen_parts(text: str | None) -> tuple[str, int]:
    """What stands before `unix:PATH`, and must be there."""
    parts = _split(text) if text else []
    if len(parts) not in (1, 2) or not _NUMBER.fullmatch(parts[-1]):
        raise ValueError("a Unix socket has no port of its own: write [LHOST:]LPORT:unix:PATH, LPORT 0 = any port")
    return _host(parts[0]) if len(parts) == 2 else ANY_HOST, _port(parts[-1], lowest=0)


def _emptiness(text: str) -> str:
    if "::" in text:
        return "it has an empty part: an IPv6 address belongs in brackets, such as [::1]:3000"
    return "it has an empty part" if text else "it is empty"


def _port(part: str, *, lowest: int) -> int:
    if not is_port(part, lowest):
        raise ValueError(f"port {part[:20]} is not from {lowest} to {PORT_MAX}")
    return int(part)


def _host(part: str) -> str:
    if not part.startswith("["):
        return clean_host(part)
    host = part[1:-1]
    if ":" not in host:
        raise ValueError(f"{part!r} is no IPv6 address")
    return clean_host(host)


def clean_path(path: str) -> str:
    """The path of a Unix socket. Raises ValueError."""
    if not path.isprintable() or "?" in path:
        raise ValueError(f"{path!r} is no path of a socket: it has a character that cannot be shown, or a ?")
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} must begin with /")
    if len(path.encode()) > UNIX_PATH_MAX:
        raise ValueError(f"a path of {len(path.encode())} octets: a socket's has at most {UNIX_PATH_MAX}")
    return path


def _wire_text(value: Mapping[str, object], key: str, clean: Callable[[str], str]) -> str:
    try:
        return clean(control.get_str(value, key))
    except ValueError as error:
        raise ProtocolError(f"remote whose {key} is unfit: {error}") from None
