"""What signals do before there is a loop, and after it. SIGUSR2 asks for statistics, and ends nobody at any time.

Imports next to nothing: until begin() has run, SIGUSR2 kills.
"""

import os
import signal

STATISTICS: int | None = getattr(signal, "SIGUSR2", None)  # None: the system has no such signal


def begin() -> None:
    """First of all: Ctrl-C ends a program that does not serve yet without a word, SIGUSR2 does nothing yet, and 0, 1
    and 2 are no connections.

    Some supervisors start programs with these three closed: sockets would get their numbers.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if STATISTICS is not None:
        signal.signal(STATISTICS, _nothing)  # not SIG_IGN, which programs that this one starts would inherit
    while (fd := _nowhere()) <= 2:
        pass
    os.close(fd)


def _nowhere() -> int:
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:  # a bare container has no /dev; a directory takes no output, but is no connection either
        return os.open("/", os.O_RDONLY)


def end() -> None:
    """Last of all: what Python's end resets to the system's default is ignored to the very end instead."""
    if STATISTICS is not None:
        signal.signal(STATISTICS, signal.SIG_IGN)


def _nothing(number: int, frame: object) -> None:
    pass
