"""Random names and secrets, and how the latter are kept. Pure.

A secret made here has 160 random bits: a plain hash keeps it as safe as a slow one would, and costs a request nothing.
"""

import hashlib
import secrets
import zlib

_RANDOM = 20  # octets


def new_id() -> str:
    """A name for a row: 12 hex digits."""
    return secrets.token_hex(6)


def new_secret(prefix: str) -> str:
    """`rpt_...`: the prefix says what it is, to whoever finds it where it should not be.

    The last eight digits are a checksum: a scanner for leaked secrets knows it for one, and a typing error is found
    without the store.
    """
    body = secrets.token_hex(_RANDOM)
    return f"{prefix}_{body}{_checksum(body)}"


def well_formed(secret: str, prefix: str) -> bool:
    """Whether new_secret() may have made it."""
    start, body = f"{prefix}_", secret[len(prefix) + 1 :]
    size = 2 * _RANDOM
    return secret.isascii() and secret.startswith(start) and _checksum(body[:size]) == body[size:]


def digest(secret: str) -> str:
    """What is stored: 64 hex digits."""
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode('utf-8', 'replace')):08x}"
