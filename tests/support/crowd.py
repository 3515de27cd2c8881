"""Many clients in one process: `python -m tests.support.crowd PORT COUNT TARGET_PORT`.

Each is a whole Agent with one tunnel to TARGET_PORT on a port that the server picks. They come all at once, so most
are turned away at the gate at first and try again, as clients do. Prints `up` when all tunnels are there.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from rport.client.address import parse_address
from rport.client.agent import Agent
from rport.client.settings import Settings
from rport.remote import Remote


class Tunnels(logging.Handler):
    """Counts the lines by which clients say that a tunnel is there."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self._missing = wanted
        self.all_there = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self._missing -= str(record.msg).startswith("Tunnel ") and record.levelno == logging.INFO
        if not self._missing:
            self.all_there.set()


async def come(port: int, count: int, target: int) -> None:
    """Connect, say so, stay for ever."""
    tunnels = Tunnels(count)
    log = logging.getLogger("rport")
    log.addHandler(tunnels)
    log.setLevel(logging.INFO)
    remote = Remote.parse(f"127.0.0.1:0:127.0.0.1:{target}")
    options = Settings(
        parse_address(f"127.0.0.1:{port}"), (remote,), state_dir=os.environ["RPORT_STATE_DIR"], max_retry_interval=1.0
    )
    clients = asyncio.gather(*(Agent(options).run() for _ in range(count)))
    await tunnels.all_there.wait()
    print("up", flush=True)
    await clients


def main(words: Sequence[str]) -> None:
    """PORT COUNT TARGET_PORT."""
    port, count, target = map(int, words)
    asyncio.run(come(port, count, target))


if __name__ == "__main__":
    main(sys.argv[1:])
