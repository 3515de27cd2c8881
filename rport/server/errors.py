"""What the server's own operations raise; the API turns each into one status."""

from rport.errors import RportError


class ServerError(RportError):
    """Root: an operation that was asked for and cannot be done. `status` is its HTTP answer."""

    status = 400


class SessionNotFound(ServerError):
    """No session has that id."""

    status = 404


class TunnelExists(ServerError):
    """The very same tunnel is there already."""

    status = 204


class NotAllowed(ServerError):
    """The client or a rule says no."""

    status = 403


class PortUnavailable(ServerError):
    """The port cannot be listened on; the text says why."""

    status = 409
