# The multiplexer's map: what a stream and a session consist of, in the order of their lives.

from libc.stdint cimport uint8_t, uint32_t, uint64_t, int64_t

from rport._seal cimport Seal

cdef double INTERACTIVE     # seconds: how long somebody counts as waiting for answers

cdef enum:
    PREFACE_MAX = 128       # octets; fits with OPEN into STREAM_ROOM
    BUFFER_SIZE = 1376256   # of tx, and of a carrier's other buffer: five full records with room for headers and tags,
                            # which is a mebibyte and a record begun, rounded up to 64 KiB

cdef enum:
    PULL_EMPTY = -1         # nothing to send now; the source says so again when there is
    PULL_EOF = -2           # the source has ended: send FIN
    PULL_BROKEN = -3        # the source was reset: send RESET

cdef enum Want:             # frames a stream still has to emit, in the order in which they go out
    WANT_OPEN = 1
    WANT_REFUSE = 2
    WANT_ACCEPT = 4
    WANT_WINDOW = 8
    WANT_DATA = 16
    WANT_RESET = 32

cdef enum Queue:
    QUEUE_NONE = 0
    QUEUE_FRESH = 1         # emits little: goes first
    QUEUE_BULK = 2          # filled its last turn: takes turns with the others of its kind


cdef class Stream:
    """One carried connection, as the protocol sees it (PROTOCOL.md, section 7)."""
    cdef Mux mux                # also when the stream has left it
    cdef readonly uint32_t id
    cdef readonly uint32_t tunnel
    cdef readonly bint ours             # this end opened it
    cdef readonly bint accepted
    cdef readonly bint fin_sent
    cdef readonly bint fin_received
    cdef readonly bint gone             # left the session; nothing more is sent or received for it
    cdef readonly int64_t credit        # octets this end may still send
    cdef readonly int64_t window        # octets granted to the peer when it has sent none
    cdef readonly int64_t allowance     # octets the peer may still send
    cdef int64_t consumed       # octets taken by the local side and not yet granted anew
    cdef int64_t epoch_octets   # taken since epoch_start: what the window is tuned by
    cdef double epoch_start
    cdef uint8_t small          # DATA frames of a few octets in a row, up to 255
    cdef readonly uint64_t data_in      # octets of DATA payload
    cdef readonly uint64_t data_out
    cdef double touched         # when anything last moved, seconds
    cdef uint32_t want          # Want bits
    cdef int queue              # Queue: the ring the stream stands in
    cdef bint bulk
    cdef Stream next
    cdef Stream prev
    cdef bytes preface          # what goes out right behind OPEN, up to PREFACE_MAX octets; None = nothing
    cdef uint8_t code           # of a refuse or reset
    cdef bytes reason


cdef class Ring:
    """Streams that have something to emit, first in first out, without allocation."""
    cdef Stream head
    cdef Stream tail
    cdef readonly int count

    cdef void push(self, Stream s) noexcept
    cdef Stream pop(self)
    cdef void remove(self, Stream s) noexcept


