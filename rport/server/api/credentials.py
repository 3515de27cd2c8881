"""What a request shows of who it is from (RFC 9110, section 11; RFC 7617; RFC 6750; RFC 6265). Pure."""

import base64
import binascii

from rport.server.api_login import Basic, Bearer, Session, Shown
from rport.server.door.fields import Headers, values
from rport.server.errors import ServerError, Unauthorized

COOKIE = "rport_session"
OTP = "x-rport-otp"

_FORMS = "give `Authorization: Bearer rpt_...`, or a user and a password as HTTP Basic has them"


class Ambiguous(ServerError):
    """Twice what may be there once: whoever else looked at it may have taken the other."""


def shown(headers: Headers) -> Shown | None:
    """None: nothing. Raises Unauthorized for what nobody can read, and Ambiguous."""
    fields = values(headers, b"authorization")
    if len(fields) > 1:
        raise Ambiguous("a request has one Authorization field")
    if fields:
        return _authorization(fields[0], headers)
    cookies = {value for field in values(headers, b"cookie") for value in _cookies(field)}
    if len(cookies) > 1:
        return None  # one of them was put there by a neighbour of ours
    return Session(cookies.pop()) if cookies else None


def _authorization(field: bytes, headers: Headers) -> Shown:
    scheme, _, value = field.partition(b" ")
    value = value.strip()
    if scheme.lower() == b"bearer":
        return Bearer(value.decode("latin-1"))
    if scheme.lower() != b"basic":
        raise Unauthorized(_FORMS)
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized(f"the Authorization field is not the Base64 of UTF-8; {_FORMS}") from None
    user, colon, password = text.partition(":")
    if not colon:
        raise Unauthorized(_FORMS)
    codes = values(headers, OTP.encode())
    if len(codes) > 1:
        raise Ambiguous("a request has one X-Rport-OTP field")
    return Basic(user, password, codes[0].decode("latin-1") if codes else "")


def _cookies(field: bytes) -> list[str]:
    """The values of ours."""
    pairs = (part.strip().partition(b"=") for part in field.split(b";"))
    return [value.decode("latin-1") for name, _, value in pairs if name == COOKIE.encode()]
