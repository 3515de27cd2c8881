"""Delays behind failed logins, with a clock of the test's own."""

import itertools

import pytest

from rport.server import delays
from rport.server.delays import FORGOTTEN, HOLD_LONGEST, LONGEST, Delays, delay

HERE, THERE = "192.0.2.1", "192.0.2.2"


def fail(table: Delays, times: int, now: float, user: str = "me", address: str = HERE) -> float:
    """Failures as fast as the table lets them be; the time after the last."""
    for _ in range(times):
        now += table.begin(address, user, "i", now)
        assert table.begin(address, user, "i", now) == 0
        table.failed(address, user, "i", now)
    return now


def test_the_first_try_waits_for_nothing() -> None:
    assert Delays().begin(HERE, "me", "i", 0.0) == 0


def test_delays_double_up_to_the_longest() -> None:
    waits = [delay(n) for n in range(1, 20)]
    assert waits[:4] == [0.5, 1, 2, 4]
    assert waits[-1] == LONGEST
    assert sorted(waits) == waits
    assert delay(10**9) == LONGEST


def test_a_try_within_the_delay_is_too_early() -> None:
    table = Delays()
    table.failed(HERE, "me", "i", 0.0)
    assert table.begin(HERE, "me", "i", 0.1) == pytest.approx(0.4)
    assert table.begin(HERE, "me", "i", 0.1) == pytest.approx(0.4)  # and makes it no longer
    assert table.begin(HERE, "me", "i", 0.6) == 0


def test_others_are_not_touched() -> None:
    table = Delays()
    now = fail(table, 20, 0.0)
    assert table.begin(HERE, "me", "i", now) > 0
    assert table.begin(HERE, "you", "i", now) == 0
    assert table.begin(THERE, "me", "i", now) == 0


def test_an_ipv6_host_has_a_whole_network() -> None:
    table = Delays()
    table.failed("2001:db8::1", "me", "i", 0.0)
    assert table.begin("2001:db8::2", "me", "i", 0.1) > 0
    assert table.begin("2001:db8:0:1::1", "me", "i", 0.1) == 0


def test_only_one_try_goes_through_at_a_time() -> None:
    table = Delays()
    table.failed(HERE, "me", "i", 0.0)
    assert table.begin(HERE, "me", "i", 10.0) == 0
    assert table.begin(HERE, "me", "i", 10.0) > 0


def test_a_try_that_was_no_guess_costs_no_time() -> None:
    table = Delays()
    now = fail(table, 5, 0.0) + LONGEST
    assert table.begin(HERE, "me", "i", now) == 0
    table.undecided(HERE, "me", "i", now)
    assert table.begin(HERE, "me", "i", now + 0.1) == 0
    table.failed(HERE, "me", "i", now + 0.1)
    assert table.begin(HERE, "me", "i", now + 0.2) == pytest.approx(delay(6) - 0.1)  # and what failed is not forgotten


def test_a_try_that_was_no_guess_takes_no_delay_away() -> None:
    table = Delays()
    table.failed(HERE, "me", "i", 0.0)
    assert table.begin(HERE, "me", "i", 10.0) == 0  # it takes so long that another one may try
    assert table.begin(HERE, "me", "i", 20.0) == 0
    table.failed(HERE, "me", "i", 20.0)
    table.undecided(HERE, "me", "i", 10.0)
    assert table.begin(HERE, "me", "i", 20.1) == pytest.approx(delay(2) - 0.1)
    table.undecided(HERE, "you", "i", 10.0)
    assert table.begin(HERE, "you", "i", 10.0) == 0


def test_success_forgets() -> None:
    table = Delays()
    now = fail(table, 5, 0.0)
    table.succeeded(HERE, "me", "i")
    assert table.begin(HERE, "me", "i", now) == 0


def test_time_forgets() -> None:
    table = Delays()
    now = fail(table, 12, 0.0)
    assert table.begin(HERE, "me", "i", now + 1) > 0
    later = now + FORGOTTEN + 1
    assert table.begin(HERE, "me", "i", later) == 0
    table.failed(HERE, "me", "i", later)
    assert table.begin(HERE, "me", "i", later) == delay(1)


def test_who_was_let_in_before_is_not_delayed_by_a_neighbour() -> None:
    table = Delays()
    table.succeeded(HERE, "me", "mine")
    now = fail(table, 20, 0.0)
    assert table.begin(HERE, "me", "i", now) > 0
    assert table.begin(HERE, "me", "mine", now) == 0
    assert table.begin(THERE, "me", "mine", now) == 0
    assert table.begin(HERE, "you", "mine", now) == 0  # of another user it says nothing


def test_who_was_let_in_before_is_delayed_by_himself() -> None:
    table = Delays()
    table.succeeded(HERE, "me", "mine")
    table.failed(HERE, "me", "mine", 0.0)
    assert table.begin(THERE, "me", "mine", 0.1) > 0
    assert table.begin(HERE, "me", "i", 0.1) == 0


def test_failed_answers_are_held_back_by_source() -> None:
    table = Delays()
    holds = [table.failed(HERE, f"user {n}", "i", 0.0) for n in range(10)]
    assert holds[:3] == [0.1, 0.2, 0.4]
    assert holds[-1] == HOLD_LONGEST
    assert table.failed_without_user(HERE, 0.0) == HOLD_LONGEST
    assert table.failed(THERE, "me", "i", 0.0) == 0.1
    assert table.failed(HERE, "me", "i", FORGOTTEN + 1) == 0.1


def test_the_tables_are_bounded() -> None:
    table = Delays()
    for n in range(delays.ENTRIES_MAX + 10):
        address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        table.failed(address, "u" * 4096, "i" * 4096, 0.0)
        table.succeeded(HERE, f"user {n}", "i" * 4096)
    assert len(table._pairs) == len(table._sources) == len(table._known) == delays.ENTRIES_MAX
    assert all(len(key) == 16 for key in itertools.chain(table._pairs._table, table._sources._table, table._known))


def test_the_one_that_was_unused_for_the_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "ENTRIES_MAX", 2)
    table = Delays()
    for user in ("a", "b", "a", "c"):
        table.failed(HERE, user, "i", 0.0)
    assert [table.begin(HERE, user, "i", 0.1) > 0 for user in "abc"] == [True, False, True]


def test_parts_of_a_key_cannot_be_shifted() -> None:
    table = Delays()
    table.failed("a", "b\x001:c", "i", 0.0)
    assert table.begin("a\x001:b", "c", "i", 0.1) == 0
