"""Root, where it is not needed."""

import os
from collections.abc import Mapping

from rport.errors import UsageError

HOW = "set User= in its unit, which `{} service install` does, or say --allow-root (RPORT_ALLOW_ROOT=1)"


def check_root(prog: str, allowed: bool, environ: Mapping[str, str] = os.environ) -> None:
    """A service must not run as root unless `allowed`: raises UsageError. Whoever starts it by hand gets a warning."""
    if os.name != "posix" or os.geteuid() != 0 or allowed:
        return
    if is_service(environ):
        raise UsageError("a service that runs as root: " + HOW.format(prog))
    import logging

    logging.getLogger("rport").warning("Running as root, which is not needed; --allow-root if it is meant")


def is_service(environ: Mapping[str, str]) -> bool:
    """Whether systemd started this very process.

    INVOCATION_ID alone would not do: the shell of a desktop's terminal has it, and what su starts there.
    """
    if "NOTIFY_SOCKET" in environ:
        return True
    pid = environ.get("SYSTEMD_EXEC_PID")  # since systemd 248
    return pid == str(os.getpid()) if pid else "INVOCATION_ID" in environ and os.getppid() == 1
