"""Who the client behind a reverse proxy is, as the proxy says it (X-Forwarded-For; Forwarded, RFC 7239). Pure.

Only what a trusted peer says counts, and of that only what trusted hops added: each appends the address that it sees,
so the list is read from its end, up to the first address that is not trusted. What stands before it is that one's own
invention. A request whose fields cannot be read, or contradict each other, is turned away: to take it for the proxy's
own would let a client choose to have the proxy's address.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from rport.hosts import is_port
from rport.server.door.fields import Headers
from rport.server.networks import Network, Peer, is_within, plain

HOPS_MAX = 16  # trusted proxies in a row; a request that passed more is going in a circle

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, section 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"[ \t]*({_TOKEN})=({_TOKEN}|{_QUOTED})[ \t]*([,;]?)")
_NODE = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([^:]+))?")
_HIDDEN = re.compile(r"_[A-Za-z0-9._-]+")  # RFC 7239, section 6.3


def client_of(headers: Headers, peer: Peer, trusted: Sequence[Network]) -> Peer:
    """Who asks, when `peer`, a trusted one, brought this request; the peer itself where it does not say.

    Raises ValueError, with a text for the log, for fields that cannot be read or contradict each other.
    """
    chains = [
        hops(text)
        for name, hops in ((b"x-forwarded-for", _listed), (b"forwarded", _forwarded))
        if (text := b",".join(value for field, value in headers if field == name).decode("latin-1").strip())
    ]
    clients = {_first_untrusted(chain, peer, trusted) for chain in chains}
    if len({address for address, _ in clients}) > 1:
        raise ValueError(
            "X-Forwarded-For and Forwarded name different clients; let the proxy drop what it does not write"
        )
    return max(clients, key=lambda client: client[1], default=peer)  # one of them may know the port


def _first_untrusted(hops: Iterable[Peer | None], peer: Peer, trusted: Sequence[Network]) -> Peer:
    """`hops` begin with the last; None is one that hides, so that the one behind it is all that is known."""
    for count, hop in enumerate(hops):
        if count == HOPS_MAX:
            raise ValueError(f"more than {HOPS_MAX} trusted proxies in a row")
        if hop is None:
            break
        peer = hop
        if not is_within(hop[0], trusted):
            break
    return peer


def _listed(text: str) -> Iterator[Peer | None]:
    """X-Forwarded-For, the last hop first. What a client invented, further on, is not even read."""
    while text:
        text, _, item = text.rpartition(",")
        yield _node(item.strip())


def _forwarded(text: str) -> Iterator[Peer | None]:
    """Forwarded, the last hop first. All of it is read: where a quoted text ends is only known from the beginning."""
    hops: list[Peer | None] = []
    position, new = 0, True
    while pair := _PAIR.match(text, position):
        if new:
            hops.append(None)
        if pair[1].lower() == "for":
            hops[-1] = _node(pair[2].strip('"'))
        position, new = pair.end(), pair[3] == ","
        if not pair[3]:
            break
    if not pair or position != len(text):
        raise ValueError(f"a Forwarded field that cannot be read: {text[position:][:80]!r}")
    return iter(reversed(hops))


def _node(text: str) -> Peer | None:
    """RFC 7239, section 6, and how X-Forwarded-For is written. None for one that is unknown or hides."""
    try:
        return plain(text), 0
    except ValueError:
        pass
    match = _NODE.fullmatch(text)
    if match is None:
        raise ValueError(f"a forwarded address that cannot be read: {text[:80]!r}")
    ipv6, name, port = match.groups()
    if name is not None and (name.lower() == "unknown" or _HIDDEN.fullmatch(name)):
        return None
    try:
        address = plain(ipv6 or name)
    except ValueError:
        raise ValueError(f"a forwarded address that cannot be read: {text[:80]!r}") from None
    if port is None or _HIDDEN.fullmatch(port):
        return address, 0
    if not is_port(port):
        raise ValueError(f"a forwarded port that cannot be read: {text[:80]!r}")
    return address, int(port)
