"""The machines in memory: who is whose, takeovers, clones, lists. No loop, no store."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import Refused
from rport.facts import Facts
from rport.server.cursors import BadCursor
from rport.server.inventory import Client, ClientNotFound, Inventory, inventory, listing
from rport.server.inventory.client import SESSIONS_BURST
from rport.server.inventory.clones import ENTRIES_MAX, WINDOW, Clones
from rport.server.inventory.identity import Shown, process_of
from rport.server.inventory.listing import SORTS, Wanted, page, page_in_turns
from rport.server.principal import Principal

ADMIN = Principal("me", "admin")
KEY = bytes(range(32))
OTHER_KEY = bytes(reversed(range(32)))


def session(process: str = "p", id: str = "0f" * 32) -> Any:
    return SimpleNamespace(process=process, entry=SimpleNamespace(id=id), rtt=0.0, tags=lambda: {})


def shown(user: str = "", key: bytes | None = None, id: str = "", process: str = "p") -> Shown:
    return Shown(user, key, id, process)


def come(machines: Inventory, who: Shown, managed: str | None = None) -> Client:
    client = machines.identify(who, managed)
    machines.connect(client, session(who.process), Facts(id=who.id), "0.1.0", "192.0.2.1:5", who.owner)
    return client


# --- who is whose ----------------------------------------------------------------------------------------------------


def test_a_key_gives_an_id_that_lasts() -> None:
    assert shown(key=KEY).client_id == "630dcd2966c43366"  # SHA-256, its first 16 digits
    assert shown(key=KEY, user="me").client_id == shown(key=KEY, process="q").client_id
    assert shown(key=KEY).stable


def test_without_key_and_id_it_is_the_process() -> None:
    assert shown().client_id == shown().client_id != shown(process="q").client_id
    assert shown().client_id != shown(user="me").client_id
    assert not shown().stable


def test_a_process_is_told_by_little() -> None:
    assert process_of("a" * 4000) != process_of("b" * 4000)
    assert len(process_of("a" * 4000)) == 32


@pytest.mark.parametrize(
    ("first", "second", "let_in"),
    [
        (shown(user="a"), shown(user="a", process="q"), True),
        (shown(user="a"), shown(user="b"), False),
        (shown(user="a"), shown(), False),
        (shown(user="a"), shown(user="a", key=KEY), True),  # it has a key now, too
        (shown(user="a", key=KEY), shown(user="a"), False),
        (shown(user="a", key=KEY), shown(user="b", key=KEY), True),
        (shown(key=KEY), shown(key=OTHER_KEY), False),
        (shown(key=KEY), shown(), False),
        (shown(), shown(), True),
        (shown(), shown(user="a"), True),
    ],
)
def test_an_id_is_its_owners(first: Shown, second: Shown, let_in: bool) -> None:
    machines = Inventory()
    client = come(machines, first._replace(id="web-1"))
    if let_in:
        assert come(machines, second._replace(id="web-1")) is client
    else:
        with pytest.raises(Refused, match="the id web-1 belongs to another login"):
            come(machines, second._replace(id="web-1"))


def test_what_nobody_owned_is_the_first_owners_from_then_on() -> None:
    machines = Inventory()
    come(machines, shown(id="web-1"))
    assert come(machines, shown(id="web-1", key=KEY)).owner == f"key:{KEY.hex()}"
    with pytest.raises(Refused):
        come(machines, shown(id="web-1"))


def test_a_managed_client_is_the_one_of_its_credential() -> None:
    machines = Inventory()
    client = Client("web-1", "managed", 0.0)
    machines.put(client)
    assert come(machines, shown(key=KEY), "web-1") is client
    assert come(machines, shown(id="web-1"), "web-1") is client
    assert client.owner == "managed"
    for who, managed in ((shown(id="web-2"), "web-1"), (shown(id="web-1"), None), (shown(), "web-3")):
        with pytest.raises(Refused):
            come(machines, who, managed)


def test_one_without_an_id_is_forgotten_when_it_goes() -> None:
    machines = Inventory()
    client = come(machines, shown())
    assert machines.get(client.id) is client
    machines.disconnect(client, client.session, "gone")  # type: ignore[arg-type]
    assert machines.get(client.id) is None
    stable = come(machines, shown(id="web-1"))
    machines.disconnect(stable, stable.session, "gone")  # type: ignore[arg-type]
    assert machines.get("web-1") is stable
    assert not stable.connected


def test_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "CLIENTS_MAX", 3)
    machines = Inventory()
    for number in range(3):
        come(machines, shown(key=bytes([number]) * 32, id=f"web-{number}"))
    with pytest.raises(Refused, match="3 clients already") as caught:
        come(machines, shown(key=KEY, id="web-3"))
    assert caught.value.code == "busy"
    come(machines, shown(key=bytes([1]) * 32, id="web-1"))  # who was there comes in


def test_one_login_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "CLIENTS_MAX", 8)
    machines = Inventory()

    def fill(user: str) -> int:
        with pytest.raises(Refused, match="clients of this login already") as caught:
            for number in range(100):
                come(machines, shown(user=user, id=f"{user}-{number}"))
        assert caught.value.code == "busy"
        return sum(client.owner == f"user:{user}" for client in machines)

    assert [fill("a"), fill("b"), fill("c")] == [4, 2, 1]
    come(machines, shown(user="a", id="a-0"))  # who was there comes in
    gone = machines.get("a-1")
    assert gone is not None
    machines.remove(gone)
    come(machines, shown(user="d", id="d-0"))


def test_who_listens_hears_of_a_takeover_once_and_in_order() -> None:
    machines, heard = Inventory(), []
    machines.on_connected.append(lambda client, session: heard.append(f"+{session.process}"))
    machines.on_disconnected.append(lambda client, session, why: heard.append(f"-{session.process} {why}"))
    client = come(machines, shown(id="web-1", process="p"))
    machines.greet(client)
    first = client.session
    assert first is not None
    come(machines, shown(id="web-1", process="q"))
    machines.greet(client)
    machines.disconnect(client, first, "its link has ended at last")
    assert heard == ["+p", "-p the same client connected again", "+q"]
    assert client.connected


def test_a_client_of_others_is_not_found() -> None:
    machines = Inventory()
    client = Client("web-1", "managed", 0.0, tags=("web",), facts=Facts(tags=("db",)))
    machines.put(client)
    assert machines.visible(Principal("me", "viewer", tags=frozenset({"web", "x"})), "web-1") is client
    for tags in (frozenset({"db"}), frozenset[str]()):  # what it says of itself widens nobody's view
        with pytest.raises(ClientNotFound):
            machines.visible(Principal("me", "viewer", tags=tags), "web-1")
        assert not [*machines.list(Principal("me", "viewer", tags=tags))]


# --- clones ----------------------------------------------------------------------------------------------------------


def test_two_machines_that_alternate_are_clones() -> None:
    clones = Clones()
    assert [clones.taken_over("c", *pair, now) for now, pair in enumerate(("ab", "ba", "ab", "ba"))] == [
        False,
        False,
        True,
        True,
    ]


def test_three_of_them_are_found_too() -> None:
    clones = Clones()
    assert [clones.taken_over("c", *pair, 0.0) for pair in ("ab", "bc", "ca", "ab")] == [False, False, False, True]


def test_a_machine_that_starts_again_and_again_is_no_clone() -> None:
    clones = Clones()
    assert not any(clones.taken_over("c", str(n), str(n + 1), n) for n in range(100))


def test_a_client_that_only_comes_back_is_no_clone() -> None:
    clones = Clones()
    assert not any(clones.taken_over("c", "a", "a", n) for n in range(100))


def test_slow_alternation_is_no_clone() -> None:
    """A laptop that changes its network, or two that take turns on purpose."""
    clones = Clones()
    assert not any(clones.taken_over("c", *pair, n * WINDOW) for n, pair in enumerate(("ab", "ba") * 5))


def test_clones_are_told_of_once_in_a_while() -> None:
    clones = Clones()
    assert [clones.news("c", now) for now in (0.0, 1.0, WINDOW - 1, WINDOW, WINDOW + 1)] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_what_is_known_of_clones_is_bounded() -> None:
    clones = Clones()
    for number in range(ENTRIES_MAX + 10):
        clones.taken_over(str(number), "a", "b", 0.0)
        clones.news(str(number), 0.0)
    assert len(clones._takeovers) == len(clones._told) == ENTRIES_MAX
    for now in range(100):
        clones.taken_over("x", "a", "b", now)
    assert len(clones._takeovers["x"]) <= 8


# --- lists -----------------------------------------------------------------------------------------------------------


def crowd(count: int) -> list[Client]:
    rng = random.Random(count)
    return [
        Client(
            f"c{number:05}",
            "managed",
            0.0,
            name=rng.choice(["web", "db", "mail"]),
            named=True,
            tags=rng.choice([(), ("web",), ("web", "berlin")]),
            facts=Facts(os=rng.choice(["linux", "darwin", ""]), tags=rng.choice([(), ("own",)])),
            address=rng.choice(["", "192.0.2.1:1", "192.0.2.2:1"]),
            last_seen=rng.choice([None, 1.0, 2.5, 1e9]),
            session=rng.choice([None, SimpleNamespace(rtt=rng.choice([0.0, 0.1, 0.2]))]),
        )
        for number in range(count)
    ]


def read_all(clients: list[Client], sort: str, limit: int) -> list[Client]:
    found, cursor = page(clients, Wanted(), sort, limit)
    got = found
    while cursor is not None:
        found, cursor = page(clients, Wanted(), sort, limit, cursor)
        assert found
        got = got + found
    return got


@pytest.mark.parametrize("sort", SORTS)
def test_pages_have_everybody_once(sort: str) -> None:
    clients = crowd(300)
    got = read_all(clients, sort, 7)
    assert sorted(client.id for client in got) == [client.id for client in clients]
    assert got == read_all(clients, sort, 1000)


def test_the_order_is_right_at_ten_thousand() -> None:
    clients = crowd(10_000)
    random.Random(1).shuffle(clients)
    got = read_all(clients, "-last_seen", 1000)
    assert len({client.id for client in got}) == 10_000
    seen = [float("inf") if client.connected else client.last_seen for client in got]
    known = [value for value in seen if value is not None]
    assert known == sorted(known, reverse=True)
    assert all(value is None for value in seen[len(known) :])  # never seen: last, in either direction
    upwards = [client.last_seen for client in read_all(clients, "last_seen", 1000) if not client.connected]
    assert upwards[-1] is None
    assert upwards[0] == 1.0
    names = [(client.shown_name, client.id) for client in read_all(clients, "name", 999)]
    assert names == sorted(names)


@pytest.mark.parametrize("sort", SORTS)
def test_a_list_of_many_holds_nobody_up(sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked through in parts, and is the same list."""
    monkeypatch.setattr(listing, "TURN", 20)
    clients = crowd(300)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work(wanted: Wanted) -> None:
        other = asyncio.create_task(take_turns())
        cursor = None
        for _ in range(3):
            before = turns
            got = await page_in_turns(clients, wanted, sort, 7, cursor)
            assert got == page(clients, wanted, sort, 7, cursor)
            assert turns >= before + 300 // 20
            cursor = got[1]
        with pytest.raises(BadCursor):
            await page_in_turns(clients, wanted, sort, 7, "x")
        other.cancel()

    for wanted in (Wanted(), Wanted(tags=("web",)), Wanted(text="mail")):
        asyncio.run(work(wanted))


