"""A real PostgreSQL, started when the first test wants it, stopped with the last; each test has its own database."""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import until

USER = "postgres"  # Debian's package makes it; the server refuses to be root


class Postgres:
    """Listens on a Unix socket alone. `stop` and `start` are for tests of what happens without it."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._numbers = itertools.count(1)
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self.directory, USER)
            self.directory.chmod(0o755)
            self._as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"]
        self._data = self.directory / "data"
        self._run("initdb", "-D", str(self._data), "-U", "rport", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def _run(self, program: str, *argv: str) -> str:
        done = subprocess.run(
            [*self._as_user, str(self._programs / program), *argv], capture_output=True, text=True, cwd=self.directory
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        argv = ("-D", str(self._data), "-k", str(self.directory), "-c", "listen_addresses=", "-c", "fsync=off")
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, str(self._programs / "postgres"), *argv], stdout=log, stderr=log, cwd=self.directory
            )
        until(self._answers, "PostgreSQL takes connections")

    def _answers(self) -> bool:
        ready = subprocess.run([self._programs / "pg_isready", "-h", self.directory, "-q"])
        return ready.returncode == 0

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: a fast stop, which cuts connections. SIGQUIT: at once, as after a power cut."""
        self._process.send_signal(number)
        self._process.wait()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections, and answers nobody."""
        number = self._process.pid
        os.kill(number, signal.SIGSTOP)  # the parent first: nothing new is started
        children = [*map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())]
        for pid in children:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in [number, *children]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def database(self) -> str:
        """The URL of a new one."""
        name = f"test{next(self._numbers)}"
        self._run("createdb", "-h", str(self.directory), "-U", "rport", name)
        return f"postgresql+asyncpg://rport@/{name}?host={self.directory}"

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)


def find_programs() -> Path | None:
    """Where Debian puts those of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


_running: Postgres | None = None


def postgres() -> Postgres:
    """The one of this process. Skips the test where it is not installed."""
    global _running
    if _running is None:
        programs = find_programs()
        if programs is None:
            pytest.skip("PostgreSQL is not installed: apt install postgresql")
        _running = Postgres(programs)
        atexit.register(_running.close)
    return _running


@contextlib.contextmanager
def own_postgres() -> Iterator[Postgres]:
    """One that the test may stop."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    server = Postgres(programs)
    try:
        yield server
    finally:
        server.close()


def database_url(kind: str, directory: Path) -> str:
    """Of a new database: "sqlite", in that directory, or "postgresql"."""
    return f"sqlite+aiosqlite:///{directory / 'rportd.db'}" if kind == "sqlite" else postgres().database()
