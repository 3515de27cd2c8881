# One direction's record protection. libsodium's functions are those of PyNaCl's own copy: their addresses are looked up
# once, when the module is imported, so that the build needs no libsodium of its own.

from libc.stdint cimport uint8_t, uint64_t

ctypedef int (*aead_encrypt_t)(
    unsigned char *c, unsigned long long *clen_p,
    const unsigned char *m, unsigned long long mlen,
    const unsigned char *ad, unsigned long long adlen,
    const unsigned char *nsec, const unsigned char *npub, const unsigned char *k) noexcept nogil

ctypedef int (*aead_decrypt_t)(
    unsigned char *m, unsigned long long *mlen_p, unsigned char *nsec,
    const unsigned char *c, unsigned long long clen,
    const unsigned char *ad, unsigned long long adlen,
    const unsigned char *npub, const unsigned char *k) noexcept nogil


cdef class Seal:
    """One direction's record protection (PROTOCOL.md, section 4)."""
    cdef aead_encrypt_t encrypt
    cdef aead_decrypt_t decrypt
    cdef uint8_t key[32]
    cdef uint8_t iv[32]
    cdef uint8_t nonce[32]
    cdef size_t nonce_size
    cdef size_t tag_size
    cdef bytes secret           # the key chain: this secret makes key, IV and the next secret
    cdef str cipher
    cdef readonly uint64_t number       # of the next record, since the session began
    cdef readonly uint64_t records      # under the present key
    cdef uint64_t octets        # under the present key
    cdef double keyed_at        # when the present key came into use, seconds

    cdef void _derive(self) except *
    cpdef void rekey(self, double now) except *
    cdef bint key_is_due(self, double now) noexcept nogil
    cdef bint key_is_overdue(self) noexcept nogil
    cdef void _set_nonce(self) noexcept nogil
    cdef void seal(self, uint8_t *p, size_t size) noexcept nogil
    cdef int open(self, uint8_t *p, size_t size) noexcept nogil
