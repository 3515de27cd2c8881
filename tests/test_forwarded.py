import contextlib
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.server.door.forwarded import HOPS_MAX, client_of

PROXY = ("10.0.0.1", 5555)
TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def client(*fields: tuple[str, str]) -> tuple[str, int]:
    return client_of([(name.lower().encode(), value.encode("latin-1")) for name, value in fields], PROXY, TRUSTED)


def listed(value: str) -> tuple[str, int]:
    return client(("X-Forwarded-For", value))


def forwarded(value: str) -> tuple[str, int]:
    return client(("Forwarded", value))


def test_a_proxy_that_says_nothing_is_the_client() -> None:
    assert client() == PROXY
    assert listed("") == PROXY
    assert client(("X-Real-IP", "192.0.2.1")) == PROXY


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:4711", ("192.0.2.1", 4711)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("2001:DB8:0::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]:4711", ("2001:db8::1", 4711)),
        ("::ffff:192.0.2.1", ("192.0.2.1", 0)),
        ("203.0.113.5, 192.0.2.1", ("192.0.2.1", 0)),
        ("nonsense, 192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1, 10.0.0.2", ("192.0.2.1", 0)),
        ("192.0.2.1,fd00::2 ,10.0.0.2", ("192.0.2.1", 0)),
        ("203.0.113.5, 192.0.2.1, 10.0.0.2", ("192.0.2.1", 0)),
        ("10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),
        ("unknown", PROXY),
        ("192.0.2.1, unknown, 10.0.0.2", ("10.0.0.2", 0)),
    ],
)
def test_the_last_untrusted_hop_is_the_client(value: str, expected: tuple[str, int]) -> None:
    assert listed(value) == expected


def test_fields_that_come_twice_are_one_list() -> None:
    assert client(("X-Forwarded-For", "203.0.113.5"), ("X-Forwarded-For", "192.0.2.1")) == ("192.0.2.1", 0)
    assert client(("Forwarded", "for=203.0.113.5"), ("Forwarded", "for=192.0.2.1")) == ("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", ("192.0.2.1", 0)),
        ("For=192.0.2.1", ("192.0.2.1", 0)),
        ('for="192.0.2.1:4711"', ("192.0.2.1", 4711)),
        ('for="[2001:db8::1]"', ("2001:db8::1", 0)),
        ('for="[2001:db8::1]:4711"', ("2001:db8::1", 4711)),
        ('for="[2001:db8::1]:_port"', ("2001:db8::1", 0)),
        ("for=203.0.113.5, for=192.0.2.1;by=10.0.0.1;proto=https", ("192.0.2.1", 0)),
        ('proto=http;host="a, for=6.6.6.6";for=192.0.2.1 ; by=_me', ("192.0.2.1", 0)),
        (r'for=192.0.2.1;host="a\", for=6.6.6.6;x=\""', ("192.0.2.1", 0)),
        ("for=192.0.2.1, for=10.0.0.2", ("192.0.2.1", 0)),
        ("for=_hidden", PROXY),
        ("for=unknown", PROXY),
        ("for=192.0.2.1, for=_hidden, for=10.0.0.2", ("10.0.0.2", 0)),
        ("for=192.0.2.1, proto=https", PROXY),
    ],
)
def test_forwarded(value: str, expected: tuple[str, int]) -> None:
    assert forwarded(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "nonsense",
        "192.0.2.1,",
        "192.0.2.1, nonsense",
        "192.0.2.1:0",
        "192.0.2.1:99999",
        "1.2.3",
        "[192.0.2.1",
        "a" * 9000,
    ],
)
def test_a_trusted_hop_that_cannot_be_read(value: str) -> None:
    with pytest.raises(ValueError, match="cannot be read") as raised:
        listed(value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        "192.0.2.1",
        "for=",
        "for=192.0.2.1,",
        "for=192.0.2.1;",
        "for=192.0.2.1 for=192.0.2.2",
        "for=[2001:db8::1]",
        'for="192.0.2.1',
        'for="x, for=192.0.2.1',
        'for=", for="[2001:db8::1]:4711"',
        "for=nonsense, for=192.0.2.1",
        'for="192.0.2.1:0"',
        "a" * 9000,
    ],
)
def test_a_forwarded_field_that_cannot_be_read(value: str) -> None:
    with pytest.raises(ValueError, match="cannot be read") as raised:
        forwarded(value)
    assert len(str(raised.value)) < 200


def test_both_fields_must_agree() -> None:
    assert client(("X-Forwarded-For", "192.0.2.1"), ("Forwarded", 'for="192.0.2.1:99"')) == ("192.0.2.1", 99)
    with pytest.raises(ValueError, match="different clients"):
        client(("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.2"))
    with pytest.raises(ValueError, match="different clients"):
        client(("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=unknown"))


def test_no_end_of_trusted_proxies() -> None:
    most = ", ".join(["192.0.2.1"] + ["10.0.0.2"] * (HOPS_MAX - 1))
    assert listed(most) == ("192.0.2.1", 0)
    with pytest.raises(ValueError, match="in a row"):
        listed(f"{most}, 10.0.0.2")


@given(st.text(alphabet='for="\\;, :[]0123456789.abcdef_un\t', max_size=60))
def test_a_client_never_chooses_its_address(prefix: str) -> None:
    """Whatever it sent before, what the proxy appended counts, or the request is turned away."""
    assert listed(f"{prefix}, 192.0.2.1") == ("192.0.2.1", 0)
    for appended in ("for=192.0.2.1", 'for="[2001:db8::7]:80"', 'for=192.0.2.1;host="x"'):
        with contextlib.suppress(ValueError):
            assert forwarded(f"{prefix}, {appended}")[0] in ("192.0.2.1", "2001:db8::7")
