# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""The frame multiplexer of PROTOCOL.md, sections 4 to 7.

What lives here: records, framing, credit, scheduling. What it must not know: sockets, loops, clocks; time comes in as
`now`. Order of the sending side: want -> queue -> fill (frames into the open record) -> seal -> sent.
Order of the receiving side: feed -> unmask -> open in place -> dispatch -> hook. Payloads never leave the buffer they
came in: hooks take a pointer into it, valid until they return.
"""

from libc.string cimport memcpy, memmove
from libc.stdint cimport uint8_t, uint32_t, uint64_t, int64_t

from rport cimport _frame as f

from collections import deque

from rport.errors import ProtocolError

cdef enum:
    HEADER_ROOM = 14                            # the longest header of a record: 2, 8 for its length, 4 for the mask
    FRESH_QUANTUM = 16384                       # what a stream may emit before it counts as bulk
    BULK_QUANTUM = 262144                       # what a bulk stream may emit while another waits: a whole frame
    READ_MIN = 4096                             # a record's last few octets are not worth a read
    CONTROL_QUEUE_MAX = 1048576                 # octets unsent: an answer of 4 KiB for each of 256 tunnels
    MESSAGE_COST = 64                           # octets of memory beside a message's own, so that tiny ones count too

# The window stops growing once it holds this much time at the rate seen, however short the path is: a longer queue
# carries no more, but everything behind it waits.
cdef double QUEUE_FLOOR = 0.0004

# A row of small messages on one stream: somebody waits for answers, for this long at least.
INTERACTIVE = 0.05
cdef enum:
    SMALL_SIZE = 4096                           # a request or an answer, not a bulk stream's frame
    SMALL_ROW = 4                               # so many in a row are no bulk stream's odd ends
    QUICK_WINDOW = 98304                        # of a bulk stream meanwhile, or more where that does not fill the path
    STREAM_ROOM = 8 * 8 + f.REASON_MAX          # every frame but DATA that one stream may emit in its turn
    RECORD_ROOM = f.RECORD_MAX - f.FRAME_HEADER     # for frames; a REKEY fits behind them whenever it is due
    RECORD_END = f.FRAME_HEADER + f.TAG_SIZE_AEGIS  # that REKEY and the tag


cdef class Stream:
    def __repr__(self):
        return f"<Stream {self.id} tunnel {self.tunnel}>"


cdef class Ring:
    cdef void push(self, Stream s) noexcept:
        s.prev, s.next = self.tail, None
        if self.tail is None:
            self.head = s
        else:
            self.tail.next = s
        self.tail = s
        self.count += 1

    cdef Stream pop(self):
        cdef Stream s = self.head
        if s is not None:
            self.remove(s)
        return s

    cdef void remove(self, Stream s) noexcept:
        if s.prev is None:
            self.head = s.next
        else:
            s.prev.next = s.next
        if s.next is None:
            self.tail = s.prev
        else:
            s.next.prev = s.prev
        s.prev = s.next = None
        s.queue = QUEUE_NONE
        self.count -= 1


cdef class Mux:
    def __cinit__(self, Seal sealer, Seal opener, bint client, *args, **kwargs):
        self.sealer, self.opener, self.client = sealer, opener, client
        self.streams = {}
        self.fresh, self.bulk = Ring(), Ring()
        self.controls = deque()
        self.next_id = 1 if client else 2       # section 5: the client's numbers are odd, the server's even
        self.record_limit = f.CONTROL_MAX + f.FRAME_HEADER        # section 4.6

    # --- hooks -------------------------------------------------------------------------------------------------------

    cdef Stream make_stream(self):
        return Stream.__new__(Stream)

    cdef uint8_t *tx_acquire(self) except NULL:
        raise NotImplementedError

    cdef void tx_release(self, uint8_t *p) noexcept:
        pass

    cdef Py_ssize_t pull(self, Stream s, uint8_t *p, size_t size) except? -9:
        return PULL_EMPTY

    cdef int on_open(self, Stream s) except -1:
        return 0

    cdef int on_accept(self, Stream s) except -1:
        return 0

    cdef int on_refuse(self, Stream s, int code, bytes reason) except -1:
        return 0

    cdef int on_data(self, Stream s, const uint8_t *p, size_t size) except -1:
        return 0

    cdef int on_fin(self, Stream s) except -1:
        return 0

    cdef int on_reset(self, Stream s, int code) except -1:
        return 0

    cdef int on_control(self, const uint8_t *p, size_t size) except -1:
        return 0

    cdef int on_pong(self, double rtt) except -1:
        return 0

    cdef int on_close(self, int code, bytes reason) except -1:
        return 0

    cdef bint drained(self, Stream s) noexcept:
        """The local side has taken all that came."""
        return True

    cdef int on_gone(self, Stream s) except -1:
        return 0

    cdef bint tired(self) noexcept:
        """What else has come is to wait until others had their turn."""
        return self.errands >= f.ERRANDS_MAX

    # --- verbs -------------------------------------------------------------------------------------------------------

    cdef bint used_up(self) noexcept:
        """No number is left for another stream: a new session has to start over."""
        return self.next_id > 0xfffffff0U

    cdef Stream open_stream(self, uint32_t tunnel):
        """A new stream towards the peer, or None while a limit of section 9 forbids one."""
        if len(self.streams) >= f.STREAMS_MAX or self.pending >= f.PENDING_MAX or self.closing or self.closed:
            return None
        if self.used_up():
            return None
        cdef Stream s = self.make_stream()
        s.mux = self
        s.id, s.tunnel, s.ours = self.next_id, tunnel, True
        self.next_id += 2
        s.credit = f.EARLY_WINDOW
        s.window = s.allowance = self._first_window()
        s.touched = s.epoch_start = self.now
        self.granted += s.window
        self.pending += 1
        self.opened += 1
        self.streams[s.id] = s
        s.want = WANT_OPEN | WANT_DATA
        self._queue(s)
        return s

    cdef int accept(self, Stream s) except -1:
        cdef int64_t window
        if s.gone or s.accepted or s.ours:
            return 0
        s.accepted = True
        self.pending -= 1
        window = self._first_window()
        self.granted += window - s.window
        s.allowance += window - s.window
        s.window = window
        s.touched = s.epoch_start = self.now
        s.want |= WANT_ACCEPT | WANT_DATA
        self._queue(s)
        return 0

    cdef int refuse(self, Stream s, int code, bytes reason) except -1:
        if s.gone or s.accepted or s.ours:
            return 0
        s.code, s.reason = code, reason[:f.REASON_MAX - 1]
        s.want = WANT_REFUSE
        self._leave(s)
        self.zombies += 1
        self._queue(s)
        return 0

    cdef int reset(self, Stream s, int code) except -1:
        cdef bint unopened = s.want & WANT_OPEN
        if s.gone:
            return 0
        self._leave(s)
        if unopened:                            # the peer never hears of it: its number is skipped
            return 0
        s.want = WANT_RESET
        s.code = code
        self.zombies += 1
        self._queue(s)
        return 0

    cdef void sendable(self, Stream s) noexcept:
        """The local side has, or may have, something to send."""
        if s.gone or s.fin_sent:
            return
        s.want |= WANT_DATA
        if s.credit > 0 or s.want & ~WANT_DATA:
            self._queue(s)

    cdef int consume(self, Stream s, size_t size) except -1:
        """The local side took `size` octets: grant them anew, and more when the window is what holds the peer back."""
        s.consumed += size
        s.epoch_octets += size
        s.touched = self.now
        if s.gone or s.fin_received:
            return 0
        if s.epoch_octets >= s.window:
            self._tune(s)
        if (s.ours or s.accepted) and 4 * self._grant(s) >= self._target(s):
            s.want |= WANT_WINDOW
            self._queue(s)
        return 0

    cdef int64_t _target(self, Stream s) noexcept:
        """What the peer may have on its way to this stream now: the window, or only what fills the path while somebody
        on this session waits for answers."""
        if s.window <= f.WINDOW_START or self.rtt >= QUEUE_FLOOR or not self.interactive():
            return s.window
        return max(<int64_t>QUICK_WINDOW, <int64_t>(s.window * self.rtt / QUEUE_FLOOR))

    cdef bint interactive(self) noexcept:
        """Somebody waits for answers, so turns are to be short."""
        return self.now - self.interactive_at < INTERACTIVE

    cdef int64_t _grant(self, Stream s) noexcept:
        return min(s.consumed, self._target(s) - s.allowance)

    cdef int finish(self, Stream s) except -1:
        """The stream leaves once both directions have ended and the local side has taken everything."""
        if not s.gone and s.fin_sent and s.fin_received and self.drained(s):
            self._leave(s)
            self.on_gone(s)
        return 0

    cdef int _tune(self, Stream s) except -1:
        cdef double trip = max(self.rtt, QUEUE_FLOOR)
        cdef int64_t more
        if self.now - s.epoch_start < 2 * trip and s.window < f.WINDOW_MAX:
            more = min(s.window, f.WINDOW_MAX - s.window, self._spare())
            if more > 0:
                s.window += more
                s.consumed += more              # granted with the next WINDOW frame
                self.granted += more
        s.epoch_start = self.now
        s.epoch_octets = 0
        return 0

    cdef int64_t _first_window(self) noexcept:
        """WINDOW_START, while that leaves room for streams that need more."""
        return f.WINDOW_START if self._spare() >= f.WINDOW_MAX + f.WINDOW_START else f.EARLY_WINDOW

    cdef int64_t _spare(self) noexcept:
        """What windows may grow by, all together, with an early window kept for every stream that may still come."""
        return f.SESSION_WINDOW_MAX - self.granted - (f.STREAMS_MAX - <int64_t>len(self.streams)) * f.EARLY_WINDOW

    cdef void _queue(self, Stream s) noexcept:
        if s.queue != QUEUE_NONE or not s.want:
            return
        if s.bulk:
            s.queue = QUEUE_BULK
            self.bulk.push(s)
        else:
            s.queue = QUEUE_FRESH
            self.fresh.push(s)

    cdef void _leave(self, Stream s) except *:
        s.gone = True
        if not s.accepted:
            self.pending -= 1
        self.granted -= s.window
        self.streams.pop(s.id, None)
        if s.queue == QUEUE_BULK:
            self.bulk.remove(s)
        elif s.queue == QUEUE_FRESH:
            self.fresh.remove(s)
        s.bulk = False

    # --- sending -----------------------------------------------------------------------------------------------------

    cdef bint _room(self, size_t size) except -1:
        """Makes sure that an open record has `size` octets left; False when the buffer is full."""
        cdef size_t start
        if self.record and self.cursor + size - self.record > RECORD_ROOM:
            self.seal_record()
        if self.tx == NULL:
            self.tx = self.tx_acquire()
            self.tx_head = self.tx_tail = 0
        if not self.record:
            start = self.tx_tail + HEADER_ROOM
            if start + size + RECORD_END > BUFFER_SIZE:
                return False
            self.record = self.cursor = start
        return self.cursor + size + RECORD_END <= BUFFER_SIZE

    cdef uint8_t *_frame(self, uint32_t stream, uint8_t kind, uint32_t length) except? NULL:
        """Writes a frame's header and returns where its payload goes; NULL when there is no room."""
        cdef uint8_t *p
        if not self._room(f.FRAME_HEADER + length):
            return NULL
        p = self.tx + self.cursor
        f.put_frame(p, stream, kind, length)
        self.cursor += f.FRAME_HEADER + length
        return p + f.FRAME_HEADER

    cdef int seal_record(self) except -1:
        """Closes the open record: rekey when due, encrypt in place, header in front."""
        cdef uint8_t *p
        cdef Seal seal = self.sealer
        cdef size_t size, header, gap
        cdef bint rekey
        if not self.record:
            return 0
        if self.cursor == self.record:
            self.record = 0
            return 0
        rekey = seal.key_is_due(self.now)
        if rekey:
            f.put_frame(self.tx + self.cursor, 0, f.FRAME_REKEY, 0)
            self.cursor += f.FRAME_HEADER
        p = self.tx + self.record
        size = self.cursor - self.record
        seal.seal(p, size)
        if rekey:
            seal.rekey(self.now)
        size += seal.tag_size
        header = f.ws_header_size(size, self.client)
        gap = HEADER_ROOM - header
        if self.tx_head == self.tx_tail:
            self.tx_head += gap                 # nothing waits before it: the buffer just begins later
            self.tx_tail += gap
        elif gap:
            memmove(p - gap, p, size)
            p -= gap
        f.put_ws_header(p - header, size, self.client)
        self.tx_tail += header + size
        self.record = self.cursor = 0
        return 0

    cdef void sent(self, size_t size) noexcept:
        """The carrier took `size` octets from tx_head."""
        self.tx_head += size
        if self.tx_head == self.tx_tail and not self.record:
            self.tx_head = self.tx_tail = 0
            if self.tx != NULL:
                self.tx_release(self.tx)
                self.tx = NULL

    cdef bint fill(self, size_t budget) except -1:
        """Moves what waits into records until about `budget` octets wait for the carrier. False when that was all."""
        cdef size_t limit = self.tx_tail + budget
        cdef size_t fresh_limit = self.tx_tail + budget // 2
        if self.parted or not self._emit_session():
            return not self.parted
        while self.fresh.head is not None and self._end() < (limit if self.bulk.head is None else fresh_limit):
            if not self._room(STREAM_ROOM):
                return True
            self._emit(self.fresh.pop(), FRESH_QUANTUM)
        while self.bulk.head is not None and self._end() < limit:
            if not self._room(STREAM_ROOM):
                return True
            self._emit(self.bulk.pop(), min(<size_t>BULK_QUANTUM, budget) if self.bulk.count > 1 else budget)
        return self.waiting()

    cdef bint waiting(self) noexcept:
        """Something is left to emit."""
        return (self.fresh.head is not None or self.bulk.head is not None or self.control_queue > 0
                or self.close_payload is not None or self.pong_due or self.ping_due)

    cdef size_t _end(self) noexcept:
        return self.cursor if self.record else self.tx_tail

    cdef bint _emit_session(self) except -1:
        """Frames of stream 0; False when the buffer is full."""
        cdef uint8_t *p
        cdef bytes message
        if self.pong_due:
            p = self._frame(0, f.FRAME_PONG, 8)
            if p == NULL:
                return False
            f.put64(p, self.pong_token)
            self.pong_due = False
        if self.ping_due:
            p = self._frame(0, f.FRAME_PING, 8)
            if p == NULL:
                return False
            f.put64(p, self.ping_token)
            self.ping_due = False
        while self.controls:
            message = self.controls[0]
            p = self._frame(0, f.FRAME_CONTROL, len(message))
            if p == NULL:
                return False
            memcpy(p, <const uint8_t *>message, len(message))
            self.controls.popleft()
            self.control_queue -= len(message) + MESSAGE_COST
        if self.close_payload is not None:
            p = self._frame(0, f.FRAME_CLOSE, len(self.close_payload))
            if p == NULL:
                return False
            memcpy(p, <const uint8_t *>self.close_payload, len(self.close_payload))
            self.close_payload = None
            self.parted = True
            return False
        return True

    cdef int _emit(self, Stream s, size_t budget) except -1:
        """All that one stream has to say in its turn; the caller has seen to STREAM_ROOM."""
        cdef uint8_t *p
        cdef int64_t grant
        if s.want & WANT_OPEN:
            p = self._frame(s.id, f.FRAME_OPEN, 8)
            f.put32(p, s.tunnel)
            f.put32(p + 4, <uint32_t>s.window)
            if s.preface is not None:
                self._emit_preface(s)
        if s.want & WANT_REFUSE:
            p = self._frame(s.id, f.FRAME_REFUSE, 1 + len(s.reason))
            p[0] = s.code
            memcpy(p + 1, <const uint8_t *>s.reason, len(s.reason))
        if s.want & WANT_ACCEPT:
            p = self._frame(s.id, f.FRAME_ACCEPT, 4)
            f.put32(p, <uint32_t>s.window)
        if s.want & WANT_WINDOW and self._grant(s) > 0:
            grant = self._grant(s)
            p = self._frame(s.id, f.FRAME_WINDOW, 4)
            f.put32(p, <uint32_t>grant)
            s.allowance += grant
            s.consumed -= grant
        if s.want & WANT_RESET:
            p = self._frame(s.id, f.FRAME_RESET, 1)
            p[0] = s.code
        s.want &= WANT_DATA
        if s.gone:
            self.zombies -= 1
        elif s.want & WANT_DATA:
            self._emit_data(s, budget)
        return 0

    cdef int _emit_preface(self, Stream s) except -1:
        cdef size_t size = len(s.preface)
        memcpy(self._frame(s.id, f.FRAME_DATA, size), <const uint8_t *>s.preface, size)
        s.credit -= size
        self.data_out += size
        s.data_out += size
        s.preface = None
        return 0

    cdef int _emit_data(self, Stream s, size_t budget) except -1:
        """Lets the local side put its octets straight into the open record, up to `budget`."""
        cdef size_t room, size, whole = budget
        cdef Py_ssize_t got
        while budget > 0:
            if s.credit <= 0:
                return 0                        # WANT_DATA stays: a WINDOW frame queues it again
            if not self._room(f.FRAME_HEADER + READ_MIN):
                self._queue(s)
                return 0
            room = min(RECORD_ROOM - (self.cursor - self.record), BUFFER_SIZE - RECORD_END - self.cursor)
            size = min(<size_t>s.credit, room - f.FRAME_HEADER, budget, <size_t>f.FRAME_MAX)
            got = self.pull(s, self.tx + self.cursor + f.FRAME_HEADER, size)
            if got > 0:
                f.put_frame(self.tx + self.cursor, s.id, f.FRAME_DATA, <uint32_t>got)
                self.cursor += f.FRAME_HEADER + got
                s.credit -= got
                s.touched = self.now
                self.data_out += got
                s.data_out += got
                budget -= got
                if s.want & WANT_DATA:
                    continue
                s.bulk = whole - budget >= FRESH_QUANTUM        # drained, but what it had was much
                return 0
            s.want &= ~WANT_DATA
            s.bulk = whole - budget >= FRESH_QUANTUM
            if got == PULL_EOF:
                self._frame(s.id, f.FRAME_FIN, 0)
                s.fin_sent = True
                self.finish(s)
            elif got == PULL_BROKEN:
                self.reset(s, f.CODE_FAILED)
                self.on_gone(s)
            return 0
        s.bulk = True
        self._queue(s)
        return 0

    # --- receiving ---------------------------------------------------------------------------------------------------

    cdef Py_ssize_t feed(self, uint8_t *p, size_t size) except -1:
        """Takes all whole records from `size` octets at `p` (changed in place), or what it can until it is tired, which
        may be in the middle of a record; returns how many octets those were. The next call goes on behind them.

        Raises ProtocolError when the peer breaks PROTOCOL.md; nothing of a record that is not authentic was delivered.
        """
        cdef size_t done = 0, told, length = 0, i
        cdef uint8_t *h
        cdef uint8_t *mask
        cdef int opcode, head
        cdef Seal seal = self.opener
        self.errands = 0
        while not self.closed:
            if self.untold:
                told = self._dispatch(p + done, self.untold)
                self.untold -= told
                done += told if self.untold else told + seal.tag_size
            if self.tired() or size - done < 2 or self.closed:
                break
            h = p + done
            opcode = h[0] & 0x0f
            if (h[0] & 0xf0) != 0x80 or bool(h[1] & 0x80) == self.client:
                raise ProtocolError("carrier: fragmented message, reserved bits or wrong masking")
            head = f.get_ws_header(h, size - done, not self.client, &length)
            if head == 0:
                break
            if head < 0:
                raise ProtocolError("carrier: a length that is not in its shortest form")
            if opcode != 2:
                if opcode < 8 or length > 125:
                    raise ProtocolError("carrier: not a binary message")
                if size - done < head + length:
                    break
                if opcode == 8:                 # unauthenticated: whoever ends the carrier so has cut the session off
                    raise ProtocolError("carrier closed without the session's own end")
                done += head + length
                continue
            if length > self.record_limit + seal.tag_size or length <= seal.tag_size:
                raise ProtocolError(f"record of {length} octets is outside the limits")
            if size - done < head + length:
                break
            if not self.client:
                mask = h + head - 4
                if f.get32(mask):               # an intermediary masked anew
                    for i in range(length):
                        h[head + i] ^= mask[i & 3]
            if seal.key_is_overdue():
                raise ProtocolError("the peer did not change its key in time")
            if seal.open(h + head, length) < 0:
                raise ProtocolError("record failed authentication")
            done += head
            self.untold = length - seal.tag_size
        return done

    cdef size_t _dispatch(self, uint8_t *p, size_t size) except? 0:
        """Tells of the frames in `size` octets, one at least, until it is tired; returns how many octets those were."""
        cdef size_t at = 0
        cdef uint32_t word, length
        while at < size:
            if size - at < f.FRAME_HEADER:
                raise ProtocolError("frame header cut off by the record's end")
            word = f.get32(p + at + 4)
            length = word & 0xffffffU
            if size - at - f.FRAME_HEADER < length:
                raise ProtocolError("frame longer than its record")
            self._frame_in(f.get32(p + at), word >> 24, p + at + f.FRAME_HEADER, length)
            at += f.FRAME_HEADER + length
            if (word >> 24) == f.FRAME_REKEY and at != size:
                raise ProtocolError("REKEY is not the record's last frame")
            if self.closed or self.tired():
                break
        return at

    cdef int _frame_in(self, uint32_t stream, uint8_t kind, uint8_t *p, size_t size) except -1:
        cdef Stream s
        cdef int64_t credit
        if stream == 0:
            return self._session_frame(kind, p, size)
        if kind == f.FRAME_OPEN:
            return self._open_frame(stream, p, size)
        s = self._find(stream)
        if s is None:
            return 0                            # it has ended here; the peer does not know yet
        if kind == f.FRAME_DATA:
            if s.fin_received or <int64_t>size > s.allowance or (s.ours and not s.accepted):
                raise ProtocolError(f"DATA beyond the window or order of stream {stream}")
            s.allowance -= size
            if size >= SMALL_SIZE:
                s.small = 0
            elif s.small < SMALL_ROW:
                s.small += 1
            else:
                self.interactive_at = self.now
            self.data_in += size
            s.data_in += size
            s.touched = self.now
            return self.on_data(s, p, size)
        if kind == f.FRAME_WINDOW:
            credit = f.get32(p) if size == 4 else 0
            if not 0 < credit <= f.WINDOW_MAX or s.credit + credit > 2 * f.WINDOW_MAX or (s.ours and not s.accepted):
                raise ProtocolError(f"WINDOW out of bounds on stream {stream}")
            s.credit += credit
            if s.want & WANT_DATA:
                self._queue(s)
            return 0
        if kind == f.FRAME_FIN:
            if size or s.fin_received or (s.ours and not s.accepted):
                raise ProtocolError(f"FIN out of order on stream {stream}")
            s.fin_received = True
            s.touched = self.now
            self.on_fin(s)
            return self.finish(s)
        if kind == f.FRAME_RESET:
            if size != 1:
                raise ProtocolError("RESET has one octet")
            self._leave(s)
            return self.on_reset(s, p[0])
        if kind == f.FRAME_ACCEPT:
            credit = f.get32(p) if size == 4 else 0
            if not s.ours or s.accepted or not f.EARLY_WINDOW <= credit <= f.WINDOW_MAX:
                raise ProtocolError(f"ACCEPT out of order on stream {stream}")
            s.accepted = True
            self.pending -= 1
            s.credit += credit - f.EARLY_WINDOW
            self.sendable(s)
            return self.on_accept(s)
        if kind == f.FRAME_REFUSE:
            if not s.ours or s.accepted or not 1 <= size <= f.REASON_MAX:
                raise ProtocolError(f"REFUSE out of order on stream {stream}")
            self._leave(s)
            return self.on_refuse(s, p[0], (<const char *>p)[1:size])
        raise ProtocolError(f"unknown frame type {kind}")

    cdef int _open_frame(self, uint32_t stream, uint8_t *p, size_t size) except -1:
        cdef Stream s
        cdef uint32_t window
        if size < 8 or size > 64 or bool(stream & 1) == self.client or stream <= self.last_peer_id:
            raise ProtocolError(f"OPEN out of order: stream {stream}")
        if self.record_limit < f.RECORD_MAX:    # whoever is not admitted must not make this end keep streams
            raise ProtocolError("OPEN before the hello was accepted")
        window = f.get32(p + 4)
        if not f.EARLY_WINDOW <= window <= f.WINDOW_MAX:
            raise ProtocolError("OPEN grants a window out of bounds")
        if self.zombies > 2 * f.STREAMS_MAX:
            raise ProtocolError("the peer opens streams faster than it reads their refusals")
        self.last_peer_id = stream
        s = self.make_stream()
        s.mux = self
        s.id, s.tunnel = stream, f.get32(p)
        s.credit = window
        s.window = s.allowance = f.EARLY_WINDOW
        s.touched = self.now
        self.granted += s.window
        self.pending += 1
        self.opened += 1
        self.streams[stream] = s
        if len(self.streams) > f.STREAMS_MAX or self.pending > f.PENDING_MAX:
            return self.refuse(s, f.CODE_BUSY, b"too many streams")
        return self.on_open(s)

    cdef Stream _find(self, uint32_t stream):
        """The stream of that number, None when it has ended, ProtocolError when it never was."""
        cdef Stream s = <Stream>self.streams.get(stream)
        if s is None:
            if bool(stream & 1) != self.client:
                if stream > self.last_peer_id:
                    raise ProtocolError(f"frame for stream {stream}, which was never opened")
            elif stream >= self.next_id:
                raise ProtocolError(f"frame for stream {stream}, which was never opened")
        return s

    cdef int _session_frame(self, uint8_t kind, uint8_t *p, size_t size) except -1:
        cdef double trip
        if kind == f.FRAME_PING and size == 8:
            self.pong_token = f.get64(p)
            self.pong_due = True
        elif kind == f.FRAME_PONG and size == 8:
            trip = self.now - <double>f.get64(p) / 1e6
            if 0 <= trip < 3600:
                if self.rtt == 0 or trip < self.rtt:
                    self.rtt = trip
                self.on_pong(trip)
        elif kind == f.FRAME_CONTROL and size <= f.CONTROL_MAX:
            self.errands += 1
            self.on_control(p, size)
        elif kind == f.FRAME_CLOSE and 1 <= size <= f.REASON_MAX:
            self.closed = True
            self.on_close(p[0], (<const char *>p)[1:size])
        elif kind == f.FRAME_REKEY and size == 0:
            self.errands += 1
            self.opener.rekey(self.now)
        elif kind == f.FRAME_ACK and size == 8:
            pass
        else:
            raise ProtocolError(f"frame type {kind} with {size} octets does not belong on stream 0")
        return 0

    # --- from Python, per session ------------------------------------------------------------------------------------

    def admit_peer(self):
        """The peer is authenticated: from now on it may send records of RECORD_MAX (section 4.6)."""
        self.record_limit = f.RECORD_MAX

    def put_control(self, bytes message):
        """Queues a packed control message; OverflowError beyond 1 MiB unsent, ValueError for one beyond 64 KiB."""
        if len(message) > f.CONTROL_MAX:
            raise ValueError("control message over 64 KiB")
        if self.control_queue + len(message) + MESSAGE_COST > CONTROL_QUEUE_MAX:
            raise OverflowError("the peer does not read its control messages")
        self.control_queue += len(message) + MESSAGE_COST
        self.controls.append(message)

    def put_ping(self):
        self.ping_token = <uint64_t>(self.now * 1e6)
        self.ping_due = True

    def put_close(self, int code, str reason=""):
        if not self.closing:
            self.closing = True
            self.close_payload = bytes((code,)) + reason.encode()[:f.REASON_MAX - 1]


