"""What is saved is saved, and all that follows from it happens, whatever becomes of whoever asked."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

LEAVE = 2.0  # seconds that a commit gets once nobody waits for it: a server that stops waits no longer

log = logging.getLogger("rport")


async def to_its_end(commit: Coroutine[Any, Any, None]) -> asyncio.CancelledError | None:
    """Not cancelled half way, where nobody knew whether it was done; instead, gives back what came meanwhile.

    Raises what `commit` does, or CancelledError when that does not end within LEAVE.
    """
    task = asyncio.get_running_loop().create_task(commit)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            done, _ = await asyncio.wait({task}, timeout=None if cancelled is None else LEAVE)
        except asyncio.CancelledError as error:
            cancelled = error
            continue
        if not done:
            task.cancel()
            raise cancelled or asyncio.CancelledError
    if cancelled is not None and task.exception() is not None:
        raise cancelled
    task.result()
    return cancelled


def follow(call: Callable[[], None]) -> None:
    """A mistake of ours in what follows must not look as if nothing had been saved, nor keep others from following."""
    try:
        call()
    except Exception:
        log.exception("something was saved, and what follows from it failed")
