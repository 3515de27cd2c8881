"""How many connections may be unauthenticated at once, in all and from one source, and for how long. Pure."""

import ipaddress

ADMISSION_TIMEOUT = 10.0  # seconds from accept to an authenticated peer; the request's head is part of it
TOTAL_MAX = 256
SOURCE_MAX = 32  # a NAT full of honest clients reconnects in a burst; one attacker still leaves room for others


class Gate:
    """Counts those inside. What enter() let in must leave() once."""

    def __init__(self, max_total: int = TOTAL_MAX, max_per_source: int = SOURCE_MAX) -> None:
        self._max_total, self._max_per_source = max_total, max_per_source
        self._counts: dict[str, int] = {}
        self.inside = 0

    def enter(self, address: str, *, shared: bool = False) -> bool:
        """False, and nothing counted, when one more would be too many. `shared`: many come from there, as from a
        reverse proxy, so that only the total counts."""
        source = source_of(address)
        count = self._counts.get(source, 0)
        if self.inside >= self._max_total or (count >= self._max_per_source and not shared):
            return False
        self._counts[source] = count + 1
        self.inside += 1
        return True

    def leave(self, address: str) -> None:
        """Raises KeyError for an address from which nobody is inside."""
        source = source_of(address)
        self._counts[source] -= 1
        self.inside -= 1
        if not self._counts[source]:
            del self._counts[source]


def tags(address: str) -> dict[str, object]:
    """The `extra` of a log line that somebody there caused who is not admitted yet."""
    return {"client": address, "limit": source_of(address)}


def source_of(address: str) -> str:
    """The unit that one host is given: an IPv4 address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_address(int(parsed) >> 64 << 64))
