"""What the server's own operations raise; the API turns each into one status."""

import math

from rport.errors import RportError


class ServerError(RportError):
    """Root: an operation that was asked for and cannot be done.

    `status` is its HTTP answer, `kind` the last part of the answer's `type`; empty = as the status is called.
    """

    status = 400
    kind = ""

    @property
    def headers(self) -> dict[str, str]:
        """Of its HTTP answer."""
        return {}


class RoleTooSmall(ServerError):
    """Whoever asks may not."""

    status = 403
    kind = "role-too-small"


class Unauthorized(ServerError):
    """No credentials, or wrong ones."""

    status = 401


class TooSoon(ServerError):
    """Behind logins that failed, the next one is not looked at for `wait` seconds."""

    status = 429
    kind = "too-soon"

    def __init__(self, wait: float) -> None:
        self.wait = max(math.ceil(wait), 1)
        super().__init__(f"too soon after a login that failed; try again in {self.wait} s")

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.wait)}


class Busy(ServerError):
    """Too much of it at once."""

    status = 503
    kind = "busy"


class UserNotFound(ServerError):
    """No user has that name."""

    status = 404
    kind = "no-such-user"


class TokenNotFound(ServerError):
    """No token has that id, or it is another's."""

    status = 404
    kind = "no-such-token"


class UserConflict(ServerError):
    """It is in the way of a user that is there, or of there being an admin."""

    status = 409
    kind = "user-conflict"


class SessionNotFound(ServerError):
    """No session has that id."""

    status = 404
    kind = "no-such-session"


class TunnelExists(ServerError):
    """The very same tunnel is there already."""

    status = 204


class NotAllowed(ServerError):
    """The client or a rule says no."""

    status = 403
    kind = "not-allowed"


class PortUnavailable(ServerError):
    """The port cannot be listened on; the text says why."""

    status = 409
    kind = "port-unavailable"


class PortInUse(PortUnavailable):
    """Another program listens there."""


class ClientAway(ServerError):
    """It is not connected, or went away meanwhile."""

    status = 409
    kind = "client-not-connected"


class ClientSilent(ServerError):
    """It is connected, and did not answer in time."""

    status = 503
    kind = "client-silent"


class TunnelNotFound(ServerError):
    """The client has no tunnel of that id."""

    status = 404
    kind = "no-such-tunnel"


class ConnectionNotFound(ServerError):
    """The tunnel carries no connection of that id."""

    status = 404
    kind = "no-such-connection"


class TunnelDeclared(ServerError):
    """It is the client's own: only there can it be taken back."""

    status = 409
    kind = "tunnel-declared"


class TargetUnreachable(ServerError):
    """The client dialled it in vain; the text says why."""

    status = 502
    kind = "target-unreachable"


class TooManyChecks(ServerError):
    """As many targets of one client are being checked as may be."""

    status = 429
    kind = "too-many-checks"


class Unprocessable(ServerError):
    """It fits the document, and still means nothing: what no schema can say."""

    status = 422
    kind = "unprocessable"
