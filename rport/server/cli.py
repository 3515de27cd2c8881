"""The `rportd` command."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from rport import __version__, keys, logs
from rport.cli import complain, printing, run
from rport.errors import UsageError
from rport.privileges import check_root
from rport.server import activation, commands, ports
from rport.server.errors import PortUnavailable
from rport.server.options import TABLE
from rport.server.settings import Settings, build


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in commands.NAMES:
        return printing("rportd", lambda: commands.run(argv))
    words = TABLE.parser(__version__).parse(argv)
    try:
        settings = _load(words)
        socks = activation.inherited()
        pair = _key_pair(settings)
        lasting = bool(socks)
        if not socks:
            socks = [ports.listen(settings.host, settings.port, dual=True)]
        check_root("rportd", settings.allow_root)
    except PortUnavailable as error:
        return complain("rportd", UsageError(f"{error}; choose another with --port or --host"))
    except UsageError as error:
        return complain("rportd", error)
    from rport.server.serve import serve  # here: commands and --help need not wait for the web server

    return run("rportd", serve(socks, lasting, pair, settings, lambda: _load(words)))


def _load(words: Namespace) -> Settings:
    """What is configured now; the log goes where it says. Raises UsageError."""
    settings = TABLE.load(words, build)
    logs.start_as(settings)
    return settings


def _key_pair(settings: Settings) -> keys.KeyPair:
    if settings.key is None:
        return keys.load_or_create(os.path.join(settings.state_dir, "key"))
    return keys.from_seed(settings.key)
