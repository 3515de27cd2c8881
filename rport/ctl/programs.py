"""`rportctl ssh`, `rdp` and `http`: what runs through a tunnel, and ends with it."""

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable

from rport.ctl.command import Words
from rport.ctl.errors import ServerTrouble
from rport.ctl.session import Session
from rport.ctl.through import Passage, passage, wait
from rport.errors import UsageError
from rport.hosts import host_port
from rport.text import escape

SSH_PORT, RDP_PORT = 22, 3389
FEW, MANY = 8, 64  # connections at once: of one program, and of a browser with its tabs
DETACHED = 10.0  # seconds that a program which went into the background gets to connect
LOOK = 1.0  # seconds between two looks at what goes on in the background


def ssh(session: Session, words: Words) -> int:
    program = _installed("ssh")
    with passage(session, words, str(words.port or SSH_PORT), "ssh", FEW) as way:
        argv = [program, "-p", str(way.port), "-o", f"HostKeyAlias={alias(way.client['id'])}", "-o", "CheckHostIP=no"]
        argv += ["-l", words.user] if words.user else []
        return way.stop.run([*argv, way.host, *words.behind])


def alias(client_id: str) -> str:
    """By what ssh remembers the client's key, whatever port it is found on."""
    return "rport-" + re.sub(r"[^A-Za-z0-9.-]", lambda match: f"_{ord(match[0]):x}_", client_id)


Arguments = Callable[[str, str | None], list[str]]


def _freerdp(where: str, user: str | None) -> list[str]:
    return [f"/v:{where}", *([f"/u:{user}"] if user else [])]


def _remmina(where: str, user: str | None) -> list[str]:
    from urllib.parse import quote

    return ["-c", f"rdp://{quote(user, safe='') + '@' if user else ''}{where}"]


def _mstsc(where: str, user: str | None) -> list[str]:
    return [f"/v:{where}"]  # it asks for the user


def _address_alone(where: str, user: str | None) -> list[str]:
    return [where]


DESKTOPS: dict[str, Arguments] = {  # in the order in which they are looked for
    "xfreerdp3": _freerdp,
    "xfreerdp": _freerdp,
    "wlfreerdp3": _freerdp,
    "wlfreerdp": _freerdp,
    "sdl-freerdp3": _freerdp,
    "remmina": _remmina,
    "mstsc": _mstsc,
    "mstsc.exe": _mstsc,
}


def rdp(session: Session, words: Words) -> int:
    program = None if words.file else _desktop(words.program)
    with passage(session, words, str(words.port or RDP_PORT), "rdp", FEW) as way:
        where = host_port(way.host, way.port)
        if program is None:
            return _by_file(way, words, where)
        arguments = DESKTOPS.get(os.path.basename(program), _address_alone)
        code = way.stop.run([program, *arguments(where, words.user), *words.behind])
        if os.path.basename(program) == "remmina" and code == 0:
            _linger(way)
        return code


def _desktop(wanted: str | None) -> str | None:
    """Of --program, which has to be there; else the first that is."""
    if wanted is not None:
        return _installed(wanted)
    return next((path for name in DESKTOPS if (path := shutil.which(name))), None)


def _linger(way: Passage) -> None:
    """A program that hands its work to one which runs already: until that has ended what it does."""
    end = time.monotonic() + DETACHED
    while not way.stop.wait(LOOK):
        count = way.connections()
        if count is None or (count == 0 and time.monotonic() > end):
            return
        if count:
            end = 0.0


def _by_file(way: Passage, words: Words, where: str) -> int:
    import tempfile

    lines = [f"full address:s:{where}", *([f"username:s:{words.user}"] if words.user else [])]
    with contextlib.ExitStack() as stack:
        folder = None if words.file else stack.enter_context(tempfile.TemporaryDirectory(prefix="rportctl-"))
        path = words.file or os.path.join(str(folder), f"{alias(way.client['id'])}.rdp")
        try:
            with open(path, "x", encoding="utf-8", newline="\r\n") as file:
                stack.callback(_remove, path)
                file.write("\n".join([*lines, "prompt for credentials:i:1", ""]))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        print(f"Open {escape(path)}, or connect to {where}. Ctrl-C closes the tunnel.", flush=True)
        return _wait(way)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def http(session: Session, words: Words) -> int:
    port = words.web_port or (443 if words.https else 80)
    scheme = "https" if words.https else "http"
    with passage(session, words, str(port), scheme, MANY) as way:
        url = f"{scheme}://{host_port(way.host, way.port)}/"
        session.show({"url": url, "client_id": way.client["id"], "lport": way.port}, (url,))
        sys.stdout.flush()
        if not words.no_browser and not session.json and _has_browser():
            import webbrowser

            webbrowser.open(url)
        return _wait(way)


def _has_browser() -> bool:
    """One with a window: others would take this terminal."""
    here = sys.platform in ("darwin", "win32")
    return here or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _wait(way: Passage) -> int:
    if not wait(way):
        raise ServerTrouble("the tunnel is there no more: it was closed, or nobody used it for an hour")
    return 0


def _installed(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"{name} is not installed, or not in PATH")
    return path
