"""What the service manager that started this process hears of it (sd_notify(3)); without NOTIFY_SOCKET, nobody does."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

from rport.text import escape

STATUS_WAIT = 0.5  # seconds that a change of status waits for others: a fleet that reconnects is no flood of datagrams

log = logging.getLogger("rport")


class Supervisor:
    """`describe()` gives the line that `systemctl status` shows. All calls come from the loop's thread."""

    def __init__(self, describe: Callable[[], str], environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes its variables out of the environment: they are not for processes that this one starts."""
        self._describe = describe
        self._told = ""
        self._waiting: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._interval = _watchdog_interval(environ)
        self._sock = _connect(environ.pop("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """The start, or a reload, is done."""
        self._told = self._status()
        self._send("READY=1", self._told)
        if self._beating is None and self._sock is not None and self._interval:
            self._beat()

    def reloading(self) -> None:
        """ready() says when it is done."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The watchdog goes on: a stop that hangs is noticed too."""
        self._send("STOPPING=1")
        self.changed()

    def changed(self) -> None:
        """What describe() gives may have changed: it is told within STATUS_WAIT."""
        if self._sock is not None and self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(STATUS_WAIT, self._tell)

    def close(self) -> None:
        """Nothing is said any more. Idempotent."""
        for timer in (self._waiting, self._beating):
            if timer is not None:
                timer.cancel()
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _tell(self) -> None:
        self._waiting = None
        status = self._status()
        if status != self._told:
            self._told = status
            self._send(status)

    def _beat(self) -> None:
        """From the loop: when that is stuck, so is this."""
        self._send("WATCHDOG=1")
        self._beating = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _status(self) -> str:
        return f"STATUS={escape(self._describe())}"  # escaped: a line end in a peer's name would begin another message

    def _send(self, *lines: str) -> None:
        if self._sock is None:
            return
        try:
            self._sock.send("\n".join(lines).encode(errors="replace"))
        except OSError as error:
            log.warning("The service manager does not hear %s: %s", lines[0], error.strerror)


def _connect(address: str) -> socket.socket | None:
    """A path, or with @ before it an abstract address. None when there is nobody."""
    if not address:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        sock.close()
        log.warning("NOTIFY_SOCKET=%s: %s", address, error.strerror or error)
        return None
    sock.setblocking(False)  # a manager that hangs must not hang the tunnels
    return sock


def _watchdog_interval(environ: MutableMapping[str, str]) -> float:
    """Seconds from beat to beat, half of what the manager waits for one; 0 when it waits for none."""
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return 0.0
    with contextlib.suppress(ValueError, OverflowError):
        return max(int(usec), 0) / 2e6
    return 0.0
