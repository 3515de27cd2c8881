from ipaddress import ip_network

import pytest

from rport.server.door.caller import Caller

TRUSTED = [ip_network("10.0.0.0/8")]
PROXY, STRANGER = ("10.0.0.1", 5555), ("192.0.2.1", 4711)
LINE = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n"
FIELDS = [(b"x-forwarded-for", b"198.51.100.7")]


def test_a_stranger_is_who_it_is() -> None:
    caller = Caller(STRANGER, TRUSTED)
    assert not caller.undecided
    caller.identify(FIELDS)
    assert (caller.peer, caller.trusted, caller.relayed) == (STRANGER, False, False)


def test_a_trusted_proxy_names_the_client_of_each_request() -> None:
    caller = Caller(PROXY, TRUSTED)
    assert caller.strip(b"GET / ") == b"GET / "
    assert not caller.undecided
    caller.identify(FIELDS)
    assert caller.peer == ("198.51.100.7", 0)
    caller.identify([(b"x-forwarded-for", b"198.51.100.8")])
    assert caller.peer == ("198.51.100.8", 0)
    caller.identify([])
    assert (caller.peer, caller.relayed) == (PROXY, False)


def test_a_preamble_names_the_client_of_the_connection() -> None:
    caller = Caller(PROXY, TRUSTED)
    for octet in LINE[:-1]:
        assert caller.strip(bytes([octet])) == b""
        assert caller.undecided
    assert caller.strip(LINE[-1:] + b"GET") == b"GET"
    assert (caller.peer, caller.origin, caller.relayed, caller.undecided) == (STRANGER, STRANGER, True, False)


@pytest.mark.parametrize("line", [LINE, b"PROXY UNKNOWN\r\n"])
def test_what_a_relay_passes_on_is_not_its_word(line: bytes) -> None:
    caller = Caller(PROXY, TRUSTED)
    caller.strip(line)
    before = caller.peer
    caller.identify(FIELDS)
    assert caller.peer == before
    assert not caller.trusted


def test_a_trusted_proxy_behind_a_relay() -> None:
    caller = Caller(PROXY, TRUSTED)
    caller.strip(b"PROXY TCP4 10.9.9.9 10.0.0.1 4711 80\r\n")
    caller.identify(FIELDS)
    assert caller.peer == ("198.51.100.7", 0)
    assert caller.relayed


def test_a_broken_preamble() -> None:
    with pytest.raises(ValueError, match="PROXY"):
        Caller(PROXY, TRUSTED).strip(b"PROXY nonsense\r\n")
