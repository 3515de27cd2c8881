"""What this machine tells of itself, looked up anew for each connection: it may have moved, or been updated."""

import fcntl
import ipaddress
import os
import re
import socket
import struct
import sys
from array import array
from collections.abc import Iterator

from rport.client.settings import Settings
from rport.facts import ADDRESSES_MAX, NAME_MAX, Facts, clean

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")  # os-release(5)
_MAC_VERSION = "/System/Library/CoreServices/SystemVersion.plist"
_FILE_MAX = 65536  # octets of such a file that are read; 400 is usual
_PRETTY = re.compile(r"""^PRETTY_NAME=(["']?)(.*)\1\s*$""", re.MULTILINE)
_PRODUCT = re.compile(r"<key>Product(?:Name|Version)</key>\s*<string>(.*?)</string>")

_SIOCGIFCONF = 0x8912  # linux/sockios.h
_IFREQ = struct.calcsize("16s2LH3B0L")  # net/if.h: a name, and the largest of a union, struct ifmap
_INTERFACES_MAX = 256  # whose addresses are looked at: on a host of containers the kernel names its own first
_IPV6 = "/proc/thread-self/net/if_inet6"  # a service with ProcSubset=pid sees no /proc/net
_GLOBAL = 0  # its scope


def gather(settings: Settings, carrier: socket.socket) -> Facts:
    """`carrier` is the connection on the way to the server."""
    own = os.uname()
    return Facts(
        id=settings.id or "",
        name=settings.name or clean(own.nodename, NAME_MAX),
        tags=tuple(dict.fromkeys(settings.tag)),
        os=clean(own.sysname.lower()),
        os_version=clean(os_version()),
        kernel=clean(own.release),
        arch=clean(own.machine),
        hostname=clean(own.nodename),
        addresses=addresses(carrier),
    )


def os_version() -> str:
    """What the system calls itself; nothing where it does not say."""
    for path in OS_RELEASE:
        if (found := _PRETTY.search(_read(path))) is not None:
            return re.sub(r"\\(.)", r"\1", found[2])
    return " ".join(_PRODUCT.findall(_read(_MAC_VERSION)))


def addresses(carrier: socket.socket) -> tuple[str, ...]:
    """Of this machine's interfaces, the one first by which the server was reached. No loopback, nothing link-local."""
    found = [*_own(carrier), *_interfaces()]
    return tuple(dict.fromkeys(filter(None, map(_telling, found))))[:ADDRESSES_MAX]


def _own(carrier: socket.socket) -> list[str]:
    """The carrier's address; a pair of Unix sockets, behind which TLS to a proxy is spoken, has none."""
    if carrier.family not in (socket.AF_INET, socket.AF_INET6):
        return []
    return [str(carrier.getsockname()[0]).partition("%")[0]]


def _telling(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if address.version == 6:
        address = address.ipv4_mapped or address
    return "" if address.is_loopback or address.is_link_local or address.is_unspecified else str(address)


def _interfaces() -> Iterator[str]:
    """By the oldest ways that the kernel has: a hardened service may have no netlink sockets."""
    if sys.platform != "linux":
        return
    yield from _ipv4()
    for line in _read(_IPV6).splitlines():
        fields = line.split()
        if len(fields) == 6 and int(fields[3], 16) == _GLOBAL:
            yield str(ipaddress.IPv6Address(bytes.fromhex(fields[0])))


def _ipv4() -> Iterator[str]:
    room = array("B", bytes(_INTERFACES_MAX * _IFREQ))
    where, size = room.buffer_info()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            answer = fcntl.ioctl(sock, _SIOCGIFCONF, struct.pack("iP", size, where))
    except OSError:
        return
    for start in range(0, struct.unpack("iP", answer)[0], _IFREQ):
        yield socket.inet_ntoa(bytes(room[start + 20 : start + 24]))  # behind the name: family, port, address


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_FILE_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
