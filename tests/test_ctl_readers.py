from datetime import UTC, datetime, timedelta

import pytest

from rport.ctl import readers
from rport.errors import UsageError


def test_durations() -> None:
    assert readers.duration("90d") == 90 * 86400
    assert readers.duration_or_none("none") is None
    for text in ("0", "5", "", "none"):
        with pytest.raises(UsageError):
            readers.duration(text)


def test_moments() -> None:
    two_hours_ago = datetime.fromisoformat(readers.moment("2h"))
    assert abs(datetime.now(UTC) - two_hours_ago - timedelta(hours=2)) < timedelta(minutes=1)
    assert readers.moment("2026-01-31T12:00:00+01:00") == "2026-01-31T11:00:00Z"
    assert readers.moment("2026-01-31T12:00:00Z") == "2026-01-31T12:00:00Z"
    assert datetime.fromisoformat(readers.moment("2026-01-31")) == datetime(2026, 1, 31).astimezone()
    for text in ("yesterday", "", "2026-13-01"):
        with pytest.raises(UsageError, match="is no time: write it like 2h"):
            readers.moment(text)


@pytest.mark.parametrize(("text", "octets"), [("500", 500), ("500k", 500_000), ("1.5M", 1_500_000), ("2G", 2 * 10**9)])
def test_rates(text: str, octets: int) -> None:
    assert readers.rate(text) == octets
    assert readers.rate("none") is None


@pytest.mark.parametrize("text", ["", "0", "-1", "1T", "1kk", "fast", "0.0001"])
def test_no_rates(text: str) -> None:
    with pytest.raises(UsageError, match="is no rate"):
        readers.rate(text)


def test_counts() -> None:
    assert readers.count("7") == 7
    assert readers.count_or_none("none") is None
    for text in ("0", "-1", "x", "1" * 5000, "", "٣"):
        with pytest.raises(UsageError, match="is no whole number above 0"):
            readers.count(text)


def test_ports() -> None:
    assert (readers.port("auto"), readers.port("22"), readers.one_port("65535")) == (None, 22, 65535)
    for text in ("0", "65536", "", "none"):
        with pytest.raises(UsageError, match="the port must be a number"):
            readers.port(text)
