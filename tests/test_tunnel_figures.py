"""What tunnels have carried: sums that outlive sessions, and rates of the last seconds."""

from rport.server.tunnels.figures import SAMPLE_EVERY, SAMPLES, Figures, Meter


def test_sums_go_on_behind_those_of_sessions_that_ended() -> None:
    past = Figures(0, 10, 1, 2, 1000, 2000, 0.0)
    assert Figures(3, 5, 10, 20, 50, 60, 7.5).behind(past) == Figures(3, 15, 11, 22, 1050, 2060, 7.5)


def test_a_rate_is_over_what_it_was_measured_for() -> None:
    meter = Meter(100.0)
    assert meter.rates(Figures(bytes_in=1000, bytes_out=500), 105.0) == (200.0, 100.0)
    assert meter.rates(Figures(bytes_in=1000), 100.0) == (1000.0, 0.0)  # no sooner than a second


def test_what_is_long_past_counts_no_more() -> None:
    meter, now = Meter(0.0), 0.0
    carried = Figures(bytes_in=10**9)
    for _ in range(SAMPLES):
        now += SAMPLE_EVERY
        meter.sample(carried, now)
    assert meter.rates(carried, now) == (0.0, 0.0)
    more = Figures(bytes_in=10**9 + 3000, bytes_out=1500)
    assert meter.rates(more, now + SAMPLE_EVERY) == (200.0, 100.0)
