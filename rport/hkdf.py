"""HKDF (RFC 5869) over HMAC-BLAKE2b-512: the record layer's keys come from here."""

from rport.sodium import BLAKE2B_LEN, blake2b

HASH_LEN = BLAKE2B_LEN
_BLOCK_LEN = 128
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def _hmac(key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104)."""
    key = (key if len(key) <= _BLOCK_LEN else blake2b(key)).ljust(_BLOCK_LEN, b"\0")
    return blake2b(key.translate(_OUTER) + blake2b(key.translate(_INNER) + data))


def hkdf(ikm: bytes, *, salt: bytes = b"", info: bytes = b"", length: int) -> bytes:
    """Extract from `ikm`, then expand to `length` bytes (1 to 16,320, RFC 5869 section 2.3)."""
    if not 0 < length <= 255 * HASH_LEN:
        raise ValueError(f"HKDF cannot give {length} bytes")
    # An empty salt means a block of zeros; HMAC pads its key with zeros, so it needs no special case.
    key = _hmac(salt, ikm)
    block = output = b""
    counter = 1
    while len(output) < length:
        block = _hmac(key, block + info + bytes([counter]))
        output += block
        counter += 1
    return output[:length]
