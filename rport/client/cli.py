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
    from rport.client.settings import build  # here, so that --help answers at once

    try:
        settings = TABLE.load(words, build)
        settings.address  # noqa: B018  raises when nobody gave one
    except UsageError as error:
        return complain("rport", error)
    import logging

    from rport import logs, remote

    logs.start(settings.verbose)
    for hint in filter(None, map(remote.advice, words.remotes)):
        logging.getLogger("rport").warning("%s", hint)
    return run("rport", _serve(settings, words))


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
    from rport.client.settings import build
    from rport.config import reload

    agent.settings = reload(TABLE, agent.settings, lambda: TABLE.load(words, build))
    agent.hurry()
