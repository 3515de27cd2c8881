"""Growing delays behind failed logins. Pure: time comes in as `now`, in seconds.

A pair of source and user that failed waits before its next try is looked at; another user from the same address does
not, so nobody is ever shut out by a neighbour. A client that was let in before shows its `identity`, a secret of its
own process, and then counts by that instead of by its address: whoever guesses at its password from behind the same
NAT does not delay its return.
"""

from collections import OrderedDict
from hashlib import blake2b

from rport.server.door.gate import source_of

FIRST = 0.5  # seconds behind the first failure: a mistyped password is corrected no faster
LONGEST = 60.0  # seconds between two tries: 1440 guesses a day
FORGOTTEN = 900.0  # seconds without a try, after which nothing is held against anybody
ENTRIES_MAX = 4096  # of each table, some 200 octets each; the one that was unused for the longest goes first
HOLD_FIRST = 0.1  # seconds by which a source's first failed answer is held back
HOLD_LONGEST = 3.0  # with the gate's 32 connections from one source: ten tries a second, whatever the users


class _Failures:
    """Counts by key, the least recently used forgotten first."""

    def __init__(self) -> None:
        self._table: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # how many, and when the last one was

    def __len__(self) -> int:
        return len(self._table)

    def count(self, key: bytes, now: float) -> tuple[int, float]:
        """How many, and when the last one was."""
        found = self._table.get(key)
        if found is None or now - found[1] > FORGOTTEN:
            return 0, now
        return found

    def put(self, key: bytes, count: int, now: float) -> None:
        self._table[key] = (count, now)
        self._table.move_to_end(key)
        if len(self._table) > ENTRIES_MAX:
            self._table.popitem(last=False)

    def forget(self, key: bytes) -> None:
        self._table.pop(key, None)


class Delays:
    """What failed lately."""

    def __init__(self) -> None:
        self._pairs = _Failures()
        self._sources = _Failures()
        self._known: OrderedDict[bytes, None] = OrderedDict()  # users with identities that were let in

    def begin(self, address: str, user: str, identity: str, now: float) -> float:
        """Seconds until that pair may try again; 0: it tries now, and whoever comes before that is decided waits."""
        key = self._pair(address, user, identity)
        count, last = self._pairs.count(key, now)
        if not count:
            return 0.0
        wait = last + delay(count) - now
        if wait <= 0:
            self._pairs.put(key, count, now)
        return max(wait, 0.0)

    def undecided(self, address: str, user: str, identity: str, began: float) -> None:
        """The try that began then lacked something, and was no guess: the next one need not wait because of it."""
        key = self._pair(address, user, identity)
        count, last = self._pairs.count(key, began)
        if count and last == began:
            self._pairs.put(key, count, began - delay(count))

    def failed(self, address: str, user: str, identity: str, now: float) -> float:
        """Count it; seconds by which the answer is to be held back."""
        key = self._pair(address, user, identity)
        self._pairs.put(key, self._pairs.count(key, now)[0] + 1, now)
        return self.failed_without_user(address, now)

    def failed_without_user(self, address: str, now: float) -> float:
        """As failed(), for whoever showed no login that could be guessed at."""
        source = _key(source_of(address))
        count = self._sources.count(source, now)[0] + 1
        self._sources.put(source, count, now)
        return float(min(HOLD_FIRST * 2 ** min(count - 1, 16), HOLD_LONGEST))

    def succeeded(self, address: str, user: str, identity: str) -> None:
        """It was let in: nothing is held against it, and its identity is known from now on."""
        self._pairs.forget(self._pair(address, user, identity))
        known = _key(user, identity)
        self._known[known] = None
        self._known.move_to_end(known)
        if len(self._known) > ENTRIES_MAX:
            self._known.popitem(last=False)

    def _pair(self, address: str, user: str, identity: str) -> bytes:
        known = _key(user, identity)
        return known if known in self._known else _key(source_of(address), user)


def delay(failures: int) -> float:
    """Seconds between a failure and the next try."""
    return float(min(FIRST * 2 ** min(failures - 1, 16), LONGEST))


def _key(*parts: str) -> bytes:
    """Of one size, whatever a client calls itself."""
    return blake2b("\0".join(f"{len(part)}:{part}" for part in parts).encode(), digest_size=16).digest()
