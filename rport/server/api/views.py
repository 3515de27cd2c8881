"""Clients as the API shows them."""

import time
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from rport.server.inventory import Client
from rport.server.times import moment


class ClientState(StrEnum):
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class ClientView(BaseModel):
    """A machine."""

    id: str = Field(examples=["web-1"])
    name: str = Field(description="given to it, else as it calls itself", examples=["web-1.example.com"])
    state: ClientState = Field(examples=["connected"])
    managed: bool = Field(description="it comes in by credentials of the API alone", examples=[True])
    owner: str = Field(
        description="by what it comes in: `managed`, `user:NAME`, `key:HEX`; empty where nobody has a login",
        examples=["managed"],
    )
    tags: list[str] = Field(description="given by administrators; who has a scope sees by these", examples=[["web"]])
    own_tags: list[str] = Field(description="what it says of itself", examples=[["rack-7"]])
    note: str = Field(examples=["the old one, until May"])
    listen: list[str] | None = Field(
        description="regular expressions for where it may have the server listen; null = anywhere",
        examples=[["^127\\.0\\.0\\.1:"]],
    )
    os: str = Field(examples=["linux"])
    os_version: str = Field(examples=["Debian GNU/Linux 12 (bookworm)"])
    kernel: str = Field(examples=["6.1.0-18-amd64"])
    arch: str = Field(examples=["x86_64"])
    hostname: str = Field(examples=["web-1"])
    addresses: list[str] = Field(description="of its interfaces", examples=[["10.0.0.7"]])
    version: str = Field(description="of its rport", examples=["0.1.0"])
    address: str = Field(description="that it came from last", examples=["203.0.113.9:40312"])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    first_seen: datetime | None = Field(description="null = never", examples=["2026-01-31T12:00:05Z"])
    last_seen: datetime | None = Field(description="now, while it is connected", examples=["2026-02-01T09:30:00Z"])
    cloned_at: datetime | None = Field(
        description="when two machines were last seen to take its session from each other", examples=[None]
    )
    session: str | None = Field(description="64 hex digits; null = not connected", examples=["0f" * 32])
    connected_since: datetime | None = Field(examples=["2026-02-01T08:00:00Z"])
    rtt_ms: float | None = Field(description="round trip; null = not measured yet", examples=[12.3])


class ClientPage(BaseModel):
    """Some of the clients."""

    items: list[ClientView]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


def client_view(client: Client) -> ClientView:
    """As it is now."""
    facts, session = client.facts, client.session
    return ClientView(
        id=client.id,
        name=client.shown_name,
        state=ClientState.CONNECTED if client.connected else ClientState.DISCONNECTED,
        managed=client.managed,
        owner=client.owner,
        tags=list(client.tags),
        own_tags=list(facts.tags),
        note=client.note,
        listen=None if client.listen is None else list(client.listen.texts),
        os=facts.os,
        os_version=facts.os_version,
        kernel=facts.kernel,
        arch=facts.arch,
        hostname=facts.hostname,
        addresses=list(facts.addresses),
        version=client.version,
        address=client.address,
        created_at=moment(client.created),
        first_seen=moment(client.first_seen),
        last_seen=moment(time.time() if client.connected else client.last_seen),
        cloned_at=moment(client.cloned),
        session=session.entry.id if session is not None and session.entry is not None else None,
        connected_since=moment(client.since) if client.connected else None,
        rtt_ms=None if client.rtt is None else round(client.rtt * 1000, 3),
    )
