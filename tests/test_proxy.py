import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.client.proxy import NO_PROXY, Proxy, choose, is_excepted, parse_proxy
from rport.errors import UsageError

SECRET = "verysecret"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://p:3128", Proxy("http", "p", 3128)),
        ("http://p:3128/", Proxy("http", "p", 3128)),
        ("http://p", Proxy("http", "p", 80)),
        ("https://p", Proxy("https", "p", 443)),
        ("p:3128", Proxy("http", "p", 3128)),
        ("p", Proxy("http", "p", 80)),
        ("HTTP://p:1", Proxy("http", "p", 1)),
        ("socks://p", Proxy("socks5", "p", 1080)),
        ("socks5://p:1", Proxy("socks5", "p", 1)),
        ("socks5h://[::1]:1", Proxy("socks5", "::1", 1)),
        ("http://[0:0::1]", Proxy("http", "::1", 80)),
        ("http://b\xfccher.example", Proxy("http", "xn--bcher-kva.example", 80)),
        ("http://me:pw@p", Proxy("http", "p", 80, b"me", b"pw")),
        ("me:pw@p:8080", Proxy("http", "p", 8080, b"me", b"pw")),
        ("http://me@p", Proxy("http", "p", 80, b"me", b"")),
        ("http://me:a:b@p", Proxy("http", "p", 80, b"me", b"a:b")),
        ("http://me:a@b/c#d@p", Proxy("http", "p", 80, b"me", b"a@b/c#d")),
        ("http://do%5Cme:%40%3a%2F%25@p", Proxy("http", "p", 80, b"do\\me", b"@:/%")),
        ("http://me:100%@p", Proxy("http", "p", 80, b"me", b"100%")),
        ("http://me:\u20ac@p", Proxy("http", "p", 80, b"me", b"\xe2\x82\xac")),
        ("socks5://a%3Ab:c@p", Proxy("socks5", "p", 1080, b"a:b", b"c")),
        ("none", NO_PROXY),
    ],
)
def test_urls(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "a host of 0 characters"),
        ("http://", "a host of 0 characters"),
        (f"ftp://me:{SECRET}@p", "the scheme must be http, https or socks5"),
        ("socks4://p", "the scheme must be http, https or socks5"),
        ("://p", "the scheme must be"),
        ("http://p:0", "the port must be"),
        (f"http://me:{SECRET}@p:70000", "the port must be"),
        ("http://p:", "the port must be"),
        ("http://p:x", "the port must be"),
        (f"http://me:{SECRET}@p/path", "it is more than"),
        (f"http://me:{SECRET}", "the port must be"),
        ("http://[a]", "no IPv6 address"),
        ("http://[::1", "it is more than"),
        ("http://a b", "is no host"),
        (f"http://:{SECRET}@p", "the user must have 1 to 255 octets"),
        (f"socks5://{'u' * 256}:{SECRET}@p", "the user must have 1 to 255 octets"),
        (f"socks5://u:{SECRET * 30}@p", "the password at most 255"),
        (f"http://a%3Ab:{SECRET}@p", "a user with a colon"),
    ],
)
def test_unfit_urls(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        parse_proxy(text)
    assert SECRET not in str(caught.value)


@given(st.text())
def test_any_text_is_a_proxy_or_a_usage_error(text: str) -> None:
    try:
        parse_proxy(text)
    except UsageError:
        return


def test_a_login_is_not_shown() -> None:
    proxy = parse_proxy(f"http://me:{SECRET}@[::1]:80")
    assert str(proxy) == "http://[::1]:80"
    assert SECRET not in repr(proxy)


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({"https_proxy": "a", "HTTPS_PROXY": "b", "ALL_PROXY": "c"}, "a"),
        ({"https_proxy": "", "HTTPS_PROXY": "b", "ALL_PROXY": "c"}, "b"),
        ({"all_proxy": "c", "ALL_PROXY": "d"}, "c"),
        ({"ALL_PROXY": "socks5://d"}, "d"),
        ({"http_proxy": "e", "HTTP_PROXY": "e"}, None),
        ({"ALL_PROXY": "d", "NO_PROXY": "example.com"}, None),
        ({"ALL_PROXY": "d", "no_proxy": "*"}, None),
        ({"ALL_PROXY": "d", "no_proxy": "other.org", "NO_PROXY": "*"}, "d"),
        ({"ALL_PROXY": "none"}, None),
        ({}, None),
    ],
)
def test_environment(environ: dict[str, str], host: str | None) -> None:
    proxy = choose(None, environ, "example.com", 80)
    assert (proxy and proxy.host) == host


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.1.2.3", "::1"])
def test_the_loopback_needs_no_proxy(host: str) -> None:
    assert choose(None, {"ALL_PROXY": "ftp://p"}, host, 80) is None


def test_what_is_given_counts_alone() -> None:
    environ = {"ALL_PROXY": "b", "NO_PROXY": "*"}
    given = Proxy("http", "a", 80)
    assert choose(given, environ, "127.0.0.1", 80) == given
    assert choose(NO_PROXY, {"ALL_PROXY": "ftp://b"}, "example.com", 80) is None


def test_an_unfit_variable_is_named() -> None:
    with pytest.raises(UsageError, match=r"^ALL_PROXY: .* the scheme must be") as caught:
        choose(None, {"ALL_PROXY": f"ftp://me:{SECRET}@p"}, "example.com", 80)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("exceptions", "host", "excepted"),
    [
        ("*", "a.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "a.b.example.com", True),
        (".example.com", "a.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "a.example.com", True),
        ("EXAMPLE.com.", "a.Example.COM", True),
        ("a.com, example.com", "example.com", True),
        ("a.com example.com", "example.com", True),
        ("example.com", "badexample.com", False),
        ("a.example.com", "example.com", False),
        ("example.com:8080", "example.com", True),
        ("example.com:80", "example.com", False),
        (".example.com:8080", "a.example.com", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8080", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3/8", "10.200.0.1", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.example.com", False),
        ("2.3", "10.1.2.3", False),
        ("fd00::/8", "fd12::1", True),
        ("fd12:0::1", "fd12::1", True),
        ("[fd12::1]", "fd12::1", True),
        ("[fd12::1]:8080", "fd12::1", True),
        ("[fd12::1]:80", "fd12::1", False),
        ("10.0.0.0/8", "fd12::1", False),
        ("", "example.com", False),
        (", ,", "example.com", False),
        (". *. [ a:b:c :80 http://example.com", "example.com", False),
    ],
)
def test_exceptions(exceptions: str, host: str, excepted: bool) -> None:
    assert is_excepted(exceptions, host, 8080) is excepted
