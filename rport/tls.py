"""TLS under the carrier, for both programs: certificates into contexts, and one connection's state.

Sans-IO: ciphertext goes through memory BIOs. Not loaded by a client that connects without TLS.
"""

import contextlib
import os
import ssl
import stat
from collections.abc import Callable
from typing import NoReturn

from rport.errors import LinkLost, UsageError

ALPN = ["http/1.1"]  # what is spoken inside; a peer that likes HTTP/2 better must not choose it
READ = 65536  # octets of plaintext at a time
BARREN_MAX = 65536  # octets that may come without data: four of the largest records
PEM_MAX = 1 << 24  # octets of a file; all the world's roots together are a quarter of a mebibyte

Explain = Callable[[ssl.SSLError], str]


class TlsFailed(LinkLost):
    """TLS did not come about, or broke: the text says why, in the words of whoever made the Tls."""


class Tls:
    """One connection's TLS. Ciphertext comes in by feed() and leaves by drain(); the rest raises TlsFailed."""

    def __init__(self, context: ssl.SSLContext, explain: Explain, *, server: bool, name: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=name)
        self.ready = False  # the handshake is done
        self.ended = False  # the peer said that no more comes
        self._explain = explain
        self._barren = 0  # octets that came since the last that gave data

    def feed(self, wire: bytes) -> None:
        self._barren += len(wire)
        self.incoming.write(wire)

    def drain(self) -> bytes:
        """What is to be sent now; behind an error, too: it tells the peer."""
        return self.outgoing.read()

    def shake_hands(self) -> bool:
        """Go as far as what was fed allows; True when done."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsFailed(self._explain(error)) from None
        self.ready = True
        self._barren = 0
        return True

    def read(self, size: int = READ) -> bytes:
        """Plaintext; empty when more has to be fed first, and when it has ended."""
        try:
            data = self.object.read(size)
        except ssl.SSLWantReadError:
            if self._barren > BARREN_MAX:  # a change of keys costs a thousand times what its octets would as data
                raise TlsFailed("TLS broke: the peer keeps this end busy with changes of keys") from None
            return b""
        except ssl.SSLError as error:
            raise TlsFailed(self._explain(error)) from None
        self.ended = not data
        self._barren = 0
        return data

    def write(self, data: bytes) -> None:
        if not data:
            return
        try:
            self.object.write(data)
        except ssl.SSLError as error:
            raise TlsFailed(self._explain(error)) from None

    def end(self) -> None:
        """Nothing is written behind this."""
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()


def server_context(cert: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """For PEM files. With `client_ca`, whoever connects needs a certificate of these authorities. Raises UsageError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # TLS then has nothing left to send when the tunnel takes a fresh connection over
    _load_pair(context, cert, key)
    if client_ca is not None:
        load_authorities(context, client_ca, "--tls-client-ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str | None, cert: str | None, key: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Verifies with `ca`, else with the system's roots, or `insecure` not at all. Raises UsageError."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    else:
        load_authorities(context, ca, "--tls-ca")
    if cert is not None and key is not None:
        _load_pair(context, cert, key)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    return context


def load_authorities(context: ssl.SSLContext, path: str, option: str) -> None:
    """Trust those of a PEM file, which `option` names. Raises UsageError."""
    _expect(path, option, b"CERTIFICATE-----", "no certificate")
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be used: {_reason(error)}") from None


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    _expect(cert, "--tls-cert", b"CERTIFICATE-----", "no certificate")
    _expect(key, "--tls-key", b"PRIVATE KEY-----", "no private key")
    if os.name == "posix" and os.stat(key).st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise UsageError(f"--tls-key: {key} is open to every user of this machine; run: chmod o= {key}")

    def passphrase() -> NoReturn:  # else OpenSSL would ask on the terminal
        raise UsageError(
            f"--tls-key: {key} is encrypted, and nobody is there to type its passphrase; keep it without one, for its "
            f"owner's eyes only: openssl pkey -in {key} -out FILE"
        )

    try:
        context.load_cert_chain(cert, key, passphrase)
    except OSError as error:
        reason = _reason(error)
        if "mismatch" in reason:
            raise UsageError(f"--tls-key: the key in {key} does not belong to the certificate in {cert}") from None
        raise UsageError(f"--tls-cert: {cert} with --tls-key {key} cannot be used: {reason}") from None


def _expect(path: str, option: str, mark: bytes, what: str) -> None:
    """OpenSSL says neither which file it does not like, nor what for."""
    try:
        with open(path, "rb") as file:
            found = mark in file.read(PEM_MAX)
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be read: {error.strerror}") from None
    if not found:
        raise UsageError(f"{option}: there is {what} in PEM form in {path}")


def _reason(error: OSError) -> str:
    """OpenSSL's own words."""
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return words(reason or str(error))


def words(reason: str) -> str:
    """OpenSSL's reason code as a text."""
    return reason.replace("_", " ").lower()
