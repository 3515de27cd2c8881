import pytest

from rport.client.headers import parse_header, parse_hostname
from rport.errors import UsageError

SECRET = "verysecret"


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("X-Own: value", ("X-Own", "value")),
        ("X-Own:value", ("X-Own", "value")),
        ("X-Own: \t spaces within \t", ("X-Own", "spaces within")),
        ("X-Own:", ("X-Own", "")),
        ("Authorization: Basic a:b:c", ("Authorization", "Basic a:b:c")),
        ("x!#$%&'*+.^_`|~9-: \xe9", ("x!#$%&'*+.^_`|~9-", "\xe9")),
    ],
)
def test_headers(text: str, header: tuple[str, str]) -> None:
    assert parse_header(text) == header


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "write it as 'Name: value'"),
        (SECRET, "write it as 'Name: value'"),
        (": x", "no name of a header"),
        ("a b: x", "no name of a header"),
        ("a\n: x", "no name of a header"),
        ("a\xe9: x", "no name of a header"),
        (f"a: {SECRET}\r\nb: c", "the value of a must be one line"),
        (f"a: {SECRET}\0", "the value of a must be one line"),
        (f"a: {SECRET}\u20ac", "the value of a must be one line"),
        (f"a: {SECRET}\x85", "the value of a must be one line"),
        ("hOst: x", "--hostname"),
        (f"Proxy-Authorization: Basic {SECRET}", "--proxy"),
        ("Upgrade: x", "Upgrade cannot be given"),
        ("CONNECTION: close", "CONNECTION cannot be given"),
        ("Sec-WebSocket-Key: x", "cannot be given"),
        ("Sec-WebSocket-Protocol: x", "cannot be given"),
        ("Content-Length: 1", "cannot be given"),
        ("Transfer-Encoding: chunked", "cannot be given"),
        ("TE: trailers", "cannot be given"),
    ],
)
def test_unfit_headers(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        parse_header(text)
    assert SECRET not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["a", "tunnel.example.com", "e.com:8080", "10.0.0.1", "[::1]", "[::1]:80"])
def test_hostnames(text: str) -> None:
    assert parse_hostname(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a\r\nX: y", "a:b", "a:0", "a:70000", "::1", "[a]", "http://a", "\xfc.de"])
def test_unfit_hostnames(text: str) -> None:
    with pytest.raises(UsageError, match="is no host: write it like") as caught:
        parse_hostname(text)
    assert str(caught.value).isprintable()
