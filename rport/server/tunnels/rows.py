"""Tunnels as rows of the store, and back. Pure."""

from collections.abc import Mapping
from typing import Any

from rport.remote import Remote
from rport.server.networks import network_of
from rport.server.tunnels.limits import Limits
from rport.server.tunnels.pool import Hold
from rport.server.tunnels.target import read_target
from rport.server.tunnels.tunnel import Properties, Tunnel


def row_of(tunnel: Tunnel) -> dict[str, Any]:
    """All of it."""
    return {
        "id": tunnel.id,
        "client": tunnel.client,
        "lhost": tunnel.remote.lhost,
        "lport": tunnel.remote.lport,
        "target": tunnel.remote.target,
        "created": tunnel.created,
        "created_by": tunnel.created_by,
        **changing(tunnel.properties, tunnel.remote),
    }


def changing(properties: Properties, remote: Remote) -> dict[str, Any]:
    """What may be another one later."""
    limits = properties.limits
    return {
        "expires": properties.expires,
        "properties": {
            "scheme": properties.scheme,
            "note": properties.note,
            "sources": [str(network) for network in limits.sources],
            "connections": limits.connections,
            "to_target": limits.to_target,
            "to_visitor": limits.to_visitor,
            "idle_timeout": properties.idle_timeout,
            "proxy": remote.proxy,
        },
    }


def tunnel_of(row: Mapping[str, Any]) -> Tunnel:
    """A row that was saved."""
    kept = row["properties"]
    remote = read_target(row["target"], row["lhost"], row["lport"], kept["proxy"])
    limits = Limits(tuple(map(network_of, kept["sources"])), kept["connections"], kept["to_target"], kept["to_visitor"])
    return Tunnel(
        id=row["id"],
        client=row["client"],
        hold=Hold(remote, row["client"], row["id"]),
        properties=Properties(kept["scheme"], kept["note"], limits, kept["idle_timeout"], row["expires"]),
        stored=True,
        created=row["created"],
        created_by=row["created_by"],
    )
