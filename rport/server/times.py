"""Seconds since 1970 as the API shows them: RFC 3339, in UTC. Pure."""

from datetime import UTC, datetime
from typing import overload


@overload
def moment(seconds: float) -> datetime: ...
@overload
def moment(seconds: None) -> None: ...
@overload
def moment(seconds: float | None) -> datetime | None: ...
def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def rfc3339(seconds: float) -> str:
    """`2026-01-31T12:00:00.123456Z`."""
    return moment(seconds).isoformat(timespec="microseconds").replace("+00:00", "Z")
