"""Origins of web pages, as users write them."""

import pytest

from rport.errors import UsageError
from rport.server.cors import parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://panel.example.com", "https://panel.example.com"),
        ("HTTPS://Panel.Example.com/", "https://panel.example.com"),
        ("https://panel.example.com:443", "https://panel.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_as_a_browser_sends_it(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text", ["", "*", "null", "panel.example.com", "https://", "https://x/path", "https://*.x", "https://x ", "ftp://x"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="give an origin as browsers have it"):
        parse_origin(text)
