"""Many rport clients in one process, to load a server: `python -m tests.bench.swarm PORT COUNT`.

Each client is a whole Agent with a tunnel on a port that the server picks. Prints `up` each time all are connected and
`down` each time none is any more. Ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from rport.cli import state_dir
from rport.client.agent import Agent, Options
from rport.client.dial import parse_address
from rport.remote import Remote
from tests.bench.ports import HOST

_TARGET = "127.0.0.1:0:127.0.0.1:9"  # discard; nobody visits
_POLL = 0.02  # seconds


async def _report(agents: Sequence[Agent]) -> None:
    """Prints the changes between all connected and none connected."""
    said = "down"
    while True:
        connected = sum(agent.session is not None for agent in agents)
        now = "up" if connected == len(agents) else "down" if not connected else said
        if now != said:
            print(now, flush=True)
            said = now
        await asyncio.sleep(_POLL)


async def _run(port: int, count: int) -> None:
    address = parse_address(f"{HOST}:{port}")
    options = Options(address, [Remote.parse(_TARGET)], state_dir(), max_retry_interval=1.0)
    agents = [Agent(options) for _ in range(count)]
    tasks = [asyncio.ensure_future(agent.run()) for agent in agents]
    report = asyncio.ensure_future(_report(agents))
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
