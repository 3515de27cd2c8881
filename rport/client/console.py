"""What a person sees who starts `rport` in a terminal: a block that says how it goes, below lines of what happened.

It looks at the agent's Status and is told when that changes; the agent knows nothing of it. Elsewhere than in a
terminal there are log lines instead.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rport import __version__, logs, screen
from rport.hosts import host_port
from rport.screen import BOLD, DIM, GREEN, PLAIN, RED, YELLOW, Line, Screen
from rport.text import escape, size, spoken

if TYPE_CHECKING:
    from rport.client.agent import Agent
    from rport.client.status import Status, TunnelState

SOON = 0.05  # seconds that a change waits for others: a client with 200 tunnels is no flicker
OFTEN = 1.0  # seconds between looks at what changes without a word
SESSION_SHOWN = 8  # of 64 hex digits
TROUBLE_ROWS = 4  # of why there is no connection: a server that refuses may have much to say
SIDE_MAX = 0.3  # of the width, for each of a tunnel's ends
LABEL = 13  # columns

TRUST = {
    "pinned": (GREEN, "as given with --fingerprint"),
    "remembered": (GREEN, "as the last time"),
    "new": (YELLOW, "seen for the first time, and remembered"),
    "": (PLAIN, ""),
}


def wanted(settings: logs.Wanted, fd: int = 2, environ: Mapping[str, str] = os.environ) -> bool:
    """Somebody looks, and has not asked for log lines."""
    plain = settings.log_format == "json" or settings.log_file is not None
    verbose = settings.verbose or settings.log_level == "debug"
    return not plain and not verbose and environ.get("TERM", "dumb") != "dumb" and os.isatty(fd)


class Console:
    """From attach() to close() it has the terminal and the log."""

    def __init__(self, agent: "Agent", fd: int = 2, environ: Mapping[str, str] = os.environ) -> None:
        self._agent = agent
        self._screen = Screen(fd, _encoding(), colours=not environ.get("NO_COLOR"))
        self._fd, self._environ = fd, environ
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        self._attached = False
        agent.status.watchers.append(self.changed)

    def attach(self, settings: logs.Wanted) -> bool:
        """Show, if these settings are for it; else let go."""
        if not wanted(settings, self._fd, self._environ):
            self.close()
            return False
        logs.install(_Handler(self._screen), settings.log_level)
        self._attached = True
        self._look()
        return True

    def changed(self) -> None:
        """Look soon."""
        if self._attached and not self._soon:
            self._soon = True
            self._look_in(SOON)

    def woken(self) -> None:
        """Somebody else had the terminal: SIGCONT."""
        self._screen.forget()
        self.changed()

    def close(self) -> None:
        """Leave what was said on the terminal, and nothing that would soon be untrue. Idempotent."""
        self._attached = False
        if self._timer is not None:
            self._timer.cancel()
        self._screen.clear()

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._soon = False
        columns, rows = self._screen.size()
        self._screen.show(block(self._agent, columns, rows - 1))
        self._look_in(OFTEN)


class _Handler(logs.Handler):
    """Lines of the log, without those of which the block tells and without the same one again."""

    def __init__(self, to: Screen) -> None:
        super().__init__(to.stream, logs.LineFormatter())
        self._to = to
        self._last = ""

    def _write(self, record: logging.LogRecord) -> bool:
        text = logs.text_of(record)
        if record.name == "rport.state" or text == self._last:
            return True
        said = self._to.say(f"{_clock(record.created)} {text}")
        if said:
            self._last = text
        return said


def _encoding() -> str:
    return getattr(sys.stderr, "encoding", None) or "ascii"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def block(agent: "Agent", columns: int, rows: int) -> list[Line]:
    """How it goes, in at most so many rows."""
    status = agent.status
    lines = _head(status, columns)
    if status.proxy:
        lines.append(_row("proxy", status.proxy))
    if status.phase == "waiting":
        return [*lines, _next_try(status)]
    if status.fingerprint:
        lines += _fingerprint(status, columns)
    if status.phase != "connected":
        return lines
    lines.append(_row("server", f"rportd {status.version}, session {status.session[:SESSION_SHOWN]}"))
    lines.append(_row("connections", _traffic(agent)))
    return lines + _tunnels(status, columns, rows - len(lines))


def _row(label: str, text: str) -> list[screen.Span]:
    return [(DIM, f"{label:{LABEL}}"), (PLAIN, escape(text))]


def _fingerprint(status: "Status", columns: int) -> list[Line]:
    """All of it, on as many lines as it takes: somebody compares it."""
    most = max((columns - 1 - LABEL) // 3 * 3, 3)  # octets stay whole: two digits and a colon
    text = status.fingerprint
    parts = [text[at : at + most] for at in range(0, len(text), most)]
    rows = [_row("" if number else "fingerprint", part) for number, part in enumerate(parts)]
    style, how = TRUST[status.trust]
    if LABEL + len(parts[-1]) + 1 + len(how) >= columns:
        rows.append(_row("", ""))
    rows[-1].append((style, f" {how}" if rows[-1][-1][1] else how))
    return list(rows)


def _head(status: "Status", columns: int) -> list[Line]:
    title = (BOLD, f"{f'rport {__version__}':{LABEL}}")
    since = _clock(time.time() - (time.monotonic() - status.since))
    if status.phase == "connected":
        return [[title, (GREEN, f"connected to {escape(status.server)}"), (PLAIN, f" since {since}")]]
    if status.phase == "stopping":
        return [[title, (YELLOW, "stopping")]]
    if status.trouble:
        first, *rest = _wrapped(f"not connected: {escape(status.trouble)}", columns - 1 - LABEL)
        return [[title, (RED, first)], *([(PLAIN, " " * LABEL), (RED, part)] for part in rest)]
    return [[title, (YELLOW, f"connecting to {escape(status.server)}")]]


def _wrapped(text: str, columns: int) -> list[str]:
    """On TROUBLE_ROWS lines at most, broken between words; the last one may be too long."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and len(lines) < TROUBLE_ROWS and screen.width(longer) > columns:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _next_try(status: "Status") -> Line:
    left = max(0.0, status.next_try - time.monotonic())
    at = f" at {_clock(time.time() + left)}" if left > 5 else ""
    tries = f", after {status.tries} in vain" if status.tries > 1 else ""
    return _row("next try", f"in {spoken(left + 0.99)}{at}{tries}; Ctrl-C stops")


