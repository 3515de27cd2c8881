"""Which ports are whose, and sockets for them: real ones on the loopback."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rport.errors import UsageError
from rport.remote import Remote
from rport.server.errors import NotAllowed, PortUnavailable, TunnelExists
from rport.server.settings import Settings
from rport.server.tunnels.claim import TRIES, bind, claim
from rport.server.tunnels.pool import TUNNELS_MAX, Pool, PortTaken
from rport.server.tunnels.ranges import LIST_MAX, has, parse_ports, parse_range


def remote(lport: int, lhost: str = "127.0.0.1", target: str = "127.0.0.1") -> Remote:
    return Remote(lhost, lport, target, 22)


def pool_of(*own: int, **settings: object) -> Pool:
    return Pool(set(own), Settings("", **settings))  # type: ignore[arg-type]


def anywhere(lhost: str, lport: int) -> None:
    """A check that allows all."""


def only(*ports: int) -> object:
    def check(lhost: str, lport: int) -> None:
        if lport not in ports:
            raise NotAllowed("not there")

    return check


@contextlib.contextmanager
def taken(count: int) -> Iterator[list[int]]:
    """Ports in a row that another program listens on."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for port in range(first + 1, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            yield [*range(first, first + count)]
            return


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ports"), [("1-65535", range(1, 65536)), ("80-80", range(80, 81)), ("5 - 7", range(5, 8))]
)
def test_a_range(text: str, ports: range) -> None:
    assert parse_range(text) == ports


@pytest.mark.parametrize("text", ["", "80", "0-5", "7-5", "1-65536", "a-b", "-", "1-2-3", "-5-7", "1" * 5000 + "-2"])
def test_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="write it like 20000-29999"):
        parse_range(text)


def test_a_list_of_ports() -> None:
    ranges = parse_ports("22, 80,8000-8999,")
    assert [has(ranges, port) for port in (21, 22, 80, 7999, 8000, 8999, 9000)] == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("text", ["", ",", "x", "22,x", "9-8", ",".join(["1"] * (LIST_MAX + 1))])
def test_no_list_of_ports(text: str) -> None:
    with pytest.raises(UsageError, match="write it like"):
        parse_ports(text)


# --- whose -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "wanted", "clash"),
    [
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "localhost", True),
        ("::", "::1", True),
        ("::", "0.0.0.0", False),
        ("no address", "no address", True),
    ],
)
def test_a_holder_is_found_where_the_addresses_overlap(held: str, wanted: str, clash: bool) -> None:
    pool = pool_of()
    hold = pool.take(remote(2222, held), "web-1", "t1")
    assert pool.holder(wanted, 2222) is (hold if clash else None)
    assert pool.holder(wanted, 2223) is None
    pool.release(hold)
    assert pool.holder(wanted, 2222) is None


def test_what_is_taken_is_nobody_elses_and_says_whose_it_is() -> None:
    pool = pool_of()
    hold = pool.take(remote(2222), "web-1", "t1")
    with pytest.raises(PortTaken, match=r"^port 2222 is reserved for another tunnel of another client$") as found:
        pool.take(remote(2222), "web-2", "t2")
    assert found.value.hold is hold
    assert hold.shown == "reserved for tunnel t1 of client web-1"
    with pytest.raises(PortTaken, match=r"is reserved for another tunnel of this client$"):
        pool.take(remote(2222), "web-1", "t2")
    hold.pending = True
    assert hold.shown == "taken by tunnel t1 of client web-1, which is being opened"
    hold.pending, hold.session = False, "session#7"
    assert hold.shown == "taken by tunnel t1 of client web-1"
    with pytest.raises(PortTaken, match=r"is taken by another tunnel of session#7$"):
        pool.take(remote(2222), "web-2", "t2")


def test_the_very_same_tunnel_is_there_already_once_it_is_listened_for() -> None:
    pool = pool_of()
    hold = pool.take(remote(2222), "web-1", "t1")
    with pytest.raises(PortTaken):
        pool.take(remote(2222), "web-1", "t2")
    hold.session = "session#7"
    with pytest.raises(TunnelExists):
        pool.take(remote(2222, target="0.0.0.0"), "web-1", "t2")  # as a target, the client's own loopback, too
    for other in (replace(remote(2222), rport=23), replace(remote(2222), proxy="v1")):
        with pytest.raises(PortTaken):
            pool.take(other, "web-1", "t2")


def test_the_servers_own_port_and_excluded_ones_are_nobodys() -> None:
    pool = pool_of(8080, exclude_ports=parse_ports("22,9000-9010"))
    with pytest.raises(PortUnavailable, match=r"^port 8080 is the server's own$"):
        pool.take(remote(8080, "127.0.0.9"), "web-1", "t1")
    for port in (22, 9000, 9010):
        with pytest.raises(NotAllowed, match=f"^port {port} is not for tunnels: the server's --exclude-ports has it$"):
            pool.take(remote(port), "web-1", "t1")
    pool.reconfigure(Settings(""))
    pool.take(remote(22), "web-1", "t1")


def test_a_client_has_so_many_and_others_are_not_in_its_way() -> None:
    pool = pool_of()
    holds = [pool.take(remote(port), "web-1", f"t{port}") for port in range(1000, 1000 + TUNNELS_MAX)]
    with pytest.raises(PortUnavailable, match=f"^this client has {TUNNELS_MAX} tunnels already$"):
        pool.take(remote(999), "web-1", "more")
    pool.take(remote(999), "web-2", "t")
    pool.release(holds[0])
    pool.release(holds[0])
    pool.take(remote(1000), "web-1", "again")
    with pytest.raises(PortUnavailable):
        pool.take(remote(998), "web-1", "more")


