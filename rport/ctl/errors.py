"""How a command ends in trouble: one line, and an exit code that scripts can use.

UsageError 1, NotFound 2, NotAllowed 3, Conflict 4, ServerTrouble 5.
"""

from rport.errors import RportError, UsageError


class NotFound(RportError):
    """There is none, or none that this login may see."""

    exit_code = 2


class NotAllowed(RportError):
    """No credentials, wrong ones, too small a role; or a rule, or the client itself, says no.

    `kind`: the last part of the problem's type.
    """

    exit_code = 3

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class Conflict(RportError):
    """It is in the way of something that is there."""

    exit_code = 4


class ServerTrouble(RportError):
    """The server cannot be reached, is no rportd, or cannot do it now."""

    exit_code = 5


def of_status(status: int, text: str, kind: str) -> RportError:
    """What an answer of that status, 400 or above, means."""
    if status == 404:
        return NotFound(text)
    if status in (401, 403, 429):
        return NotAllowed(text, kind)
    if status == 409:
        return Conflict(text)
    return ServerTrouble(text) if status >= 500 else UsageError(text)
