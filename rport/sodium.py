"""What the handshake needs of libsodium, from PyNaCl's own module: X25519, ChaCha20-Poly1305, BLAKE2b and SHA-256 (RFC
7748, 8439, 7693, 6234).

nacl.bindings has the same, and hashlib the hashes, but with all the rest each would cost a client over half a mebibyte.
"""

from nacl._sodium import ffi, lib

if lib.sodium_init() < 0:
    raise ImportError("libsodium does not initialise")

KEY_LEN = 32
NONCE_LEN = 12
TAG_LEN = 16
BLAKE2B_LEN = 64
SHA256_LEN = 32


class CryptoError(Exception):
    """A message that fails authentication, or a public key that no honest peer has."""


def public_key(private: bytes) -> bytes:
    """The X25519 public key of a private one, 32 bytes each."""
    _expect(private, KEY_LEN)
    public = ffi.new("unsigned char[]", KEY_LEN)
    lib.crypto_scalarmult_base(public, private)
    return bytes(ffi.buffer(public, KEY_LEN))


def shared_secret(private: bytes, public: bytes) -> bytes:
    """X25519 of keys of 32 bytes each. Raises CryptoError for a low-order key, whose result is all zeros."""
    _expect(private, KEY_LEN)
    _expect(public, KEY_LEN)
    secret = ffi.new("unsigned char[]", KEY_LEN)
    if lib.crypto_scalarmult(secret, private, public):
        raise CryptoError("low-order public key")
    return bytes(ffi.buffer(secret, KEY_LEN))


def encrypt(plaintext: bytes, ad: bytes, nonce: bytes, key: bytes) -> bytes:
    """ChaCha20-Poly1305 with a nonce of 12 bytes; the tag of 16 goes behind."""
    _expect(nonce, NONCE_LEN)
    _expect(key, KEY_LEN)
    size = len(plaintext) + TAG_LEN
    sealed = ffi.new("unsigned char[]", size)
    lib.crypto_aead_chacha20poly1305_ietf_encrypt(
        sealed, ffi.NULL, plaintext, len(plaintext), ad, len(ad), ffi.NULL, nonce, key
    )
    return bytes(ffi.buffer(sealed, size))


def decrypt(sealed: bytes, ad: bytes, nonce: bytes, key: bytes) -> bytes:
    """What encrypt() was given. Raises CryptoError."""
    _expect(nonce, NONCE_LEN)
    _expect(key, KEY_LEN)
    size = len(sealed) - TAG_LEN
    if size < 0:
        raise CryptoError("shorter than its tag")
    plaintext = ffi.new("unsigned char[]", size + 1)  # an empty array would be no pointer
    if lib.crypto_aead_chacha20poly1305_ietf_decrypt(
        plaintext, ffi.NULL, ffi.NULL, sealed, len(sealed), ad, len(ad), nonce, key
    ):
        raise CryptoError("altered, or not for this key")
    return bytes(ffi.buffer(plaintext, size))


def blake2b(data: bytes) -> bytes:
    """Without a key, 64 bytes."""
    digest = ffi.new("unsigned char[]", BLAKE2B_LEN)
    lib.crypto_generichash_blake2b_salt_personal(digest, BLAKE2B_LEN, data, len(data), ffi.NULL, 0, ffi.NULL, ffi.NULL)
    return bytes(ffi.buffer(digest, BLAKE2B_LEN))


def sha256(data: bytes) -> bytes:
    """32 bytes."""
    digest = ffi.new("unsigned char[]", SHA256_LEN)
    lib.crypto_hash_sha256(digest, data, len(data))
    return bytes(ffi.buffer(digest, SHA256_LEN))


def _expect(value: bytes, size: int) -> None:
    """C reads so many bytes, whatever is there."""
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} belong")
