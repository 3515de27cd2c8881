"""The `rport` command."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rport import __version__
from rport.cli import begin, complain, run
from rport.client.options import TABLE
from rport.errors import UsageError

if TYPE_CHECKING:
    from rport.client.agent import Agent
    from rport.client.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    begin()
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("config", "key", "service"):
        from rport.client import commands  # here: a client that serves need not carry them

        return commands.run(argv)
    words = TABLE.parser(__version__).parse(argv)
    import logging  # here, so that --help answers at once

    from rport import remote

    try:
        settings = _load(words)
        settings.address  # noqa: B018  raises when nobody gave one
    except UsageError as error:
        return complain("rport", error)
    for hint in filter(None, map(remote.advice, words.remotes)):
        logging.getLogger("rport").warning("%s", hint)
    return run("rport", _serve(settings, words))


def _load(words: Namespace) -> "Settings":
    """What is configured now; the log goes where it says. Raises UsageError."""
    from rport import logs
    from rport.client.settings import build

    settings = TABLE.load(words, build)
    logs.start_as(settings)
    return settings


async def _serve(settings: "Settings", words: Namespace) -> None:
    import asyncio
    import signal

    from rport.client.agent import Agent

    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, _reload, agent, words)
    await agent.run()


def _reload(agent: "Agent", words: Namespace) -> None:
    """SIGHUP: what can change while the client runs is used from the next connection on; a wait for it ends now."""
    from rport.config import reload

    agent.settings = reload(TABLE, agent.settings, lambda: _load(words))
    agent.hurry()
