import pytest

from rport.ctl.place import read_place
from rport.errors import UsageError


@pytest.mark.parametrize(
    ("text", "url", "here"),
    [
        ("https://tunnel.example.com", "https://tunnel.example.com", False),
        ("tunnel.example.com", "https://tunnel.example.com", False),
        ("tunnel.example.com:8443/", "https://tunnel.example.com:8443", False),
        ("http://tunnel.example.com:80", "http://tunnel.example.com", False),
        ("localhost:8080", "http://localhost:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("https://127.0.0.1", "https://127.0.0.1", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("https://[2001:db8::0001]:8443/rport/", "https://[2001:db8::1]:8443/rport", False),
        ("https://example.com/api/v1", "https://example.com", False),
        ("HTTPS://Example.com", "https://example.com", False),
        ("https://bücher.example", "https://xn--bcher-kva.example", False),
    ],
)
def test_places(text: str, url: str, here: bool) -> None:
    place = read_place(text)
    assert (place.url, place.is_here) == (url, here)
    assert read_place(place.url) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a host of 0 characters"),
        ("https://", "a host of 0 characters"),
        ("ftp://a", "begins with https:// or http://"),
        ("https://a:99999", "Port out of range"),
        ("https://a:b", "Port could not be cast"),
        ("https://a b", "is no host"),
        ("https://a/x?y", "the path must be plain ASCII"),
        ("https://a/ü", "the path must be plain ASCII"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://[fe80::zz]", "IPv6"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_place(text)


def test_a_login_in_it_is_not_shown() -> None:
    with pytest.raises(UsageError, match="a login does not belong into the URL") as caught:
        read_place("https://me:geheim@example.com")
    assert "geheim" not in str(caught.value)
