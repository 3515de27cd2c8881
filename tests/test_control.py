import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport import control
from rport.errors import ProtocolError

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=50) | st.binary(max_size=50)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        control.unpack(data)


@given(st.dictionaries(st.text(max_size=8), SCALARS | st.lists(SCALARS, max_size=5), max_size=8), st.text(max_size=20))
def test_round_trip(message: dict[str, object], kind: str) -> None:
    message["type"] = kind
    assert control.unpack(control.pack(message)) == message


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_protocol_error(data: bytes) -> None:
    try:
        message = control.unpack(data)
    except ProtocolError:
        return
    assert isinstance(message["type"], str)


@given(VALUES, st.data())
def test_damaged_messages_raise_nothing_but_protocol_error(value: object, data: st.DataObject) -> None:
    packed = bytearray(msgpack.packb({"type": "x", "v": value}))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        control.unpack(bytes(packed))


@pytest.mark.parametrize(
    "value",
    ["x" * 4096, b"x" * 4096, [0] * 256, {str(i): 0 for i in range(256)}, nested(control.DEPTH_MAX - 2)],
    ids=["str", "bin", "array", "map", "depth"],
)
def test_at_the_limit(value: object) -> None:
    assert control.unpack(msgpack.packb({"type": "x", "v": value}))["v"] == value


@pytest.mark.parametrize(
    "value",
    [
        "x" * 4097,
        b"x" * 4097,
        [0] * 257,
        {str(i): 0 for i in range(257)},
        nested(control.DEPTH_MAX - 1),
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(1),
    ],
    ids=["str", "bin", "array", "map", "depth", "ext", "timestamp"],
)
def test_over_the_limit(value: object) -> None:
    refused(msgpack.packb({"type": "x", "v": value}))


@pytest.mark.parametrize("header", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
def test_announced_lengths_allocate_nothing(header: bytes) -> None:
    refused(b"\x82\xa4type\xa1x\xa1v" + header + b"\xff\xff\xff\xff")


@pytest.mark.parametrize("byte", [b"\x91", b"\x81\xa1k"], ids=["lists", "maps"])
def test_nesting_to_the_end_of_the_message(byte: bytes) -> None:
    refused(b"\x82\xa4type\xa1x\xa1v" + byte * (60_000 // len(byte)) + b"\x01")


def test_size_of_the_whole() -> None:
    big: dict[str, object] = {"type": "x", "v": ["x" * 4096] * 16}
    refused(msgpack.packb(big))
    with pytest.raises(ProtocolError, match="65536 are allowed"):
        control.pack(big)


@pytest.mark.parametrize(
    "value",
    [None, 1, "type", ["type"], {}, {"kind": "x"}, {"type": 1}, {"type": None}, {b"type": "x"}, {"type": "x", b"k": 1}],
)
def test_not_a_message(value: object) -> None:
    refused(msgpack.packb(value))


@pytest.mark.parametrize(
    "data", [b"", b"\x81", b"\x81\xa4type\xa1x\x00", b"\x81\xa4type\xa1\xff", b"\x82\xc0\x01\xa4type\xa1x"]
)
def test_damaged(data: bytes) -> None:
    refused(data)


def test_fields() -> None:
    message = {"s": "text", "n": 5, "l": [1]}
    assert control.get_str(message, "s") == "text"
    assert control.get_str(message, "absent", "else") == "else"
    assert control.get_int(message, "n", 5, 5) == 5
    assert control.get_int(message, "absent", 0, 9, 3) == 3
    assert control.get_list(message, "l") == [1]
    assert control.get_list(message, "absent", []) == []


@pytest.mark.parametrize("value", ["5", None, True, 5.0, 0, 10, [5]])
def test_unfit_numbers(value: object) -> None:
    with pytest.raises(ProtocolError, match='"n" is not a number from 1 to 9'):
        control.get_int({"n": value}, "n", 1, 9)


def test_required_fields() -> None:
    for get in (control.get_str, control.get_list):
        with pytest.raises(ProtocolError, match='"k"'):
            get({}, "k")
        with pytest.raises(ProtocolError, match='"k"'):
            get({"k": 1}, "k")
    with pytest.raises(ProtocolError, match='"k"'):
        control.get_int({}, "k", 0, 1)
