from ipaddress import ip_network

import pytest

from rport.errors import UsageError
from rport.server.networks import is_within, parse_network

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("127.0.0.1", "127.0.0.1/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::1", "::1/128"),
        ("fd00::/8", "fd00::/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no address or network"),
        ("nginx", "no address or network"),
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/33", "no address or network"),
        ("10.0.0.1:80", "no address or network"),
        ("x" * 1000, "no address or network"),
    ],
)
def test_what_is_no_network(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_network(text)
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 300


def test_within() -> None:
    assert is_within("10.1.2.3", TRUSTED)
    assert is_within("::ffff:10.1.2.3", TRUSTED)
    assert is_within("fd00::1%eth0", TRUSTED)
    assert not is_within("11.0.0.1", TRUSTED)
    assert not is_within("unknown", TRUSTED)
    assert not is_within("", TRUSTED)
    assert not is_within("10.1.2.3", [])
