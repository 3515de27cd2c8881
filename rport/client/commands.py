"""What `rport` does besides serving: `config check`, `key`, `service`."""

from collections.abc import Sequence

from rport.options import check_command


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    command, *rest = argv
    if command == "config":
        from rport.client.options import TABLE
        from rport.client.settings import build

        return check_command(TABLE, build, rest)
    raise NotImplementedError(command)
