"""What is said to a proxy before it passes bytes on: HTTP CONNECT (RFC 9110, 9.3.6), SOCKS5 (RFC 1928, 1929).

Sans-IO. A dialogue is a generator: it gives what to send, perhaps nothing, and takes what came, b"" at the end. It
returns once the server is reached, or raises ConnectError, whose text goes on after the proxy's name. It asks for a
name as it stands, so that the proxy resolves it.
"""

import base64
import re
import socket
from collections.abc import Generator, Iterator

from rport import __version__
from rport.client.proxy import Proxy
from rport.errors import ConnectError
from rport.hosts import host_port
from rport.text import quote
from rport.websocket import HEAD_MAX, HEADERS_MAX

PERHAPS_TLS = "; if it speaks TLS, write https:// for it"

Dialogue = Generator[bytes, bytes, None]

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: .*)?", re.DOTALL)
_REDIRECTS = range(300, 400)
_NO_WAY_ON = (500, 502, 503, 504)
_NO_CONNECT = (400, 405, 501)

_NO_LOGIN, _PASSWORD, _NONE_FITS = 0, 2, 0xFF  # methods, RFC 1928 section 3
_REPLIES = {  # section 6
    1: "it failed in general",
    2: "its rules do not allow it",
    3: "network unreachable",
    4: "host unreachable, or its name does not resolve",
    5: "connection refused",
    6: "it took too long (TTL expired)",
    7: "it cannot connect for others (command not supported)",
    8: "it does not take this kind of address",
}


def talk_to(proxy: Proxy, host: str, port: int) -> Dialogue:
    """The dialogue that makes `proxy` lead to the server."""
    return (_socks5 if proxy.scheme == "socks5" else _http)(proxy, host, port)


class _Inbox:
    """What came and was not taken yet."""

    def __init__(self) -> None:
        self.data = b""

    def more(self, sent: bytes = b"") -> Generator[bytes, bytes, None]:
        """At least one octet."""
        came = yield sent
        if not came:
            raise ConnectError(f"it closed the connection {'within its' if self.data else 'without an'} answer")
        self.data += came

    def take(self, size: int, sent: bytes = b"") -> Generator[bytes, bytes, bytes]:
        """Just so many octets; those that answer `sent`, if there is something to send."""
        if sent:
            self.check_empty()
            yield from self.more(sent)
        while len(self.data) < size:
            yield from self.more()
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def check_empty(self) -> None:
        """A server waits for its client, so what comes behind the answer is nobody's."""
        if self.data:
            raise ConnectError(f"it sent something behind its answer: {_quote(self.data)}")


# --- HTTP -------------------------------------------------------------------------------------------------------------


def _http(proxy: Proxy, host: str, port: int) -> Dialogue:
    inbox = _Inbox()
    try:
        yield from inbox.more(_connect_request(proxy, host_port(host, port)))
    except ConnectError as error:
        raise ConnectError(f"{error}{PERHAPS_TLS if proxy.scheme == 'http' else ''}") from None
    while not _is_whole(inbox.data):
        yield from inbox.more()
    head, _, inbox.data = inbox.data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise ConnectError(f"this is no HTTP proxy: it sent {_quote(first)}")
    if len(lines) > HEADERS_MAX:
        raise ConnectError(f"its answer has more than {HEADERS_MAX} headers")
    if not status[1].startswith(b"2"):
        raise ConnectError(_refusal(int(status[1]), lines, proxy, host_port(host, port)))
    inbox.check_empty()


def _connect_request(proxy: Proxy, where: str) -> bytes:
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", f"User-Agent: rport/{__version__}"]
    if proxy.user is not None:
        login = base64.b64encode(proxy.user + b":" + proxy.password).decode()  # RFC 7617
        lines.append(f"Proxy-Authorization: Basic {login}")
    return "\r\n".join([*lines, "", ""]).encode()


def _is_whole(data: bytes) -> bool:
    """Whether the head has all come. Raises ConnectError for what will never be one."""
    if not data.startswith(b"HTTP/"[: len(data)]):
        raise ConnectError(_stranger(data))
    end = data.find(b"\r\n\r\n")
    if max(end, len(data) if end < 0 else 0) > HEAD_MAX:
        raise ConnectError(f"the head of its answer is longer than {HEAD_MAX} bytes")
    return end >= 0


def _stranger(data: bytes) -> str:
    if data[0] in (0x15, 0x16):  # a TLS alert, or a server that speaks first
        return "it speaks TLS: write https:// for it"
    if data[0] in (0, 5):
        return "this is no HTTP proxy but, it seems, SOCKS: write socks5:// for it"
    return f"this is no HTTP proxy: it sent {_quote(data)}"


