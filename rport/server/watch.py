"""Notices that files have changed: written in place, renamed over, or a symlink on the way swapped.

By asking, since inotify knows no network file systems and loses track where a directory above is exchanged, as
Kubernetes does with mounted secrets.
"""

import asyncio
import os

POLL = 0.5  # seconds; a change is told after one to two of them
RESTLESS_MAX = 6  # polls in a row that see another state: it is told then, or a file that never rests would never be

_State = tuple[tuple[int, ...] | None, ...]


class Watch:
    """Some files. Made before they are read for the first time, so that no change falls in between."""

    def __init__(self, *paths: str, poll: float = POLL) -> None:
        self._poll = poll
        self._paths: list[str] = []
        self._told: _State = ()
        self.start_over(*paths)

    async def changed(self) -> None:
        """Return when the files are others than the last time, and at rest: whoever writes a pair of them, or one in
        pieces, is not read half way. A file that is gone, or comes back, has changed; so has one with other rights."""
        seen, restless = self._told, 0
        while True:
            await asyncio.sleep(self._poll)
            before, seen = seen, self._look()
            restless = 0 if seen == before else restless + 1
            if seen != self._told and (not restless or restless >= RESTLESS_MAX):
                self._told = seen
                return

    def start_over(self, *paths: str) -> None:
        """These from now on; as they are, they count as told."""
        self._paths = [os.path.abspath(path) for path in paths]  # wherever the working directory moves to
        self._told = self._look()

    def _look(self) -> _State:
        return tuple(map(_state, self._paths))


def _state(path: str) -> tuple[int, ...] | None:
    """Of the file that the path leads to in the end; None without one."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
