"""TLS to the server, and what to tell the user when it does not come about. Loaded only where there is some."""

import functools
import logging
import socket
import ssl
from typing import TYPE_CHECKING

from rport.channel import TlsChannel
from rport.client.upgrade import name_stranger
from rport.errors import ConnectError, UsageError
from rport.tls import Tls, client_context, words

if TYPE_CHECKING:
    from rport.client.settings import Settings

# Numbers of X509_V_ERR_*, openssl/x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)  # of these 18 and 19 are self-signed ones
_OTHER_NAME = (62, 64)  # of a host, of an address

_VERSION = "no common version of TLS: 1.2 and newer are spoken here"
_CIPHER = "no common cipher"
_WANTED = "it wants a certificate from its clients: give --tls-cert and --tls-key"
_REASONS = {
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "NO_PROTOCOLS_AVAILABLE": _VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTED,
    "TLSV1_UNRECOGNIZED_NAME": "it has no certificate for that name: give another with --tls-server-name",
    "TLSV1_ALERT_UNRECOGNIZED_NAME": "it has no certificate for that name: give another with --tls-server-name",
}
_REFUSED = {  # what its alerts say of our certificate
    "TLSV1_ALERT_UNKNOWN_CA": "its authority is unknown there",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is bad",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is of an unsupported kind",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "for a reason that is not told",
    "TLSV1_ALERT_ACCESS_DENIED": "access denied",
    "TLSV1_ALERT_DECRYPT_ERROR": "its signature is wrong",
}


log = logging.getLogger("rport")

_good: dict[tuple[object, ...], ssl.SSLContext] = {}  # the last one, by what it was asked for with


async def secure(sock: socket.socket, settings: "Settings", context: ssl.SSLContext) -> TlsChannel:
    """Shake hands over a connected socket, which stays the caller's until this returns.

    The caller bounds the time. Raises ConnectError, LinkLost, OSError.
    """
    name = settings.tls_server_name or settings.address.host.partition("%")[0]
    explain = functools.partial(_explain, name=name, settings=settings)
    channel = TlsChannel(sock, Tls(context, explain, server=False, name=name), _check_first)
    await channel.shake_hands()
    return channel


def context_of(settings: "Settings") -> ssl.SSLContext:
    """From the files as they are now. What was good once is not given up for files that are just being exchanged.

    Raises UsageError for files that cannot be used.
    """
    files = (settings.tls_ca, settings.tls_cert, settings.tls_key)
    asked = (*files, settings.tls_insecure)
    try:
        context = client_context(*files, insecure=settings.tls_insecure)
    except UsageError as error:
        if asked not in _good:
            raise
        log.warning("%s; what was read before stays in use", error)
        return _good[asked]
    _good.clear()
    _good[asked] = context
    return context


def _check_first(wire: bytes) -> None:
    """Whatever is no TLS is told by its first octets; OpenSSL calls all of it a wrong version number."""
    if wire[0] in (0x15, 0x16):  # an alert, a handshake
        return
    if wire.startswith(b"HTTP/"):
        raise ConnectError("it speaks plain HTTP on this port, not TLS: use http:// instead of https://")
    raise ConnectError(f"it does not speak TLS on this port: {name_stranger(wire)}")


def _explain(error: ssl.SSLError, name: str, settings: "Settings") -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, name, settings)
    reason = error.reason or str(error)
    if reason in _REASONS:
        return _REASONS[reason]
    if settings.tls_cert is not None and reason in _REFUSED:
        return f"it refuses the certificate of --tls-cert: {_REFUSED[reason]}"
    if reason in ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_INSUFFICIENT_SECURITY"):
        return f"it refuses the TLS handshake: {_CIPHER}, or {_WANTED}"
    return f"TLS failed: {words(reason)}"


def _explain_certificate(error: ssl.SSLCertVerificationError, name: str, settings: "Settings") -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired; if it has not, this machine's clock is wrong"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet; if it should be, this machine's clock is wrong"
    if code in _OTHER_NAME:
        return f"its certificate is for another name than {name}: connect by a name in it, or give --tls-server-name"
    if code in _UNKNOWN_AUTHORITY:
        where = f"not in {settings.tls_ca}" if settings.tls_ca else "not known to this system"
        return f"the authority of its certificate is {where}: give a PEM file that has it with --tls-ca"
    return f"its certificate is refused: {error.verify_message}"
