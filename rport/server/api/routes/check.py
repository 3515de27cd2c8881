"""Whether a target answers, seen from its client."""

from fastapi import APIRouter

from rport.errors import UsageError
from rport.remote import ANY_HOST
from rport.server.api.access import Who, needs
from rport.server.api.common import ClientId
from rport.server.api.problems import may_fail
from rport.server.api.tunnel_views import CheckRequest, CheckResult
from rport.server.errors import ClientAway, NotAllowed, TargetUnreachable, Unprocessable
from rport.server.plane import Plane
from rport.server.tunnels.target import read_target


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["check"])

    @routes.post(
        "/clients/{client_id}/check",
        operation_id="check_target",
        responses=may_fail(404, 409, 422, 429),
        **needs("operator"),
    )
    async def check_target(who: Who, client_id: ClientId, request: CheckRequest) -> CheckResult:
        """Have a client connect to a target, and say how that went within 2.5 seconds."""
        client = plane.inventory.visible(who, client_id)
        try:
            remote = read_target(request.target, ANY_HOST, 0, "")
        except UsageError as error:
            raise Unprocessable(str(error)) from None
        if client.session is None:
            raise ClientAway(f"{client} is not connected")
        try:
            took = await client.session.check_target(remote)
        except (NotAllowed, TargetUnreachable) as error:
            return CheckResult(ok=False, ms=None, error=str(error))
        return CheckResult(ok=True, ms=round(took, 3), error=None)

    return routes
