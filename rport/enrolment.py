"""An enrolment code: one text that has all that a fresh machine needs to become a known one.

`rpe_` and, in base64url without padding, a msgpack map: the server's address `s`, its fingerprint `f`, a secret `c`
that the server knows. The fingerprint in it pins the server, so that nothing has to be trusted on first use.
"""

import re
from binascii import Error, a2b_base64, b2a_base64
from typing import NamedTuple

from rport import control
from rport.errors import ProtocolError, UsageError
from rport.keys import parse_fingerprint
from rport.sodium import SHA256_LEN

PREFIX = "rpe_"
CODE_MAX = 2048  # characters: an address of 1 KiB, and the rest, fit
SECRET_MAX = 64  # characters: 160 random bits in hex are 40
SERVER_MAX = 1024  # characters of an address

_CODE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]+")
_SECRET = re.compile(rf"[!-~]{{1,{SECRET_MAX}}}")
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")
_UNFIT = "this is no enrolment code, or a part of one: copy all of it, from rpe_ on"  # the code is never shown


class EnrolmentCode(NamedTuple):
    """`server` as a user writes it to `rport`, `fingerprint` whole and as `rport.keys` prints it."""

    server: str
    fingerprint: str
    secret: str

    def __repr__(self) -> str:
        return f"EnrolmentCode({self.server!r}, ...)"


def make_code(server: str, fingerprint: str, secret: str) -> str:
    """Raises UsageError for what read_code() would not take."""
    fields = {"s": server, "f": fingerprint.replace(":", "").lower(), "c": secret}
    text = b2a_base64(control.pack(fields), newline=False).translate(_TO_URL).rstrip(b"=").decode()
    code = PREFIX + text
    read_code(code)
    return code


def read_code(text: str) -> EnrolmentCode:
    """Blanks and line ends around it do not matter. Raises UsageError, which does not show the code."""
    text = text.strip()
    if len(text) > CODE_MAX or not _CODE.fullmatch(text):
        raise UsageError(_UNFIT)
    data = text.removeprefix(PREFIX).encode().translate(_FROM_URL)
    try:
        fields = control.unpack_map(a2b_base64(data + b"=" * (-len(data) % 4)))
        server, digits, secret = (control.get_str(fields, key) for key in "sfc")
        fingerprint = parse_fingerprint(digits)
    except (Error, ProtocolError, UsageError):
        raise UsageError(_UNFIT) from None
    whole = len(fingerprint) == 3 * SHA256_LEN - 1
    if not whole or not _SECRET.fullmatch(secret) or not 0 < len(server) <= SERVER_MAX or not server.isprintable():
        raise UsageError(_UNFIT)
    return EnrolmentCode(server, fingerprint, secret)
