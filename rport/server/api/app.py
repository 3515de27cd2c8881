"""The API's application: version 1 keeps the original program's routes."""

import re
from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from rport.errors import UsageError
from rport.remote import ANY_HOST, PROXY_VERSIONS, UNIX, Remote
from rport.server.api.docs import PAGE, PAGE_HEADERS
from rport.server.api.guard import Guard
from rport.server.errors import ServerError, TunnelExists
from rport.server.registry import Entry, Registry, Tunnel

# Spans and metrics for nobody cost a sixth of the API's speed, and its logs would carry error texts away.
# A version of FastAPI that knows no telemetry passes the argument over.
NO_TELEMETRY: dict[str, Any] = {
    "telemetry": dict.fromkeys(("auto_configure", "tracing", "metrics", "logs", "operation_spans"), False)
}

_SIDE = re.compile(r"((\[[^\[\]]*\]|(?![0-9]+:)[^:\[\]]+):)?[0-9]+")  # [HOST:]PORT
_TARGET = re.compile(rf"({_SIDE.pattern}|unix:[^0-9].*)(\?.*)?", re.DOTALL)


class Service(Protocol):
    """What the API needs of the server."""

    version: str
    registry: Registry

    def statistics(self) -> dict[str, Any]: ...

    def open_tunnel(self, session_id: str, remote: Remote) -> Awaitable[Tunnel]: ...


class Status(BaseModel):
    version: str = Field(examples=["0.1.0"])
    sessions_count: int = Field(examples=[3])


class StatisticsView(BaseModel):
    """Bytes in are what clients sent. Rates are in bytes a second."""

    version: str = Field(examples=["0.1.0"])
    uptime_seconds: float = Field(examples=[86400.5])
    sessions: int = Field(examples=[3])
    sessions_total: int = Field(description="since the start", examples=[120])
    tunnels: int = Field(examples=[7])
    ciphers: dict[str, int] = Field(description="sessions by cipher", examples=[{"aegis128l": 3}])
    streams: int = Field(description="connections that are carried now", examples=[12])
    streams_total: int = Field(description="since the start", examples=[51234])
    bytes_in: int = Field(description="what streams carried", examples=[1200000000])
    bytes_out: int = Field(examples=[340000000])
    carrier_bytes_in: int = Field(description="with all that encryption and framing add", examples=[1200600000])
    carrier_bytes_out: int = Field(examples=[340200000])
    rate_in: int = Field(description="over the last 10 seconds", examples=[1500000])
    rate_out: int = Field(examples=[200000])
    rate_in_since_print: int = Field(description="since the last SIGUSR2, or the start", examples=[900000])
    rate_out_since_print: int = Field(examples=[150000])
    memory_bytes: int = Field(description="resident", examples=[61000000])
    lag_p95_ms: float = Field(description="how late the event loop was, over the last minute", examples=[0.4])
    lag_max_ms: float = Field(examples=[2.5])
    descriptors: int = Field(description="open now", examples=[44])
    descriptors_max: int = Field(examples=[1048576])


class RemoteView(BaseModel):
    lhost: str = Field(examples=["0.0.0.0"])
    lport: str = Field(examples=["2222"])
    rhost: str = Field(examples=["0.0.0.0", "unix:/run/app.sock"])
    rport: str = Field(examples=["22"], description="0 where rhost is `unix:` and the path of a Unix socket")
    proxy: str = Field(default="", examples=["v2"], description="version of the PROXY protocol, empty = not used")


class SessionView(BaseModel):
    id: str = Field(description="64 hex digits")
    version: str
    address: str = Field(examples=["203.0.113.9:40312"])
    remotes: list[RemoteView]


class Opened(RemoteView):
    success: int = 1
    id: int


class Problem(BaseModel):
    error: str


def _remote_view(tunnel: Tunnel) -> RemoteView:
    remote = tunnel.remote
    return RemoteView(
        lhost=remote.lhost, lport=str(tunnel.port), rhost=remote.rhost, rport=str(remote.rport), proxy=remote.proxy
    )


