# The copy loops' map: a pump per event loop, a link per session, a conn per carried connection.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rport._mux cimport Mux, Stream
from rport._limits cimport rp_bucket, rp_network
from rport._net cimport sockaddr_storage

cdef enum Kind:
    KIND_NONE = 0
    KIND_LINK = 1
    KIND_CONN = 2
    KIND_LISTENER = 3

cdef enum:                      # ways through a tunnel
    TO_TARGET = 0
    TO_VISITOR = 1

ctypedef struct Slot:           # what a descriptor belongs to
    void *owner                 # borrowed: the owner takes itself out before it goes
    uint32_t generation         # a descriptor number comes back; an old event must not reach its new owner
    int kind


cdef class Pool:
    """Buffers of BUFFER_SIZE; keeps a few for the next user, gives the rest back to the system."""
    cdef uint8_t *spare[4]      # SPARES_MAX
    cdef int spares
    cdef readonly int out

    cdef uint8_t *take(self) except NULL
    cdef void give(self, uint8_t *p) noexcept


ctypedef struct Traffic:        # of one session, or of many
    uint64_t streams
    uint64_t data_in
    uint64_t data_out
    uint64_t carrier_in
    uint64_t carrier_out


cdef class Pump:
    """Readiness in, copy loops out: everything one event loop carries."""
    cdef object loop
    cdef int poller
    cdef Slot *slots
    cdef int slots_size
    cdef uint32_t generation
    cdef double now
    cdef Pool pool
    cdef list active            # links with something to do in this turn
    cdef list graveyard         # owners that left during this turn: freed after it
    cdef readonly set links
    cdef object ticker
    cdef double ticks_at        # when it is due
    cdef public object on_second        # called with the seconds by which it came late; None = nobody wants to know
    cdef Traffic ended          # of all sessions that have ended
    cdef bint scheduled
    cdef bint closed
    cdef readonly int descriptor_limit
    cdef bint paces             # the system's default congestion control sends by timers
    cdef bint quick             # somebody waits for answers: turns are short
    cdef double quick_until
    cdef list throttled         # listeners with connections that wait for their tunnel's rate
    cdef object thawing         # the timer that lets them go on; None = nobody waits

    cdef int register(self, int fd, object owner, int kind, bint both) except -1
    cdef void unregister(self, int fd) noexcept
    cdef void prepare(self, int fd) noexcept
    cdef void activate(self, Link link) except *
    cdef int _turn(self) except -1
    cdef int _events(self) except -1
    cdef void _set_pace(self) noexcept
    cdef void _schedule(self) except *
    cdef int throttle(self, Listener listener) except -1


cdef class Target:
    """Addresses to dial, in order, or one Unix socket."""
    cdef sockaddr_storage addresses[8]
    cdef int sizes[8]
    cdef int count
    cdef bint local             # a Unix socket


cdef class Conn(Stream):
    """A local socket, visitor's or target's, and what it has not taken yet."""
    cdef int fd
    cdef bint connecting
    cdef bint hup               # the kernel said that no more comes: the next empty read is an end
    cdef bint shut              # writing was shut down
    cdef Target target
    cdef int address            # of the target, the one being tried
    cdef double dialled_at
    cdef uint8_t *backlog       # [head, head+size) of cap octets
    cdef size_t backlog_head
    cdef size_t backlog_size
    cdef size_t backlog_cap
    cdef Listener listener      # whose visitor it is; None at the client
    cdef double since           # when he came
    cdef bint limited           # his tunnel has a rate
    cdef int held               # bits, 1 << way: waits for it
    cdef uint32_t turn[2]       # by way, of the listener, in which it was called; 0 = it has had its share

    cdef int keep(self, const uint8_t *p, size_t size) except -1
    cdef void forget(self) noexcept
    cdef void close(self, Pump pump, bint abort) noexcept


