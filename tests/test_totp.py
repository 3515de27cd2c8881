"""Second factors, held against RFC 6238's own numbers."""

import base64

import pytest

from rport.server.totp import new_secret, step_of, uri

SECRET = base64.b32encode(b"12345678901234567890").decode()  # appendix B
CODES = {59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037"}


@pytest.mark.parametrize(("now", "code"), CODES.items())
def test_the_rfcs_codes(now: int, code: str) -> None:
    assert step_of(SECRET, code, now, 0) == now // 30
    assert step_of(SECRET, f"{code[:3]} {code[3:]}", now, 0) == now // 30


@pytest.mark.parametrize(("late", "good"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_be_a_step_off(late: int, good: bool) -> None:
    assert (step_of(SECRET, "005924", 1234567890 + late, 0) is not None) is good


def test_no_step_counts_twice_and_none_before_one_that_did() -> None:
    step = 1234567890 // 30
    assert step_of(SECRET, "005924", 1234567890, step - 1) == step
    assert step_of(SECRET, "005924", 1234567890, step) is None
    assert step_of(SECRET, "005924", 1234567890, step + 1) is None


@pytest.mark.parametrize(
    "code",
    [
        "",
        "00592",
        "0059240",
        "abcdef",
        "\uff10\uff10\uff15\uff19\uff12\uff14",
        "+05924",
        "-05924",
        "5924.0",
        "005924\n",
        "\x00",
    ],
)
def test_what_is_no_code(code: str) -> None:
    assert step_of(SECRET, code, 1234567890, 0) is None


def test_new_secrets() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    secret = new_secret()
    assert len(base64.b32decode(secret)) == 20
    assert uri(secret, "al+ice@x") == f"otpauth://totp/rport:al%2Bice%40x?secret={secret}&issuer=rport"
