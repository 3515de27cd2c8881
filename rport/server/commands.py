"""What `rportd` does besides serving: `config check`, `hash-password`, `service`."""

from collections.abc import Sequence
from typing import Any

from rport.config import command
from rport.server.options import TABLE
from rport.server.settings import build

NAMES = ("config", "hash-password", "service")


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    verb, *rest = argv
    if verb == "config":
        return command(TABLE, _inspect, rest)
    if verb == "hash-password":
        from rport.server.hash_password import hash_password_command

        return hash_password_command(rest)
    from rport.install import main

    return main(TABLE, rest)


def _inspect(values: dict[str, Any]) -> None:
    """Whether the server could start with them; the files that they name are read. Raises UsageError."""
    from rport.server.admission import Admission
    from rport.server.certificates import Certificates

    settings = build(values)
    Admission(settings)
    Certificates(settings)
