"""on_postgres.py ROOT RPORTD: that program, in the tree ROOT, with a PostgreSQL that runs on this machine.

Its tables are made by alembic, its driver writes and reads.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.postgres import own_postgres

# The server listens on a socket in its directory, which the tree sees as /bound.
ENTER = 'mount --bind "$2" "$1/bound"; root=$1; shift 2; exec chroot "$root" "$@"'
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "RPORT_CONFIG": "none",
    "RPORT_ALLOW_ROOT": "yes",
}


def main() -> int:
    root, program = sys.argv[1:]
    Path(root, "bound").mkdir(exist_ok=True)
    with own_postgres() as server:
        url = server.database().replace(str(server.directory), "/bound")

        def run(*words: str, text: str = "") -> str:
            enter = ["unshare", "--mount", "sh", "-ec", ENTER, "sh", root, str(server.directory)]
            done = subprocess.run(
                [*enter, program, *words, "--db", url], input=text, capture_output=True, text=True, env=ENVIRONMENT
            )
            if done.returncode != 0:
                sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
            return done.stdout

        run("db", "upgrade")
        run("db", "check")
        run("user", "add", "somebody", "--role", "admin", text="correct horse battery staple\n")
        token = run("token", "create", "somebody")
        users = run("user", "list")
    assert "rpt_" in token, token
    assert "somebody" in users, users
    print("db upgrade, db check, user add, token create, user list")
    return 0


sys.exit(main())
