"""A user's name and password, as `USER:PASSWORD`."""

from typing import NamedTuple

from rport.errors import UsageError


class Login(NamedTuple):
    """The password is never printed."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ...)"


def parse_login(text: str) -> Login:
    """`user:password` at the first colon. Raises UsageError, which does not show the text."""
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise UsageError("give USER:PASSWORD")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("give USER:PASSWORD in UTF-8") from None
    return Login(user, password)
