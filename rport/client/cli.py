"""The `rport` command."""

import itertools
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rport import __version__
from rport.cli import Parser, begin, complain, lookup, parse_login, read, run, state_dir
from rport.errors import UsageError

if TYPE_CHECKING:
    from rport.client.agent import Options

EPILOG = """\
remotes (what listens on the server => what this client dials):
  3000                            0.0.0.0:3000 => 127.0.0.1:3000
  2222:22                         0.0.0.0:2222 => 127.0.0.1:22
  3000:example.com:80             0.0.0.0:3000 => example.com:80
  127.0.0.1:0:db.internal:5432    a free port on the server's loopback => db.internal:5432

examples:
  rport tunnel.example.com:9999 3389
  rport --auth me:secret tunnel.example.com:9999 2222:22 8080:80
  rport tunnel.example.com:9999                       # stand by for tunnels asked for at the server

exit codes: 0 ordered stop, 1 usage, 3 refused by the server, 4 wrong fingerprint, 5 wrong login, 6 retries used up
"""


def parser() -> Parser:
    """The command line of `rport`."""
    p = Parser(prog="rport", description="Make services behind this machine reachable through a server.", epilog=EPILOG)
    p.add_argument(
        "server", nargs="?", metavar="SERVER", help="[http://]HOST[:PORT][/PATH] of rportd; port 80 if left out"
    )
    p.add_argument("remotes", nargs="*", metavar="REMOTE", help="a tunnel; none = stand by")
    p.option("fingerprint", metavar="F", help="the server's key, or its first 16 or more hex digits")
    p.option("auth", metavar="USER:PASSWORD", help="login; better in the environment as RPORT_AUTH or AUTH")
    p.option("keepalive", metavar="D", default="25s", help="time between pings, 0 = off (default 25s)")
    p.option("max-retry-count", metavar="N", default="-1", help="tries after the first; -1 = for ever (default)")
    p.option("max-retry-interval", metavar="D", default="5m", help="longest wait between tries (default 5m)")
    p.option("allow", metavar="RULE", action="append", default=[],
             help="also dial this for the server: HOST:PORT, HOST:*, a network, or any; repeatable")  # fmt: skip
    p.option("verbose", "-v", action="store_true", help="log more")
    p.option("version", action="version", version=f"rport {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    begin()
    words = parser().parse(sys.argv[1:] if argv is None else argv)
    try:
        if words.server is None:
            raise UsageError("no server given; try: rport HOST:PORT 3389, or rport --help")
        options = _options(words)
    except UsageError as error:
        return complain("rport", error)
    import logging

    from rport import logs, remote

    logs.start(words.verbose)
    for hint in filter(None, map(remote.advice, words.remotes)):
        logging.getLogger("rport").warning("%s", hint)
    return run("rport", _serve(options))


def _options(words: Namespace) -> "Options":
    # imported here so that --help answers at once
    from rport.client.address import parse_address
    from rport.client.agent import REMOTES_MAX, RETRY_START, Options
    from rport.client.policy import Rule
    from rport.duration import parse_duration
    from rport.keys import parse_fingerprint
    from rport.remote import Remote

    auth, source = lookup(words, "auth", "RPORT_AUTH", "AUTH")
    user, password = read(parse_login, auth, source) if auth is not None else (None, None)
    pin = parse_fingerprint(words.fingerprint) if words.fingerprint is not None else None
    options = Options(
        address=parse_address(words.server),
        remotes=[Remote.parse(text) for text in words.remotes],
        state_dir=state_dir() if pin is None else None,
        fingerprint=pin,
        user=user,
        password=password,
        keepalive=read(parse_duration, words.keepalive, "--keepalive"),
        max_retry_count=read(_parse_count, words.max_retry_count, "--max-retry-count"),
        max_retry_interval=max(read(parse_duration, words.max_retry_interval, "--max-retry-interval"), RETRY_START),
        allow=[Rule.parse(text) for text in words.allow],
    )
    if len(options.remotes) > REMOTES_MAX:
        raise UsageError(f"{len(options.remotes)} remotes given; one client carries at most {REMOTES_MAX}")
    for one, other in itertools.combinations(options.remotes, 2):
        if one.clashes(other):
            raise UsageError(f"remotes {one} and {other}: the server can listen there for one of them only")
    return options


def _parse_count(text: str) -> int | None:
    """None = for ever."""
    try:
        count = int(text)
        if count < -1:
            raise ValueError
    except ValueError:
        raise UsageError(f"{text!r} is not a whole number: write it like 5; -1 = for ever") from None
    return None if count < 0 else count


async def _serve(options: "Options") -> None:
    import asyncio
    import signal

    from rport.client.agent import Agent

    agent = Agent(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, agent.hurry)
    await agent.run()
