# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""The copy loops: carrier <-> Mux <-> local sockets, with accept and connect.

The loop above only says that the poller has something; recv, send, accept and connect happen here on raw non-blocking
sockets. Readiness is edge-triggered: a socket is read until it gives less than was asked for. A turn takes events,
lets each link receive, then fill records and send, and starts over while there is work, up to a bound, so that the
loop's other users get their turn.
"""

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

from rport cimport _frame as f
from rport._limits cimport RP_QUANTUM, rp_bucket_room, rp_bucket_set, rp_network, rp_peer_is_in
from rport cimport _net as net
from rport cimport _proxy
from rport._mux cimport BUFFER_SIZE, INTERACTIVE, PULL_BROKEN, PULL_EMPTY, PULL_EOF, WANT_DATA, Mux, Stream
from rport._net cimport sockaddr_storage
from rport._poll cimport (
    RP_ERR, RP_EVENTS, RP_HUP, RP_IN, RP_OUT, rp_event, rp_poll_add, rp_poll_del, rp_poll_new, rp_poll_wait,
)
from rport._seal cimport Seal

import logging
import os
from collections import OrderedDict
from itertools import islice

from rport.errors import LinkLost, ProtocolError

cdef enum:
    WHOLE_RECORD = 327680        # a whole record, its header and tag, rounded up to 64 KiB
    BUDGET_MIN = 65536          # what one turn puts behind a slow carrier
    BUDGET_MAX = 1048576        # ... and a fast one: what BUFFER_SIZE holds beside a record begun
    TURN_QUICK = 131072         # each way while somebody waits for answers: a turn of a tenth of a millisecond
    STASH_MAX = 16384           # a rest that is cheaper to copy than its buffer is to hold
    ROUNDS = 16                 # of one turn
    ACCEPTS = 64                # from one listener in one round
    PENDING_PAUSE = f.PENDING_MAX - 6       # from here visitors wait in the kernel, before they have to be turned away
    STREAMS_PAUSE = f.STREAMS_MAX - 6
    PENDING_RESUME = f.PENDING_MAX // 2     # so far below that a listener does not pause again at once
    SPARES_MAX = 4              # two links' worth
    FD_RESERVE = 64             # descriptors kept for sessions and files
    LEFT_BEHIND_MAX = 67108864  # octets that ended sessions may still owe to local sockets, one session's window
    NOTSENT_LOWAT = 262144      # what the kernel may hold unsent: enough to keep it busy between two turns
    SLICE_QUICK = 100000        # nanoseconds, the least that there is
    FRAMES_UNLOOKED = 16        # between two looks at the clock: one for each small message would be felt
    SOURCES_MAX = 256           # networks of one tunnel: each visitor is held against all of them

cdef double TURN_TIME = 0.05    # seconds, less one link's: the API and the front door wait no longer
cdef double LINK_TIME = 0.01    # of it, for what one link has received: a burst of tiny frames is a call of send() each
cdef double DIAL_TIMEOUT = 10.0
cdef double OPEN_TIMEOUT = 20.0
cdef double QUEUE_PAUSE = 0.05  # between two tries at a Unix socket whose queue is full; nothing tells when it is not
cdef double CLOSE_TIMEOUT = 2.0 # for the carrier to take a CLOSE, and for the peer to hang up behind it
cdef double THAW = 0.01         # between two looks at tunnels with a rate: a fifth of what they may do at once
cdef double LINGER = 300.0      # a half-closed stream on which nothing moves

# What connect() to a Unix socket means by these is something else than what it means to TCP.
_LOCAL_REASONS = {
    net.ENOENT: "there is no such socket",
    net.EACCES: "this client has no right to write to the socket, or to enter its directory",
    net.ECONNREFUSED: "nobody listens on the socket",
    net.EPROTOTYPE: "it is no stream socket",
    net.EINVAL: "its path is too long for this system",
}

_log = logging.getLogger("rport.pump")


cdef class Pool:
    def __dealloc__(self):
        while self.spares:
            self.spares -= 1
            net.rp_unpages(self.spare[self.spares], BUFFER_SIZE)

    cdef uint8_t *take(self) except NULL:
        cdef uint8_t *p
        if self.spares:
            self.spares -= 1
            p = self.spare[self.spares]
        else:
            p = net.rp_pages(BUFFER_SIZE)
            if p == NULL:
                raise MemoryError
        self.out += 1
        return p

    cdef void give(self, uint8_t *p) noexcept:
        self.out -= 1
        if self.spares < SPARES_MAX:
            self.spare[self.spares] = p
            self.spares += 1
        else:
            net.rp_unpages(p, BUFFER_SIZE)


cdef class Pump:
    def __cinit__(self, *args, **kwargs):
        self.poller = -1

    def __init__(self, loop):
        self.loop = loop
        self.poller = rp_poll_new()
        if self.poller < 0:
            raise OSError(errno, os.strerror(errno))
        self.pool = Pool()
        self.active, self.graveyard, self.links, self.throttled = [], [], set(), []
        self.descriptor_limit = net.rp_descriptor_limit()
        self.paces = net.rp_paces()
        self.now = net.rp_now()
        loop.add_reader(self.poller, self._on_readable)
        self._tick_later()

    def __dealloc__(self):
        if self.poller >= 0:
            net.close(self.poller)
        free(self.slots)

    def close(self):
        """Ends every link without ceremony and leaves the loop."""
        cdef Link link
        if self.closed:
            return
        for link in list(self.links):
            link.fail(LinkLost("shut down"))
            link.cut_draining()
        self.closed = True
        self.ticker.cancel()
        if self.thawing is not None:
            self.thawing.cancel()
        self.loop.remove_reader(self.poller)

    @property
    def buffers_out(self):
        """Big buffers in use now: 0 when everything is idle."""
        return self.pool.out

    cdef int register(self, int fd, object owner, int kind, bint both) except -1:
        cdef int size
        cdef Slot *grown
        if fd >= self.slots_size:
            size = max(64, 2 * fd)
            grown = <Slot *>realloc(self.slots, size * sizeof(Slot))
            if grown == NULL:
                raise MemoryError
            memset(grown + self.slots_size, 0, (size - self.slots_size) * sizeof(Slot))
            self.slots, self.slots_size = grown, size
        self.generation += 1
        self.slots[fd].owner = <void *>owner
        self.slots[fd].generation = self.generation
        self.slots[fd].kind = kind
        if rp_poll_add(self.poller, fd, (<uint64_t>self.generation << 32) | <uint32_t>fd, both) < 0:
            self.slots[fd].kind = KIND_NONE
            raise OSError(errno, os.strerror(errno))
        return 0

    cdef void prepare(self, int fd) noexcept:
        """What every connection wants that is carried or carries."""
        net.rp_nodelay(fd)
        if self.paces:
            net.rp_unpace(fd)

    cdef void unregister(self, int fd) noexcept:
        if 0 <= fd < self.slots_size:
            self.slots[fd].kind = KIND_NONE
            self.slots[fd].owner = NULL

    cdef void activate(self, Link link) except *:
        if not link.queued and not link.dead:
            link.queued = True
            self.active.append(link)

    cdef void _schedule(self) except *:
        """For work that did not begin with an event."""
        if not self.scheduled and not self.closed:
            self.scheduled = True
            self.loop.call_soon(self._on_readable)

    def _on_readable(self):
        self.scheduled = False
        if not self.closed:
            self._turn()

    def traffic(self):
        """Of all sessions that there are and were: streams; octets of payload in and out; of the carriers, in and out.
        """
        cdef Traffic sum = self.ended
        cdef Link link
        for link in self.links:
            if not link.dead:
                link.add_to(&sum)
        return sum.streams, sum.data_in, sum.data_out, sum.carrier_in, sum.carrier_out

    def _tick_later(self):
        self.ticks_at = net.rp_now() + 1.0
        self.ticker = self.loop.call_later(1.0, self._on_tick)

    def _on_tick(self):
        cdef Link link
        cdef double late
        self.now = net.rp_now()
        late = max(0.0, self.now - self.ticks_at)
        for link in list(self.links):
            link.now = self.now
            try:
                link.tick()
            except Exception as error:
                link.fail_unexpectedly(error)
            if link.waiting():
                self.activate(link)
        self._turn()
        if not self.closed:
            self._tick_later()
            if self.on_second is not None:
                self.on_second(late)

    cdef int throttle(self, Listener listener) except -1:
        """Lets its connections go on when their tunnel's rate does."""
        if not listener.throttled:
            listener.throttled = True
            self.throttled.append(listener)
        if self.thawing is None and not self.closed:
            self.thawing = self.loop.call_later(THAW, self._on_thaw)
        return 0

    def _on_thaw(self):
        cdef Listener listener
        cdef list work
        self.thawing = None
        self.now = net.rp_now()
        work, self.throttled = self.throttled, []
        for listener in work:
            listener.throttled = False
            listener.link.now = self.now
            try:
                listener.thaw()
            except Exception as error:
                listener.link.fail_unexpectedly(error)
            self.activate(listener.link)
        self._turn()

    cdef int _turn(self) except -1:
        cdef int rounds, i
        cdef double started = net.rp_now()
        cdef Link link
        cdef list work
        for rounds in range(ROUNDS):
            self.now = net.rp_now()
            if self.now - started > TURN_TIME:
                break
            self._events()
            self._set_pace()
            if not self.active:
                break
            work, self.active = self.active, []
            for i, link in enumerate(work):
                self.now = net.rp_now()
                if self.now - started > TURN_TIME:
                    self.active[:0] = work[i:]
                    break
                link.queued = False
                if link.dead:
                    continue
                link.now = self.now
                if link.interactive():
                    self.quick_until = self.now + INTERACTIVE
                try:
                    if link.service():
                        self.activate(link)
                except ProtocolError as error:
                    link.fail(error)
                except Exception as error:
                    link.fail_unexpectedly(error)
        self.graveyard.clear()
        if self.active:
            self._schedule()
        return 0

    cdef void _set_pace(self) noexcept:
        """Short turns while somebody waits for answers: of ours, and of ours at the processor."""
        cdef bint quick = self.now < self.quick_until
        if quick != self.quick:
            self.quick = quick
            net.rp_slice(SLICE_QUICK if quick else 0)

    cdef int _events(self) except -1:
        cdef rp_event events[RP_EVENTS]
        cdef int i, fd, n = rp_poll_wait(self.poller, events)
        cdef Slot *slot
        cdef Conn conn
        cdef Link link
        cdef Listener listener
        for i in range(n):
            fd = <int>(events[i].tag & 0xffffffffU)
            slot = &self.slots[fd]
            if slot.kind == KIND_NONE or slot.generation != <uint32_t>(events[i].tag >> 32):
                continue
            if slot.kind == KIND_CONN:
                conn = <Conn>slot.owner
                link = <Link>conn.mux
                link.now = self.now
                try:
                    link.conn_ready(conn, events[i].flags)
                except Exception as error:
                    link.fail_unexpectedly(error)
                self.activate(link)
            elif slot.kind == KIND_LINK:
                link = <Link>slot.owner
                if events[i].flags & (RP_IN | RP_ERR):
                    link.rx_ready = True
                if events[i].flags & (RP_HUP | RP_ERR):
                    link.rx_hup = True
                if events[i].flags & RP_OUT:
                    link.tx_blocked = False
                self.activate(link)
            else:
                listener = <Listener>slot.owner
                link = listener.link
                try:
                    listener.on_ready()
                except Exception as error:
                    link.fail_unexpectedly(error)
        return n


