from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import ProtocolError, UsageError
from rport.hosts import clean_host
from rport.remote import CAPS, Remote, advice

LABELS = st.from_regex(r"[a-z_]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = (
    st.lists(LABELS, min_size=1, max_size=4).map(".".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
).map(clean_host)
PORTS = st.integers(0, 65535)
PROXIES = st.sampled_from(["", "v1", "v2"])
PATHS = st.from_regex(r"/[ -/0->@-~\xe9]{0,53}", fullmatch=True)
REMOTES = st.builds(Remote, HOSTS, PORTS, HOSTS, st.integers(1, 65535), PROXIES) | st.builds(
    Remote, HOSTS, PORTS, PATHS.map("unix:{}".format), st.just(0), PROXIES
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("3000", "0.0.0.0:3000 => 127.0.0.1:3000"),
        ("2222:22", "0.0.0.0:2222 => 127.0.0.1:22"),
        ("example.com:3000", "0.0.0.0:3000 => example.com:3000"),
        ("3000:google.com:80", "0.0.0.0:3000 => google.com:80"),
        ("192.168.0.5:3000:google.com:80", "192.168.0.5:3000 => google.com:80"),
        ("2222:0.0.0.0:22", "0.0.0.0:2222 => 127.0.0.1:22"),
        ("[::]:3000:[::1]:3000", "[::]:3000 => [::1]:3000"),
        ("[::1]:80", "0.0.0.0:80 => [::1]:80"),
        ("[::1]:8080:80", "0.0.0.0:8080 => [::1]:80"),
        ("[0:0::1]:80", "0.0.0.0:80 => [::1]:80"),
        ("0:22", "0.0.0.0:0 => 127.0.0.1:22"),
        ("0:host:22/tcp", "0.0.0.0:0 => host:22"),
        ("[::ffff:10.0.0.1]:80", "0.0.0.0:80 => 10.0.0.1:80"),
        ("[::ffff:127.0.0.1]:1:[::ffff:0:0]:2", "127.0.0.1:1 => 127.0.0.1:2"),
        ("[fe80::1%eth0]:0:[fe80::2%eth0]:22", "[fe80::1%eth0]:0 => [fe80::2%eth0]:22"),
        ("2222:unix:/run/x.sock", "0.0.0.0:2222 => unix:/run/x.sock"),
        ("127.0.0.1:2222:unix:/run/x.sock", "127.0.0.1:2222 => unix:/run/x.sock"),
        ("[::1]:0:unix:/run/x.sock", "[::1]:0 => unix:/run/x.sock"),
        ("0:unix:/a:1:b,c unix:/tcp", "0.0.0.0:0 => unix:/a:1:b,c unix:/tcp"),
        ("0:unix:/" + "x" * 106, "0.0.0.0:0 => unix:/" + "x" * 106),
        ("2222:unix:22", "0.0.0.0:2222 => unix:22"),
        ("unix:2222:22", "0.0.0.0:2222 => unix:22"),
        ("2222:22?proxy=v2", "0.0.0.0:2222 => 127.0.0.1:22?proxy=v2"),
        ("[::1]:80?proxy=v1", "0.0.0.0:80 => [::1]:80?proxy=v1"),
        ("22/tcp?proxy=v1", "0.0.0.0:22 => 127.0.0.1:22?proxy=v1"),
        ("1:unix:/run/x.sock?proxy=v1", "0.0.0.0:1 => unix:/run/x.sock?proxy=v1"),
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
        ("unix:/run/x.sock", "write [LHOST:]LPORT:unix:PATH"),
        ("host:unix:/run/x.sock", "write [LHOST:]LPORT:unix:PATH"),
        (":unix:/run/x.sock", "write [LHOST:]LPORT:unix:PATH"),
        ("h:1:2:unix:/run/x.sock", "write [LHOST:]LPORT:unix:PATH"),
        ("1:2:unix:/run/x.sock", "'1' is no host"),
        ("99999:unix:/run/x.sock", "port 99999 is not from 0 to 65535"),
        ("1:unix:", "the path '' must begin with /"),
        ("1:unix:run/x.sock", "the path 'run/x.sock' must begin with /"),
        ("1:unix:/run/\x1b[2J", "is no path of a socket"),
        ("1:unix:/run/\udc80", "is no path of a socket"),
        ("1:unix:/" + "x" * 107, "a path of 108 octets: a socket's has at most 107"),
        ("1:unix:/" + "\xe9" * 54, "a path of 109 octets"),
        ("22?", "'' is no option: there is ?proxy=v1 and ?proxy=v2"),
        ("22?porxy=v1", "'porxy' is no option"),
        ("22?proxy=v2&x=1", "'x' is no option"),
        ("22?proxy", "'' is no version of the PROXY protocol"),
        ("22?proxy=v3", "'v3' is no version of the PROXY protocol: give proxy=v1 or proxy=v2"),
        ("22?proxy=v1?proxy=v2", "'v1?proxy=v2' is no version"),
        ("22?proxy=v1&proxy=v1", "proxy= is given twice"),
    ],
)
def test_errors_name_the_part(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Remote.parse(text)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"remote {text!r}: ")


@given(REMOTES)
def test_what_is_shown_can_be_read_again(remote: Remote) -> None:
    assert Remote.parse(str(remote).replace(" => ", ":", 1)) == replace(remote, rhost=remote.dialled)


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
    assert Remote.parse(str(remote).replace(" => ", ":", 1)) == replace(remote, rhost=remote.dialled)
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
        {"rhost": "unix:/run/x.sock"},
        {"unix": ""},
        {"unix": 1},
        {"unix": None},
        {"unix": "run/x.sock"},
        {"unix": "/" + "x" * 107},
        {"unix": "/run/x\0y"},
        {"unix": "/run/x?y"},
        {"proxy": ""},
        {"proxy": "v3"},
        {"proxy": 2},
        {"proxy": None},
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
    plain = {"lhost": "0.0.0.0", "lport": 2222, "rhost": "0.0.0.0", "rport": 22}
    assert Remote.parse("2222:22").to_wire() == plain
    assert Remote.parse("2222:22?proxy=v2").to_wire() == plain | {"proxy": "v2"}
    # Without rhost and rport: a peer that does not know the key must not dial anything else.
    assert Remote.parse("1:unix:/x").to_wire() == {"lhost": "0.0.0.0", "lport": 1, "unix": "/x"}


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("22", set()),
        ("22?proxy=v1", {"proxy"}),
        ("1:unix:/x", {"unix"}),
        ("1:unix:/x?proxy=v2", {"unix", "proxy"}),
    ],
)
def test_what_a_peer_must_know(text: str, needs: set[str]) -> None:
    remote = Remote.parse(text)
    assert remote.needs == needs <= set(CAPS)
    assert remote.proxy_version == int(remote.proxy[1:] or 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("127.0.0.1:3007:80", "write 127.0.0.1:3007:127.0.0.1:80"),
        ("[::1]:3007:80", "write [::1]:3007:127.0.0.1:80"),
        ("3007:127.0.0.1:80", ""),
        ("127.0.0.1:80", ""),
        ("3007:80", ""),
        ("127.0.0.1:0:127.0.0.1:80", ""),
        ("127.0.0.1:3007:80?proxy=v1", "127.0.0.1 is what is dialled"),
        ("127.0.0.1:3007:unix:/x?proxy=v1", ""),
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
