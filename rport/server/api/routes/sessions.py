"""The original program's routes: sessions, and tunnels by query parameters."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from rport.remote import Remote
from rport.server.api.access import Who, needs
from rport.server.api.problems import may_fail
from rport.server.plane import Plane
from rport.server.principal import Principal
from rport.server.registry import Entry
from rport.server.tunnels.target import read_query


class RemoteView(BaseModel):
    lhost: str = Field(examples=["0.0.0.0"])
    lport: str = Field(examples=["2222"])
    rhost: str = Field(examples=["0.0.0.0", "unix:/run/app.sock"])
    rport: str = Field(examples=["22"], description="0 where rhost is `unix:` and the path of a Unix socket")
    proxy: str = Field(default="", examples=["v2"], description="version of the PROXY protocol, empty = not used")


class SessionView(BaseModel):
    id: str = Field(description="64 hex digits", examples=["5f0c" * 16])
    client_id: str = Field(description="of the machine that it is", examples=["web-1"])
    version: str = Field(examples=["0.1.0"])
    address: str = Field(examples=["203.0.113.9:40312"])
    remotes: list[RemoteView]


class Opened(RemoteView):
    success: int = Field(default=1, examples=[1])
    id: int = Field(description="of the tunnel within its session", examples=[1])


def _remote_view(remote: Remote) -> RemoteView:
    return RemoteView(
        lhost=remote.lhost, lport=str(remote.lport), rhost=remote.rhost, rport=str(remote.rport), proxy=remote.proxy
    )


def _session_view(entry: Entry) -> SessionView:
    remotes = [_remote_view(replace(tunnel.remote, lport=tunnel.port)) for tunnel in entry.tunnels.values()]
    return SessionView(
        id=entry.id, client_id=entry.client, version=entry.version, address=entry.address, remotes=remotes
    )


_THERE_ALREADY: dict[int | str, dict[str, Any]] = {204: {"description": "The very same tunnel is there already"}}


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["sessions"])
    service = plane.service

    def sees(who: Principal, entry: Entry) -> bool:
        return who.tags is None or who.sees(plane.inventory.tags_of(entry.client) or ())

    @routes.get("/sessions", operation_id="list_sessions", responses=may_fail(), **needs("viewer"))
    async def sessions(who: Who) -> list[SessionView]:
        """All connected clients with their tunnels."""
        return [_session_view(entry) for entry in service.registry.list() if sees(who, entry)]

    @routes.put(
        "/sessions/{session_id}/tunnels",
        operation_id="put_session_tunnel",
        responses=_THERE_ALREADY | may_fail(404, 409, 503, 507),
        **needs("operator"),
    )
    async def open_tunnel(
        who: Who,
        session_id: str,
        local: Annotated[
            str,
            Query(
                description="where the server listens: [host:]port, 0 = any port",
                max_length=300,
                examples=["127.0.0.1:0"],
            ),
        ],
        remote: Annotated[
            str, Query(description="what the client dials: [host:]port or unix:/path", max_length=300, examples=["22"])
        ],
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
        number, opened = await plane.tunnels.put(who, session_id, read_query(local, remote, proxy))
        return Opened(id=number, success=1, **_remote_view(opened).model_dump())

    return routes
