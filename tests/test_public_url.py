"""The URL by which clients reach a server."""

import pytest

from rport.errors import UsageError
from rport.server.public_url import URL_MAX, parse_public_url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://example.com", "http://example.com"),
        ("HTTPS://example.com:8443/", "https://example.com:8443"),
        ("wss://example.com/rport/", "https://example.com/rport"),
        ("ws://192.0.2.1:80", "http://192.0.2.1:80"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:443/x", "https://[2001:db8::1]:443/x"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_urls(text: str, shown: str) -> None:
    assert parse_public_url(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "ftp://example.com",
        "http://",
        "http://example.com:0",
        "http://example.com:99999",
        "http://example.com/?x",
        "http://example.com/a b",
        "http://example.com\n",
        "http://exa mple.com",
        "http://[::1",
        "http://[example.com]",
        f"http://example.com/{'x' * URL_MAX}",
    ],
)
def test_no_urls(text: str) -> None:
    with pytest.raises(UsageError):
        parse_public_url(text)


def test_a_login_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        parse_public_url("https://me:secret@example.com")
    assert "secret" not in str(caught.value)
