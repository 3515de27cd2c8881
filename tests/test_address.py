import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.client.address import Address, parse_address
from rport.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.com", Address("example.com", 80, "/")),
        ("example.com:8080", Address("example.com", 8080, "/")),
        ("http://example.com:8080/", Address("example.com", 8080, "/")),
        ("WS://h/a/b?c=d", Address("h", 80, "/a/b?c=d")),
        ("h?c=d", Address("h", 80, "/?c=d")),
        ("h/a://b", Address("h", 80, "/a://b")),
        ("[::1]:9", Address("::1", 9, "/")),
        ("[0:0::1]", Address("::1", 80, "/")),
        ("[fe80::1%eth0]:9", Address("fe80::1%eth0", 9, "/")),
        ("https://h", Address("h", 443, "/", tls=True)),
        ("Wss://[::1]:9/a", Address("::1", 9, "/a", tls=True)),
        ("b\xfccher.example", Address("xn--bcher-kva.example", 80, "/")),
    ],
)
def test_forms(text: str, address: Address) -> None:
    assert parse_address(text) == address


def test_as_it_is_shown() -> None:
    assert str(parse_address("h/path?token=x")) == "ws://h:80"
    assert str(parse_address("https://h")) == "wss://h:443"
    assert parse_address("[::1]:9").netloc == "[::1]:9"


@pytest.mark.parametrize(
    ("text", "field"),
    [("h", "h"), ("h:443", "h:443"), ("https://h", "h"), ("https://h:80", "h:80"), ("https://[::1]:443", "[::1]")],
)
def test_a_host_field_leaves_the_usual_port_out(text: str, field: str) -> None:
    assert parse_address(text).authority == field


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "give HOST[:PORT]"),
        (":80", "give HOST[:PORT]"),
        ("1:2:3", "give HOST[:PORT]"),
        ("::1", "give HOST[:PORT]"),
        ("[::1", "give HOST[:PORT]"),
        ("[::1]x:1", "give HOST[:PORT]"),
        ("[h]:1", "'h' is no IPv6 address; give HOST[:PORT]"),
        ("[::g]:1", "'::g' is no IPv6 address; give HOST[:PORT]"),
        ("9999", "'9999' is no host; give HOST[:PORT]"),
        ("a b", "'a b' is no host; give HOST[:PORT]"),
        ("\u2100:80", "is no host; give HOST[:PORT]"),
        ("\xfc" * 70, "is no host; give HOST[:PORT]"),
        ("\udcff", "is no host; give HOST[:PORT]"),
        ("h:", "from 1 to 65535"),
        ("h:0", "from 1 to 65535"),
        ("h:\u0661", "from 1 to 65535"),
        ("h:" + "9" * 5000, "from 1 to 65535"),
        ("h/a b", "%20 for a space"),
        ("h/#a", "without a space or #"),
        ("h/\r\nX: y", "plain ASCII"),
        ("ftp://h", "must be http, https, ws or wss"),
        ("://h", "must be http, https, ws or wss"),
    ],
)
def test_errors_name_the_part(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert str(caught.value).startswith(f"server {text!r}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "login", ["me", "me:secret", "me:sec/ret", "me:s@secret", "me:secret ?#", "me:secret://secret"]
)
@pytest.mark.parametrize("scheme", ["", "http://", "ftp://"])
@pytest.mark.parametrize("host", ["h:1", "h:x", "a b", ""])
def test_a_login_is_refused_and_not_shown(scheme: str, login: str, host: str) -> None:
    with pytest.raises(UsageError, match="server") as caught:
        parse_address(f"{scheme}{login}@{host}")
    assert "secret" not in str(caught.value)
    assert f"...@{host}" in str(caught.value)
    assert ("--auth" in str(caught.value)) == (host == "h:1" and scheme != "ftp://")


@given(st.text(max_size=40) | st.text("0123456789:[].a-/@?#", max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert parse_address(f"{address}{address.path}") == address
    assert f"{address.netloc}{address.path}".isascii()


@pytest.mark.parametrize(
    ("text", "authority"),
    [("h:81", "h:81"), ("[::1]:8080", "[::1]:8080"), ("[fe80::1%eth0]:8080", "[fe80::1]:8080")],
)
def test_the_host_field_has_no_zone(text: str, authority: str) -> None:
    assert parse_address(text).authority == authority
