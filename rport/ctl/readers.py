"""What users write behind options, made into what the API takes. Whatever cannot be read raises UsageError."""

import re

from rport.errors import UsageError

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKmMgG]?)")
_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
OFF = "none"  # takes a limit away


def duration(text: str) -> float:
    """Seconds, above none."""
    from rport.duration import parse_duration

    seconds = parse_duration(text)
    if seconds <= 0:
        raise UsageError(f"{text!r} is no time at all: write it like 30s, 12h or 90d")
    return int(seconds) if seconds.is_integer() else seconds


def duration_or_none(text: str) -> float | None:
    return None if text == OFF else duration(text)


def moment(text: str) -> str:
    """A time as the API takes it, of a moment or of how long ago it was."""
    from datetime import UTC, datetime, timedelta

    from rport.duration import parse_duration

    try:
        ago = timedelta(seconds=parse_duration(text))
        return (datetime.now(UTC) - ago).isoformat(timespec="seconds").replace("+00:00", "Z")
    except UsageError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text[:40]!r} is no time: write it like 2h, 7d or 2026-01-31T12:00") from None
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def rate(text: str) -> int | None:
    """Octets a second."""
    if text == OFF:
        return None
    match = _RATE.fullmatch(text)
    if match is None or not (octets := round(float(match[1]) * _POWERS[match[2].lower()])):
        raise UsageError(f"{text[:40]!r} is no rate: write octets a second like 500k or 1.5M, or none")
    return octets


def count(text: str) -> int:
    """One or more."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not int(text):
        raise UsageError(f"{text[:40]!r} is no whole number above 0")
    return int(text)


def event_id(text: str) -> str:
    """The number of an event, as it is shown; 0 = before the first."""
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"{text[:40]!r} is no number of an event: give one that an event had, or 0 for all")
    return text


def count_or_none(text: str) -> int | None:
    return None if text == OFF else count(text)


def port(text: str) -> int | None:
    """`auto` = None."""
    return None if text == "auto" else one_port(text)


def one_port(text: str) -> int:
    from rport.hosts import read_port

    try:
        return read_port(text)
    except ValueError as error:
        raise UsageError(f"{text[:40]!r}: {error}") from None
