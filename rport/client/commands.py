"""What `rport` does besides serving: `config check`, `key`, `service`."""

from collections.abc import Sequence
from typing import Any

from rport.config import command


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    verb, *rest = argv
    if verb == "config":
        from rport.client.options import TABLE

        return command(TABLE, _inspect, rest)
    if verb == "key":
        from rport.client.identity import key_command

        return key_command(rest)
    from rport.client.options import TABLE
    from rport.install import main

    return main(TABLE, rest)


def _inspect(values: dict[str, Any]) -> None:
    """Whether a client could start with them; the files that they name are read. Raises UsageError."""
    from rport import keys
    from rport.client.settings import build
    from rport.tls import client_context

    settings = build(values)
    if settings.identity is not None:
        keys.load(settings.identity)
    client_context(settings.tls_ca, settings.tls_cert, settings.tls_key, insecure=settings.tls_insecure)