cdef class Mux:
    """The multiplexer: bytes in, bytes out; no socket, no loop, no clock."""
    cdef Seal sealer
    cdef Seal opener
    cdef readonly bint client
    cdef readonly dict streams
    cdef readonly uint64_t opened       # streams, by either end, since the session began
    cdef readonly int pending           # opened, neither accepted nor refused, both directions
    cdef readonly int64_t granted       # sum of the windows this end has granted
    cdef readonly bint closing          # a CLOSE frame was asked for; nothing follows it
    cdef bint parted            # ... and is in a record
    cdef readonly bint closed           # a CLOSE frame came, or the session failed: nothing more is taken
    cdef readonly double rtt            # shortest round trip seen, seconds; 0 = none yet
    cdef readonly uint64_t data_in      # octets of DATA payload
    cdef readonly uint64_t data_out
    cdef readonly size_t record_limit     # plaintext that the peer may put into one record now
    cdef double now
    cdef double interactive_at      # when a small message last came on a stream that carries only such
    cdef public uint32_t next_id    # of the next stream that this end opens
    cdef uint32_t last_peer_id
    cdef int zombies            # streams gone whose last frame is not out yet
    cdef Ring fresh
    cdef Ring bulk
    cdef object controls        # deque of packed control messages
    cdef size_t control_queue   # octets in it
    cdef int errands            # frames of the last feed that cost Python's time
    cdef size_t untold          # octets of an opened record, at the next feed's beginning, that nobody was told of yet
    cdef bint ping_due
    cdef bint pong_due
    cdef uint64_t ping_token    # microseconds
    cdef uint64_t pong_token
    cdef bytes close_payload
    # the transmit buffer: [tx_head, tx_tail) is sealed and waits for the carrier; an open record follows
    cdef uint8_t *tx
    cdef size_t tx_head
    cdef size_t tx_tail
    cdef size_t record          # where the open record's plaintext begins; 0 = none is open
    cdef size_t cursor          # where its next frame goes

    # hooks: what the world above does
    cdef Stream make_stream(self)
    cdef uint8_t *tx_acquire(self) except NULL
    cdef void tx_release(self, uint8_t *p) noexcept
    cdef Py_ssize_t pull(self, Stream s, uint8_t *p, size_t size) except? -9
    cdef int on_open(self, Stream s) except -1
    cdef int on_accept(self, Stream s) except -1
    cdef int on_refuse(self, Stream s, int code, bytes reason) except -1
    cdef int on_data(self, Stream s, const uint8_t *p, size_t size) except -1
    cdef int on_fin(self, Stream s) except -1
    cdef int on_reset(self, Stream s, int code) except -1
    cdef int on_control(self, const uint8_t *p, size_t size) except -1
    cdef int on_pong(self, double rtt) except -1
    cdef int on_close(self, int code, bytes reason) except -1
    cdef bint drained(self, Stream s) noexcept
    cdef int on_gone(self, Stream s) except -1
    cdef bint tired(self) noexcept

    # verbs for the world above
    cdef bint used_up(self) noexcept
    cdef Stream open_stream(self, uint32_t tunnel)
    cdef int accept(self, Stream s) except -1
    cdef int refuse(self, Stream s, int code, bytes reason) except -1
    cdef int reset(self, Stream s, int code) except -1
    cdef void sendable(self, Stream s) noexcept
    cdef int consume(self, Stream s, size_t size) except -1
    cdef int finish(self, Stream s) except -1
    cdef Py_ssize_t feed(self, uint8_t *p, size_t size) except -1
    cdef bint fill(self, size_t budget) except -1
    cdef int seal_record(self) except -1
    cdef void sent(self, size_t size) noexcept

    # inside
    cdef void _queue(self, Stream s) noexcept
    cdef void _leave(self, Stream s) except *
    cdef bint interactive(self) noexcept
    cdef bint waiting(self) noexcept
    cdef size_t _end(self) noexcept
    cdef bint _room(self, size_t size) except -1
    cdef uint8_t *_frame(self, uint32_t stream, uint8_t kind, uint32_t length) except? NULL
    cdef bint _emit_session(self) except -1
    cdef int _emit(self, Stream s, size_t budget) except -1
    cdef int _emit_preface(self, Stream s) except -1
    cdef int _emit_data(self, Stream s, size_t budget) except -1
    cdef int _tune(self, Stream s) except -1
    cdef int64_t _first_window(self) noexcept
    cdef int64_t _spare(self) noexcept
    cdef int64_t _target(self, Stream s) noexcept
    cdef int64_t _grant(self, Stream s) noexcept
    cdef size_t _dispatch(self, uint8_t *p, size_t size) except? 0
    cdef int _frame_in(self, uint32_t stream, uint8_t kind, uint8_t *p, size_t size) except -1
    cdef int _session_frame(self, uint8_t kind, uint8_t *p, size_t size) except -1
    cdef int _open_frame(self, uint32_t stream, uint8_t *p, size_t size) except -1
    cdef Stream _find(self, uint32_t stream)
