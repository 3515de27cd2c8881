import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import ProtocolError
from rport.websocket import SKIPPED_MAX, MessageReader, accept_key, encode_message


def reader_error(data: bytes, *, limit: int = 1000, masked: bool = False) -> str:
    reader = MessageReader(limit, masked)
    reader.feed(data)
    with pytest.raises(ProtocolError) as caught:
        reader.next()
    return str(caught.value)


def test_accept_key_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_round_trip(size: int, masked: bool) -> None:
    payload = bytes(index % 251 for index in range(size))
    reader = MessageReader(size, masked)
    reader.feed(encode_message(payload, masked=masked) + b"rest")
    assert reader.next() == payload
    assert reader.rest == b"rest"


def test_byte_by_byte() -> None:
    reader = MessageReader(1000, masked=True)
    data = encode_message(b"x" * 200, masked=True)
    for index in range(len(data)):
        assert reader.next() is None
        reader.feed(data[index : index + 1])
    assert reader.next() == b"x" * 200
    assert reader.next() is None


@given(st.binary(max_size=70), st.binary(min_size=4, max_size=4))
def test_unmasking(payload: bytes, key: bytes) -> None:
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    reader = MessageReader(70, masked=True)
    reader.feed(bytes([0x82, 0x80 | len(payload)]) + key + masked)
    assert reader.next() == payload


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"\x82\x7e\x03\xe9", "frame of 1001 bytes, 1000 are allowed"),
        (b"\x82\x7f" + b"\xff" * 8, "1000 are allowed"),
        (b"\x82\x7e\x00\x7d", "shortest form"),
        (b"\x82\x7f" + bytes(6) + b"\x03\xe8", "shortest form"),
        (b"\xc2\x00", "reserved bits"),
        (b"\x81\x00", "type 1"),
        (b"\x80\x00", "type 0"),
        (b"\x83\x00", "type 3"),
        (b"\x02\x00", "fragmented"),
        (b"\x82\x80", "masked WebSocket frame"),
        (b"\x88\x00", "closed the WebSocket"),
        (b"\x89\x7e\x00\x7e", "125 are allowed"),
    ],
)
def test_refused_by_the_header_alone(header: bytes, text: str) -> None:
    assert text in reader_error(header)


def test_a_client_must_mask() -> None:
    assert reader_error(b"\x82\x00", masked=True) == "unmasked WebSocket frame"


def test_pings_are_passed_over_but_not_for_ever() -> None:
    pings = b"\x89\x01p\x8a\x00" * (SKIPPED_MAX // 2)
    reader = MessageReader(10, masked=False)
    reader.feed((pings + encode_message(b"m", masked=False)) * 2)
    assert [reader.next(), reader.next(), reader.next()] == [b"m", b"m", None]
    assert reader_error(pings + b"\x89\x00") == "too many WebSocket pings"


@given(st.binary(max_size=100), st.booleans())
def test_garbage_raises_nothing_but_protocol_error(data: bytes, masked: bool) -> None:
    reader = MessageReader(50, masked)
    reader.feed(data)
    try:
        while (message := reader.next()) is not None:
            assert len(message) <= 50
    except ProtocolError:
        pass
