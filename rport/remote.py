"""What a tunnel joins: a listening address on the server and a target that the client dials.

As a user writes it: `[[LHOST:]LPORT:][RHOST:]RPORT`, IPv6 addresses in brackets; one host alone is the target's.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rport import control
from rport.errors import ProtocolError, UsageError

ANY_HOST = "0.0.0.0"  # listens everywhere; as a target it means the client's own loopback
HOST_MAX = 253  # characters of a domain name, RFC 1035 section 2.3.4
PORT_MAX = 65535

_PARTS_MAX = 4
_PART = re.compile(r"\[[^\[\]]*\]|[^:\[\]]*")
_NUMBER = re.compile(r"-?[0-9]+")
_NO_HOST = set("/\\@?#[]\"'<>|,;")  # none is in a host name; all are in mistyped URLs and lists


@dataclass(frozen=True, slots=True)
class Remote:
    """`lhost:lport` on the server leads to `rhost:rport` seen from the client. IPv6 hosts are without brackets.

    `lport` 0 lets the server pick a port.
    """

    lhost: str
    lport: int
    rhost: str
    rport: int

    @classmethod
    def parse(cls, text: str) -> "Remote":
        """Read what a user wrote. Raises UsageError with a text that names the part that is wrong."""
        try:
            if "," in text:
                raise ValueError(f"a list is written with spaces, as {text.replace(',', ' ')!r}")
            return cls._from_parts(_split(_cut_protocol(text)))
        except ValueError as error:
            raise UsageError(f"remote {text!r}: {error}") from None

    @classmethod
    def _from_parts(cls, parts: list[str]) -> "Remote":
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
        return cls(lhost, ports[-1], rhost, ports[0])

    @classmethod
    def from_wire(cls, value: object) -> "Remote":
        """Read what a peer sent. Raises ProtocolError."""
        if not isinstance(value, Mapping):
            raise ProtocolError("remote that is no map")
        return cls(
            _wire_host(value, "lhost"),
            control.get_int(value, "lport", 0, PORT_MAX),
            _wire_host(value, "rhost"),
            control.get_int(value, "rport", 1, PORT_MAX),
        )

    def to_wire(self) -> dict[str, object]:
        """As it stands in control messages."""
        return {"lhost": self.lhost, "lport": self.lport, "rhost": self.rhost, "rport": self.rport}

    def clashes(self, other: "Remote") -> bool:
        """The server cannot listen for both."""
        return 0 != self.lport == other.lport and overlap(self.lhost, other.lhost)

    @property
    def listen(self) -> str:
        """Where visitors come to, as it is written."""
        return host_port(self.lhost, self.lport)

    @property
    def target(self) -> str:
        """What the client dials, as it is written."""
        return host_port(self.rhost, self.rport)

    def __str__(self) -> str:
        return f"{self.listen} => {self.target}"


def overlap(one: str, other: str) -> bool:
    """Whether two listening addresses meet: a wildcard address meets every address of its family."""
    try:
        a, b = (ipaddress.ip_address("127.0.0.1" if host == "localhost" else host) for host in (one, other))
    except ValueError:
        return one == other
    return a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))


def advice(text: str) -> str:
    """What to tell somebody who wrote `HOST:PORT:PORT`, which listens on all addresses and dials HOST; else nothing."""
    parts = _split(_cut_protocol(text))
    if len(parts) != 3 or not (is_port(parts[1], 0) and is_port(parts[2])):
        return ""
    host, lport, rport = parts
    return (
        f"remote {text}: the server listens on all its addresses, and {host} is what is dialled; "
        f"to listen on {host} alone, write {host}:{lport}:127.0.0.1:{rport}"
    )


def host_port(host: str, port: int) -> str:
    """As it is written: an IPv6 address goes into brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_port(text: str, lowest: int = 1) -> bool:
    """Plain digits that make a number from `lowest` to PORT_MAX."""
    # The length before int(), which refuses thousands of digits with a text of its own.
    return text.isascii() and text.isdecimal() and len(text) <= 5 and lowest <= int(text) <= PORT_MAX


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


def clean_host(host: str) -> str:
    """A host without brackets, IPv6 in its one canonical spelling. Raises ValueError."""
    if not 0 < len(host) <= HOST_MAX:
        raise ValueError(f"a host of {len(host)} characters: 1 to {HOST_MAX} are allowed")
    if not host.isprintable() or " " in host or not _NO_HOST.isdisjoint(host) or _NUMBER.fullmatch(host):
        raise ValueError(f"{host!r} is no host")
    if ":" not in host:
        return host
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"{host!r} is no IPv6 address") from None


def _wire_host(value: Mapping[str, object], key: str) -> str:
    try:
        return clean_host(control.get_str(value, key))
    except ValueError as error:
        raise ProtocolError(f"remote whose {key} is unfit: {error}") from None
