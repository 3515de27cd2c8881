"""Tunnels: opened, limited and closed, and what they carry."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from rport.errors import UsageError
from rport.server.api.access import Who, needs
from rport.server.api.common import ClientId
from rport.server.api.paging import Cursor, Limit, part
from rport.server.api.problems import may_fail
from rport.server.api.tunnel_views import Limited, NewTunnel, TunnelChange, TunnelPage, TunnelView, tunnel_view
from rport.server.errors import PortUnavailable, TunnelDeclared, TunnelExists, Unprocessable
from rport.server.inventory import Client
from rport.server.networks import Network, parse_network, plain
from rport.server.plane import Plane
from rport.server.principal import Principal
from rport.server.tunnels.table import Table
from rport.server.tunnels.target import read_target
from rport.server.tunnels.tunnel import Properties, Tunnel

CALLER = "caller"

TunnelId = Annotated[str, Path(description="the tunnel's id", max_length=64, examples=["3f2a9c51b07e"])]


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["tunnels"])

    @routes.get("/tunnels", operation_id="list_tunnels", responses=may_fail(422), **needs("viewer"))
    async def list_tunnels(
        who: Who,
        client: Annotated[str, Query(description="of this client alone", max_length=64, examples=["web-1"])] = "",
        port: Annotated[int | None, Query(description="on this port alone", ge=1, le=65535, examples=[2222])] = None,
        q: Annotated[
            str, Query(description="text in the target, note, scheme, id, or client", max_length=200, examples=["ssh"])
        ] = "",
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> TunnelPage:
        """Tunnels of all clients, by client."""
        wanted = _Wanted(client, port, q.casefold())
        return _page(
            (tunnel for each in plane.inventory.list(who) for tunnel in wanted.of(plane.tunnels.table, each)),
            limit,
            cursor,
        )

    @routes.get(
        "/clients/{client_id}/tunnels",
        operation_id="list_client_tunnels",
        responses=may_fail(404, 422),
        **needs("viewer"),
    )
    async def list_client_tunnels(
        who: Who, client_id: ClientId, limit: Limit = 100, cursor: Cursor = None
    ) -> TunnelPage:
        """A client's tunnels, also those that it declared itself."""
        return _page(plane.tunnels.table.of(plane.inventory.visible(who, client_id)), limit, cursor)

    @routes.post(
        "/clients/{client_id}/tunnels",
        operation_id="open_tunnel",
        status_code=201,
        responses=may_fail(404, 409, 422, 503, 507),
        **needs("operator"),
    )
    async def open_tunnel(who: Who, client_id: ClientId, new: NewTunnel) -> TunnelView:
        """Open a tunnel to a client.

        The answer says where it listens. The client's own rules have the last word (403). For one that is not
        connected, a stored tunnel waits, and its port is reserved.
        """
        client = plane.inventory.visible(who, client_id)
        lhost = new.lhost or plane.service.settings.tunnel_host
        try:
            remote = read_target(new.target, lhost, new.lport or 0, new.proxy_protocol or "")
        except UsageError as error:
            raise Unprocessable(str(error)) from None
        properties = Properties().changed(_changes(who, new))
        stored = client.stable if new.stored is None else new.stored
        try:
            return tunnel_view(await plane.tunnels.deeds.open(who, client, remote, properties, stored))
        except TunnelExists:
            raise PortUnavailable(f"port {remote.lport} leads there already: {_twin(plane, remote, client)}") from None

    @routes.get(
        "/clients/{client_id}/tunnels/{tunnel_id}",
        operation_id="get_tunnel",
        responses=may_fail(404),
        **needs("viewer"),
    )
    async def get_tunnel(who: Who, client_id: ClientId, tunnel_id: TunnelId) -> TunnelView:
        """One tunnel, with what it has carried."""
        return tunnel_view(found(plane, who, client_id, tunnel_id))

    @routes.patch(
        "/clients/{client_id}/tunnels/{tunnel_id}",
        operation_id="change_tunnel",
        responses=may_fail(404, 409, 422, 503, 507),
        **needs("operator"),
    )
    async def change_tunnel(who: Who, client_id: ClientId, tunnel_id: TunnelId, change: TunnelChange) -> TunnelView:
        """Change a tunnel's limits; they count at once, for open connections too.

        What is left out stays, null takes a limit away. Limits of a declared tunnel last as long as the session.
        """
        tunnel = found(plane, who, client_id, tunnel_id)
        if tunnel.declared and (change.idle_timeout is not None or change.expires_in is not None):
            raise TunnelDeclared("this tunnel is declared by the client, who would open it again: it has no end")
        await plane.tunnels.deeds.change(who, tunnel, _changes(who, change))
        return tunnel_view(tunnel)

    @routes.delete(
        "/clients/{client_id}/tunnels/{tunnel_id}",
        operation_id="close_tunnel",
        status_code=204,
        responses=may_fail(404, 409, 503, 507),
        **needs("operator"),
    )
    async def close_tunnel(who: Who, client_id: ClientId, tunnel_id: TunnelId) -> None:
        """Close a tunnel: its port is free, and what it carried is cut at both ends."""
        await plane.tunnels.deeds.close(who, found(plane, who, client_id, tunnel_id), "closed through the API")

    return routes


