# A link whose carrier is TLS.

from libc.stdint cimport uint8_t

from rport._pump cimport Link


cdef class TlsLink(Link):
    """A session whose octets go through a TLS object: the descriptor carries what that one makes of them."""
    cdef object tls             # ssl.SSLObject
    cdef object incoming        # its two ssl.MemoryBIO
    cdef object outgoing
    cdef bytes wire             # ciphertext that the descriptor has not taken yet, from wire_head on
    cdef size_t wire_head
    cdef size_t owed            # plaintext that `wire` stands for: reported as sent when all of it is
    cdef str trouble            # what broke TLS
    cdef bint ended             # nothing more comes
    cdef bint unread            # the descriptor may have more
    cdef size_t barren          # octets of ciphertext since the last that gave data

    cdef Py_ssize_t take(self, uint8_t *p, size_t size) except -1
    cdef Py_ssize_t decrypt(self, uint8_t *p, size_t size) except -1
    cdef bint refill(self, uint8_t *wire, size_t size) except -1
    cdef bint flush(self) noexcept
    cdef void _break(self, object error) except *