cdef class Listener:
    """A tunnel's port on the server, what limits it, and what went through."""
    cdef readonly Link link
    cdef readonly uint32_t tunnel
    cdef int proxy              # the PROXY protocol's version in which a target is told of its visitor; 0 = it is not
    cdef int fd
    cdef bint paused
    cdef set conns              # visitors that are there
    cdef rp_network *sources    # where visitors may come from; NULL = anywhere
    cdef int sources_count
    cdef int connection_limit   # 0 = none
    cdef uint64_t total         # visitors that were taken
    cdef uint64_t denied        # ... came from elsewhere
    cdef uint64_t rejected      # ... were too many
    cdef uint64_t past_in       # octets of those that have left
    cdef uint64_t past_out
    cdef double used_at
    cdef bint limited           # it has a rate
    cdef rp_bucket buckets[2]   # by way
    cdef size_t share[2]        # what each connection that waits gets of them in this turn
    cdef size_t called[2]       # those whose turn it is, and who have had nothing yet
    cdef tuple held             # two ordered sets of connections that wait, by way
    cdef uint32_t turn
    cdef bint throttled         # stands in the pump's list

    cdef int on_ready(self) except -1
    cdef bint welcomes(self, int fd) noexcept
    cdef void pause(self) except *
    cdef void enter(self, Conn c) except *
    cdef void leave(self, Conn c) except *
    cdef Py_ssize_t may(self, Conn c, int way, size_t size) except -1
    cdef void spend(self, Conn c, int way, size_t size) noexcept
    cdef int hold(self, Conn c, int way) except -1
    cdef int thaw(self) except -1


cdef class Link(Mux):
    """A session's carrier and the local sockets behind it."""
    cdef Pump pump
    cdef object owner
    cdef int fd
    cdef bint dead
    cdef double closing_at      # when CLOSE was asked for
    cdef bint shut              # CLOSE is out, writing was shut down; what still comes is dropped
    cdef bint queued            # stands in the pump's active list
    cdef bint in_service        # service() works in the buffers
    cdef bint rx_ready
    cdef bint rx_hup
    cdef bint tx_blocked
    cdef size_t budget          # what one turn may put behind the carrier
    cdef uint8_t *rx            # [rx_head, rx_tail) has come and is not fed yet
    cdef size_t rx_head
    cdef size_t rx_tail
    cdef bytes stash            # a short rest of a record, kept instead of a whole buffer
    cdef readonly uint64_t carrier_in
    cdef readonly uint64_t carrier_out
    cdef double heard_at
    cdef double feeding_since
    cdef int unlooked           # frames since then, or since a look at the clock
    cdef bint worn              # tired, until it is fed again
    cdef public bint trace      # tell the owner about each stream
    cdef dict targets
    cdef set listeners
    cdef set draining           # of a dead link: conns whose stream had ended and whose backlog has not

    cdef Py_ssize_t carrier_recv(self, uint8_t *p, size_t size) noexcept
    cdef Py_ssize_t carrier_send(self, const uint8_t *p, size_t size) noexcept
    cdef bint service(self) except -1
    cdef bint receive(self) except -1
    cdef bint drop(self) except -1
    cdef bint transmit(self) except -1
    cdef int part(self) except -1
    cdef int cut(self) except -1
    cdef int fail(self, object error) except -1
    cdef int fail_unexpectedly(self, object error) except -1
    cdef void release(self) noexcept
    cdef int conn_ready(self, Conn c, uint32_t flags) except -1
    cdef void add_to(self, Traffic *sum) noexcept
    cdef int dial_next(self, Conn c, int error) except -1
    cdef int dial_done(self, Conn c) except -1
    cdef int dial_later(self, Conn c) except -1
    cdef int decline(self, Conn c, int code, str reason) except -1
    cdef int flush_backlog(self, Conn c) except -1
    cdef Py_ssize_t deliver(self, Conn c, const uint8_t *p, size_t size) except -2
    cdef int conn_broken(self, Conn c) except -1
    cdef int after_fin(self, Conn c) except -1
    cdef int visitor(self, int fd, Listener listener) except -1
    cdef void resume_listeners(self) except *
    cdef int leave_draining(self) except -1
    cdef int cut_draining(self) except -1
    cdef void drained_away(self, Conn c) except *
    cdef int tick(self) except -1
