"""What a service manager does for a program: opens its sockets, starts it, hears how it goes."""

import contextlib
import socket
import sys
from pathlib import Path
from typing import Any

from tests.support.programs import until

# Runs as the program itself until it becomes that, since the variables name its process. Sockets begin at 3.
_WRAPPER = """
import fcntl, os, sys
kept = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 100) for fd in sys.argv[1].split(",") if fd]
for i, fd in enumerate(kept):
    os.dup2(fd, 3 + i)
me = str(os.getpid())
os.environ.update(SYSTEMD_EXEC_PID=me, INVOCATION_ID="00" * 16)
if kept:
    os.environ.update(LISTEN_PID=me, LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=":".join(["rportd"] * len(kept)))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def as_service(*sockets: socket.socket) -> dict[str, Any]:
    """Arguments of a Program so that it is started as systemd does it, with these sockets."""
    fds = tuple(sock.fileno() for sock in sockets)
    return {"wrap": (sys.executable, "-c", _WRAPPER, ",".join(map(str, fds))), "pass_fds": fds}


class Manager:
    """Hears what programs with its `env` say. `address`: a path, or `@` and a name for an abstract one."""

    def __init__(self, address: str | Path, watchdog_usec: int = 0) -> None:
        address = str(address)
        self.messages: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self._sock.setblocking(False)
        self.env = {"NOTIFY_SOCKET": address}
        if watchdog_usec:
            self.env["WATCHDOG_USEC"] = str(watchdog_usec)

    def listen(self) -> list[str]:
        """All messages until now, less the watchdog's."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages.append(self._sock.recv(4096).decode())
        return [message for message in self.messages if message != "WATCHDOG=1"]

    @property
    def beats(self) -> int:
        self.listen()
        return self.messages.count("WATCHDOG=1")

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until `count` messages had it as one of their lines."""

        def heard() -> bool:
            return sum(text in message.splitlines() for message in self.listen()) >= count

        try:
            until(heard, f"{count} messages with {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {self.listen()}") from None

    def close(self) -> None:
        self._sock.close()
