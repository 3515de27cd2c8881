"""Second factors: six digits that change every half minute (RFC 6238). Pure."""

import hmac

PERIOD = 30  # seconds: what every authenticator's app takes for granted
WINDOW = 1  # steps before and behind, for clocks that differ and for whoever types slowly
DIGITS = 6


def new_secret() -> str:
    """Base32, 160 bits as the RFC wants them."""
    import pyotp  # here: most servers have no user with a second factor

    return pyotp.random_base32(32)


def uri(secret: str, name: str) -> str:
    """What an authenticator's app reads as a QR code."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="rport")


def step_of(secret: str, code: str, now: float, used: int) -> int | None:
    """The step that `code` is right for, if it is later than `used`; `now` in seconds since 1970."""
    import pyotp

    code = code.replace(" ", "")
    if len(code) != DIGITS or not (code.isascii() and code.isdecimal()):
        return None
    maker, middle, found = pyotp.TOTP(secret), int(now) // PERIOD, None
    for step in range(middle - WINDOW, middle + WINDOW + 1):
        if hmac.compare_digest(maker.generate_otp(step), code) and step > used and found is None:
            found = step
    return found
