"""What `rportd` does besides serving: `config check`, `hash-password`, `service`."""

from collections.abc import Sequence

from rport.config import command
from rport.server.options import TABLE
from rport.server.settings import build

NAMES = ("config", "hash-password", "service")


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    verb, *rest = argv
    if verb == "config":
        from rport.server.authorized import load_keys
        from rport.server.certificates import Certificates
        from rport.server.users import load_users

        readings = (lambda s: load_users(s.auth, s.authfile), lambda s: load_keys(s.authorized_keys), Certificates)
        return command(TABLE, build, readings, rest)
    if verb == "hash-password":
        from rport.server.hash_password import hash_password_command

        return hash_password_command(rest)
    from rport.install import main

    return main(TABLE, rest)
