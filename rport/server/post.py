"""One HTTP request to somebody else's server: a POST whose answer is its status. https by the system's authorities.

HTTP itself is h11's, which uvicorn brings; what is bounded here is time and what is read. No redirect is followed: it
would lead where nobody has said that it may.
"""

import asyncio
import contextlib
import functools
import re
import ssl
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from rport.server.errors import Unprocessable

TIMEOUT = 10.0  # seconds from the name's look-up to the answer's status
HEAD_MAX = 16384  # octets of the answer's head, and of what comes before it; its body is not read
CHUNK = 4096

_PRINTABLE = re.compile(r"[!-~]+")  # no space, no other script: those are written with percent signs


class Place(NamedTuple):
    """Where a URL leads."""

    tls: bool
    host: str  # without brackets, in ASCII
    port: int
    target: str  # path and query

    @property
    def authority(self) -> str:
        """For the Host field, and for showing: a path may hold a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Outcome(NamedTuple):
    """`error` is empty when it was taken; `status` is None without an answer."""

    status: int | None
    error: str


def place_of(url: str) -> Place:
    """Raises Unprocessable."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host if ":" in host else host.encode("idna").decode() if host else ""
    except ValueError:  # also of idna
        raise Unprocessable("url: its host or port cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise Unprocessable("url: give an address that begins with https:// or http://")
    if "@" in parts.netloc:
        raise Unprocessable("url: no user and password there; what is sent is signed instead")
    if not host or not _PRINTABLE.fullmatch(host) or port == 0:
        raise Unprocessable("url: its host or port cannot be read")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PRINTABLE.fullmatch(target) or "#" in url:
        raise Unprocessable("url: write spaces and other scripts with percent signs, and no fragment")
    tls = parts.scheme == "https"
    return Place(tls, host, port or (443 if tls else 80), target)


async def post(place: Place, headers: Sequence[tuple[str, str]], body: bytes) -> Outcome:
    """Never raises for what the other end or the way there does."""
    try:
        async with asyncio.timeout(TIMEOUT):
            status = await _status(place, headers, body)
    except TimeoutError:
        return Outcome(None, f"no answer within {TIMEOUT:g} s")
    except ssl.SSLCertVerificationError as error:
        return Outcome(None, f"its certificate is not accepted: {error.verify_message}")
    except ssl.SSLError as error:
        return Outcome(None, f"no TLS there: {error.reason or error}")
    except (OSError, UnicodeError) as error:
        return Outcome(None, f"the connection failed: {getattr(error, 'strerror', None) or error}")
    except h11.RemoteProtocolError as error:
        return Outcome(None, f"what answers speaks no HTTP: {error}")
    if 200 <= status < 300:
        return Outcome(status, "")
    return Outcome(status, f"it answered {status}{'; redirects are not followed' if 300 <= status < 400 else ''}")


async def _status(place: Place, headers: Sequence[tuple[str, str]], body: bytes) -> int:
    context = await asyncio.to_thread(_context) if place.tls else None
    reader, writer = await asyncio.open_connection(place.host, place.port, ssl=context, limit=CHUNK)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        own = [("Host", place.authority), ("Content-Length", str(len(body))), ("Connection", "close")]
        request = h11.Request(method="POST", target=place.target, headers=[*own, *headers])
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        with contextlib.suppress(ConnectionError):  # whoever does not want the rest may have answered all the same
            await writer.drain()
        room = HEAD_MAX
        while True:
            answer = connection.next_event()
            if isinstance(answer, h11.Response):
                return int(answer.status_code)
            if answer is h11.NEED_DATA:  # else it is one that comes before the answer
                if not room:  # there is no end to early answers, and all that has come is read without a pause
                    raise h11.RemoteProtocolError("too much comes before its answer")
                data = await reader.read(min(CHUNK, room))
                if not data:
                    raise ConnectionResetError(None, "it was closed without an answer")
                room -= len(data)
                connection.receive_data(data)
    finally:
        writer.transport.abort()


@functools.cache
def _context() -> ssl.SSLContext:
    """Reads all authorities that the system trusts, which takes its time."""
    return ssl.create_default_context()