cdef class Target:
    """Up to eight numeric addresses `(ip, port, scope)`, or a Unix socket's path; ValueError for anything else."""

    def __init__(self, addresses):
        if isinstance(addresses, str):
            self._set_path(addresses.encode())
            return
        for ip, port, scope in addresses[:8]:
            self.sizes[self.count] = net.rp_sockaddr(&self.addresses[self.count], ip.encode(), port, scope)
            if not self.sizes[self.count]:
                raise ValueError(f"not a numeric address: {ip!r}")
            self.count += 1
        if not self.count:
            raise ValueError("no address")

    def _set_path(self, bytes path):
        self.sizes[0] = net.rp_unix_address(&self.addresses[0], path, len(path))
        self.count = 1
        self.local = True


cdef class Conn(Stream):
    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        self.forget()

    cdef int keep(self, const uint8_t *p, size_t size) except -1:
        """Copies what the local socket would not take; the window bounds how much that can be."""
        cdef size_t cap
        cdef uint8_t *grown
        if self.backlog_head and self.backlog_head + self.backlog_size + size > self.backlog_cap:
            memmove(self.backlog, self.backlog + self.backlog_head, self.backlog_size)
            self.backlog_head = 0
        if self.backlog_size + size > self.backlog_cap:
            cap = max(<size_t>4096, self.backlog_cap)
            while cap < self.backlog_size + size:
                cap *= 2
            grown = <uint8_t *>realloc(self.backlog, cap)
            if grown == NULL:
                raise MemoryError
            self.backlog, self.backlog_cap = grown, cap
        memcpy(self.backlog + self.backlog_head + self.backlog_size, p, size)
        self.backlog_size += size
        return 0

    cdef void forget(self) noexcept:
        free(self.backlog)
        self.backlog = NULL
        self.backlog_head = self.backlog_size = self.backlog_cap = 0

    cdef void close(self, Pump pump, bint abort) noexcept:
        if self.fd >= 0:
            pump.unregister(self.fd)
            if abort:
                net.rp_abort(self.fd)
            else:
                net.close(self.fd)
            self.fd = -1
            pump.graveyard.append(self)
            if self.listener is not None:
                self.listener.leave(self)
        self.forget()


