import pytest

from rport.client.policy import Rule, refusal
from rport.errors import UsageError


@pytest.mark.parametrize(
    ("rule", "host", "port", "allowed"),
    [
        ("any", "example.com", 1, True),
        ("10.0.0.0/8", "10.1.2.3", 1, True),
        ("10.0.0.0/8", "11.1.2.3", 1, False),
        ("10.0.0.0/8", "example.com", 1, False),
        ("10.0.0.1", "10.0.0.1", 1, True),
        ("db.internal:5432", "DB.internal.", 5432, True),
        ("db.internal:5432", "db.internal", 5433, False),
        ("db.internal:*", "db.internal", 5433, True),
        ("[2001:db8::0]:80", "2001:db8::", 80, True),
    ],
)
def test_rules(rule: str, host: str, port: int, allowed: bool) -> None:
    assert (refusal([Rule.parse(rule)], host, port) is None) == allowed


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_the_loopback_needs_no_rule(host: str) -> None:
    assert refusal([], host, 80) is None


def test_a_refusal_says_what_to_do() -> None:
    assert str(refusal([], "10.0.0.1", 80)).endswith("add --allow 10.0.0.1:80")
    assert str(refusal([], "2001:db8::1", 80)).endswith("add --allow [2001:db8::1]:80")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "h:",
        ":80",
        "h:0",
        "h:65536",
        "h:\u0661",
        "h:" + "9" * 5000,
        "*:80",
        "*",
        "a b:80",
        "10.0.0.1/8",
        "h:80:*",
    ],
)
def test_unfit_rules(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--allow .* give HOST:PORT"):
        Rule.parse(text)