def _traffic(agent: "Agent") -> str:
    if agent.session is None or agent.statistics is None:
        return ""
    c = agent.statistics.counts()
    return (
        f"{c.streams} now, {c.streams_total} in all; in {size(c.bytes_in)} ({size(c.rate_in)}/s), "
        f"out {size(c.bytes_out)} ({size(c.rate_out)}/s); latency {agent.session.rtt * 1000:.1f} ms"
    )


def _tunnels(status: "Status", columns: int, rows: int) -> list[Line]:
    tunnels = list(status.tunnels.values())
    if not tunnels:
        return [_row("tunnels", "none; they can be asked for through the server's API")]
    shown = tunnels if len(tunnels) <= rows else tunnels[: max(rows - 1, 0)]
    ends = [(_public(status.host, tunnel), escape(tunnel.remote.target)) for tunnel in shown]
    most = max(int(columns * SIDE_MAX), 8)
    widths = [min(most, max((screen.width(end[side]) for end in ends), default=0)) for side in (0, 1)]
    lines: list[Line] = [
        [
            (DIM, f"{'' if number else 'tunnels':{LABEL}}"),
            (PLAIN, f"{screen.pad(near, widths[0])} => {screen.pad(far, widths[1])}  "),
            _state(tunnel),
        ]
        for number, (tunnel, (near, far)) in enumerate(zip(shown, ends, strict=True))
    ]
    if len(shown) < len(tunnels):
        up = sum(tunnel.up for tunnel in tunnels)
        lines.append(_row("", f"... of {len(tunnels)} tunnels, {up} of which are up"))
    return lines


def _public(server: str, tunnel: "TunnelState") -> str:
    """Where visitors reach it, as far as this end can know."""
    host = tunnel.remote.lhost
    port = tunnel.remote.lport
    shown = escape(server) if host in ("0.0.0.0", "::", "") else host
    return host_port(shown, port) if port else f"{shown}, any port"


def _state(tunnel: "TunnelState") -> screen.Span:
    if tunnel.up:
        return GREEN, "up, asked for by the server" if tunnel.offered else "up"
    return (RED, escape(tunnel.trouble)) if tunnel.trouble else (YELLOW, "asked for")