cdef class Listener:
    """Accepts visitors on `fd`, a listening non-blocking socket that it takes over. `proxy`, 1 or 2: each target is
    told of its visitor by a header of that version of the PROXY protocol."""

    def __dealloc__(self):
        free(self.sources)

    def __init__(self, Link link, int fd, uint32_t tunnel, int proxy=0):
        net.rp_nonblocking(fd)
        self.link, self.fd, self.tunnel, self.proxy = link, fd, tunnel, proxy
        self.conns, self.held = set(), (OrderedDict(), OrderedDict())
        self.turn = 1                           # a connection's is 0 while it was not called
        self.used_at = net.rp_now()
        link.pump.register(fd, self, KIND_LISTENER, False)
        link.listeners.add(self)

    def close(self):
        """Frees the port; carried connections go on."""
        if self.fd >= 0:
            self.link.pump.unregister(self.fd)
            net.close(self.fd)
            self.fd = -1
            self.link.pump.graveyard.append(self)
            self.link.listeners.discard(self)

    cdef void pause(self) except *:
        """Visitors wait in the kernel's queue until there is room again."""
        if not self.paused:
            self.paused = True
            rp_poll_del(self.link.pump.poller, self.fd)
            self.link.pump.unregister(self.fd)

    cdef int on_ready(self) except -1:
        cdef int fd, i
        cdef Link link = self.link
        link.now = link.pump.now
        for i in range(ACCEPTS):
            if link.pending >= PENDING_PAUSE or len(link.streams) >= STREAMS_PAUSE:
                self.pause()
                break
            fd = net.rp_accept(self.fd)
            if fd < 0:
                if errno == net.EMFILE or errno == net.ENFILE:
                    self.pause()
                break
            if fd >= link.pump.descriptor_limit - FD_RESERVE:
                net.rp_abort(fd)
                self.pause()
                break
            if self.welcomes(fd):
                link.visitor(fd, self)
            else:
                net.rp_abort(fd)
        link.pump.activate(link)
        return 0

    cdef bint welcomes(self, int fd) noexcept:
        if self.sources_count and not rp_peer_is_in(self.sources, self.sources_count, fd):
            self.denied += 1
            return False
        if self.connection_limit and len(self.conns) >= self.connection_limit:
            self.rejected += 1
            return False
        return True

    cdef void enter(self, Conn c) except *:
        c.listener, c.limited = self, self.limited
        c.since = self.used_at = self.link.now
        self.total += 1
        self.conns.add(c)

    cdef void leave(self, Conn c) except *:
        self.past_in += c.data_in
        self.past_out += c.data_out
        self.used_at = max(self.used_at, c.touched)
        self.conns.discard(c)
        for held in self.held:
            held.pop(c, None)

    # --- limits, all of which may change at any time -----------------------------------------------------------------

    def set_sources(self, networks):
        """Only from these may visitors come: pairs of a packed address and a prefix's length; none = from anywhere.
        Cuts those that may not be there any more, at both ends, and tells how many; ValueError beyond SOURCES_MAX."""
        cdef rp_network *made = NULL
        cdef bytes address
        cdef int i, bits, cut = 0
        cdef Conn c
        networks = list(networks)
        if len(networks) > SOURCES_MAX:
            raise ValueError(f"more than {SOURCES_MAX} networks")
        for address, bits in networks:
            if len(address) not in (4, 16) or not 0 <= bits <= 8 * len(address):
                raise ValueError("no network")
        if networks:
            made = <rp_network *>realloc(NULL, len(networks) * sizeof(rp_network))
            if made == NULL:
                raise MemoryError
            for i, (address, bits) in enumerate(networks):
                memcpy(made[i].address, <const uint8_t *>address, len(address))
                made[i].octets, made[i].bits = len(address), bits
        free(self.sources)
        self.sources, self.sources_count = made, len(networks)
        for c in list(self.conns):
            if c.fd < 0 or not self.sources_count or rp_peer_is_in(self.sources, self.sources_count, c.fd):
                continue
            if c.gone:                          # its session has ended, and it drains
                c.close(self.link.pump, True)
                self.link.drained_away(c)
            else:
                self.link.cut_stream(c.id, f.CODE_FORBIDDEN)
            cut += 1
        return cut

    def set_connection_limit(self, int limit):
        """So many visitors at a time, 0 = as many as come. Cuts nobody."""
        self.connection_limit = limit

    def set_rates(self, double to_target, double to_visitor):
        """Octets a second for all connections together, which share them evenly; 0 = as fast as it goes. ValueError for
        what is no rate."""
        cdef Conn c
        cdef double now = net.rp_now()
        if not (to_target >= 0 and to_visitor >= 0):
            raise ValueError("no rate")
        rp_bucket_set(&self.buckets[TO_TARGET], to_target, now)
        rp_bucket_set(&self.buckets[TO_VISITOR], to_visitor, now)
        self.limited = to_target > 0 or to_visitor > 0
        for c in self.conns:
            c.limited = self.limited

    cdef Py_ssize_t may(self, Conn c, int way, size_t size) except -1:
        """How many of `size` octets may go now; 0 = none, and it waits until more may."""
        cdef size_t room = rp_bucket_room(&self.buckets[way], self.link.pump.now, size)
        if self.buckets[way].rate and (self.held[way] or self.called[way]):     # whoever came first goes first
            room = min(room, self.share[way]) if c.turn[way] == self.turn else 0
        if not room:
            self.hold(c, way)
        return room

    cdef void spend(self, Conn c, int way, size_t size) noexcept:
        if c.turn[way] == self.turn:
            self.called[way] -= 1
        c.turn[way] = 0
        self.buckets[way].tokens -= size

    cdef int hold(self, Conn c, int way) except -1:
        if not c.held & (1 << way):
            c.held |= 1 << way
            self.held[way][c] = None
        return self.link.pump.throttle(self)

    cdef int thaw(self) except -1:
        """Those that wait go on, as many as there is something for, who waited longest first."""
        cdef int way
        cdef size_t count, room
        cdef Conn c
        self.turn += 1
        for way in range(2):
            held = self.held[way]
            self.called[way] = 0
            count = len(held)
            if not count:
                continue
            room = rp_bucket_room(&self.buckets[way], self.link.pump.now, <size_t>-1)
            self.share[way] = max(<size_t>RP_QUANTUM, room // count)
            self.called[way] = min(count, room // self.share[way])
            for c in list(islice(held, self.called[way])):
                if c.fd < 0:                    # one before it has ended it, too
                    continue
                held.pop(c, None)
                c.held &= ~(1 << way)
                c.turn[way] = self.turn
                if way == TO_TARGET:
                    self.link.sendable(c)
                else:
                    self.link.flush_backlog(c)
        if self.held[0] or self.held[1]:
            self.link.pump.throttle(self)
        return 0

    # --- figures -----------------------------------------------------------------------------------------------------

    def figures(self):
        """Connections now, and in all; those denied, and rejected; octets in (from the client) and out; seconds since
        the last of them, or since the beginning."""
        cdef uint64_t data_in = self.past_in, data_out = self.past_out
        cdef double used_at = self.used_at
        cdef Conn c
        for c in self.conns:
            data_in += c.data_in
            data_out += c.data_out
            used_at = max(used_at, c.touched)
        return (len(self.conns), self.total, self.denied, self.rejected, data_in, data_out,
                max(net.rp_now() - used_at, 0.0))

    def connections(self):
        """Of each: the stream's number, the visitor's address, seconds since he came, octets in and out."""
        cdef Conn c
        cdef char name[64]
        cdef double now = net.rp_now()
        found = []
        for c in self.conns:
            net.rp_peer_name(c.fd, name, sizeof(name))
            found.append((c.id, (<bytes>name).decode(), max(now - c.since, 0.0), c.data_in, c.data_out))
        return found


cdef class Link(Mux):
    """One session: `fd` is the carrier's socket, which the link takes over.

    `owner` is told what happened: on_control(bytes), on_pong(seconds), on_refused(tunnel, code, text),
    on_dial(conn, tunnel), on_goodbye(code, text) and, once and last, on_closed(error or None); with `trace` also
    on_stream(conn, peer) and on_stream_left(conn).
    """

    def __init__(self, Seal sealer, Seal opener, bint client, Pump pump, int fd, owner):
        net.rp_nonblocking(fd)
        self.pump, self.owner, self.fd = pump, owner, fd
        self.targets, self.listeners, self.draining = {}, set(), set()
        self.budget = BUDGET_MAX
        self.now = self.heard_at = net.rp_now()
        sealer.keyed_at = opener.keyed_at = self.now
        pump.prepare(fd)
        net.rp_notsent_lowat(fd, NOTSENT_LOWAT)
        pump.links.add(self)
        pump.register(fd, self, KIND_LINK, True)
        self.rx_ready = True

    def start(self, bytes early=b""):
        """Begins to carry; `early` is what had already come behind the handshake."""
        if early:
            self.stash = early
        self.rx_ready = True
        self.wake()

    def wake(self):
        """Makes what was queued go out at the end of this turn of the loop."""
        self.pump.activate(self)
        self.pump._schedule()

    def control(self, bytes message):
        """Sends a packed control message; raises what put_control does."""
        self.put_control(message)
        self.wake()

    def ping(self):
        """Measures the round trip: on_pong tells it."""
        self.now = net.rp_now()
        self.put_ping()
        self.wake()

    def finish_session(self, int code, str reason=""):
        """Says CLOSE behind all that is queued; streams are reset. The link ends when the peer hangs up, or after
        CLOSE_TIMEOUT."""
        self.closing_at = net.rp_now()
        self.put_close(code, reason)
        self.wake()

    def abort(self, error):
        """Ends the session at once and without CLOSE; `error` is what on_closed tells."""
        self.fail(error)

    def set_target(self, uint32_t tunnel, Target target):
        """What OPEN frames for `tunnel` dial; None asks owner.on_dial each time."""
        self.targets[tunnel] = target

    def drop_target(self, uint32_t tunnel):
        """OPEN frames for `tunnel` are refused from now on."""
        self.targets.pop(tunnel, None)

    def dial(self, Conn conn, Target target):
        """The answer to on_dial."""
        if not conn.gone and not self.dead:
            self.now = net.rp_now()
            conn.target = target
            self.dial_next(conn, 0)
            self.wake()

    def refuse_dial(self, Conn conn, int code, str reason):
        """The other answer to on_dial."""
        if not conn.gone and not self.dead:
            self.decline(conn, code, reason)
            self.wake()

    def cut_tunnel(self, uint32_t tunnel, int code):
        """Resets every stream of `tunnel`, at both ends, whatever it still carries."""
        cdef Conn c
        self.now = net.rp_now()
        for c in list(self.streams.values()):
            if c.tunnel == tunnel:
                c.close(self.pump, True)
                self.reset(c, code)
        self.resume_listeners()
        self.wake()

    def cut_stream(self, uint32_t stream, int code):
        """Resets one stream, at both ends; False when there is none of that number."""
        cdef Conn c = <Conn>self.streams.get(stream)
        if c is None:
            return False
        self.now = net.rp_now()
        c.close(self.pump, True)
        self.reset(c, code)
        self.resume_listeners()
        self.wake()
        return True

    @property
    def alive(self):
        return not self.dead

    cdef void add_to(self, Traffic *sum) noexcept:
        sum.streams += self.opened
        sum.data_in += self.data_in
        sum.data_out += self.data_out
        sum.carrier_in += self.carrier_in
        sum.carrier_out += self.carrier_out

    def busy(self):
        """How many connections are carried now, those included that only drain."""
        return len(self.streams) + len(self.draining)

    def silence(self):
        """Seconds since the last octet from the peer."""
        return net.rp_now() - self.heard_at

    # --- the carrier: a descriptor here; TLS overrides these two (_tls.pyx) ------------------------------------------

    cdef Py_ssize_t carrier_recv(self, uint8_t *p, size_t size) noexcept:
        return net.recv(self.fd, p, size, 0)

    cdef Py_ssize_t carrier_send(self, const uint8_t *p, size_t size) noexcept:
        return net.send(self.fd, p, size, net.MSG_NOSIGNAL)

    cdef bint tired(self) noexcept:
        if not self.worn:
            self.unlooked += 1
            if self.errands or self.unlooked == FRAMES_UNLOOKED:     # an errand may take milliseconds
                self.unlooked = 0
                self.worn = net.rp_now() - self.feeding_since > LINK_TIME
        return self.worn or self.errands >= f.ERRANDS_MAX

    cdef uint8_t *tx_acquire(self) except NULL:
        return self.pump.pool.take()

    cdef void tx_release(self, uint8_t *p) noexcept:
        self.pump.pool.give(p)

    cdef Stream make_stream(self):
        return Conn.__new__(Conn)

    cdef bint service(self) except -1:
        """A turn's worth of work; True when there is more. Whoever ends the link meanwhile leaves the buffers alone."""
        cdef bint more = False
        self.in_service = True
        try:
            if self.shut:
                return self.drop()
            if self.rx_ready or self.stash is not None:
                more = self.receive()
            if not self.dead:
                more |= self.transmit()
            return more and not self.dead
        finally:
            self.in_service = False
            if self.dead:
                self.release()

    cdef bint receive(self) except -1:
        """One recv from the carrier and all records that it completes; True when there may be more."""
        cdef Py_ssize_t got, done
        cdef size_t held, size
        if self.rx == NULL:
            self.rx = self.pump.pool.take()
            self.rx_head = self.rx_tail = 0
            if self.stash is not None:
                self.rx_tail = len(self.stash)
                memcpy(self.rx, <const uint8_t *>self.stash, self.rx_tail)
                self.stash = None
        elif self.rx_head and self.rx_tail + WHOLE_RECORD > BUFFER_SIZE:
            memmove(self.rx, self.rx + self.rx_head, self.rx_tail - self.rx_head)
            self.rx_tail -= self.rx_head
            self.rx_head = 0
        size = BUFFER_SIZE - self.rx_tail
        if self.pump.quick:
            size = min(size, <size_t>TURN_QUICK)
        got = self.carrier_recv(self.rx + self.rx_tail, size)
        if got > 0:
            self.rx_ready = <size_t>got == size or self.rx_hup
            self.rx_tail += got
            self.carrier_in += got
            self.heard_at = self.now
        elif got < 0 and (errno == net.EAGAIN or errno == net.EWOULDBLOCK):
            self.rx_ready = False
        elif got < 0 and errno == net.EINTR:
            return True
        self.feeding_since, self.unlooked, self.worn = self.now, 0, False
        done = self.feed(self.rx + self.rx_head, self.rx_tail - self.rx_head)
        if self.dead:
            return False
        self.rx_head += done
        if (self.untold or self.tired()) and not self.closed:   # the rest behind the others' turn
            self.rx_ready = True
            return True
        held = self.rx_tail - self.rx_head
        if held <= STASH_MAX:
            self.stash = (<const char *>self.rx)[self.rx_head:self.rx_tail] if held and not self.rx_ready else None
            if self.stash is not None or not held:
                self.pump.pool.give(self.rx)
                self.rx = NULL
                self.rx_head = self.rx_tail = 0
        if self.closed:
            self.fail(None)
            return False
        if got == 0 or (got < 0 and self.rx_ready):
            self.fail(LinkLost("the connection was cut off"))
            return False
        return self.rx_ready

    cdef bint transmit(self) except -1:
        """Fills records and sends them with one call; True when there is more and the carrier takes it."""
        cdef Py_ssize_t got
        cdef size_t waiting
        if self.tx_blocked:
            return False
        if self.tx_head == self.tx_tail:
            self.fill(min(self.budget, <size_t>TURN_QUICK) if self.pump.quick else self.budget)
            self.seal_record()
        waiting = self.tx_tail - self.tx_head
        if not waiting:
            self.sent(0)
            return False
        got = self.carrier_send(self.tx + self.tx_head, waiting)
        if got < 0:
            if errno == net.EAGAIN or errno == net.EWOULDBLOCK:
                self.tx_blocked = True
                return False
            if errno == net.EINTR:
                return True
            self.fail(LinkLost(f"the connection broke: {os.strerror(errno)}"))
            return False
        self.carrier_out += got
        self.sent(got)
        if <size_t>got < waiting:
            self.tx_blocked = True
            self.budget = max(<size_t>BUDGET_MIN, self.budget // 2)
            return False
        self.budget = min(<size_t>BUDGET_MAX, self.budget * 2)
        if self.parted:
            return self.part()
        return self.waiting()

    cdef int part(self) except -1:
        """CLOSE is out. Closing the descriptor with octets unread would reset the connection, and CLOSE be lost."""
        self.cut()
        self.shut = True
        net.shutdown(self.fd, net.SHUT_WR)
        return self.drop()

    cdef bint drop(self) except -1:
        """Reads the carrier to its end; True when there may be more."""
        cdef Py_ssize_t got
        if self.rx == NULL:
            self.rx = self.pump.pool.take()
        got = self.carrier_recv(self.rx, BUFFER_SIZE)
        if got > 0 or (got < 0 and errno == net.EINTR):
            return True
        if got < 0 and (errno == net.EAGAIN or errno == net.EWOULDBLOCK):
            self.pump.pool.give(self.rx)
            self.rx = NULL
            return False
        self.fail(None)
        return False

    cdef int fail(self, object error) except -1:
        """The session is over: every stream is cut, never cleanly ended (section 4.5), but for those that had ended."""
        if self.dead:
            return 0
        self.dead = self.closed = True          # nothing that has come is told any more
        self.add_to(&self.pump.ended)
        self.cut()
        if not self.in_service:
            self.release()
        self.pump.unregister(self.fd)
        net.close(self.fd)
        self.fd = -1
        self.leave_draining()
        self.pump.graveyard.append(self)
        self.pump._schedule()
        try:
            self.owner.on_closed(error)
        except Exception:                       # whoever called goes on with other sessions
            _log.exception("session's end failed")
        return 0

    cdef int fail_unexpectedly(self, object error) except -1:
        """One session's trouble is not another's."""
        _log.exception("session failed")
        return self.fail(error)

    cdef void release(self) noexcept:
        """Gives the buffers back."""
        if self.rx != NULL:
            self.pump.pool.give(self.rx)
            self.rx = NULL
        if self.tx != NULL:
            self.pump.pool.give(self.tx)
            self.tx = NULL
        self.stash = None
        self.record = 0

    cdef int cut(self) except -1:
        cdef Conn c
        cdef Listener listener
        for listener in list(self.listeners):
            listener.close()
        for c in list(self.streams.values()):
            c.gone = True
            if c.fin_sent and c.fin_received:   # it only waits for the local socket to take the rest
                self.draining.add(c)
            else:
                c.close(self.pump, True)
        self.streams.clear()
        while self.fresh.pop() is not None:
            pass
        while self.bulk.pop() is not None:
            pass
        return 0

    cdef int leave_draining(self) except -1:
        """Stays with the pump until the last backlog is delivered, unless ended sessions owe too much already."""
        cdef Link link
        cdef Conn c
        cdef size_t owed = 0
        for link in self.pump.links:
            if link.dead:
                for c in link.draining:
                    owed += c.backlog_size
        if owed > LEFT_BEHIND_MAX:
            self.cut_draining()
        if not self.draining:
            self.pump.links.discard(self)
        return 0

    cdef void drained_away(self, Conn c) except *:
        self.draining.discard(c)
        if self.dead and not self.draining:
            self.pump.links.discard(self)

    cdef int cut_draining(self) except -1:
        cdef Conn c
        for c in list(self.draining):
            c.close(self.pump, True)
            self.drained_away(c)
        return 0

    # --- what the multiplexer asks and tells -------------------------------------------------------------------------

    cdef Py_ssize_t pull(self, Stream s, uint8_t *p, size_t size) except? -9:
        cdef Conn c = <Conn>s
        cdef Py_ssize_t got
        if c.fd < 0 or c.connecting:
            s.want &= ~WANT_DATA
            return PULL_EMPTY
        if c.limited:
            size = c.listener.may(c, TO_TARGET, size)
            if not size:
                s.want &= ~WANT_DATA
                return PULL_EMPTY
        got = net.recv(c.fd, p, size, 0)
        if got > 0:
            if c.limited:
                c.listener.spend(c, TO_TARGET, got)
            if <size_t>got < size and not c.hup:
                s.want &= ~WANT_DATA            # drained: the next edge says when there is more
            return got
        if got == 0:
            return PULL_EOF
        if errno == net.EAGAIN or errno == net.EWOULDBLOCK:
            return PULL_EMPTY
        return PULL_BROKEN

    cdef int on_open(self, Stream s) except -1:
        cdef Conn c = <Conn>s
        if not self.client or c.tunnel not in self.targets:
            return self.refuse(c, f.CODE_NO_TUNNEL, b"no such tunnel")
        if self.trace:
            self.owner.on_stream(c, "")
            if c.gone:                          # the owner ended the session
                return 0
        c.target = <Target>self.targets[c.tunnel]
        if c.target is None:
            c.dialled_at = self.now + OPEN_TIMEOUT
            self.owner.on_dial(c, c.tunnel)
            return 0
        return self.dial_next(c, 0)

    cdef int dial_next(self, Conn c, int error) except -1:
        """Dials the target's next address; refuses the stream when none is left, with the last one's `error`."""
        cdef sockaddr_storage *address
        while c.address < c.target.count:
            address = &c.target.addresses[c.address]
            c.fd = net.rp_stream_socket(net.rp_family(address))
            if c.fd < 0:
                error = errno
                break
            if c.fd >= self.pump.descriptor_limit - FD_RESERVE:
                net.close(c.fd)
                c.fd = -1
                error = net.EMFILE
                break
            if net.rp_connect(c.fd, address, c.target.sizes[c.address]) == 0 or errno == net.EINPROGRESS:
                c.connecting = True
                c.dialled_at = self.now
                self.pump.register(c.fd, c, KIND_CONN, True)
                return 0
            error = errno
            net.close(c.fd)
            c.fd = -1
            if error == net.EAGAIN and c.target.local:
                return self.dial_later(c)
            c.address += 1
        return self._refuse_errno(c, error)

    cdef int dial_later(self, Conn c) except -1:
        """A Unix socket's queue is full: where TCP asks again by itself, connect() just fails."""
        if not c.dialled_at:
            c.dialled_at = self.now
        if self.now - c.dialled_at > DIAL_TIMEOUT:
            return self.decline(c, f.CODE_BUSY, "its queue of connections is full")
        self.pump.loop.call_later(QUEUE_PAUSE, self._dial_again, c)
        return 0

    def _dial_again(self, Conn c):
        if c.gone or self.dead:
            return
        self.now = net.rp_now()
        try:
            self.dial_next(c, 0)
        except Exception as error:
            self.fail_unexpectedly(error)
        self.wake()

    def _refuse_errno(self, Conn c, int error):
        code = f.CODE_FAILED
        reason = os.strerror(error)
        if error == net.ECONNREFUSED:
            code = f.CODE_REFUSED
        elif error == net.ETIMEDOUT:
            code = f.CODE_TIMEOUT
        elif error == net.EHOSTUNREACH or error == net.ENETUNREACH or error == net.ENOENT:
            code = f.CODE_UNREACHABLE
        elif error == net.EMFILE or error == net.ENFILE:
            code = f.CODE_BUSY
        if c.target.local:
            reason = _LOCAL_REASONS.get(error, reason)
        c.close(self.pump, False)
        self.decline(c, code, reason)
        return 0

    cdef int decline(self, Conn c, int code, str reason) except -1:
        """The target cannot be had."""
        self.refuse(c, code, reason.encode())
        self.owner.on_refused(c.tunnel, code, reason)
        return 0

    cdef int dial_done(self, Conn c) except -1:
        cdef int error = net.rp_socket_error(c.fd)
        c.connecting = False
        if error:
            self.pump.unregister(c.fd)
            net.close(c.fd)
            c.fd = -1
            c.address += 1
            return self.dial_next(c, error)
        if c.target.local:
            c.hup = True                        # read to the end each time: what carries descriptors ends a read early
        else:
            self.pump.prepare(c.fd)
        self.accept(c)
        if c.backlog_size:
            self.flush_backlog(c)
        elif c.fin_received:
            self.after_fin(c)
        return 0

    cdef int visitor(self, int fd, Listener listener) except -1:
        cdef uint8_t header[_proxy.RP_PROXY_MAX]
        cdef int size = 0
        cdef Conn c
        if listener.proxy:
            size = _proxy.rp_proxy_header(fd, listener.proxy, header)
            if not size:                        # he has left already
                net.rp_abort(fd)
                return 0
        c = <Conn>self.open_stream(listener.tunnel)
        if c is None:
            net.rp_abort(fd)
            if self.used_up() and not self.closing:
                self.finish_session(0, "the numbers of streams are used up")
            return 0
        c.fd = fd
        listener.enter(c)
        if listener.buckets[TO_VISITOR].rate:   # its window grows to what the rate needs: what waits is the others' room
            self.granted -= c.window - f.EARLY_WINDOW
            c.window = c.allowance = f.EARLY_WINDOW
        if size:
            c.preface = (<const char *>header)[:size]
        if self.trace:
            self._tell_visitor(c)
            if c.gone:
                return 0
        self.pump.prepare(fd)
        return self.pump.register(fd, c, KIND_CONN, True)

    def _tell_visitor(self, Conn c):
        cdef char name[64]
        net.rp_peer_name(c.fd, name, sizeof(name))
        self.owner.on_stream(c, (<bytes>name).decode())

    cdef void _leave(self, Stream s) except *:
        Mux._leave(self, s)
        if self.trace:
            self.owner.on_stream_left(<Conn>s)

    cdef int conn_ready(self, Conn c, uint32_t flags) except -1:
        if c.connecting:
            if flags & (RP_OUT | RP_ERR | RP_HUP):
                self.dial_done(c)
            if c.fd < 0 or c.connecting:
                return 0
        if flags & RP_ERR:
            return self.conn_broken(c)
        if flags & RP_HUP:
            c.hup = True
        if flags & RP_IN:
            self.sendable(c)
        if flags & RP_OUT and c.backlog_size:
            return self.flush_backlog(c)
        return 0

    cdef int on_data(self, Stream s, const uint8_t *p, size_t size) except -1:
        cdef Conn c = <Conn>s
        cdef Py_ssize_t got = 0
        if not size:
            return 0
        if c.fd >= 0 and not c.connecting and not c.backlog_size:
            got = self.deliver(c, p, size) if c.limited else net.send(c.fd, p, size, net.MSG_NOSIGNAL)
            if <size_t>got == size:             # the common case
                return self.consume(s, size)
            if got < 0:
                if errno != net.EAGAIN and errno != net.EWOULDBLOCK and errno != net.EINTR:
                    return self.conn_broken(c)
                got = 0
            if got:
                self.consume(s, got)
        return c.keep(p + got, size - got)

    cdef Py_ssize_t deliver(self, Conn c, const uint8_t *p, size_t size) except -2:
        """As send(), within the tunnel's rate: what must wait for it is as what the socket does not take."""
        cdef size_t part = c.listener.may(c, TO_VISITOR, size)
        cdef Py_ssize_t got = -1
        if part:
            got = net.send(c.fd, p, part, net.MSG_NOSIGNAL)
        else:
            net.rp_set_errno(net.EAGAIN)
        if got > 0:
            c.listener.spend(c, TO_VISITOR, got)
            if <size_t>got == part and part < size:
                c.listener.hold(c, TO_VISITOR)
        return got

    cdef int flush_backlog(self, Conn c) except -1:
        cdef Py_ssize_t got
        while c.backlog_size:
            if c.limited:
                got = self.deliver(c, c.backlog + c.backlog_head, c.backlog_size)
            else:
                got = net.send(c.fd, c.backlog + c.backlog_head, c.backlog_size, net.MSG_NOSIGNAL)
            if got < 0:
                if errno == net.EAGAIN or errno == net.EWOULDBLOCK:
                    return 0
                if errno == net.EINTR:
                    continue
                return self.conn_broken(c)
            c.backlog_head += got
            c.backlog_size -= got
            self.consume(c, got)
        c.forget()
        if c.fin_received:
            self.after_fin(c)
        return 0

    cdef int after_fin(self, Conn c) except -1:
        """The peer's direction has ended and all of it was delivered."""
        if not c.shut:
            c.shut = True
            net.shutdown(c.fd, net.SHUT_WR)
        if c.gone:                              # the session ended before its backlog did
            c.close(self.pump, False)
            self.drained_away(c)
            return 0
        return self.finish(c)

    cdef int on_fin(self, Stream s) except -1:
        cdef Conn c = <Conn>s
        if c.fd >= 0 and not c.connecting and not c.backlog_size:
            return self.after_fin(c)
        return 0

    cdef bint drained(self, Stream s) noexcept:
        return not (<Conn>s).backlog_size

    cdef int on_gone(self, Stream s) except -1:
        (<Conn>s).close(self.pump, not (s.fin_sent and s.fin_received))
        self.resume_listeners()
        return 0

    cdef int conn_broken(self, Conn c) except -1:
        """The local socket was reset: so is the stream; nobody else notices."""
        c.close(self.pump, True)
        self.drained_away(c)
        self.reset(c, f.CODE_FAILED)
        self.resume_listeners()
        return 0

    cdef int on_reset(self, Stream s, int code) except -1:
        (<Conn>s).close(self.pump, True)
        self.resume_listeners()
        return 0

    cdef int on_accept(self, Stream s) except -1:
        self.resume_listeners()
        return 0

    cdef int on_refuse(self, Stream s, int code, bytes reason) except -1:
        (<Conn>s).close(self.pump, True)
        self.resume_listeners()
        self.owner.on_refused(s.tunnel, code, reason.decode("utf-8", "replace"))
        return 0

    cdef int on_control(self, const uint8_t *p, size_t size) except -1:
        self.owner.on_control((<const char *>p)[:size])
        return 0

    cdef int on_pong(self, double rtt) except -1:
        self.owner.on_pong(rtt)
        return 0

    cdef int on_close(self, int code, bytes reason) except -1:
        self.owner.on_goodbye(code, reason.decode("utf-8", "replace"))
        return 0

    # --- upkeep ------------------------------------------------------------------------------------------------------

    cdef void resume_listeners(self) except *:
        cdef Listener listener
        for listener in self.listeners:
            if listener.paused and self.pending < PENDING_RESUME:
                listener.paused = False
                self.pump.register(listener.fd, listener, KIND_LISTENER, False)

    cdef int tick(self) except -1:
        """Once a second: what has waited too long."""
        cdef Conn c
        if self.closing and not self.dead and self.now - self.closing_at > CLOSE_TIMEOUT:
            return self.fail(None)
        for c in list(self.streams.values()):
            if not c.accepted:
                if c.ours and self.now - c.touched > OPEN_TIMEOUT:
                    c.close(self.pump, True)
                    self.reset(c, f.CODE_TIMEOUT)
                    self.owner.on_refused(c.tunnel, f.CODE_TIMEOUT, "the client did not answer in time")
                elif c.connecting and self.now - c.dialled_at > DIAL_TIMEOUT:
                    c.close(self.pump, True)
                    self.decline(c, f.CODE_TIMEOUT, "no answer in time")
            elif (c.fin_sent or c.fin_received) and self.now - c.touched > LINGER:
                c.close(self.pump, True)
                self.reset(c, f.CODE_TIMEOUT)
        for c in list(self.draining):
            if self.now - c.touched > LINGER:
                c.close(self.pump, True)
                self.drained_away(c)
        self.resume_listeners()
        return 0
