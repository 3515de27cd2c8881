# The numbers and the byte layout of PROTOCOL.md, sections 2 and 4 to 9: header-only, no state.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    TAG_SIZE_AEGIS = 32
    TAG_SIZE_CHACHA = 16
    RECORD_MAX = 266240         # plaintext of one record: a full frame of 256 KiB and room for small ones beside it
    FRAME_HEADER = 8            # stream u32, type u8, length u24, big-endian
    FRAME_MAX = 262144          # payload of a DATA frame: bigger gains nothing measurable
    CONTROL_MAX = 65536         # a control message is small; anything longer is an error
    REASON_MAX = 255            # text behind a refuse or close code
    EARLY_WINDOW = 4096         # what an opener may send before it is accepted: a request, not a file
    WINDOW_START = 262144       # per stream and direction; grows to what bandwidth x delay needs
    WINDOW_MAX = 16777216       # 100 ms at 1.3 Gbit/s
    SESSION_WINDOW_MAX = 67108864  # sum of all windows granted in one direction; a quarter is for early windows
    STREAMS_MAX = 4096
    PENDING_MAX = 256           # opened, neither accepted nor refused
    ERRANDS_MAX = 64            # control messages and key changes of one turn: milliseconds; no burst of an honest peer

cdef enum FrameType:
    FRAME_OPEN = 1              # tunnel u32, window u32
    FRAME_ACCEPT = 2            # window u32
    FRAME_REFUSE = 3            # code u8, text
    FRAME_DATA = 4
    FRAME_WINDOW = 5            # credit u32
    FRAME_FIN = 6
    FRAME_RESET = 7             # code u8
    FRAME_PING = 8              # token u64; stream 0
    FRAME_PONG = 9              # the ping's token; stream 0
    FRAME_CONTROL = 10          # msgpack; stream 0
    FRAME_CLOSE = 11            # code u8, text; stream 0; the authenticated end of the session
    FRAME_REKEY = 12            # last frame of a record: the next record uses the next key; stream 0
    FRAME_ACK = 13              # records u64; reserved for resumption, ignored; stream 0

cdef enum Code:                 # of REFUSE and RESET, section 7: those that the core says itself
    CODE_FAILED = 1
    CODE_NO_TUNNEL = 2
    CODE_BUSY = 3
    CODE_REFUSED = 4            # by the target
    CODE_TIMEOUT = 5
    CODE_UNREACHABLE = 6
    CODE_FORBIDDEN = 7

cdef inline void put16(uint8_t *p, uint32_t v) noexcept nogil:
    p[0] = <uint8_t>(v >> 8); p[1] = <uint8_t>v

cdef inline void put32(uint8_t *p, uint32_t v) noexcept nogil:
    p[0] = <uint8_t>(v >> 24); p[1] = <uint8_t>(v >> 16); p[2] = <uint8_t>(v >> 8); p[3] = <uint8_t>v

cdef inline void put64(uint8_t *p, uint64_t v) noexcept nogil:
    put32(p, <uint32_t>(v >> 32)); put32(p + 4, <uint32_t>v)

cdef inline uint32_t get32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | <uint32_t>p[3]

cdef inline uint64_t get64(const uint8_t *p) noexcept nogil:
    return (<uint64_t>get32(p) << 32) | get32(p + 4)

cdef inline void put_frame(uint8_t *p, uint32_t stream, uint8_t kind, uint32_t length) noexcept nogil:
    put32(p, stream)
    put32(p + 4, (<uint32_t>kind << 24) | length)

# RFC 6455, section 5.2. A record is one binary message; the length takes the shortest form, as the RFC demands.

cdef inline size_t ws_header_size(size_t length, bint masked) noexcept nogil:
    cdef size_t size = 2 if length < 126 else 4 if length < 65536 else 10
    return size + 4 if masked else size

cdef inline void put_ws_header(uint8_t *p, size_t length, bint masked) noexcept nogil:
    cdef uint8_t mask_bit = 0x80 if masked else 0
    p[0] = 0x82
    if length < 126:
        p[1] = mask_bit | <uint8_t>length
        p += 2
    elif length < 65536:
        p[1] = mask_bit | 126
        put16(p + 2, <uint32_t>length)
        p += 4
    else:
        p[1] = mask_bit | 127
        put64(p + 2, length)
        p += 10
    if masked:
        put32(p, 0)

cdef inline int get_ws_header(const uint8_t *p, size_t size, bint masked, size_t *length) noexcept nogil:
    """The header's size and the `length` behind it, of two octets or more; 0 = not whole, -1 = not in shortest form."""
    cdef int short = p[1] & 0x7f
    cdef int head = (2 if short < 126 else 4 if short == 126 else 10) + (4 if masked else 0)
    if size < <size_t>head:
        return 0
    if short < 126:
        length[0] = short
    elif short == 126:
        length[0] = (<size_t>p[2] << 8) | p[3]
    else:
        length[0] = get64(p + 2)
    return head if ws_header_size(length[0], masked) == <size_t>head else -1
