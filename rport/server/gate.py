"""How many connections may be unauthenticated at once, in all and from one address. Pure."""

TOTAL_MAX = 256
SOURCE_MAX = 32  # a NAT full of honest clients reconnects in a burst; one attacker still leaves room for others


class Gate:
    """Counts those inside; enter() says no when one more would be too many."""

    def __init__(self, total: int = TOTAL_MAX, per_source: int = SOURCE_MAX) -> None:
        self.total, self.per_source = total, per_source
        self.inside = 0
        self._by_source: dict[str, int] = {}

    def enter(self, source: str) -> bool:
        count = self._by_source.get(source, 0)
        if self.inside >= self.total or count >= self.per_source:
            return False
        self._by_source[source] = count + 1
        self.inside += 1
        return True

    def leave(self, source: str) -> None:
        count = self._by_source.get(source, 0)
        if count <= 1:
            self._by_source.pop(source, None)
        else:
            self._by_source[source] = count - 1
        self.inside -= 1
