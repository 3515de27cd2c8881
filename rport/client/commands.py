"""What `rport` does besides serving: `config check`, `key`, `service`."""

from collections.abc import Sequence

from rport.config import command


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    verb, *rest = argv
    if verb == "config":
        from rport.client.options import TABLE
        from rport.client.settings import build

        return command(TABLE, build, rest)
    if verb == "key":
        from rport.client.identity import key_command

        return key_command(rest)
    from rport.client.options import TABLE
    from rport.service import main

    return main(TABLE, rest)
