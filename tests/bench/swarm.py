"""Many rport clients in one process, to load a server: `python -m tests.bench.swarm PORT COUNT`.

Each client is a whole Agent with a tunnel on a port that the server picks. Prints `up` each time all tunnels are
there and `down` each time no client is connected any more. Ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from rport.client.address import parse_address
from rport.client.agent import Agent
from rport.client.settings import Settings
from rport.remote import Remote
from tests.bench.ports import HOST

_TARGET = "127.0.0.1:0:127.0.0.1:9"  # discard; nobody visits
_POLL = 0.02  # seconds


class _Tunnels(logging.Handler):
    """Counts the lines by which clients say that a tunnel is there."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO and record.msg.startswith("Tunnel "):
            self.count += 1


async def _report(agents: Sequence[Agent], tunnels: _Tunnels) -> None:
    """Prints the changes between all there and none connected."""
    said = "down"
    while True:
        connected = sum(agent.session is not None for agent in agents)
        if said == "down" and connected == len(agents) <= tunnels.count:
            said = "up"
            print(said, flush=True)
        elif said == "up" and not connected:
            said, tunnels.count = "down", 0
            print(said, flush=True)
        await asyncio.sleep(_POLL)


def _count_tunnels() -> _Tunnels:
    tunnels = _Tunnels()
    log = logging.getLogger("rport")
    log.addHandler(tunnels)
    log.setLevel(logging.INFO)
    log.propagate = False
    return tunnels


async def _run(port: int, count: int) -> None:
    address = parse_address(f"{HOST}:{port}")
    options = Settings(
        address, (Remote.parse(_TARGET),), state_dir=os.environ["RPORT_STATE_DIR"], max_retry_interval=1.0
    )
    agents = [Agent(options) for _ in range(count)]
    tasks = [asyncio.ensure_future(agent.run()) for agent in agents]
    report = asyncio.ensure_future(_report(agents, _count_tunnels()))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ended = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait([*tasks, report, ended], return_when=asyncio.FIRST_COMPLETED)
    for agent in agents:
        agent.stop()
    for task in done - {ended}:
        task.result()  # a client or the report that ended by itself has failed
    report.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, report)


def main(words: Sequence[str]) -> None:
    """PORT COUNT."""
    port, count = map(int, words)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if soft < hard else (soft, hard))
    asyncio.run(_run(port, count))


if __name__ == "__main__":
    main(sys.argv[1:])
