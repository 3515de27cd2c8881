"""Rules about where the server may listen: what they are searched in, and that no spelling evades them."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.server import ports
from rport.server.acl import ANYWHERE, PATTERN_MAX, Acl, shown_address
from rport.server.errors import PortUnavailable


@pytest.mark.parametrize(
    ("rules", "host", "port", "allowed"),
    [
        ([".*"], "0.0.0.0", 2222, True),
        ([""], "::", 1, True),
        (["*"], "::", 1, True),
        ([], "0.0.0.0", 2222, False),
        (["210\\.211\\.212.*", "107\\.108\\.109.*"], "107.108.109.7", 80, True),
        (["210\\.211\\.212.*", "107\\.108\\.109.*"], "107.108.110.7", 80, False),
        (["^999"], "0.0.0.0", 9990, True),
        (["^999"], "0.0.0.0", 1999, False),
        (["^999$"], "0.0.0.0", 9990, False),
        (["^0\\.0\\.0\\.0:2222$"], "0.0.0.0", 2222, True),
        (["^0\\.0\\.0\\.0:2222$"], "127.0.0.1", 2222, False),
        (["^127\\.0\\.0\\.1:"], "localhost", 2222, True),
        (["localhost"], "localhost", 2222, False),
        (["^\\[::1\\]:80$"], "::1", 80, True),
        (["2222"], "fe80::1%2222", 80, False),
        (["example"], "example.com", 80, False),
        ([""], "example.com", 80, False),
    ],
)
def test_rules(rules: list[str], host: str, port: int, allowed: bool) -> None:
    assert Acl.parse(rules).allow(host, port) is allowed


@pytest.mark.parametrize(
    "spellings",
    [
        ["127.0.0.1", "localhost", "LOCALHOST", "::ffff:127.0.0.1", "::FFFF:7f00:1", "0:0:0:0:0:ffff:127.0.0.1"],
        ["0.0.0.0", "::ffff:0.0.0.0", "::ffff:0:0"],
        ["::1", "0:0:0:0:0:0:0:1", "0000::0001"],
        ["fe80::1", "FE80::1", "fe80::1%eth0", "fe80::1%2"],
    ],
)
def test_an_address_has_one_spelling(spellings: list[str]) -> None:
    assert len({shown_address(spelling, 80) for spelling in spellings}) == 1


@pytest.mark.parametrize("text", ["127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.01", "127.0.0.1 ", "a.b"])
def test_what_other_programs_take_for_an_address_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        shown_address(text, 80)
    assert not ANYWHERE.allow(text, 80)
    with pytest.raises(PortUnavailable):
        ports.listen(text, 0)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LocalHost", "::ffff:127.0.0.1", "::1", "0::1", "::ffff:0.0.0.0", "0.0.0.0", "::"],
)
def test_what_rules_see_is_what_is_bound(host: str) -> None:
    with ports.listen(host, 0) as sock:
        bound, port = sock.getsockname()[:2]
        assert shown_address(host, port) == shown_address(bound, port)
        assert ipaddress.ip_address(bound).version == (4 if sock.family == socket.AF_INET else 6)


@pytest.mark.parametrize("host", ["::1%2222", "::%2222", "2001:db8::1%2222"])
def test_a_zone_that_says_nothing_is_refused(host: str) -> None:
    with pytest.raises(PortUnavailable, match="link-local"):
        ports.listen(host, 0)


@given(st.text(max_size=50), st.integers(1, 65535))
def test_whatever_is_allowed_can_be_parsed(host: str, port: int) -> None:
    if ANYWHERE.allow(host, port):
        assert shown_address(host, port).endswith(f":{port}")


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ("*", "give a list"),
        (None, "give a list"),
        ({"a": 1}, "give a list"),
        ([1], "1 is no text"),
        (["("], "is no regular expression: missing"),
        (["a{1,99999999999999999999}"], "is no regular expression"),
        (["a" * (PATTERN_MAX + 1)], f"{PATTERN_MAX} are allowed"),
    ],
)
def test_unfit_rules_are_named(texts: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Acl.parse(texts)


def test_odd_patterns_warn_nobody(recwarn: pytest.WarningsRecorder) -> None:
    Acl.parse(["[[a]", "[a||b]"])
    assert not recwarn.list


def test_rules_are_equal_when_their_texts_are() -> None:
    assert Acl.parse(["a", "b"]) == Acl.parse(["a", "b"]) != Acl.parse(["a"])
