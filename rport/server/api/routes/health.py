"""How it does, for those who watch over it: outside the API's own paths, where they look for it."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from rport.server.api.access import needs
from rport.server.paths import METRICS
from rport.server.plane import Plane


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> PlainTextResponse:
        """The process lives."""
        return PlainTextResponse("ok\n")

    @routes.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz(request: Request) -> JSONResponse:
        """It takes clients and requests. A database in trouble does not keep it from that: an administrator sees it."""
        ready = not plane.service.draining
        body: dict[str, Any] = {"status": "ready" if ready else "draining"}
        who = request.scope.get("rport.principal")
        if who is not None and who.at_least("admin"):
            body["store"] = plane.journal.trouble.error or "ok"
        return JSONResponse(body, 200 if ready else 503)

    @routes.get(METRICS, **needs("viewer"))
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        """For Prometheus."""
        page = plane.metrics.page(accept)
        return Response(page.text, media_type=page.media_type)

    return routes