# --- sockets ---------------------------------------------------------------------------------------------------------


def test_a_port_that_was_asked_for() -> None:
    pool = pool_of()
    with taken(1) as (port,):
        with pytest.raises(PortUnavailable, match="in use by another program"):
            claim(pool, remote(port), "web-1", "t1", anywhere)
        assert pool.holder("127.0.0.1", port) is None
    sock, hold = claim(pool, remote(port), "web-1", "t1", anywhere)
    with sock:
        assert sock.getsockname() == ("127.0.0.1", port)
        assert pool.holder("127.0.0.1", port) is hold
    bind(hold, anywhere).close()  # it is still its own


def test_who_may_not_have_it_does_not_hear_whose_it_is() -> None:
    pool = pool_of()
    pool.take(remote(2222), "web-1", "t1")
    with pytest.raises(NotAllowed, match=r"^not there$"):
        claim(pool, remote(2222), "web-2", "t2", only(80))  # type: ignore[arg-type]


def test_the_kernel_picks_no_port_that_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of()
    with claim(pool, remote(0), "web-1", "t1", anywhere)[0] as sock:
        port = sock.getsockname()[1]
        assert pool.holder("127.0.0.1", port) is not None
    free = pool.free
    refused: list[int] = []

    def reserved(lhost: str, port: int) -> bool:
        refused.append(port)
        return len(refused) > 3 and free(lhost, port)

    monkeypatch.setattr(pool, "free", reserved)
    with claim(pool, remote(0), "web-1", "t2", anywhere)[0] as sock:
        assert sock.getsockname()[1] == refused[3]
    assert len(set(refused)) == 4
    monkeypatch.setattr(pool, "free", lambda lhost, port: False)
    with pytest.raises(PortUnavailable, match="finds no port that is nobody's"):
        claim(pool, remote(0), "web-1", "t3", anywhere)


def test_a_port_of_the_range_that_is_free_and_allowed() -> None:
    with taken(5) as ports:
        ranged = {"port_range": range(ports[0], ports[-1] + 1)}
    pool = pool_of(ports[0], **ranged, exclude_ports=parse_ports(str(ports[1])))
    pool.take(remote(ports[2]), "web-9", "away")
    with claim(pool, remote(0), "web-1", "t1", only(ports[4]))[0] as sock:  # type: ignore[arg-type]
        assert sock.getsockname()[1] == ports[4]
    with claim(pool, remote(0), "web-1", "t2", anywhere)[0] as sock:
        assert sock.getsockname()[1] == ports[3]
    with pytest.raises(PortUnavailable, match=f"no port of the server's --port-range {ports[0]}-{ports[-1]} is free"):
        claim(pool, remote(0), "web-1", "t3", anywhere)


def test_a_range_of_which_nothing_is_allowed() -> None:
    pool = pool_of(port_range=range(40000, 40010))
    with pytest.raises(NotAllowed, match="not there; nor is any other free port of the server's --port-range"):
        claim(pool, remote(0), "web-1", "t1", only(80))  # type: ignore[arg-type]


def test_a_range_that_other_programs_have_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with taken(2) as ports:
        pool = pool_of(port_range=range(ports[0], ports[1] + 1))
        with pytest.raises(PortUnavailable, match="is free: close a tunnel"):
            claim(pool, remote(0), "web-1", "t1", anywhere)
    pool = pool_of(port_range=range(1, 65536))
    monkeypatch.setattr("rport.server.tunnels.claim.TRIES", 3)
    monkeypatch.setattr("rport.server.tunnels.claim.ports.listen", _in_use)
    with pytest.raises(PortUnavailable, match="is free: close a tunnel"):
        claim(pool, remote(0), "web-1", "t1", anywhere)
    assert pool._next == 3 < TRIES


def test_a_long_range_is_looked_through_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever may listen on few ports, or finds few free, does not hold up the others."""
    monkeypatch.setattr("rport.server.tunnels.claim.SEARCH_TIME", 0.0005)
    with taken(1) as (port,):
        pool = pool_of(port_range=range(port % 1024, port + 1))
    told = []
    while True:
        try:
            sock = claim(pool, remote(0), "web-1", "t1", only(port))[0]  # type: ignore[arg-type]
            break
        except PortUnavailable as error:
            told.append(str(error))
    with sock:
        assert sock.getsockname()[1] == port
    assert len(told) > 1
    assert "ask again" in told[0]
    assert len(set(told)) == 1


def _in_use(host: str, port: int) -> socket.socket:
    from rport.server.errors import PortInUse

    raise PortInUse("in use")


def test_ports_of_the_range_take_turns() -> None:
    """What was just closed is not somebody else's the next moment."""
    with taken(3) as ports:
        pass
    pool = pool_of(port_range=range(ports[0], ports[-1] + 1))
    picked = []
    for name in "abc":
        sock, hold = claim(pool, remote(0), "web-1", name, anywhere)
        picked.append(sock.getsockname()[1])
        sock.close()
        pool.release(hold)
    assert picked == ports


def test_an_address_that_the_server_has_not_ends_the_search() -> None:
    pool = pool_of(port_range=range(40000, 40010))
    with pytest.raises(PortUnavailable, match="no such address"):
        claim(pool, remote(0, "192.0.2.1"), "web-1", "t1", anywhere)