@given(st.lists(st.integers(0, 20), max_size=30, unique=True), st.sampled_from(SORTS), st.integers(1, 5))
def test_who_comes_and_goes_moves_nobody_else(gone: list[int], sort: str, limit: int) -> None:
    """Between two pages, some go; the others are there once each."""
    clients = crowd(21)
    first, cursor = page(clients, Wanted(), sort, limit)
    left = [client for number, client in enumerate(clients) if number not in gone]
    got, rest = list(first), cursor
    while rest is not None:
        found, rest = page(left, Wanted(), sort, limit, rest)
        got += found
    assert len({client.id for client in got}) == len(got)
    assert {client.id for client in left} <= {client.id for client in got}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Wanted(), 3),
        (Wanted(tags=("web",)), 2),
        (Wanted(tags=("web", "own")), 1),
        (Wanted(tags=("nobody's",)), 0),
        (Wanted(os="Linux"), 2),
        (Wanted(os="debian gnu/linux 12"), 1),
        (Wanted(state="connected"), 1),
        (Wanted(state="disconnected"), 2),
        (Wanted(text="ALPHA"), 1),
        (Wanted(text="192.0.2"), 1),
        (Wanted(text="10.0.0.7"), 1),
        (Wanted(text="attic"), 1),
        (Wanted(text="web"), 2),
        (Wanted(text="web", state="connected"), 1),
    ],
)
def test_filters(wanted: Wanted, count: int) -> None:
    clients = [
        Client("a", "", 0.0, name="Alpha", named=True, tags=("web",), note="in the attic", session=session()),
        Client("b", "", 0.0, tags=("web",), facts=Facts(os="linux", os_version="Debian GNU/Linux 12", tags=("own",))),
        Client("c", "", 0.0, facts=Facts(os="linux", addresses=("10.0.0.7",)), address="192.0.2.9:5"),
    ]
    assert len(page(clients, wanted, "name", 10)[0]) == count


