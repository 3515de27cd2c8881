"""The URL by which clients reach this server: `rportd --public-url`. Pure."""

import re

from rport.errors import UsageError
from rport.hosts import host_port, read_host, read_port

URL_MAX = 512  # characters

_URL = re.compile(r"(https?|wss?)://(?:\[([^\[\]]+)\]|([^:\[\]/?#@]+))(?::([0-9]+))?(/[!-~]*)?", re.IGNORECASE)
_ADVICE = "give http://HOST[:PORT][/PATH], or https"


def parse_public_url(text: str) -> str:
    """In its one spelling. Raises UsageError; a login in it is never shown."""
    if "@" in text:
        raise UsageError("the server's URL has no login in it")
    match = _URL.fullmatch(text)
    if len(text) > URL_MAX or match is None or any(mark in (match[5] or "") for mark in "?#"):
        raise UsageError(f"{text[:80]!r} is no URL of a server: {_ADVICE}")
    scheme, ipv6, name, port, path = match.groups()
    try:
        host = read_host(ipv6, name)
        shown = host_port(host, 0).rpartition(":")[0] if port is None else host_port(host, read_port(port))
    except ValueError as error:
        raise UsageError(f"{text[:80]!r}: {error}") from None
    scheme = scheme.lower().replace("ws", "http")
    return f"{scheme}://{shown}{(path or '').rstrip('/')}"
