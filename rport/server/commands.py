"""What `rportd` does besides serving: `config check`, `db`, `hash-password`, `health`, `service`, `token`, `user`."""

from collections.abc import Sequence

from rport.config import command
from rport.server.options import TABLE
from rport.server.settings import build

NAMES = ("config", "db", "hash-password", "health", "service", "token", "user")


def run(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    verb, *rest = argv
    if verb == "config":
        from rport.server.authorized import load_keys
        from rport.server.door.certificates import Certificates
        from rport.server.users import load_users

        readings = (lambda s: load_users(s.auth, s.authfile), lambda s: load_keys(s.authorized_keys), Certificates)
        return command(TABLE, build, readings, rest)
    if verb == "db":
        from rport.server.store.commands import db_command

        return db_command(rest)
    if verb in ("user", "token"):
        from rport.server.people_commands import token_command, user_command

        return user_command(rest) if verb == "user" else token_command(rest)
    if verb == "hash-password":
        from rport.server.hash_password import hash_password_command

        return hash_password_command(rest)
    if verb == "health":
        from rport.server.health import health_command

        return health_command(rest)
    from rport.install import main

    return main(TABLE, rest)
