"""Listening sockets that the service manager opened and keeps (sd_listen_fds(3)).

They outlive this process: whoever connects while there is none waits in the kernel's queue for the next.
"""

import os
import socket
from collections.abc import MutableMapping

from rport.errors import UsageError

FIRST = 3  # SD_LISTEN_FDS_START


def inherited(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """None when there are none for this process. Raises UsageError for what cannot be listened on.

    Takes the variables out of the environment: they are not for processes that this one starts.
    """
    pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):  # for somebody else, who passed on the environment
        return []
    if not count.isdecimal() or len(count) > 9:
        raise UsageError(f"LISTEN_FDS={count[:40]!r}: not a number of descriptors")
    titles = names.split(":")
    return [_adopt(FIRST + i, titles[i] if i < len(titles) else "") for i in range(int(count))]


def _adopt(fd: int, name: str) -> socket.socket:
    shown = f"descriptor {fd} ({name})" if name else f"descriptor {fd}"
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise UsageError(f"LISTEN_FDS: {shown} is no socket: {error.strerror}") from None
    sock.set_inheritable(False)
    sock.setblocking(False)
    tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()  # the message is the end of the program, not of somebody's socket
        raise UsageError(
            f"LISTEN_FDS: {shown} is no listening TCP socket; the socket unit needs ListenStream=ADDRESS:PORT"
            " and no Accept=yes"
        )
    return sock
