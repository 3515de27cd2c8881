"""The WebSocket carrier as far as Python meets it (RFC 6455): what both ends of the upgrade know, and the handshake's
messages. Sans-IO.

Records have the same outer form, but are framed by the compiled core, which takes over at `MessageReader.rest`.
Binary messages only, one frame each: a fragmented or text message never comes from an rport and is refused. Pings and
pongs, which a proxy may send, are passed over without an answer, a few of them; they cannot matter in the one round
trip that the handshake takes. The masking key is zero: masking protects proxies from chosen plaintext, and what
travels is key material or ciphertext.
"""

from binascii import b2a_base64

try:
    from _sha1 import sha1  # type: ignore[import-not-found]  # hashlib would cost each client over half a mebibyte
except ImportError:
    from hashlib import sha1

from rport.errors import ProtocolError

SUBPROTOCOL = "rport-v2"
HEAD_MAX = 16384  # bytes of an HTTP head, the common limit of web servers
HEADERS_MAX = 64
SKIPPED_MAX = 8  # pings and pongs in a row: more is a peer that keeps us busy

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_OP_BINARY, _OP_CLOSE, _OP_PING, _OP_PONG = 0x2, 0x8, 0x9, 0xA


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept value that answers `key` (RFC 6455, section 4.2.2)."""
    digest = sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode()


def encode_message(payload: bytes, *, masked: bool) -> bytes:
    """One binary message in one frame (RFC 6455, section 5.2); a client's is `masked`, with a key of zero."""
    mask_bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        header = bytes([0x80 | _OP_BINARY, mask_bit | size])
    elif size < 65536:
        header = bytes([0x80 | _OP_BINARY, mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([0x80 | _OP_BINARY, mask_bit | 127]) + size.to_bytes(8, "big")
    return header + (bytes(4) if masked else b"") + payload


class MessageReader:
    """Takes binary messages of at most `limit` bytes out of what `feed` is given; `masked` if a client sends them.

    A message whose announced length is over the limit is refused by its header. Call `next` after every `feed`.
    """

    def __init__(self, limit: int, masked: bool) -> None:
        self._limit = limit
        self._masked = masked
        self._skipped = 0
        self.rest = b""  # not yet taken

    def feed(self, data: bytes) -> None:
        self.rest += data

    def next(self) -> bytes | None:
        """The next message, None if it is not complete. Raises ProtocolError."""
        while (frame := self._next_frame()) is not None:
            opcode, payload = frame
            if opcode == _OP_BINARY:
                self._skipped = 0
                return payload
            if opcode == _OP_CLOSE:
                raise ProtocolError("the peer closed the WebSocket")
            self._skipped += 1
            if self._skipped > SKIPPED_MAX:
                raise ProtocolError("too many WebSocket pings")
        return None

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer = self.rest
        if len(buffer) < 2:
            return None
        opcode = self._check_first_bytes(buffer[0], buffer[1])
        short = buffer[1] & 0x7F
        start = 2 + {126: 2, 127: 8}.get(short, 0)
        if len(buffer) < start:
            return None
        size = int.from_bytes(buffer[2:start], "big") if start > 2 else short
        self._check_size(opcode, size, start)
        key_start, start = start, start + (4 if self._masked else 0)
        if len(buffer) < start + size:
            return None
        payload, self.rest = buffer[start : start + size], buffer[start + size :]
        return opcode, _unmask(payload, buffer[key_start:start])

    def _check_first_bytes(self, first: int, second: int) -> int:
        """The opcode, if the frame is of a kind that may come here."""
        opcode = first & 0x0F
        if first & 0x70:
            raise ProtocolError("WebSocket frame with reserved bits")
        if opcode not in (_OP_BINARY, _OP_CLOSE, _OP_PING, _OP_PONG):
            raise ProtocolError(f"WebSocket frame of type {opcode}: only whole binary messages are spoken here")
        if not first & 0x80:
            raise ProtocolError("fragmented WebSocket message")
        if bool(second & 0x80) != self._masked:
            raise ProtocolError("unmasked WebSocket frame" if self._masked else "masked WebSocket frame")
        return opcode

    def _check_size(self, opcode: int, size: int, header: int) -> None:
        limit = self._limit if opcode == _OP_BINARY else 125
        if size > limit:
            raise ProtocolError(f"WebSocket frame of {size} bytes, {limit} are allowed")
        if (header > 2 and size < 126) or (header > 4 and size < 65536):
            raise ProtocolError("WebSocket length not in its shortest form")


def _unmask(payload: bytes, key: bytes) -> bytes:
    if not any(key):
        return payload
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
