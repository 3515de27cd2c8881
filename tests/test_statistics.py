import asyncio
import gc
import os
import re
import time

import pytest

from rport._pump import Pump
from rport.statistics import Statistics, descriptors, memory, sentence
from rport.text import size, spoken
from tests.support.wire import ACCEPT, DATA, FIN, ask, frame, link_with_peer, open_frame, run, until
from tests.test_pump import target


def test_what_has_ended_stays_counted() -> None:
    async def body(pump: Pump) -> None:
        statistics = Statistics(pump)
        for number in (1, 2):
            link, watcher, peer = link_with_peer(pump, client=True)
            with target() as (listener, where):
                link.set_target(1, where)
                peer.send(open_frame(2), open_frame(4, tunnel=9), frame(2, DATA, b"x" * 1000))
                await ask(lambda: peer.wait_for(ACCEPT))  # noqa: B023
                sock, _ = await ask(listener.accept)
                sock.sendall(b"y" * 300)
                await ask(lambda: peer.wait_for(DATA))  # noqa: B023
                now = statistics.numbers()
                assert (now.streams, now.streams_total) == (1, 2 * number)
                assert (now.bytes_in, now.bytes_out) == (1000 * number, 300 * number)
                assert now.carrier_bytes_in > 1000 * number
                assert now.carrier_bytes_out > 300 * number
                sock.close()
                peer.send(frame(2, FIN))
                peer.close()
                await watcher.ended.wait()
            now = statistics.numbers()
            assert (now.streams, now.streams_total) == (0, 2 * number)
            assert (now.bytes_in, now.bytes_out) == (1000 * number, 300 * number)

    run(body)


def test_rates_and_lag() -> None:
    async def body(pump: Pump) -> None:
        statistics = Statistics(pump)
        link, _, peer = link_with_peer(pump, client=True)
        with target() as (listener, where):
            link.set_target(1, where)
            peer.send(open_frame(2), frame(2, DATA, b"x" * 1_000))
            (await ask(listener.accept))[0].close()
            await until(lambda: statistics.numbers().bytes_in == 1_000)
            numbers = statistics.numbers()
            assert numbers.rate_in == numbers.rate_in_since_print > 0
            assert numbers.rate_out == 0
            statistics.printed(numbers)
            assert statistics.numbers().rate_in_since_print == 0
            assert statistics.numbers().rate_in > 0
            assert numbers.lag_max_ms == 0
            time.sleep(1.5)  # what is measured
            await until(lambda: statistics.numbers().lag_max_ms > 0)
            assert statistics.numbers().lag_p95_ms <= statistics.numbers().lag_max_ms
        peer.close()

    run(body)


def test_the_process() -> None:
    assert 5_000_000 < memory() < 5_000_000_000
    gc.collect()  # else what tests before left is closed between the two looks, now and then
    before = descriptors()
    fd = os.open(os.devnull, os.O_RDONLY)
    assert descriptors() == before + 1
    os.close(fd)


def test_a_sentence() -> None:
    async def main() -> str:
        pump = Pump(asyncio.get_running_loop())
        try:
            return sentence("1 session", Statistics(pump).numbers())
        finally:
            pump.close()

    line = asyncio.run(main())
    assert re.match(r"Statistics: up 0s; 1 session; 0 streams \(0 in all\); in 0 B \(0 B/s now, 0 B/s since", line)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_499, "99.5 kB"),
        (99_500, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (5_000_000_000_000, "5.0 TB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_sizes(octets: int, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3600, "1h 0m"), (90061, "1d 1h"), (1e7, "115d 17h")]
)
def test_spoken_durations(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
