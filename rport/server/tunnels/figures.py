"""What a tunnel has carried. Pure; whoever asks says what time it is, in seconds that only grow."""

from collections import deque
from typing import NamedTuple

SAMPLE_EVERY = 5.0  # seconds
SAMPLES = 3  # so many back: a rate is over the last 10 to 15 seconds


class Figures(NamedTuple):
    """In is what came from the client. `idle`: seconds since a connection or an octet, or since it is listened on."""

    connections: int = 0
    connections_total: int = 0
    denied: int = 0
    rejected: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    idle: float = 0.0

    def behind(self, past: "Figures") -> "Figures":
        """These, with what came before them."""
        return Figures(
            self.connections,
            past.connections_total + self.connections_total,
            past.denied + self.denied,
            past.rejected + self.rejected,
            past.bytes_in + self.bytes_in,
            past.bytes_out + self.bytes_out,
            self.idle,
        )


NOTHING = Figures()


class Meter:
    """Rates, from sums that are looked at from time to time."""

    __slots__ = ("_samples",)

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int, int]] = deque([(now, 0, 0)], SAMPLES)

    def sample(self, figures: Figures, now: float) -> None:
        """To be called every SAMPLE_EVERY seconds."""
        self._samples.append((now, figures.bytes_in, figures.bytes_out))

    def rates(self, figures: Figures, now: float) -> tuple[float, float]:
        """Octets a second, in and out."""
        then, bytes_in, bytes_out = self._samples[0]
        passed = max(now - then, 1.0)
        return (figures.bytes_in - bytes_in) / passed, (figures.bytes_out - bytes_out) / passed
