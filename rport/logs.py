"""Log lines: one event, one line, as text or JSON; nothing that a peer named can break it.

A line is escaped and has a bound. What a caller gives as `extra`, of the names in EXTRAS, has keys of its own in JSON;
an extra `limit` names whoever can cause many such lines, and whose number is bounded. Secrets are not filtered here:
nobody passes them in.
"""

import logging
import os
import time
from types import TracebackType
from typing import Any, Protocol

from rport.sinks import File, Sink, Stream
from rport.text import cut, escape
from rport.throttle import Throttle

TEXT_MAX = 4000  # characters of one event; a peer's texts have up to 4096 octets each
EXTRA_MAX = 200  # characters of one extra
FRAMES_SHOWN = 4  # of an unexpected error: where it came from
EXTRAS = ("session", "client", "user", "tunnel", "statistics", "audit")
OBJECTS = ("statistics", "audit")  # of them; whoever gives one has bounded it

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

logging.raiseExceptions = False  # what goes wrong while a line is written makes no other lines


class Wanted(Protocol):
    """What settings say about the log."""

    @property
    def log_level(self) -> str: ...
    @property
    def log_format(self) -> str: ...
    @property
    def log_file(self) -> str | None: ...
    @property
    def verbose(self) -> bool: ...


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO text`, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{stamp} {record.levelname} {text_of(record)}"


class JsonFormatter(logging.Formatter):
    """`{"time": "2026-01-31T12:00:00.123Z", "level": "info", "message": ...}` and extras; ASCII, so safe to look at."""

    def __init__(self) -> None:
        import json  # here: most have text

        super().__init__()
        self._encode = json.JSONEncoder().encode

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        item: dict[str, Any] = {
            "time": f"{stamp}.{int(record.created * 1000) % 1000:03}Z",
            "level": record.levelname.lower(),
            "message": text_of(record),
        }
        for name in EXTRAS:
            if value := getattr(record, name, None):
                item[name] = value if name in OBJECTS else cut(escape(str(value)), EXTRA_MAX)
        return self._encode(item)


class Handler(logging.Handler):
    """Lines to a sink; what that could not take is told with the first line that it takes again."""

    def __init__(self, sink: Sink, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.sink = sink
        self._left_out = 0
        self._throttle = Throttle(time.monotonic())

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        for name, count in self._throttle.due(now):
            self._put(_notice("%s: %d lines were left out", name, count))
        source = getattr(record, "limit", None)
        if source is None or record.levelno < logging.INFO or self._throttle.admits(source, now):
            self._put(record)

    def _put(self, record: logging.LogRecord) -> None:
        if self._left_out and self._write(_notice("%d lines could not be written here", self._left_out)):
            self._left_out = 0
        self._left_out += not self._write(record)

    def _write(self, record: logging.LogRecord) -> bool:
        return self.sink.write(self.format(record).encode("utf-8", "backslashreplace"))

    def last_words(self, text: str, error: Exception | None) -> bool:
        """See below."""
        on_stderr, is_text = not isinstance(self.sink, File), isinstance(self.formatter, LineFormatter)
        if not (on_stderr and is_text):
            logging.getLogger("rport").error("%s", text, exc_info=error)
        return on_stderr and not is_text

    def close(self) -> None:
        self.sink.close()
        super().close()


def _notice(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("rport", logging.WARNING, __file__, 0, text, args, None)


def text_of(record: logging.LogRecord) -> str:
    """The event on one line, an unexpected error with where it came from."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # a mistake of ours must not end what it was to tell of
        text = f"{record.msg} {record.args!r}"
    if record.exc_info and record.exc_info[1] is not None:
        text += f" | {record.exc_info[1]!r}{_origin(record.exc_info[2])}"
    return cut(escape(text), TEXT_MAX)


def _origin(trace: TracebackType | None) -> str:
    places = []
    while trace is not None:
        places.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    return "".join(f" < {place}" for place in places[: -FRAMES_SHOWN - 1 : -1])


def start(level: str, format: str, file: str | None) -> None:
    """Send the log to a file, else to stderr, from here on; also again, to change that. Raises UsageError."""
    sink = Stream(2) if file is None else File(file)
    install(Handler(sink, JsonFormatter() if format == "json" else LineFormatter()), level)


def start_as(wanted: Wanted) -> None:
    """start() as the user's settings say."""
    start("debug" if wanted.verbose else wanted.log_level, wanted.log_format, wanted.log_file)


def last_words(text: str, error: Exception | None = None) -> bool:
    """Why the program ends, where the log is a file or JSON: else a plain line on stderr says it. False when that is
    still to be said."""
    ours = (handler for handler in logging.getLogger().handlers if isinstance(handler, Handler))
    return any(handler.last_words(text, error) for handler in ours)  # there is one


def install(handler: logging.Handler, level: str) -> None:
    """The only handler from now on."""
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING))  # libraries have less to say
    logging.getLogger("rport").setLevel(LEVELS[level])
    for old in before:
        if isinstance(old, Handler):
            old.close()
