"""The connections that a tunnel carries now."""

import time
from typing import Annotated

from fastapi import APIRouter, Path

from rport.server.api.access import Who, needs
from rport.server.api.common import ClientId
from rport.server.api.paging import Cursor, Limit, part
from rport.server.api.problems import may_fail
from rport.server.api.routes.tunnels import TunnelId, found
from rport.server.api.tunnel_views import TunnelConnection, TunnelConnectionPage
from rport.server.errors import ConnectionNotFound
from rport.server.plane import Plane
from rport.server.times import moment
from rport.server.tunnels.tunnel import Tunnel

ConnectionId = Annotated[str, Path(description="the connection's number", max_length=20, examples=["17"])]


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["connections"])

    @routes.get(
        "/clients/{client_id}/tunnels/{tunnel_id}/connections",
        operation_id="list_tunnel_connections",
        responses=may_fail(404, 422),
        **needs("viewer"),
    )
    async def list_connections(
        who: Who, client_id: ClientId, tunnel_id: TunnelId, limit: Limit = 100, cursor: Cursor = None
    ) -> TunnelConnectionPage:
        """Who visits a tunnel now."""
        views = _views(found(plane, who, client_id, tunnel_id))
        items, more = part(views, lambda view: [view.id], limit, cursor)
        return TunnelConnectionPage(items=items, next=more)

    @routes.delete(
        "/clients/{client_id}/tunnels/{tunnel_id}/connections/{connection_id}",
        operation_id="close_connection",
        status_code=204,
        responses=may_fail(404, 503, 507),
        **needs("operator"),
    )
    async def close_connection(who: Who, client_id: ClientId, tunnel_id: TunnelId, connection_id: ConnectionId) -> None:
        """Cut one connection, at both ends; the visitor may come again."""
        tunnel = found(plane, who, client_id, tunnel_id)
        if not (connection_id.isascii() and connection_id.isdigit()):
            raise ConnectionNotFound(f"{tunnel} has no connection {connection_id!r}")
        await plane.tunnels.deeds.cut(who, tunnel, int(connection_id))

    return routes


def _views(tunnel: Tunnel) -> list[TunnelConnection]:
    now = time.time()
    rows = sorted(tunnel.live.listener.connections()) if tunnel.live is not None else []
    return [
        TunnelConnection(id=number, address=address, since=moment(now - age), bytes_in=bytes_in, bytes_out=bytes_out)
        for number, address, age, bytes_in, bytes_out in rows
    ]
