import pytest

from rport.client.policy import RULES_SHOWN, Rule, refusal
from rport.errors import UsageError
from rport.remote import Remote


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


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ("unix:/run/x.sock", True),
        ("any", True),
        ("unix:/run/X.sock", False),
        ("unix:/run", False),
        ("unix:*", False),
        ("0.0.0.0/0", False),
        ("localhost:*", False),
    ],
)
def test_sockets(rule: str, allowed: bool) -> None:
    assert (refusal([Rule.parse(rule)], "unix:/run/x.sock", 0) is None) == allowed
    assert refusal([Rule.parse("unix:/run/x.sock")], "10.0.0.1", 80) is not None


@pytest.mark.parametrize(
    ("rule", "host"),
    [
        ("10.0.0.0/8", "[::ffff:10.0.0.1]"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1"),
        ("2001:db8::/32", "[2001:db8:0::1]"),
        ("[2001:DB8::0]:*", "[2001:db8::]"),
        ("fe80::/10", "[fe80::1%eth0]"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]"),
    ],
)
def test_one_address_has_one_spelling(rule: str, host: str) -> None:
    remote = Remote.parse(f"1:{host}:80")
    assert refusal([Rule.parse(rule)], remote.dialled, remote.rport) is None


@pytest.mark.parametrize(("host", "dialled"), [("[::]", "::1"), ("[0:0::0]", "::1"), ("[::ffff:0:0]", "127.0.0.1")])
def test_the_wildcard_address_is_this_machine(host: str, dialled: str) -> None:
    assert Remote.parse(f"1:{host}:80").dialled == dialled
    assert refusal([], dialled, 80) is None


def test_a_zone_is_part_of_an_address() -> None:
    assert refusal([Rule.parse("[fe80::1%eth0]:80")], "fe80::1%eth1", 80) is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_the_loopback_needs_no_rule(host: str) -> None:
    assert refusal([], host, 80) is None


def test_a_refusal_says_what_to_do() -> None:
    assert str(refusal([], "10.0.0.1", 80)).endswith("give the client --allow 10.0.0.1:80")
    assert str(refusal([], "2001:db8::1", 80)).endswith("give the client --allow [2001:db8::1]:80")
    assert str(refusal([], "unix:/run/x.sock", 0)).endswith("give the client --allow unix:/run/x.sock")


def test_a_refusal_names_the_rules_that_there_are() -> None:
    assert str(refusal([], "10.0.0.1", 80)).startswith("no --allow rule covers 10.0.0.1:80, which is not on")
    few = [Rule.parse("10.1.0.0/16"), Rule.parse("db:5432")]
    assert "no --allow rule (there are 10.1.0.0/16, db:5432) covers 10.0.0.1:80" in str(refusal(few, "10.0.0.1", 80))
    many = [Rule.parse(f"{'h' * 253}:{port}") for port in range(1, 1000)]
    said = str(refusal(many, "10.0.0.1", 80))
    assert f"and {len(many) - RULES_SHOWN} more) covers" in said
    assert len(said) < 1000


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
    with pytest.raises(UsageError, match=r"^'.* give HOST:PORT"):
        Rule.parse(text)


@pytest.mark.parametrize("text", ["unix:/run/\n", "unix:/" + "x" * 107, "unix:/run/x?y"])
def test_unfit_paths(text: str) -> None:
    with pytest.raises(UsageError, match=r"^'.* path "):
        Rule.parse(text)