def found(plane: Plane, who: Principal, client_id: str, tunnel_id: str) -> Tunnel:
    """Raises ClientNotFound, TunnelNotFound."""
    return plane.tunnels.table.get(plane.inventory.visible(who, client_id), tunnel_id)


def _twin(plane: Plane, remote: Any, client: Client) -> str:
    hold = plane.service.ports_pool.holder(remote.lhost, remote.lport)
    return f"tunnel {hold.tunnel if hold is not None else ''} of {client}"


def _page(tunnels: Iterable[Tunnel], limit: int, cursor: str | None) -> TunnelPage:
    """In the order in which they were opened, client by client."""
    items, more = part(sorted(tunnels, key=_key), _key, limit, cursor)
    return TunnelPage(items=[tunnel_view(tunnel) for tunnel in items], next=more)


def _key(tunnel: Tunnel) -> list[str | float]:
    return [tunnel.client, tunnel.created, tunnel.id]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """All that is given has to match."""

    client: str
    port: int | None
    text: str

    def of(self, table: Table, client: Client) -> list[Tunnel]:
        """Those of a client."""
        if self.client not in ("", client.id):
            return []
        return [tunnel for tunnel in table.of(client) if self._matches(tunnel, client)]

    def _matches(self, tunnel: Tunnel, client: Client) -> bool:
        remote, properties = tunnel.remote, tunnel.properties
        texts = (tunnel.id, client.id, client.shown_name, remote.target, properties.scheme, properties.note)
        return self.port in (None, remote.lport) and any(self.text in text.casefold() for text in texts)


_FIELDS = {  # of a request, as they are called in Properties and Limits
    "scheme": "scheme",
    "note": "note",
    "idle_timeout": "idle_timeout",
    "connection_limit": "connections",
    "rate_to_target": "to_target",
    "rate_to_visitor": "to_visitor",
}
_NONE = {"scheme": "", "note": "", "connections": 0, "to_target": 0, "to_visitor": 0}


def _changes(who: Principal, given: Limited) -> dict[str, Any]:
    """What was given, as fields of Properties and of Limits. Raises Unprocessable."""
    told = {name: getattr(given, name) for name in given.model_fields_set}
    values = {_FIELDS[name]: value for name, value in told.items() if name in _FIELDS}
    values = {name: _NONE.get(name) if value is None else value for name, value in values.items()}
    if "sources" in told:
        values["sources"] = _networks(who, told["sources"] or ())
    if "expires_in" in told:
        values["expires"] = None if told["expires_in"] is None else time.time() + told["expires_in"]
    return values


def _networks(who: Principal, texts: Iterable[str]) -> tuple[Network, ...]:
    """Each once. Raises Unprocessable."""
    networks: dict[Network, None] = {}
    for text in texts:
        try:
            networks[parse_network(plain(who.source) if text == CALLER else text)] = None
        except ValueError:
            raise Unprocessable("sources: the address that you ask from is not known") from None
        except UsageError as error:
            raise Unprocessable(f"sources: {error}") from None
    return tuple(networks)
