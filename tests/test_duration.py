import pytest

from rport.duration import parse_duration
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
        ("90d", 7776000.0),
        ("1d12h", 129600.0),
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
        "1w",
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
