"""The PROXY protocol's preamble, versions 1 and 2, as a server reads it. Pure.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

import ipaddress
import struct
from typing import NamedTuple

from rport.hosts import is_port
from rport.server.networks import Peer, plain

V1_MAX = 107  # octets with the line's end; section 2.1
V2_MAX = 4096  # octets: addresses take 216 at most, the rest is for certificates' names and such
_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_HEADER = 16
_FAMILIES = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}
_LENGTHS = {0x11: 4, 0x21: 16}  # octets of an address: TCP over IPv4, TCP over IPv6
_NAMELESS = (0x00, 0x31)  # unspecified, and a Unix socket's stream: no address that means something here


class Preamble(NamedTuple):
    """`size` octets, 0 when there is none; `client` is None where it names nobody."""

    size: int
    client: Peer | None


NONE = Preamble(0, None)


def read_preamble(data: bytes) -> Preamble | None:
    """What a connection begins with; None while that cannot be told. Raises ValueError for a broken one."""
    if data.startswith(_V1):
        return _read_v1(data)
    if data.startswith(_V2):
        return _read_v2(data)
    return None if _V1.startswith(data) or _V2.startswith(data) else NONE


def _read_v1(data: bytes) -> Preamble | None:
    end = data.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise ValueError("a PROXY line without an end")
        return None
    words = data[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Preamble(end + 2, None)
    try:
        _, family, source, destination, *ports = words
        address, _ = (_FAMILIES[family](text) for text in (source, destination))
        port, _ = (int(text) for text in ports if is_port(text, 0))
    except (ValueError, KeyError):
        raise ValueError(f"a PROXY line that cannot be read: {data[:end]!r}") from None
    return Preamble(end + 2, (plain(str(address)), port))


def _read_v2(data: bytes) -> Preamble | None:
    if len(data) < _HEADER:
        return None
    command, family, length = struct.unpack_from(">BBH", data, len(_V2))
    if command not in (0x20, 0x21):
        raise ValueError(f"a PROXY preamble of an unknown version or command, {command:#04x}")
    size = _HEADER + length
    if size > V2_MAX:
        raise ValueError(f"a PROXY preamble of {size} bytes; {V2_MAX} are allowed")
    if len(data) < size:
        return None
    if command == 0x20 or family in _NAMELESS:  # the proxy's own connection, a health check
        return Preamble(size, None)
    width = _LENGTHS.get(family)
    if width is None or length < 2 * width + 4:
        raise ValueError(f"a PROXY preamble with unfit addresses, family {family:#04x} in {length} bytes")
    address = ipaddress.ip_address(data[_HEADER : _HEADER + width])
    (port,) = struct.unpack_from(">H", data, _HEADER + 2 * width)
    return Preamble(size, (plain(str(address)), port))
