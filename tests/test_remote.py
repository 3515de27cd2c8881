import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import ProtocolError, UsageError
from rport.remote import Remote, advice

LABELS = st.from_regex(r"[a-z_]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = (
    st.lists(LABELS, min_size=1, max_size=4).map(".".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
)
REMOTES = st.builds(Remote, HOSTS, st.integers(0, 65535), HOSTS, st.integers(1, 65535))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("3000", "0.0.0.0:3000 => 0.0.0.0:3000"),
        ("2222:22", "0.0.0.0:2222 => 0.0.0.0:22"),
        ("example.com:3000", "0.0.0.0:3000 => example.com:3000"),
        ("3000:google.com:80", "0.0.0.0:3000 => google.com:80"),
        ("192.168.0.5:3000:google.com:80", "192.168.0.5:3000 => google.com:80"),
        ("2222:0.0.0.0:22", "0.0.0.0:2222 => 0.0.0.0:22"),
        ("[::]:3000:[::1]:3000", "[::]:3000 => [::1]:3000"),
        ("[::1]:80", "0.0.0.0:80 => [::1]:80"),
        ("[::1]:8080:80", "0.0.0.0:8080 => [::1]:80"),
        ("[0:0::1]:80", "0.0.0.0:80 => [::1]:80"),
        ("0:22", "0.0.0.0:0 => 0.0.0.0:22"),
        ("0:host:22/tcp", "0.0.0.0:0 => host:22"),
    ],
)
def test_forms(text: str, shown: str) -> None:
    assert str(Remote.parse(text)) == shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("foo", "a port behind the host 'foo'"),
        ("80:a", "a port behind the host 'a'"),
        ("1:2:3:4:5", "it has 5 parts"),
        ("1:2:3", "a third port, 1"),
        ("a:b:c:1", "a third host, 'a'"),
        ("99999", "port 99999 is not from 1 to 65535"),
        ("99999:80", "port 99999 is not from 0 to 65535"),
        ("0", "port 0 is not from 1"),
        ("80:0", "port 0 is not from 1"),
        ("-1:80", "port -1 is not from 0"),
        ("9" * 5000, "port 99999999999999999999 is not"),
        (":80", "an empty part"),
        ("80:", "an empty part"),
        ("::1:80", "an empty part: an IPv6 address belongs in brackets"),
        ("[::1:80", "brackets belong"),
        ("::1]:80", "an empty part"),
        ("[::1]80", "brackets belong"),
        ("x[::1]:80", "brackets belong"),
        ("[host]:80", "'[host]' is no IPv6 address"),
        ("[]:80", "'[]' is no IPv6 address"),
        ("[1:2]:80", "'1:2' is no IPv6 address"),
        ("a b:80", "'a b' is no host"),
        ("a\n:80", "is no host"),
        ("[fe80::1%\n]:80", "is no host"),
        ("user@host:80", "is no host"),
        ("h" * 254 + ":80", "a host of 254 characters"),
        ("53:1.1.1.1:53/udp", "/udp is not supported yet"),
        ("53/tcp+udp", "/tcp+udp is not supported yet"),
        ("80,443", "with spaces, as '80 443'"),
        ("h\n://h:80", "is no protocol"),
        ("53/sctp", "'/sctp' is no protocol"),
        ("http://h:80", "write it without http://"),
    ],
)
def test_errors_name_the_part(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Remote.parse(text)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"remote {text!r}: ")


@given(REMOTES)
def test_what_is_shown_can_be_read_again(remote: Remote) -> None:
    assert Remote.parse(f"{remote.listen}:{remote.target}") == remote


@given(REMOTES)
def test_wire_round_trip(remote: Remote) -> None:
    assert Remote.from_wire(remote.to_wire()) == remote


@given(st.text(max_size=40) | st.text("0123456789:[].a-/", max_size=30))
def test_any_text_is_a_remote_or_a_usage_error(text: str) -> None:
    try:
        remote = Remote.parse(text)
    except UsageError:
        return
    assert Remote.from_wire(remote.to_wire()) == remote
    assert Remote.parse(f"{remote.listen}:{remote.target}") == remote
    assert str(remote).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"lport": -1},
        {"lport": 65536},
        {"lport": "80"},
        {"lport": True},
        {"rport": 0},
        {"rport": None},
        {"lhost": ""},
        {"lhost": 1},
        {"rhost": "a b"},
        {"rhost": "80"},
        {"rhost": "a:b"},
        {"rhost": "[::1]"},
        {"rhost": "h" * 254},
        {"rhost": "a\x1b[2J"},
    ],
)
def test_unfit_on_the_wire(change: dict[str, object]) -> None:
    with pytest.raises(ProtocolError) as caught:
        Remote.from_wire(Remote("0.0.0.0", 1, "h", 2).to_wire() | change)
    assert next(iter(change)) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, [], "3000", {}])
def test_no_remote_on_the_wire(value: object) -> None:
    with pytest.raises(ProtocolError):
        Remote.from_wire(value)


def test_wire_form() -> None:
    assert Remote.parse("2222:22").to_wire() == {"lhost": "0.0.0.0", "lport": 2222, "rhost": "0.0.0.0", "rport": 22}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("127.0.0.1:3007:80", "write 127.0.0.1:3007:127.0.0.1:80"),
        ("[::1]:3007:80", "write [::1]:3007:127.0.0.1:80"),
        ("3007:127.0.0.1:80", ""),
        ("127.0.0.1:80", ""),
        ("3007:80", ""),
        ("127.0.0.1:0:127.0.0.1:80", ""),
    ],
)
def test_a_host_that_looks_like_a_listening_address(text: str, told: str) -> None:
    assert told in advice(text)
    assert bool(advice(text)) == bool(told)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("80", "80", True),
        ("80", "127.0.0.1:80:h:1", True),
        ("80", "[::]:80:h:1", False),
        ("127.0.0.1:80:h:1", "127.0.0.2:80:h:1", False),
        ("80", "81", False),
        ("0:80", "0:80", False),
    ],
)
def test_clashes(one: str, other: str, clash: bool) -> None:
    assert Remote.parse(one).clashes(Remote.parse(other)) == clash
