"""The `rport` command."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rport import __version__
from rport.cli import complain, printing, run
from rport.client.options import TABLE
from rport.errors import UsageError

if TYPE_CHECKING:
    from rport.client.agent import Agent
    from rport.client.console import Console
    from rport.client.settings import Settings
    from rport.notify import Supervisor


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("config", "enroll", "key", "service"):
        from rport.client import commands  # here: a client that serves need not carry them

        return printing("rport", lambda: commands.run(argv))
    if list(argv) == ["help"]:  # no server's name
        return complain("rport", UsageError("unexpected argument 'help'; see rport --help"))
    words = TABLE.parser(__version__).parse(argv)
    from rport.privileges import check_root  # here, so that --help answers at once

    try:
        settings = _load(words)
        settings.address  # noqa: B018  raises when nobody gave one
        check_root("rport", settings.allow_root)
    except UsageError as error:
        return complain("rport", error)
    return run("rport", _serve(settings, words))


def _load(words: Namespace, console: "Console | None" = None) -> "Settings":
    """What is configured now; the log goes where it says. Raises UsageError."""
    from rport import logs
    from rport.client.settings import build

    settings = TABLE.load(words, build)
    if console is None or not console.attach(settings):
        logs.start_as(settings)
    return settings


async def _serve(settings: "Settings", words: Namespace) -> None:
    import asyncio
    import logging
    import signal

    from rport import remote
    from rport.client.agent import Agent
    from rport.notify import Supervisor
    from rport.statistics import OnStatistics

    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    OnStatistics(loop, agent.log_statistics)
    supervisor = Supervisor(agent.status.line)
    agent.status.watchers.append(supervisor.changed)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, agent, supervisor)
    console = _console(agent)
    loop.add_signal_handler(signal.SIGHUP, _reload, agent, supervisor, console, words)
    for hint in filter(None, map(remote.advice, words.remotes)):
        logging.getLogger("rport").warning("%s", hint)
    # Ready to try: the server or the network may be away for hours, and neither the start of the machine nor a manager
    # that waits for a while only shall depend on them.
    supervisor.ready()
    try:
        await agent.run()
    finally:
        supervisor.close()
        if console is not None:
            console.close()


def _console(agent: "Agent") -> "Console | None":
    """Where somebody looks at a terminal."""
    import os

    if not os.isatty(2):
        return None
    import asyncio
    import signal

    from rport.client.console import Console  # here: few have one

    console = Console(agent)
    console.attach(agent.settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, console.woken)
    return console


def _stop(agent: "Agent", supervisor: "Supervisor") -> None:
    supervisor.stopping()
    agent.stop()


def _reload(agent: "Agent", supervisor: "Supervisor", console: "Console | None", words: Namespace) -> None:
    """SIGHUP: what can change while the client runs is used from the next connection on; a wait for it ends now."""
    from rport.config import reload

    supervisor.reloading()
    agent.reconfigure(reload(TABLE, agent.settings, lambda: _load(words, console)))
    supervisor.ready()
