"""What `rportd` does besides serving: `config check`, `hash-password`, `service`."""

from collections.abc import Sequence

from rport.options import check_command
from rport.server.options import TABLE
from rport.server.settings import build

NAMES = ("config", "hash-password", "service")


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    command, *rest = argv
    if command == "config":
        return check_command(TABLE, build, rest)
    raise NotImplementedError(command)
