"""Copies of a PostgreSQL database, by PostgreSQL's own programs."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from typing import IO, Any

import sqlalchemy as sa

from rport.errors import UsageError
from rport.server.store.copies import refuse_newer
from rport.server.store.engine import connection_arguments
from rport.server.store.schema import metadata

ARCHIVE = b"PGDMP"  # what pg_dump's own format begins with
TABLES = ("alembic_version", *metadata.tables)  # others that share the database are nobody's business here

_REVISION = re.compile(rb"COPY \S*alembic_version \(version_num\) FROM stdin;\n(\w+)\n")


def dump(url: sa.URL, to: str) -> None:
    """As it is at one moment, whoever writes meanwhile. Raises UsageError."""
    tables = (f"--table={name}" for name in TABLES)
    _run("pg_dump", url, "--no-password", "--format=custom", *tables, f"--file={to}")


def load(url: sa.URL, file: str) -> str:
    """In one transaction, in place of what is there; which revision it is. Raises UsageError."""
    with tempfile.TemporaryFile() as script:
        # Whole before anything begins: of half a file, psql would make half a database.
        _run("pg_restore", url, "--no-owner", "--no-privileges", "--file=-", _as_path(file), stdout=script)
        script.seek(0)
        found = _revision(script)
        if found is None:
            raise UsageError(f"{file} has no tables of rportd's")
        refuse_newer(found, file)
        script.seek(0)
        drop = f"DROP TABLE IF EXISTS {', '.join(TABLES)} CASCADE"
        argv = ("--no-password", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
        quiet = "SET client_min_messages = error"
        _run("psql", url, *argv, f"--command={quiet}", f"--command={drop}", "--file=-", stdin=script)
    return found


def _revision(script: Iterable[bytes]) -> str | None:
    before = b""
    for line in script:
        if match := _REVISION.fullmatch(before + line):
            return match[1].decode()
        before = line
    return None


def _as_path(file: str) -> str:
    return os.path.join(".", file) if file.startswith("-") else file


def _run(
    program: str, url: sa.URL, *argv: str, stdin: Any = subprocess.DEVNULL, stdout: IO[bytes] | None = None
) -> None:
    """The password goes in its environment, which others cannot see. Raises UsageError."""
    if shutil.which(program) is None:
        raise UsageError(f"{program} is not installed: apt install postgresql-client")
    done = subprocess.run(
        [program, *argv], env=os.environ | _environment(url), stdin=stdin,
        stdout=stdout or subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise UsageError(words.replace(": error: ", ": ", 1) or f"{program} failed")


def _environment(url: sa.URL) -> dict[str, str]:
    """libpq's names for what the driver is told."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "database": "PGDATABASE",
             "ssl": "PGSSLMODE"}  # fmt: skip
    given = connection_arguments(url)
    return {names[name]: _listed(value) for name, value in given.items() if name in names}


def _listed(value: Any) -> str:
    return ",".join("" if part is None else str(part) for part in value) if isinstance(value, list) else str(value)
