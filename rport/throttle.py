"""How much others may cause: log lines, some at once, then one a second each, and a few a second all together; of what
is kept in the database for long, less.

Pure; whoever asks says what time it is, in seconds that only grow.
"""

BURST = 20  # lines at once by one source: all that a person reads about one peer, and what fail2ban wants to see
RATE = 1.0  # lines a second by one source after that
ALL_BURST = 400  # lines at once by all sources: a fleet of clients that comes back behind one proxy
ALL_RATE = 20.0  # lines a second by all sources: some 200 MB a day at the worst
KEPT_RATE = 1 / 60  # rows a second by one source after its burst: half a megabyte a day
KEPT_ALL_RATE = 1.0  # rows a second by all sources: 30 MB a day at the worst, and the audit log is kept for a year
SOURCES_MAX = 1024  # that are told apart; beyond, the oldest begins anew
TELL_AFTER = 10.0  # seconds from the first line that is left out to the line that says how many


class _Bucket:
    """Lines that may still come, and those that did not."""

    __slots__ = ("at", "left_out", "since", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens, self.at = tokens, now
        self.left_out, self.since = 0, now

    def take(self, burst: float, rate: float, now: float) -> bool:
        self.tokens = min(burst, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def leave_out(self, now: float) -> None:
        if not self.left_out:
            self.since = now
        self.left_out += 1


class Throttle:
    """Counts what it does not admit, until due() tells it."""

    def __init__(self, now: float, rate: float = RATE, all_rate: float = ALL_RATE) -> None:
        self._rate, self._all_rate = rate, all_rate
        self._all = _Bucket(ALL_BURST, now)
        self._sources: dict[str, _Bucket] = {}
        self._untold: dict[str, _Bucket] = {}

    def admits(self, source: str, now: float) -> bool:
        """A line that this source caused may be written."""
        bucket = self._sources.get(source)
        if bucket is None:
            if len(self._sources) >= SOURCES_MAX:
                del self._sources[next(iter(self._sources))]
            bucket = self._sources[source] = self._untold.get(source) or _Bucket(BURST, now)
        if bucket.take(BURST, self._rate, now) and self._all.take(ALL_BURST, self._all_rate, now):
            return True
        if len(self._untold) >= SOURCES_MAX:
            source, bucket = "others", self._all
        bucket.leave_out(now)
        self._untold[source] = bucket
        return False

    def due(self, now: float) -> list[tuple[str, int]]:
        """Sources with the number of lines that were left out, where it is time to say so."""
        told = []
        for source, bucket in [*self._untold.items()] if self._untold else ():
            if now - bucket.since >= TELL_AFTER:
                told.append((source, bucket.left_out))
                bucket.left_out = 0
                del self._untold[source]
        return told
