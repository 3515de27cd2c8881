"""Log lines: one event, one line, on stderr; nothing that a peer named can break it."""

import logging
import sys
import time


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO text`, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += " | " + repr(record.exc_info[1])
        return f"{stamp} {record.levelname} {escape(text)}"


def escape(text: str) -> str:
    """Printable on one line: control characters as \\x.., others as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def start(verbose: bool) -> None:
    """Send the log to stderr, from DEBUG with `verbose`, else from INFO."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("rport").setLevel(logging.DEBUG if verbose else logging.INFO)
