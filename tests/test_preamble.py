import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.server.door.preamble import NONE, V1_MAX, V2_MAX, Preamble, read_preamble

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(
    source: str = "192.0.2.1", port: int = 4711, *, command: int = 0x21, family: int = 0, more: bytes = b""
) -> bytes:
    address = ipaddress.ip_address(source)
    body = address.packed * 2 + struct.pack(">HH", port, 80) + more
    return SIGNATURE + struct.pack(">BBH", command, family or {4: 0x11, 6: 0x21}[address.version], len(body)) + body


GOOD = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n", ("192.0.2.1", 4711)),
    (b"PROXY TCP6 2001:DB8::1 ::1 4711 80\r\n", ("2001:db8::1", 4711)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 65535 0\r\n", ("192.0.2.1", 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n", None),
    (v2(), ("192.0.2.1", 4711)),
    (v2("2001:db8::1", 1), ("2001:db8::1", 1)),
    (v2("::ffff:192.0.2.1"), ("192.0.2.1", 4711)),
    (v2(more=b"\x04\x00\x05abcde"), ("192.0.2.1", 4711)),
    (v2(command=0x20), None),
    (SIGNATURE + b"\x20\x00\x00\x00", None),
    (SIGNATURE + b"\x21\x00\x00\x00", None),
    (SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/x".ljust(216, b"\0"), None),
    (v2(more=bytes(V2_MAX - len(v2()))), ("192.0.2.1", 4711)),
]


@pytest.mark.parametrize(("data", "client"), GOOD)
@pytest.mark.parametrize("tail", [b"", b"GET / HTTP/1.1\r\n\r\n", SIGNATURE])
def test_preambles(data: bytes, client: tuple[str, int] | None, tail: bytes) -> None:
    assert read_preamble(data + tail) == Preamble(len(data), client)
    for cut in range(min(len(data), 300)):
        assert read_preamble(data[:cut]) is None


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"POST", b"PROXYING", b"\r\nGET", b"\r\n\r\nGET", b"\x16\x03\x01", b"x"]
)
def test_what_is_none(data: bytes) -> None:
    assert read_preamble(data) == NONE


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80 1\r\n",
        b"PROXY TCP4 192.0.2.1  4711 80\r\n",
        b"PROXY TCP4 ::1 ::1 4711 80\r\n",
        b"PROXY TCP6 192.0.2.1 10.0.0.1 4711 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 65536\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\t80\r\n",
        b"PROXY UDP4 192.0.2.1 10.0.0.1 4711 80\r\n",
        b"PROXY /x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROXY UNKNOWN" + b"x" * V1_MAX,
        v2(command=0x11),
        v2(command=0x22),
        v2(family=0x12),
        v2(family=0x41),
        v2(family=0x21),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x11\xff\xff",
        v2(more=bytes(V2_MAX - len(v2()) + 1)),
    ],
)
def test_broken_ones(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY") as raised:
        read_preamble(data)
    assert len(str(raised.value)) < 250


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_any_octets(data: bytes, start: bytes) -> None:
    """Never more than the limit is waited for, and nothing is taken that is not there."""
    try:
        preamble = read_preamble(start + data)
    except ValueError:
        return
    assert preamble is None or 0 <= preamble.size <= len(start + data)
    assert preamble is not None or len(start + data) < V2_MAX
