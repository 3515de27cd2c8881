"""Where a tunnel leads and where it listens, as the API is told. Pure."""

import re
from dataclasses import replace

from rport.errors import UsageError
from rport.hosts import clean_host
from rport.remote import ANY_HOST, PROXY_VERSIONS, UNIX, Remote

SIDE = re.compile(r"((\[[^\[\]]*\]|(?![0-9]+:)[^:\[\]]+):)?[0-9]+")  # [HOST:]PORT
TARGET = re.compile(rf"({SIDE.pattern}|unix:[^0-9].*)(\?.*)?", re.DOTALL)


def read_target(target: str, lhost: str, lport: int, proxy: str) -> Remote:
    """`[HOST:]PORT` or `unix:/PATH`, and where to listen: 0 = any port. Raises UsageError."""
    if "?" in target:
        raise UsageError(f"target={target!r}: there is nothing behind a target; proxy_protocol is a field of its own")
    remote = read_side("target", target, f"1:{target}" if target.startswith(UNIX) else target, TARGET)
    try:
        host = clean_host(lhost.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise UsageError(f"lhost={lhost!r}: {error}") from None
    return replace(remote, lhost=host, lport=lport, proxy=proxy)


def read_query(local: str, remote: str, proxy: str) -> Remote:
    """The original's two parameters as a whole remote. Raises UsageError that says which one is wrong, and why."""
    # A local port may be 0 and a socket's path has no port, so each stands at its place in a whole remote.
    listen = read_side("local", local, f"{local}:{ANY_HOST}:1", SIDE)
    target = read_side("remote", remote, f"1:{remote}" if remote.startswith(UNIX) else remote, TARGET)
    if proxy and target.proxy:
        raise UsageError(f"proxy={proxy!r}: it stands in remote= already")
    if proxy not in ("", *PROXY_VERSIONS):
        raise UsageError(f"proxy={proxy!r}: give v1 or v2, the version of the PROXY protocol")
    return replace(target, lhost=listen.lhost, lport=listen.lport, proxy=proxy or target.proxy)


def read_side(name: str, value: str, spec: str, form: re.Pattern[str]) -> Remote:
    """`spec` is `value` completed to a whole remote."""
    if not form.fullmatch(value):
        also = f", or {UNIX}/PATH" if form is TARGET else ""
        raise UsageError(f"{name}={value!r}: give [HOST:]PORT, an IPv6 host in brackets{also}")
    try:
        return Remote.parse(spec)
    except UsageError as error:
        raise UsageError(f"{name}={value!r}: {str(error).removeprefix(f'remote {spec!r}: ')}") from None
