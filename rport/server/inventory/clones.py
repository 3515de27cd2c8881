"""Two machines with one identity: each throws the other out, and comes back. Pure; who asks says what time it is.

A machine that starts again and again looks alike but for one thing: it never comes back as the process that it was.
"""

from collections import OrderedDict, deque

WINDOW = 300.0  # seconds in which they have to alternate
TAKEOVERS = 3  # of one session from another process, of which the first may be a machine that was started again
RETURNS = 2  # of them by a process that had been there before
ENTRIES_MAX = 4096  # clients whose sessions were taken over lately; the one that was quiet for the longest goes first
KEPT = 8  # takeovers of one client: more than are counted


class Clones:
    """Counts by client id."""

    def __init__(self) -> None:
        self._takeovers: OrderedDict[str, deque[tuple[float, str, str]]] = OrderedDict()
        self._told: OrderedDict[str, float] = OrderedDict()

    def taken_over(self, client: str, old: str, new: str, now: float) -> bool:
        """A session of process `old` gave way to one of `new`. True: these are two machines."""
        if old == new:
            return False
        lately = self._takeovers.setdefault(client, deque(maxlen=KEPT))
        self._takeovers.move_to_end(client)
        if len(self._takeovers) > ENTRIES_MAX:
            self._takeovers.popitem(last=False)
        lately.append((now, old, new))
        while now - lately[0][0] > WINDOW:
            lately.popleft()
        seen: set[str] = set()
        returns = 0
        for _, before, after in lately:
            seen.add(before)
            returns += after in seen
        return len(lately) >= TAKEOVERS and returns >= RETURNS

    def news(self, client: str, now: float) -> bool:
        """Whether it is time to tell of it, once in a WINDOW."""
        if now - self._told.get(client, -WINDOW) < WINDOW:
            return False
        self._told[client] = now
        self._told.move_to_end(client)
        if len(self._told) > ENTRIES_MAX:
            self._told.popitem(last=False)
        return True

    def forget(self, client: str) -> None:
        self._takeovers.pop(client, None)
        self._told.pop(client, None)
