import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.hkdf import hkdf


def reference_hmac(key: bytes, data: bytes) -> bytes:
    """RFC 2104, letter by letter, for keys up to one block of 128 bytes."""
    key = key.ljust(128, b"\0")
    inner = hashlib.blake2b(bytes(byte ^ 0x36 for byte in key) + data).digest()
    return hashlib.blake2b(bytes(byte ^ 0x5C for byte in key) + inner).digest()


def reference_hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2, letter by letter."""
    key = reference_hmac(salt or bytes(64), ikm)
    blocks = [b""]
    for number in range(1, -(-length // 64) + 1):
        blocks.append(reference_hmac(key, blocks[-1] + info + bytes([number])))
    return b"".join(blocks)[:length]


@given(st.binary(), st.binary(max_size=128), st.binary(), st.integers(1, 300))
def test_agrees_with_the_rfc(ikm: bytes, salt: bytes, info: bytes, length: int) -> None:
    assert hkdf(ikm, salt=salt, info=info, length=length) == reference_hkdf(ikm, salt, info, length)


def test_longest_output() -> None:
    assert hkdf(b"k", length=255 * 64) == reference_hkdf(b"k", b"", b"", 255 * 64)


@pytest.mark.parametrize("length", [-1, 0, 255 * 64 + 1])
def test_impossible_lengths(length: int) -> None:
    with pytest.raises(ValueError, match="cannot give"):
        hkdf(b"k", length=length)
