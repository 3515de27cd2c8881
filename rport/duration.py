"""Durations as users write them: 30s, 2m, 1h2m, 90d, 500ms, 1.5s, 0."""

import re

from rport.errors import UsageError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PART = re.compile(rf"({_NUMBER.pattern})(ms|d|h|m|s)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST = 10 * 365 * 86400.0  # ten years: what is longer is a mistake, and no timer takes it


def parse_duration(text: str) -> float:
    """Seconds. Raises UsageError, also for a bare number: nobody knows which unit its writer had in mind."""
    if text == "0":
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise UsageError(f"duration {text!r} cannot be read: {_advice(text)}")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST:
        raise UsageError(f"duration {text!r} is longer than ten years")
    return seconds


def _advice(text: str) -> str:
    if _NUMBER.fullmatch(text):
        return f'it needs a unit, such as "{text}s"'
    return 'write it like "30s", "2m", "1h2m", "90d" or "500ms"'
