"""What a user adds to the upgrade request: headers, and the host that it names. Pure."""

import re

from rport.client.upgrade import RESERVED_HEADERS
from rport.errors import UsageError
from rport.hosts import read_host, read_port

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t -~\xa0-\xff]*")  # section 5.5; what is beyond ASCII travels as Latin-1
_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]+))?")
_HOP_BY_HOP = {"keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"}  # between neighbours alone


def parse_header(text: str) -> tuple[str, str]:
    """`Name: value`. Raises UsageError, which shows the name alone: a value may be a secret."""
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon or not _TOKEN.fullmatch(name):
        shown = f"{name[:40]!r} is no name of a header: " if colon else ""
        raise UsageError(f"{shown}write it as 'Name: value'")
    if name.lower() == "host":
        raise UsageError("Host is given with --hostname")
    if name.lower() == "proxy-authorization":
        raise UsageError("the login of a proxy is given with --proxy, as in http://USER:PASSWORD@HOST:PORT")
    if name.lower() in RESERVED_HEADERS | _HOP_BY_HOP:
        raise UsageError(f"{name} cannot be given: it belongs to the connection, and rport sets what it needs itself")
    if not _VALUE.fullmatch(value):
        raise UsageError(f"the value of {name} must be one line of Latin-1 text without control characters")
    return name, value


def parse_hostname(text: str) -> str:
    """`NAME[:PORT]` for the Host header. Raises UsageError."""
    match = _HOST.fullmatch(text)
    try:
        if match is None or not text.isascii():
            raise ValueError
        ipv6, name, port = match.groups()
        read_host(ipv6, name)
        if port is not None:
            read_port(port)
    except ValueError:
        raise UsageError(f"{text[:80]!r} is no host: write it like tunnel.example.com or example.com:8080") from None
    return text
