"""What `rport` does besides serving: `config check`, `enroll`, `key`, `service`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rport.config import command

if TYPE_CHECKING:
    from rport.client.settings import Settings


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    verb, *rest = argv
    if verb == "config":
        from rport.client.options import TABLE
        from rport.client.settings import build

        return command(TABLE, build, (_read_identity, _read_certificates), rest)
    if verb == "enroll":
        from rport.client.enroll import enroll_command

        return enroll_command(rest)
    if verb == "key":
        from rport.client.identity import key_command

        return key_command(rest)
    from rport.client.options import TABLE
    from rport.install import main

    return main(TABLE, rest)


def _read_identity(settings: "Settings") -> None:
    from rport import keys

    if settings.identity is not None:
        keys.load(settings.identity)


def _read_certificates(settings: "Settings") -> None:
    from rport.tls import client_context

    client_context(settings.tls_ca, settings.tls_cert, settings.tls_key, insecure=settings.tls_insecure)
