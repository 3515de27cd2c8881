"""The registry and the gate: pure state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.remote import Remote
from rport.server.door.gate import Gate, source_of
from rport.server.registry import Entry, Registry, Tunnel


def make_entry(number: int, *tunnels: Tunnel) -> Entry:
    return Entry(
        id=f"{number:064x}",
        version="0.1.0",
        address=f"192.0.2.1:{number}",
        user="",
        client=f"client {number}",
        tunnels={tunnel.id: tunnel for tunnel in tunnels},
    )


def make_tunnel(lhost: str, lport: int, port: int = 0) -> Tunnel:
    return Tunnel(id=1, remote=Remote(lhost, lport, "0.0.0.0", 22), port=port or lport)


def test_sessions_are_listed_in_the_order_in_which_they_came() -> None:
    registry = Registry()
    first, second = make_entry(1), make_entry(2)
    registry.add(first)
    registry.add(second)
    assert registry.list() == [first, second]
    assert len(registry) == 2
    assert registry.get(second.id) is second
    registry.remove(first.id)
    assert registry.list() == [second]
    assert registry.get(first.id) is None


def test_removing_twice_does_nothing() -> None:
    registry = Registry()
    registry.add(make_entry(1))
    registry.remove(f"{1:064x}")
    registry.remove(f"{1:064x}")
    assert not registry.list()


def test_the_gate_bounds_one_source() -> None:
    gate = Gate(10, 2)
    assert gate.enter("192.0.2.1")
    assert gate.enter("192.0.2.1")
    assert not gate.enter("192.0.2.1")
    assert gate.enter("192.0.2.2")
    gate.leave("192.0.2.1")
    assert gate.enter("192.0.2.1")


def test_the_gate_bounds_all_sources_together() -> None:
    gate = Gate(2, 2)
    assert gate.enter("192.0.2.1")
    assert gate.enter("192.0.2.2")
    assert not gate.enter("192.0.2.3")
    gate.leave("192.0.2.2")
    assert gate.enter("192.0.2.3")


def test_many_may_come_from_a_shared_address() -> None:
    gate = Gate(4, 2)
    assert [gate.enter("10.0.0.1", shared=True) for _ in range(5)] == [True] * 4 + [False]
    for _ in range(4):
        gate.leave("10.0.0.1")
    assert gate.inside == 0


def test_nobody_leaves_who_is_not_inside() -> None:
    gate = Gate()
    with pytest.raises(KeyError):
        gate.leave("192.0.2.1")
    assert gate.inside == 0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
    ],
)
def test_a_source_is_what_one_host_is_given(address: str, source: str) -> None:
    assert source_of(address) == source


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]))))
def test_the_gate_is_a_bounded_multiset(moves: list[tuple[bool, str]]) -> None:
    gate = Gate(4, 3)
    inside: list[str] = []
    for enters, address in moves:
        if enters:
            room = len(inside) < 4 and inside.count(address) < 3
            assert gate.enter(address) is room
            if room:
                inside.append(address)
        elif address in inside:
            gate.leave(address)
            inside.remove(address)
        assert gate.inside == len(inside)
