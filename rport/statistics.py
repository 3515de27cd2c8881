"""What a program has done and does now, in numbers: SIGUSR2 and the API show them.

Whatever both programs have is here; each adds its own. The core counts anyway; once a second the sums are looked at,
for the rates of the last seconds.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from rport._pump import Pump
from rport.signals import STATISTICS
from rport.text import size, spoken

RATE_SECONDS = 10
LAG_SECONDS = 60
PAUSE = 0.1  # seconds between two prints; however many signals come meanwhile, one more follows


class Numbers(NamedTuple):
    """Payload is what streams carry; a carrier's octets are those with all that goes around it. In is what the peers
    sent. Rates are in octets a second, over the last RATE_SECONDS and since the last print; lags over LAG_SECONDS."""

    uptime_seconds: float
    streams: int
    streams_total: int
    bytes_in: int
    bytes_out: int
    carrier_bytes_in: int
    carrier_bytes_out: int
    rate_in: int
    rate_out: int
    rate_in_since_print: int
    rate_out_since_print: int
    memory_bytes: int
    lag_p95_ms: float
    lag_max_ms: float
    descriptors: int
    descriptors_max: int


class Counts(NamedTuple):
    """Of Numbers, those that a display looks at all the time."""

    streams: int
    streams_total: int
    bytes_in: int
    bytes_out: int
    rate_in: int
    rate_out: int


class Statistics:
    """Of one pump."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._started = time.monotonic()
        self._printed = (self._started, 0, 0)
        self._samples = deque([self._printed], RATE_SECONDS + 1)
        self._lags = deque[float](maxlen=LAG_SECONDS)
        pump.on_second = self._on_second

    def _on_second(self, late: float) -> None:
        self._lags.append(late)
        _, data_in, data_out, _, _ = self._pump.traffic()
        self._samples.append((time.monotonic(), data_in, data_out))

    def counts(self) -> Counts:
        """As they are now, for little."""
        streams, data_in, data_out, _, _ = self._pump.traffic()
        rates = _rates(self._samples[0], (time.monotonic(), data_in, data_out))
        return Counts(self._streams(), streams, data_in, data_out, *rates)

    def _streams(self) -> int:
        return sum(link.busy() for link in self._pump.links)

    def numbers(self) -> Numbers:
        """As they are now."""
        streams, data_in, data_out, carrier_in, carrier_out = self._pump.traffic()
        now = (time.monotonic(), data_in, data_out)
        lags = [round(lag * 1000, 1) for lag in sorted(self._lags)] or [0.0]
        return Numbers(
            round(now[0] - self._started, 3),
            self._streams(),
            streams,
            data_in,
            data_out,
            carrier_in,
            carrier_out,
            *_rates(self._samples[0], now),
            *_rates(self._printed, now),
            memory(),
            lags[(len(lags) * 95 - 1) // 100],
            lags[-1],
            descriptors(),
            self._pump.descriptor_limit,
        )

    def printed(self, numbers: Numbers) -> None:
        """The rates since the last print begin anew."""
        self._printed = (self._started + numbers.uptime_seconds, numbers.bytes_in, numbers.bytes_out)


def _rates(before: tuple[float, int, int], now: tuple[float, int, int]) -> tuple[int, int]:
    seconds = max(now[0] - before[0], 0.001)
    return round((now[1] - before[1]) / seconds), round((now[2] - before[2]) / seconds)


def memory() -> int:
    """Octets resident; where the system does not say, the most that ever were."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def descriptors() -> int:
    """Open ones; 0 where the system does not say."""
    for path in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(path)) - 1  # less the one that this takes
        except OSError:
            pass
    return 0


def sentence(first: str, n: Numbers) -> str:
    """The line for the log; `first` says what only the one program has."""
    return (
        f"Statistics: up {spoken(n.uptime_seconds)}; {first}; {n.streams} streams ({n.streams_total} in all); "
        f"in {_way(n.bytes_in, n.rate_in, n.rate_in_since_print, n.carrier_bytes_in)}; "
        f"out {_way(n.bytes_out, n.rate_out, n.rate_out_since_print, n.carrier_bytes_out)}; "
        f"memory {size(n.memory_bytes)}; loop lag {n.lag_p95_ms} ms, at most {n.lag_max_ms} ms; "
        f"descriptors {n.descriptors} of {n.descriptors_max}"
    )


def _way(octets: int, rate: int, since: int, carrier: int) -> str:
    return f"{size(octets)} ({size(rate)}/s now, {size(since)}/s since the last print, {size(carrier)} on the wire)"


class OnStatistics:
    """From its making on, SIGUSR2 has `show` called in the loop.

    Not by the loop's own way of handling signals: that ends with the loop, and leaves one that kills.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, show: Callable[[], None]) -> None:
        self._loop, self._show = loop, show
        self._pausing = self._again = False
        if STATISTICS is not None:
            signal.signal(STATISTICS, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._asked)

    def _asked(self) -> None:
        if self._pausing:
            self._again = True
            return
        self._pausing = True
        self._loop.call_later(PAUSE, self._rested)
        self._show()

    def _rested(self) -> None:
        again, self._pausing, self._again = self._again, False, False
        if again:
            self._asked()