def constants():
    """The numbers of PROTOCOL.md that the core was compiled with."""
    return {
        "RECORD_MAX": f.RECORD_MAX, "FRAME_HEADER": f.FRAME_HEADER, "CONTROL_MAX": f.CONTROL_MAX,
        "REASON_MAX": f.REASON_MAX, "EARLY_WINDOW": f.EARLY_WINDOW, "WINDOW_START": f.WINDOW_START,
        "WINDOW_MAX": f.WINDOW_MAX, "SESSION_WINDOW_MAX": f.SESSION_WINDOW_MAX, "STREAMS_MAX": f.STREAMS_MAX,
        "PENDING_MAX": f.PENDING_MAX, "OPEN": f.FRAME_OPEN, "ACCEPT": f.FRAME_ACCEPT, "REFUSE": f.FRAME_REFUSE,
        "DATA": f.FRAME_DATA, "WINDOW": f.FRAME_WINDOW, "FIN": f.FRAME_FIN, "RESET": f.FRAME_RESET,
        "PING": f.FRAME_PING, "PONG": f.FRAME_PONG, "CONTROL": f.FRAME_CONTROL, "CLOSE": f.FRAME_CLOSE,
        "REKEY": f.FRAME_REKEY, "ACK": f.FRAME_ACK,
    }
