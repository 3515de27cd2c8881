"""The event loops that the programs may run in. uvloop has no wheel for Windows and 32-bit ARM."""

import asyncio
from collections.abc import Callable

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop

USUAL = list(LOOPS)[-1]  # what the programs take
