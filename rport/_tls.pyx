# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""The carrier over TLS: a Link whose two socket calls go through an `ssl.SSLObject` and its memory BIOs.

Not through an SSLSocket, which makes two calls of recv and one of send for each TLS record of 16 KiB; so it is one call
for a CHUNK, and to receive for a TAKE. The costs are two more copies, which are cheaper. What the Link relies on stays true: edges of the
descriptor are used up, an octet counts as sent when the kernel has its ciphertext, and nothing waits inside the TLS
object while the descriptor is silent.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t

from rport cimport _net as net
from rport._pump cimport Link, Pump
from rport._seal cimport Seal

from ssl import SSLError, SSLWantReadError

from rport.errors import LinkLost

cdef enum:
    CHUNK = 262144              # of ciphertext in one send; a memory BIO never gives back the most that it has held
    TAKE = 65536                # ... and in one recv: tens of microseconds for data, but tens of ms for changes of keys
    BARREN_MAX = 65536          # octets that may come without data: four of the largest records
    REPLIES_MAX = 4096          # octets that TLS itself may have to say between two sends, asked for by the peer


cdef class TlsLink(Link):
    """As Link, over `tls`, whose handshake is done; `incoming` may hold octets already, `outgoing` none."""

    def __init__(self, Seal sealer, Seal opener, bint client, Pump pump, int fd, owner, tls, incoming, outgoing):
        self.tls, self.incoming, self.outgoing = tls, incoming, outgoing
        Link.__init__(self, sealer, opener, client, pump, fd, owner)

    cdef bint receive(self) except -1:
        cdef bint more = Link.receive(self)
        if self.unread and not self.dead:
            self.rx_ready = more = True
        return more

    cdef Py_ssize_t carrier_recv(self, uint8_t *p, size_t size) noexcept:
        """What one TAKE of ciphertext gives; `unread` when there may be more."""
        cdef Py_ssize_t got = 0
        self.unread = False
        try:
            got = self.decrypt(p, size)
        except Exception as error:
            self._break(error)
        if got == 0 and not self.ended:
            net.rp_set_errno(net.EINTR if self.unread else net.EAGAIN)
            return -1
        return got

    cdef void _break(self, object error) except *:
        """Nothing more comes; the next call for octets tells it, and whoever makes that finds the reason in fail()."""
        reason = getattr(error, "reason", None) or str(error)
        self.trouble = f"TLS broke: {reason.replace('_', ' ').lower()}"
        self.ended = self.rx_hup = True

    cdef Py_ssize_t decrypt(self, uint8_t *p, size_t size) except -1:
        """Fills `p` as far as octets have come; 0 at the end, and when there are none. It goes on as long as most of what
        comes is data: others have their turn before the next TAKE of anything else."""
        cdef size_t done = self.take(p, size), got = TAKE
        cdef uint8_t *wire
        if done == size or self.ended:
            return done
        wire = self.pump.pool.take()
        try:
            self.unread = True
            while self.unread and not self.ended and done < size and 2 * got >= TAKE:
                self.unread = self.refill(wire, TAKE)
                got = self.take(p + done, size - done)
                done += got
                if got:
                    self.barren = 0
        finally:
            self.pump.pool.give(wire)
        if self.barren > BARREN_MAX or self.outgoing.pending > REPLIES_MAX:
            self._break(LinkLost("the peer keeps this end busy with changes of keys"))
        return done

    cdef Py_ssize_t take(self, uint8_t *p, size_t size) except -1:
        """Plaintext of the ciphertext that is here."""
        cdef size_t done = 0
        cdef Py_ssize_t got
        while done < size and not self.ended and (self.incoming.pending or self.tls.pending()):
            try:
                got = self.tls.read(size - done, PyMemoryView_FromMemory(<char *>p + done, size - done, PyBUF_WRITE))
            except SSLWantReadError:            # a part of a record
                break
            except SSLError as error:           # what came before it is still good
                self._break(error)
                break
            if got == 0:                        # close_notify
                self.ended = self.rx_hup = True
            done += got
        return done

    cdef bint refill(self, uint8_t *wire, size_t size) except -1:
        """One recv from the descriptor; False when that was all for now."""
        cdef Py_ssize_t got
        while True:
            got = net.recv(self.fd, wire, size, 0)
            if got > 0:
                self.heard_at = self.now
                self.barren += got
                self.incoming.write(PyMemoryView_FromMemory(<char *>wire, got, PyBUF_READ))
                return <size_t>got == size or self.rx_hup
            if got < 0 and errno == net.EINTR:
                continue
            if got == 0 or (errno != net.EAGAIN and errno != net.EWOULDBLOCK):
                self.ended = self.rx_hup = True
            return False

    cdef Py_ssize_t carrier_send(self, const uint8_t *p, size_t size) noexcept:
        """As send(). What has become ciphertext is not given to TLS again: the caller comes with the same octets."""
        cdef size_t done = 0, part
        try:
            while done < size:
                if not self.owed:
                    part = min(size - done, <size_t>CHUNK)
                    self.tls.write(PyMemoryView_FromMemory(<char *>p + done, part, PyBUF_READ))
                    self.owed = part
                    self.wire, self.wire_head = self.outgoing.read(), 0
                if not self.flush():
                    return done if done else -1
                done += self.owed
                self.owed = 0
        except Exception as error:
            self._break(error)
            net.rp_set_errno(net.EIO)
            return -1
        return done

    cdef bint flush(self) noexcept:
        """True when the descriptor has taken all of `wire`, else errno says why not."""
        cdef Py_ssize_t got
        cdef size_t left = len(self.wire) - self.wire_head
        cdef const uint8_t *p = self.wire
        while left:
            got = net.send(self.fd, p + self.wire_head, left, net.MSG_NOSIGNAL)
            if got < 0:
                return False
            self.wire_head += got
            if <size_t>got < left:
                net.rp_set_errno(net.EAGAIN)
                return False
            left = 0
        self.wire = None
        return True

    cdef int fail(self, object error) except -1:
        if self.trouble is not None and isinstance(error, LinkLost):
            error = LinkLost(self.trouble)
        return Link.fail(self, error)
