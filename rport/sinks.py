"""Where lines go: a stream that somebody reads, or a file that others move away. No write raises, none waits for long.

logging.handlers could do some of it, and would cost the client 0.6 MB.
"""

import os
import select

from rport.errors import UsageError

PATIENCE = 100  # milliseconds that a reader gets once; then lines are left out until it reads again
FILE_MODE = 0o640  # the owner writes, a group of administrators reads


class Sink:
    """Takes whole lines."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._torn = False  # of the last line there is a part

    def write(self, line: bytes, end: bytes = b"\n") -> bool:
        """Add a line. False when there was no room for it."""
        try:
            self._put(line + end)
        except OSError:
            return False
        return True

    def _put(self, data: bytes) -> None:
        rest = b"\n" * self._torn + data
        while rest:
            rest = rest[self._some(rest) :]
            self._torn = bool(rest)

    def _some(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        """Write no more."""


class Stream(Sink):
    """A terminal or a pipe. Whoever holds it up, with Ctrl-S or a pager, does not hold up the program."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._patience = PATIENCE
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def _some(self, data: bytes) -> int:
        ready = self._poll.poll(self._patience)
        self._patience = PATIENCE if ready else 0
        if not ready:
            raise BlockingIOError
        return os.write(self._fd, data[: select.PIPE_BUF])  # so much fits whatever is ready


class File(Sink):
    """Appends to a file that may be renamed, deleted or cut short at any time, as logrotate does."""

    def __init__(self, path: str) -> None:
        """Raises UsageError for a file that cannot be written."""
        super().__init__(-1)
        self._path = os.path.abspath(path)  # wherever the working directory moves to
        self._state = (0, 0)
        self._troubled = False
        try:
            self._open()
        except OSError as error:
            raise UsageError(f"log file {path} cannot be written: {error.strerror}") from None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # it may be a pipe
        fd = os.open(self._path, flags, FILE_MODE)
        self.close()
        self._fd, self._state, self._torn = fd, _state(os.fstat(fd)), False

    def write(self, line: bytes, end: bytes = b"\n") -> bool:
        trouble = ""
        try:
            self._follow()
        except OSError as error:  # the file that was there, wherever it is now, is better than none
            trouble = f"{error.strerror}; lines go to the file that was there before"
        try:
            self._put(line + end)
            written = True
        except OSError as error:
            trouble = f"{error.strerror}; lines are left out until it can be written"
            written = False
        self._tell(trouble)
        return written

    def _follow(self) -> None:
        """Write to what has the path now."""
        try:
            if _state(os.stat(self._path)) == self._state:
                return
        except FileNotFoundError:
            pass
        self._open()

    def _tell(self, trouble: str) -> None:
        """On stderr, since it cannot be here; once until there is none."""
        if trouble and not self._troubled:
            Stream(2).write(f"log file {self._path}: {trouble}".encode(errors="backslashreplace"))
        self._troubled = bool(trouble)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _state(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
