"""Tunnels as the API shows them, and as it is asked for them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from rport.server.api.common import SCHEME, Closed
from rport.server.api.fields import Flag, Line, Number, Prose, Whole
from rport.server.times import moment
from rport.server.tunnels.tunnel import Tunnel

SOURCES_MAX = 256  # networks of one tunnel; the core looks through them at each visitor
RATE_MIN, RATE_MAX = 1000, 2**40  # octets a second: less than 1 kB is a mistake in the unit, as is more than 1 TB
CONNECTIONS_MAX = 4096  # streams that a session carries at all
SECONDS_MAX = 10 * 365 * 86400.0  # ten years: what is longer is a mistake

FIXED = ("target", "lhost", "lport", "proxy_protocol", "stored")


class ProxyProtocol(StrEnum):
    V1 = "v1"
    V2 = "v2"


class TunnelState(StrEnum):
    OPEN = "open"
    WAITING = "waiting"
    FAILED = "failed"


class TunnelFigures(BaseModel):
    """Since it was opened, or the server started. Rates are in bytes a second, over the last 10 to 15 seconds."""

    connections: int = Field(description="now", examples=[2])
    connections_total: int = Field(examples=[371])
    denied: int = Field(description="visitors from elsewhere than `sources`", examples=[0])
    rejected: int = Field(description="visitors beyond `connection_limit`", examples=[0])
    bytes_in: int = Field(description="from the client to visitors", examples=[1048576])
    bytes_out: int = Field(description="from visitors to the client", examples=[65536])
    rate_in: float = Field(examples=[1250.5])
    rate_out: float = Field(examples=[80.0])
    last_used_at: datetime | None = Field(description="null = never", examples=["2026-01-31T12:00:05Z"])
    last_error: str | None = Field(description="of its target, the last one", examples=["connection refused"])


class TunnelView(BaseModel):
    """A listening port on the server, and where it leads."""

    id: str = Field(description="`d` and a number: the client declared it", examples=["3f2a9c51b07e"])
    client_id: str = Field(examples=["web-1"])
    declared: bool = Field(description="by the client; it can be closed only there", examples=[False])
    stored: bool = Field(description="it comes back with its client, on the same port", examples=[True])
    state: TunnelState = Field(
        description="open = listened for; waiting = for the client; failed = the client is there, and see `error`",
        examples=["open"],
    )
    error: str | None = Field(examples=[None])
    lhost: str = Field(description="the server's address that it listens on", examples=["127.0.0.1"])
    lport: int = Field(examples=[2222])
    target: str = Field(description="what the client dials", examples=["127.0.0.1:22", "unix:/run/app.sock"])
    scheme: str | None = Field(description="what is spoken through it", examples=["ssh"])
    proxy_protocol: ProxyProtocol | None = Field(
        description="the target is told of each visitor by a header of that version", examples=[None]
    )
    sources: list[str] = Field(description="where visitors may come from; empty = anywhere", examples=[["10.0.0.0/8"]])
    idle_timeout: float | None = Field(description="seconds without use after which it is closed", examples=[3600.0])
    expires_at: datetime | None = Field(examples=["2026-02-01T12:00:00Z"])
    connection_limit: int | None = Field(examples=[10])
    rate_to_target: int | None = Field(description="bytes a second, of all connections together", examples=[None])
    rate_to_visitor: int | None = Field(examples=[1000000])
    note: str = Field(examples=["for the migration"])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    created_by: str = Field(examples=["user ada"])
    figures: TunnelFigures


class TunnelPage(BaseModel):
    items: list[TunnelView]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


class TunnelConnection(BaseModel):
    """One visitor's."""

    id: int = Field(examples=[17])
    address: str = Field(description="the visitor's", examples=["203.0.113.9:40312"])
    since: datetime = Field(examples=["2026-01-31T12:00:05Z"])
    bytes_in: int = Field(description="from the client to visitors", examples=[1048576])
    bytes_out: int = Field(description="from visitors to the client", examples=[65536])


class TunnelConnectionPage(BaseModel):
    items: list[TunnelConnection]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


