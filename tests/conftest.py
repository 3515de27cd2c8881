"""Each worker is a machine of its own, where the rights for that are there: nobody else takes a port that it let go.

A test that restarts a server on its port would otherwise meet, now and then, another worker's connection there.
"""

import contextlib
import os
import signal

from tests.support.ctl import ctl
from tests.support.programs import enter_own_network

__all__ = ["ctl"]  # a fixture


def pytest_configure() -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):  # of whoever runs the tests
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and by all that is started, too
    with contextlib.suppress(OSError):
        enter_own_network()