def _session_view(entry: Entry) -> SessionView:
    remotes = [_remote_view(tunnel) for tunnel in entry.tunnels.values()]
    return SessionView(id=entry.id, version=entry.version, address=entry.address, remotes=remotes)


def _parse(local: str, remote: str, proxy: str) -> Remote:
    """The query's parameters as a whole remote. Raises UsageError that says which one is wrong, and why."""
    # A local port may be 0 and a socket's path has no port, so each stands at its place in a whole remote.
    listen = _parse_side("local", local, f"{local}:{ANY_HOST}:1", _SIDE)
    target = _parse_side("remote", remote, f"1:{remote}" if remote.startswith(UNIX) else remote, _TARGET)
    if proxy and target.proxy:
        raise UsageError(f"proxy={proxy!r}: it stands in remote= already")
    if proxy not in ("", *PROXY_VERSIONS):
        raise UsageError(f"proxy={proxy!r}: give v1 or v2, the version of the PROXY protocol")
    return replace(target, lhost=listen.lhost, lport=listen.lport, proxy=proxy or target.proxy)


def _parse_side(name: str, value: str, spec: str, form: re.Pattern[str]) -> Remote:
    """`spec` is `value` completed to a whole remote."""
    if not form.fullmatch(value):
        also = f", or {UNIX}/PATH" if form is _TARGET else ""
        raise UsageError(f"{name}={value!r}: give [HOST:]PORT, an IPv6 host in brackets{also}")
    try:
        return Remote.parse(spec)
    except UsageError as error:
        raise UsageError(f"{name}={value!r}: {str(error).removeprefix(f'remote {spec!r}: ')}") from None


def create_app(service: Service) -> Guard:
    """The ASGI application, guarded."""
    app = FastAPI(
        title="rport",
        version=service.version,
        description="Sessions and tunnels of one rportd. Errors are JSON with an `error` text.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        **NO_TELEMETRY,
    )
    _add_errors(app)
    _add_routes(app, service)
    return Guard(app)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServerError)
    async def on_server_error(request: Request, error: ServerError) -> Response:
        if isinstance(error, TunnelExists):
            return Response(status_code=204)
        return JSONResponse({"error": str(error)}, error.status)

    @app.exception_handler(UsageError)
    async def on_usage(request: Request, error: UsageError) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        text = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return JSONResponse({"error": text}, 400)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "internal error; the server's log has more"}, 500)  # never the text itself


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "A parameter is missing or cannot be parsed"},
    403: {"model": Problem, "description": "Not allowed for this session, or refused by its client"},
    404: {"model": Problem, "description": "No such session"},
    409: {"model": Problem, "description": "The port cannot be listened on"},
    "default": {"model": Problem, "description": "Any other error"},
}
THERE_ALREADY: dict[int | str, dict[str, Any]] = {204: {"description": "The very same tunnel is there already"}}


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.get("/api/v1/status")
    async def status() -> Status:
        """Version and number of sessions."""
        return Status(version=service.version, sessions_count=len(service.registry))

    @app.get("/api/v1/statistics")
    async def statistics() -> StatisticsView:
        """What the server has done and does now; SIGUSR2 has it logged."""
        return StatisticsView(**service.statistics())

    @app.get("/api/v1/sessions")
    async def sessions() -> list[SessionView]:
        """All connected clients with their tunnels."""
        return [_session_view(entry) for entry in service.registry.list()]

    @app.put("/api/v1/sessions/{session_id}/tunnels", responses=THERE_ALREADY | PROBLEMS)
    async def open_tunnel(
        session_id: str,
        local: Annotated[str, Query(description="where the server listens: [host:]port, 0 = any port", max_length=300)],
        remote: Annotated[str, Query(description="what the client dials: [host:]port or unix:/path", max_length=300)],
        proxy: Annotated[
            str,
            Query(
                description="v1 or v2: the target is told of each visitor by a header of the PROXY protocol",
                max_length=300,
                examples=["v2"],
            ),
        ] = "",
    ) -> Opened:
        """Open a tunnel to a connected client."""
        tunnel = await service.open_tunnel(session_id, _parse(local, remote, proxy))
        return Opened(id=tunnel.id, success=1, **_remote_view(tunnel).model_dump())

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)