Target = Annotated[
    str,
    Field(
        description="what the client dials: [host:]port, its own loopback without a host; or unix:/path",
        min_length=1,
        max_length=300,
        examples=["22", "db.internal:5432", "unix:/run/app.sock"],
    ),
]
Scheme = Annotated[
    str,
    Field(description="what is spoken: ssh, rdp, http, ...", pattern=SCHEME, examples=["ssh"]),
]
Sources = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(
        description="addresses and networks that visitors may come from, or `caller`: whoever asks for this; "
        "empty = anywhere",
        max_length=SOURCES_MAX,
        examples=[["10.0.0.0/8", "2001:db8::/32"], ["caller"]],
    ),
]
Seconds = Annotated[Number, Field(ge=1, le=SECONDS_MAX)]
Rate = Annotated[int, Whole(RATE_MIN, RATE_MAX)]
Limit = Annotated[int, Whole(1, CONNECTIONS_MAX)]


class Limited(Closed):
    """What may be another one later."""

    scheme: Scheme | None = None
    sources: Sources | None = None
    idle_timeout: Seconds | None = Field(
        None, description="seconds without a new connection or a byte after which it is closed", examples=[3600]
    )
    expires_in: Seconds | None = Field(None, description="seconds from now until it is closed", examples=[86400])
    connection_limit: Limit | None = Field(None, description="visitors at a time", examples=[10])
    rate_to_target: Rate | None = Field(
        None, description="bytes a second, of all connections together", examples=[1000000]
    )
    rate_to_visitor: Rate | None = Field(None, examples=[1000000])
    note: Annotated[Prose, Field(max_length=500)] | None = Field(None, examples=["for the migration"])


class NewTunnel(Limited):
    """A tunnel to be opened."""

    target: Target
    lhost: Annotated[Line, Field(min_length=1, max_length=64)] | None = Field(
        None, description="the server's address to listen on; null = that of --tunnel-host", examples=["127.0.0.1"]
    )
    lport: Annotated[int, Whole(1, 65535)] | None = Field(
        None, description="null = the server picks one", examples=[None]
    )
    proxy_protocol: ProxyProtocol | None = Field(None, examples=[None])
    stored: Flag | None = Field(
        None,
        description="it comes back with its client; null = where the client is one that can be known again",
        examples=[True],
    )


class TunnelChange(Limited):
    """What is to be another one from now on; null takes a limit away."""

    @model_validator(mode="before")
    @classmethod
    def _fixed(cls, given: Any) -> Any:
        if isinstance(given, dict) and (found := [name for name in FIXED if name in given]):
            text = "{name} of a tunnel does not change: open another one, and close this"
            raise PydanticCustomError("fixed", text, {"name": found[0]})
        return given


class CheckRequest(Closed):
    """Which target."""

    target: Target


class CheckResult(BaseModel):
    """What the client found."""

    ok: bool = Field(description="it takes connections", examples=[True])
    ms: float | None = Field(description="milliseconds that it took; null = it does not", examples=[0.8])
    error: str | None = Field(description="why not", examples=[None])


def tunnel_view(tunnel: Tunnel) -> TunnelView:
    """As it is now."""
    remote, properties, limits = tunnel.remote, tunnel.properties, tunnel.properties.limits
    return TunnelView(
        id=tunnel.id,
        client_id=tunnel.client,
        declared=tunnel.declared,
        stored=tunnel.stored,
        state=TunnelState(tunnel.state),
        error=tunnel.error or None,
        lhost=remote.lhost,
        lport=remote.lport,
        target=remote.target,
        scheme=properties.scheme or None,
        proxy_protocol=ProxyProtocol(remote.proxy) if remote.proxy else None,
        sources=[str(network) for network in limits.sources],
        idle_timeout=properties.idle_timeout,
        expires_at=moment(properties.expires),
        connection_limit=limits.connections or None,
        rate_to_target=limits.to_target or None,
        rate_to_visitor=limits.to_visitor or None,
        note=properties.note,
        created_at=moment(tunnel.created),
        created_by=tunnel.created_by,
        figures=_figures(tunnel),
    )


def _figures(tunnel: Tunnel) -> TunnelFigures:
    now, (rate_in, rate_out) = tunnel.figures, tunnel.rates
    return TunnelFigures(
        connections=now.connections,
        connections_total=now.connections_total,
        denied=now.denied,
        rejected=now.rejected,
        bytes_in=now.bytes_in,
        bytes_out=now.bytes_out,
        rate_in=round(rate_in, 1),
        rate_out=round(rate_out, 1),
        last_used_at=moment(tunnel.last_used),
        last_error=tunnel.trouble or None,
    )
