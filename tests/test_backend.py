import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import UsageError
from rport.server.door.backend import Backend, parse_backend


@pytest.mark.parametrize(
    ("text", "backend", "authority"),
    [
        ("http://127.0.0.1:3000", Backend(False, "127.0.0.1", 3000), "127.0.0.1:3000"),
        ("http://example.com", Backend(False, "example.com", 80), "example.com"),
        ("HTTPS://example.com/", Backend(True, "example.com", 443), "example.com"),
        ("https://example.com:80", Backend(True, "example.com", 80), "example.com:80"),
        ("http://h/a/b/", Backend(False, "h", 80, "/a/b"), "h"),
        ("http://[::1]", Backend(False, "::1", 80), "[::1]"),
        ("http://[0::1]:81/x", Backend(False, "::1", 81, "/x"), "[::1]:81"),
        ("http://b\xfccher.example", Backend(False, "xn--bcher-kva.example", 80), "xn--bcher-kva.example"),
    ],
)
def test_forms(text: str, backend: Backend, authority: str) -> None:
    assert parse_backend(text) == backend
    assert backend.authority == authority
    assert parse_backend(str(backend)) == backend


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "give http://HOST"),
        ("example.com", "give http://HOST"),
        ("ftp://example.com", "give http://HOST"),
        ("http://", "give http://HOST"),
        ("http:///x", "give http://HOST"),
        ("http://h?x", "give http://HOST"),
        ("http://h/a?x", "give http://HOST"),
        ("http://h/a#x", "give http://HOST"),
        ("http://h/a b", "give http://HOST"),
        ("http://h:0", "from 1 to 65535"),
        ("http://h:x", "from 1 to 65535"),
        ("http://h:", "from 1 to 65535"),
        ("http://[abc]", "is no IPv6 address"),
        ("http://a b", "is no host"),
        ("http://..", "label"),
        (f"http://{'a' * 64}.example", "label"),
        ("http://me:secret@h", "no login"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_backend(text)
    assert problem in str(raised.value)
    assert "secret" not in str(raised.value)


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    for prefix in ("", "http://", "https://h"):
        with contextlib.suppress(UsageError):
            assert parse_backend(parse_backend(prefix + text).__str__())
