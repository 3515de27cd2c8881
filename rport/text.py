"""Texts of others, fit to be shown: a line stays one, and nothing in it moves a terminal's cursor or turns writing."""

QUOTED_MAX = 80  # characters of a peer's text in an error


def escape(text: str) -> str:
    """Printable on one line: control characters, line ends and marks that turn the direction of writing as \\x.. or
    \\u...., others as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cut(text: str, size: int) -> str:
    """At most so many characters; dots behind them say that there were more."""
    return text if len(text) <= size else f"{text[:size]}..."


def quote(text: str, size: int = QUOTED_MAX) -> str:
    """Cut, escaped and in quotes."""
    return f'"{escape(cut(text, size))}"'
