"""What this process has open."""

import contextlib
import os


def open_descriptors() -> set[str]:
    """Each with what it leads to: another thing under the same number is another one.

    To be compared as sets, not by their number: what an earlier test left to the garbage collector may be closed now.
    """
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one by which it was listed
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found
