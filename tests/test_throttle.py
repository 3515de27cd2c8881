from rport.throttle import ALL_BURST, BURST, KEPT_ALL_RATE, KEPT_RATE, SOURCES_MAX, TELL_AFTER, Throttle


def admitted(throttle: Throttle, source: str, count: int, now: float) -> int:
    return sum(throttle.admits(source, now) for _ in range(count))


def test_some_at_once_then_one_a_second() -> None:
    throttle = Throttle(0.0)
    assert admitted(throttle, "a", 100, 0.0) == BURST
    assert admitted(throttle, "b", 100, 0.0) == BURST
    assert admitted(throttle, "a", 100, 3.0) == 3
    assert admitted(throttle, "a", 100, 1000.0) == BURST


def test_what_is_kept_for_long_is_less() -> None:
    throttle = Throttle(0.0, KEPT_RATE, KEPT_ALL_RATE)
    assert admitted(throttle, "a", 100, 0.0) == BURST
    assert admitted(throttle, "a", 100, 30.0) == 0
    assert admitted(throttle, "a", 100, 60.0) == 1
    admitted(throttle, "a", 100, 3600.0)
    many = sum(throttle.admits(f"s{number}", 3600.0) for number in range(10_000))
    assert many == ALL_BURST - BURST
    assert sum(throttle.admits(f"t{number}", 3610.0) for number in range(10_000)) == 10


def test_what_was_left_out_is_told_once() -> None:
    throttle = Throttle(0.0)
    admitted(throttle, "a", BURST + 7, 1.0)
    admitted(throttle, "b", BURST, 1.0)
    assert throttle.due(TELL_AFTER) == []
    admitted(throttle, "a", 3, 1.0)
    assert throttle.due(TELL_AFTER + 1) == [("a", 10)]
    assert throttle.due(TELL_AFTER + 100) == []


def test_all_together_have_a_bound_too() -> None:
    throttle = Throttle(0.0)
    count = sum(throttle.admits(f"s{number}", 0.0) for number in range(10_000))
    assert count == ALL_BURST
    told = throttle.due(TELL_AFTER)
    assert sum(number for _, number in told) == 10_000 - ALL_BURST
    assert len(told) <= SOURCES_MAX + 1


def test_what_is_remembered_has_a_bound() -> None:
    throttle = Throttle(0.0)
    for number in range(10 * SOURCES_MAX):
        throttle.admits(f"s{number}", float(number))
    assert len(throttle._sources) == SOURCES_MAX
    admitted(throttle, "again", 100, 1e6)
    for number in range(SOURCES_MAX):
        throttle.admits(f"t{number}", 1e6)
    assert admitted(throttle, "again", 100, 1e6) == 0  # being forgotten is no way out
