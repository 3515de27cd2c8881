"""Texts of others, fit to be shown: a line stays one, and nothing in it moves a terminal's cursor or turns writing.

And numbers, as people read them.
"""

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


def size(octets: float) -> str:
    """`1.2 MB`: two or three digits, in powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 999.5:
            return f"{octets:.0f} {unit}" if octets >= 99.5 or unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"


def spoken(seconds: float) -> str:
    """`3d 4h`, `4h 5m`, `5m 6s` or `6s`: the two units that matter."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{value}{unit}" for value, unit in parts[:2])
