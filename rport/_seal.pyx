# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""Record protection (PROTOCOL.md, section 4): the ciphers, the chain of keys, and when a key has served enough."""

from libc.stdint cimport uint8_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from rport cimport _frame as f

import time

from nacl._sodium import ffi as _ffi, lib as _lib

from rport.errors import ProtocolError
from rport.hkdf import hkdf

if _lib.sodium_init() < 0:                      # without it AEGIS would silently be its slow software version
    raise ImportError("libsodium does not initialise")

CIPHERS = ("aegis128l", "aegis256", "chacha20poly1305")

cdef uint64_t RECORDS_PER_KEY = 1ULL << 32
cdef uint64_t OCTETS_PER_KEY = 1ULL << 36       # 64 GiB
cdef double SECONDS_PER_KEY = 3600.0


cdef uintptr_t _address(str name) except 0:
    return int(_ffi.cast("uintptr_t", _ffi.addressof(_lib, name)))

cdef aead_encrypt_t _aegis128l_encrypt = <aead_encrypt_t><void *>_address("crypto_aead_aegis128l_encrypt")
cdef aead_decrypt_t _aegis128l_decrypt = <aead_decrypt_t><void *>_address("crypto_aead_aegis128l_decrypt")
cdef aead_encrypt_t _aegis256_encrypt = <aead_encrypt_t><void *>_address("crypto_aead_aegis256_encrypt")
cdef aead_decrypt_t _aegis256_decrypt = <aead_decrypt_t><void *>_address("crypto_aead_aegis256_decrypt")
cdef aead_encrypt_t _chacha_encrypt = <aead_encrypt_t><void *>_address("crypto_aead_chacha20poly1305_ietf_encrypt")
cdef aead_decrypt_t _chacha_decrypt = <aead_decrypt_t><void *>_address("crypto_aead_chacha20poly1305_ietf_decrypt")


cdef class Seal:
    def __init__(self, str cipher, bytes secret):
        if len(secret) != 32:
            raise ValueError("a direction's secret has 32 octets")
        if cipher == "aegis128l":
            self.encrypt, self.decrypt = _aegis128l_encrypt, _aegis128l_decrypt
            self.nonce_size, self.tag_size = 16, f.TAG_SIZE_AEGIS
        elif cipher == "aegis256":
            self.encrypt, self.decrypt = _aegis256_encrypt, _aegis256_decrypt
            self.nonce_size, self.tag_size = 32, f.TAG_SIZE_AEGIS
        elif cipher == "chacha20poly1305":
            self.encrypt, self.decrypt = _chacha_encrypt, _chacha_decrypt
            self.nonce_size, self.tag_size = 12, f.TAG_SIZE_CHACHA
        else:
            raise ValueError(f"unknown cipher {cipher!r}: known are {', '.join(CIPHERS)}")
        self.cipher = cipher
        self.secret = secret
        self._derive()

    def __dealloc__(self):
        memset(self.key, 0, 32)

    def __repr__(self):
        return f"<Seal {self.cipher} record {self.number}>"

    cdef void _derive(self) except *:
        cdef bytes material = hkdf(self.secret, info=b"rport-v2 " + self.cipher.encode(), length=96)
        cdef const uint8_t *p = material
        memcpy(self.key, p, 32)
        memcpy(self.iv, p + 32, 32)
        self.secret = material[64:]
        self.records = self.octets = 0

    cpdef void rekey(self, double now) except *:
        self._derive()
        self.keyed_at = now

    cdef bint key_is_due(self, double now) noexcept nogil:
        """The record that comes now is the last that this key should seal."""
        return (self.records >= RECORDS_PER_KEY - 1 or self.octets >= OCTETS_PER_KEY
                or now - self.keyed_at >= SECONDS_PER_KEY)

    cdef bint key_is_overdue(self) noexcept nogil:
        """The peer used this key for more than section 4.4 allows, and for a margin of two records besides."""
        return self.records >= RECORDS_PER_KEY or self.octets >= OCTETS_PER_KEY + 2 * f.RECORD_MAX

    cdef void _set_nonce(self) noexcept nogil:
        cdef uint64_t n = self.records
        cdef size_t i, last = self.nonce_size - 1
        memcpy(self.nonce, self.iv, self.nonce_size)
        for i in range(8):
            self.nonce[last - i] ^= <uint8_t>(n >> (8 * i))

    cdef void seal(self, uint8_t *p, size_t size) noexcept nogil:
        """Encrypts `size` octets at `p` in place; the tag goes behind them."""
        self._set_nonce()
        self.encrypt(p, NULL, p, size, NULL, 0, NULL, self.nonce, self.key)
        self.number += 1
        self.records += 1
        self.octets += size

    cdef int open(self, uint8_t *p, size_t size) noexcept nogil:
        """Decrypts `size` octets, tag included, in place; -1, and nothing moves, when they are not what comes next."""
        self._set_nonce()
        if self.decrypt(p, NULL, NULL, p, size, NULL, 0, self.nonce, self.key) != 0:
            return -1
        self.number += 1
        self.records += 1
        self.octets += size - self.tag_size
        return 0

    def seal_bytes(self, bytes plaintext):
        cdef bytearray out = bytearray(plaintext)
        out.extend(bytes(self.tag_size))
        cdef uint8_t *p = out
        self.seal(p, len(plaintext))
        return bytes(out)

    def open_bytes(self, bytes sealed):
        if <size_t>len(sealed) < self.tag_size:
            raise ProtocolError("record shorter than its tag")
        cdef bytearray out = bytearray(sealed)
        cdef uint8_t *p = out
        if self.open(p, len(out)) < 0:
            raise ProtocolError("record failed authentication")
        return bytes(out[:len(out) - self.tag_size])


def preferred_ciphers():
    """The ciphers in the order of their speed here, up to ChaCha20-Poly1305, which every peer has (section 3.2)."""
    cdef list order = sorted(CIPHERS, key=lambda cipher: _seal_time(Seal(cipher, bytes(32))))
    return order[:order.index("chacha20poly1305") + 1]


cdef double _seal_time(Seal seal) except -1:
    """The best of four, in seconds: the first pays for cold caches."""
    cdef uint8_t sample[16384 + f.TAG_SIZE_AEGIS]
    cdef double best = 1e9, started
    memset(sample, 0, sizeof(sample))
    for _ in range(4):
        started = time.perf_counter()
        seal.seal(sample, 16384)
        best = min(best, time.perf_counter() - started)
    return best
