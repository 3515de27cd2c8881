"""Ports as options name them: a range, or a list of ports and ranges. Pure."""

from collections.abc import Iterable

from rport.errors import UsageError
from rport.hosts import PORT_MAX, is_port

LIST_MAX = 256  # parts of a list: what somebody writes, not a table

Ranges = tuple[range, ...]


def parse_range(text: str) -> range:
    """`20000-29999`, both ends within. Raises UsageError."""
    low, dash, high = text.partition("-")
    if not dash or not is_port(low.strip()) or not is_port(high.strip()) or int(low) > int(high):
        raise UsageError(f"{text[:40]!r} is no range of ports: write it like 20000-29999, from 1 to {PORT_MAX}")
    return range(int(low), int(high) + 1)


def parse_ports(text: str) -> Ranges:
    """`22,80,8000-8999`. Raises UsageError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or len(parts) > LIST_MAX:
        raise UsageError(f"{text[:40]!r} is no list of ports: write it like 22,80,8000-8999, up to {LIST_MAX} of them")
    return tuple(parse_range(part if "-" in part else f"{part}-{part}") for part in parts)


def has(ranges: Iterable[range], port: int) -> bool:
    """Whether one of them has it."""
    return any(port in one for one in ranges)