def _refusal(status: int, lines: list[bytes], proxy: Proxy, where: str) -> str:
    said = f"it answered HTTP {status}"
    if status in (401, 407):  # the former is tinyproxy's for a wrong login
        return f"{said}, {_login_refusal(lines, proxy)}"
    if status == 403:
        return f"{said}: it does not allow connections to {where}; its administrator has to, many allow port 443 alone"
    if status in _NO_WAY_ON:
        return f"{said}: it cannot reach {where}"
    if status in _NO_CONNECT:
        return f"{said}: it does not pass connections on (CONNECT), or not to {where}"
    if status in _REDIRECTS:
        location = next(_values(lines, b"location"), "")
        return f"{said}, a redirect to {quote(location)}: does somebody have to log in there first?"
    return f"{said} to a request for {where}: this is no proxy, or one that does not pass connections on"


def _login_refusal(lines: list[bytes], proxy: Proxy) -> str:
    schemes = [value.split(" ")[0] for value in _values(lines, b"proxy-authenticate")]
    if schemes and "basic" not in map(str.lower, schemes):
        return f"it wants a login by {quote(', '.join(schemes))}; rport can log in by Basic alone"
    if proxy.user is None:
        return "it wants a login: give http://USER:PASSWORD@HOST:PORT"
    return "the user or the password for it is wrong"


def _values(lines: list[bytes], name: bytes) -> Iterator[str]:
    for line in lines:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            yield value.strip().decode("latin-1")


# --- SOCKS5 -----------------------------------------------------------------------------------------------------------


def _socks5(proxy: Proxy, host: str, port: int) -> Dialogue:
    inbox = _Inbox()
    methods = [_NO_LOGIN] if proxy.user is None else [_NO_LOGIN, _PASSWORD]
    version, method = yield from inbox.take(2, bytes([5, len(methods), *methods]))
    _check_version(version, method)
    if method == _NONE_FITS:
        raise ConnectError(
            "it wants a login: give socks5://USER:PASSWORD@HOST:PORT"
            if proxy.user is None
            else "it wants a login of another kind than user and password"
        )
    if method not in methods:
        raise ConnectError(f"this is no SOCKS5 proxy: it chose method {method}, which was not offered")
    if method == _PASSWORD:
        yield from _log_in(inbox, proxy)
    version, reply = yield from inbox.take(2, _request(host, port))
    _check_version(version, reply)
    if reply:
        reason = _REPLIES.get(reply, f"reply code {reply}")
        raise ConnectError(f"it does not connect to {host_port(host, port)}: {reason}")
    _, kind = yield from inbox.take(2)
    yield from inbox.take(2 + (yield from _address_size(inbox, kind)))
    inbox.check_empty()


def _check_version(version: int, second: int) -> None:
    if version == 5:
        return
    if bytes([version, second]) == b"HT":
        raise ConnectError("this is no SOCKS5 proxy but, it seems, HTTP: write http:// for it")
    if version == 0x15:  # a TLS alert
        raise ConnectError("this is no SOCKS5 proxy, it speaks TLS: write https:// for it")
    raise ConnectError(f"this is no SOCKS5 proxy: it sent {_quote(bytes([version, second]))}")


def _log_in(inbox: _Inbox, proxy: Proxy) -> Generator[bytes, bytes, None]:
    """RFC 1929. Of its answer's version some servers have their own idea."""
    user, password = proxy.user or b"", proxy.password
    message = bytes([1, len(user)]) + user + bytes([len(password)]) + password
    try:
        _, status = yield from inbox.take(2, message)
    except ConnectError:  # it may close at once
        raise ConnectError("it closed the connection on this login: the user or the password is wrong") from None
    if status:
        raise ConnectError("the user or the password for it is wrong")


def _request(host: str, port: int) -> bytes:
    return bytes([5, 1, 0]) + _address(host) + port.to_bytes(2, "big")


def _address(host: str) -> bytes:
    for kind, family in ((1, socket.AF_INET), (4, socket.AF_INET6)):
        try:
            return bytes([kind]) + socket.inet_pton(family, host)
        except OSError:
            continue
    name = host.encode()
    return bytes([3, len(name)]) + name


def _address_size(inbox: _Inbox, kind: int) -> Generator[bytes, bytes, int]:
    if kind == 3:
        return (yield from inbox.take(1))[0]
    size = {1: 4, 4: 16}.get(kind)
    if size is None:
        raise ConnectError(f"this is no SOCKS5 proxy: its answer has an address of type {kind}")
    return size


def _quote(data: bytes) -> str:
    return quote(data.partition(b"\n")[0].rstrip(b"\r").decode("latin-1"))
