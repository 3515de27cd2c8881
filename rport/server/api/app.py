"""The API's application. Version 1 keeps the original program's routes."""

from collections.abc import Sequence
from typing import Any

from fastapi.responses import HTMLResponse, Response
from starlette.middleware.cors import CORSMiddleware

from rport.server.api.docs import PAGE, PAGE_HEADERS
from rport.server.api.document import Described
from rport.server.api.guard import Guard
from rport.server.api.meter import Meter
from rport.server.api.problems import add_handlers
from rport.server.api.routes import (
    audit,
    check,
    clients,
    connections,
    credentials,
    deliveries,
    enrolments,
    events,
    health,
    login,
    me,
    sessions,
    status,
    tokens,
    tunnels,
    users,
    webhooks,
)
from rport.server.api.shield import Shield
from rport.server.plane import Plane
from rport.server.telemetry import telemetry

ROUTES = (
    status,
    sessions,
    clients,
    credentials,
    enrolments,
    tunnels,
    connections,
    check,
    audit,
    events,
    login,
    me,
    users,
    tokens,
    webhooks,
    deliveries,
)  # in the order of the document

CORS: dict[str, Any] = {
    "allow_credentials": False,  # no cookies: a page from elsewhere shows a token that it was given
    "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": ["Authorization", "Content-Type", "Last-Event-ID", "X-Rport-OTP", "X-Requested-With"],
    "expose_headers": ["Retry-After"],
    "max_age": 600,  # seconds, as long as most browsers remember it
}


def create_app(plane: Plane, origins: Sequence[str] = (), otel: bool = False) -> Meter:
    """The ASGI application, guarded. `origins`: of web pages that may ask, too, with credentials of their own.

    Raises UsageError where `otel` cannot be.
    """
    guard: Any = Guard(create_api(plane, otel), plane.people, plane.login)
    shield = Shield(CORSMiddleware(guard, allow_origins=list(origins), **CORS) if origins else guard)
    return Meter(shield, plane.metrics)


def create_api(plane: Plane, otel: bool = False) -> Described:
    """The routes, and the document that describes them. Raises UsageError where `otel` cannot be."""
    app = Described(
        title="rport",
        version=plane.service.version,
        description="Clients, tunnels and what happens to them, of one rportd. Errors are RFC 9457 problems.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        **telemetry(otel),
    )
    add_handlers(app, app.methods)
    for module in ROUTES:
        app.include_router(module.router(plane), prefix="/api/v1")
    app.include_router(health.router(plane))

    @app.get("/api/openapi.json", include_in_schema=False)
    async def document() -> Response:
        return Response(app.text, media_type="application/json")

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    return app