@pytest.mark.parametrize(
    "cursor",
    ["x", "!", "e30", "W10", "WzEsMiwzXQ", "WyJuYW1lIiwgNSwgImEiXQ", "WyJuYW1lIixbXSwiYSJd", "\u00e9", "W1tbW1tbW1tb"],
)
def test_cursors_of_others(cursor: str) -> None:
    with pytest.raises(BadCursor, match="give the `next`"):
        page(crowd(20), Wanted(), "name", 5, cursor)


def test_a_cursor_is_of_one_order() -> None:
    clients = crowd(20)
    _, cursor = page(clients, Wanted(), "name", 5)
    assert cursor is not None
    with pytest.raises(BadCursor):
        page(clients, Wanted(), "-name", 5, cursor)


def test_what_was_before_a_client_is_another_s_of_that_id() -> None:
    inventory = Inventory()
    inventory.put(Client("web-1", "managed", 1000.0, tags=("berlin",)))
    assert inventory.tags_then("web-1", 1000.0) == ("berlin",)
    assert inventory.tags_then("web-1", 999.9) is None
    assert inventory.tags_then("web-2", 1000.0) is None


def test_a_client_begins_only_so_many_sessions() -> None:
    client = Client("web-1", "managed", 1000.0)
    for _ in range(SESSIONS_BURST):
        client.begin(5000.0)
    for now in (5000.0, 5004.9):
        with pytest.raises(Refused, match="connects all the time"):
            client.begin(now)
    client.begin(5005.1)
    for i in range(SESSIONS_BURST):  # it lasted for as long as it takes rport to begin anew
        client.begin(5010.2 + 5.1 * i)
    for _ in range(SESSIONS_BURST):
        client.begin(9000.0)
