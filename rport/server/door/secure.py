"""TLS before the front door: a layer between uvicorn's transports and its HTTP protocol.

uvicorn's own TLS is the event loop's, and keeps a connection that the tunnel is to take over. Here the HTTP protocol
gets a transport of ours, and the tunnel its Tls object with all that it holds. The HTTP protocol is there from the
first moment on: its place at the gate and its time count for the TLS handshake, too.
"""

import asyncio
import ssl
from typing import Any

from rport.server.door.certificates import Certificates
from rport.server.door.refusal import Refusal
from rport.tls import READ, Tls, TlsFailed, words

HANDSHAKE = 0x16  # how a TLS connection begins
PART = 262144  # octets that are encrypted at a time: the memory for the most is kept

_HTTPS = Refusal(400, "this port speaks TLS (HTTPS), and this was sent without: use https://")


def secured(protocol: type[Any], certificates: Certificates) -> Any:
    """uvicorn's `http=` for the same protocol over TLS; itself, where there is to be none."""
    if certificates.context is None:
        return protocol

    def connection(**arguments: Any) -> TlsLayer:
        assert certificates.context is not None
        return TlsLayer(protocol(**arguments), certificates.context)

    return connection


class TlsLayer(asyncio.Protocol):
    """Ciphertext below, `upper` above; one connection."""

    def __init__(self, upper: Any, context: ssl.SSLContext) -> None:
        self.upper = self._door = upper
        self.context = context
        self.tls = Tls(context, _explain, server=True)
        self.deaf = False  # what comes now is for nobody, or not for us
        self.paused = False
        self._fresh = True

    def connection_made(self, transport: Any) -> None:
        self.lower = transport
        self.upper.connection_made(TlsTransport(self))

    def connection_lost(self, exc: Exception | None) -> None:
        self.deaf = True
        self.upper.connection_lost(exc)

    def pause_writing(self) -> None:
        self.upper.pause_writing()

    def resume_writing(self) -> None:
        self.upper.resume_writing()

    def eof_received(self) -> bool | None:
        return None if self.deaf else self.upper.eof_received()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        if self._fresh:
            data = self._door.strip(data)
            if not data:
                return
            self._fresh = False
            if data[0] != HANDSHAKE:
                self._refuse_plain(data)
                return
        try:
            for start in range(0, len(data), READ):
                self.tls.feed(data[start : start + READ])
                if self.tls.ready or self.tls.shake_hands():
                    self.deliver()
        except TlsFailed as error:
            self._fail(error)
        self.flush()

    def deliver(self) -> None:
        """What has come and was not wanted before. Raises TlsFailed."""
        while not self.deaf and not self.paused and (data := self.tls.read()):
            self.upper.data_received(data)
        if self.tls.ended and not self.deaf:
            self.upper.eof_received()
            self.close()

    def go_on(self) -> None:
        """The upper protocol wants more."""
        if self.deaf or self.paused:
            return
        try:
            self.deliver()
        except TlsFailed as error:
            self._fail(error)
        self.flush()
        if not self.paused and not self.deaf:
            self.lower.resume_reading()

    def write(self, data: bytes) -> None:
        if not self.tls.ready or self.lower.is_closing():
            return
        try:
            for start in range(0, len(data), PART):
                self.tls.write(data[start : start + PART])
                self.flush()
        except TlsFailed:  # the read side says why
            self.lower.abort()

    def flush(self) -> None:
        if not self.lower.is_closing() and (wire := self.tls.drain()):
            self.lower.write(wire)

    def close(self) -> None:
        if self.tls.ready and not self.lower.is_closing():
            self.tls.end()
            self.flush()
        self.deaf = True
        self.lower.close()

    def _fail(self, error: TlsFailed) -> None:
        """Tell the peer. At the beginning it may still be sending, and what is unread at a close becomes a reset, which
        may overtake the alert: it is left to close then, for as long as the door lets anybody take for a head."""
        self._door.log_refusal(str(error))
        self.deaf = True
        self.flush()
        if self.tls.ready or not self.lower.can_write_eof():
            self.lower.close()
        else:
            self.lower.write_eof()

    def _refuse_plain(self, data: bytes) -> None:
        self._door.log_refusal("no TLS, on the port that is for it")
        self.deaf = True
        if data[:1].isalpha():
            self.lower.write(_HTTPS.answer())
        self.lower.close()


class TlsTransport(asyncio.Transport):
    """What the upper protocol writes to."""

    def __init__(self, layer: TlsLayer) -> None:
        super().__init__()
        self._layer = layer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        layer = self._layer
        own = {"tls": layer.tls, "ssl_object": layer.tls.object, "sslcontext": layer.context}
        return own[name] if name in own else layer.lower.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        self._layer.write(bytes(data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self._layer.close()

    def abort(self) -> None:
        self._layer.deaf = True
        self._layer.lower.abort()

    def is_closing(self) -> bool:
        return bool(self._layer.lower.is_closing())

    def is_reading(self) -> bool:
        return not self._layer.paused

    def pause_reading(self) -> None:
        self._layer.paused = True
        self._layer.lower.pause_reading()

    def resume_reading(self) -> None:
        if self._layer.paused:
            self._layer.paused = False
            asyncio.get_running_loop().call_soon(self._layer.go_on)

    def get_write_buffer_size(self) -> int:
        return int(self._layer.lower.get_write_buffer_size())

    def get_write_buffer_limits(self) -> Any:
        return self._layer.lower.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._layer.lower.set_write_buffer_limits(high, low)

    def get_protocol(self) -> Any:
        return self._layer.upper

    def set_protocol(self, protocol: Any) -> None:
        self._layer.upper = protocol


_ALERTS = {  # what clients say of our certificate
    "TLSV1_ALERT_UNKNOWN_CA": "its authority is unknown there",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is bad, by its name for one",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "for a reason that is not told",
}
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate came, and --tls-client-ca wants one",
    "UNSUPPORTED_PROTOCOL": "no common version of TLS: 1.2 and newer are spoken here",
    "NO_SHARED_CIPHER": "no common cipher",
}


def _explain(error: ssl.SSLError) -> str:
    """For the log, behind the peer's address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its client certificate is not accepted: {error.verify_message}"
    reason = error.reason or str(error)
    if reason in _ALERTS:
        return f"it does not accept this server's certificate: {_ALERTS[reason]}"
    return _REASONS.get(reason, f"TLS failed: {words(reason)}")
