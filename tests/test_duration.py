import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.duration import format_duration, parse_duration
from rport.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("2m", 120.0),
        ("1h2m", 3720.0),
        ("500ms", 0.5),
        ("0", 0.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("1m30s", 90.0),
        ("1h2m3s4ms", 3723.004),
        ("87600h", 315360000.0),
    ],
)
def test_parse(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["30", "1.5", "5"])
def test_a_bare_number_is_answered_with_a_proposal(text: str) -> None:
    with pytest.raises(UsageError, match=f'needs a unit, such as "{text}s"'):
        parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "1d",
        "1 s",
        "-1s",
        "1s ",
        "1s2",
        ".5s",
        "1.s",
        "1,5s",
        "1S",
        "inf",
        "nan",
        "1e5",
        "1_0",
        "\u0661s",
        "1s\n",
    ],
)
def test_unreadable(text: str) -> None:
    with pytest.raises(UsageError, match='write it like "30s"'):
        parse_duration(text)


@pytest.mark.parametrize("text", ["87601h", "9" * 5000 + "s"])
def test_too_long(text: str) -> None:
    with pytest.raises(UsageError, match="ten years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (0.0001, "1ms"),
        (0.1, "100ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (60.0, "1m"),
        (3720.0, "1h2m"),
        (90.25, "1m30.25s"),
    ],
)
def test_format(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_round_trip(millis: int) -> None:
    assert parse_duration(format_duration(millis / 1000)) == pytest.approx(millis / 1000)
