"""Webhooks and their deliveries, as the API takes and shows them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from rport.server.api.access import Who
from rport.server.api.common import Closed
from rport.server.api.fields import Flag, Line
from rport.server.api.routes.events import EventType
from rport.server.errors import RoleTooSmall
from rport.server.event import TYPES
from rport.server.times import moment
from rport.server.webhook import Webhook

URL_MAX = 2000

Url = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=URL_MAX,
        description="http or https; no user in it, and redirects are not followed",
        examples=["https://hooks.example.com/rport"],
    ),
]
Types = Annotated[
    list[EventType] | None,
    Field(min_length=1, max_length=len(TYPES), description="of events; null = all", examples=[["tunnel.opened"]]),
]
Note = Annotated[Line, Field(max_length=200, examples=["alarms"])]
Secret = Annotated[
    Line,
    Field(
        min_length=24,
        max_length=128,
        description="what deliveries are signed with; one is made if you give none",
        examples=["a-long-text-that-nobody-guesses"],
    ),
]


class NewWebhook(Closed):
    """A URL that is to be told of events."""

    url: Url
    types: Types = None
    note: Note = ""
    enabled: Flag = Field(default=True, examples=[True])
    secret: Secret | None = None


class WebhookChange(Closed):
    """What is given is changed."""

    url: Url | None = None
    types: Types = None
    note: Note | None = None
    enabled: Flag | None = Field(default=None, examples=[False])
    secret: Secret | None = None


class WebhookView(BaseModel):
    """A URL that is told of events."""

    id: str = Field(examples=["3f9c0a1b2c3d"])
    url: str = Field(examples=["https://hooks.example.com/rport"])
    types: list[EventType] | None = Field(description="of events; null = all", examples=[["tunnel.opened"]])
    note: str = Field(examples=["alarms"])
    enabled: bool = Field(examples=[True])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    waiting: int = Field(description="deliveries that are to be tried, or tried again", examples=[0])
    dead: int = Field(description="deliveries that were given up", examples=[0])
    last_error: str | None = Field(
        description="of the last try, null when it went well", examples=["no answer within 10 s"]
    )
    last_delivered_at: datetime | None = Field(
        description="since the server started", examples=["2026-01-31T12:00:00Z"]
    )


class WebhookMade(WebhookView):
    """One that was made just now."""

    secret: str = Field(description="what deliveries are signed with; never shown again", examples=["rpw_4f0c..."])


class WebhookPage(BaseModel):
    """Some of the webhooks."""

    items: list[WebhookView]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


class WebhookTest(BaseModel):
    """How a test went."""

    delivered: bool = Field(examples=[False])
    status: int | None = Field(description="of the answer, null without one", examples=[204])
    error: str | None = Field(description="why it was not delivered", examples=["it answered 500"])
    seconds: float = Field(examples=[0.12])


class DeliveryState(StrEnum):
    """`waiting` is tried, or tried again; `dead` was given up."""

    waiting = "waiting"
    dead = "dead"


class DeliveryView(BaseModel):
    """An event that a webhook was not told of yet, or never was."""

    id: str = Field(examples=["17"])
    event: int = Field(description="the event's number", examples=[1042])
    type: str = Field(examples=["tunnel.opened"])
    state: DeliveryState
    attempts: int = Field(examples=[3])
    due_at: datetime | None = Field(description="of the next try, null when there is none", examples=[None])
    status: int | None = Field(description="of the last answer, null without one", examples=[500])
    error: str | None = Field(description="why the last try failed", examples=["it answered 500"])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    body: str = Field(description="what is sent, as it is signed", examples=['{"id":1042}'])


class DeliveryPage(BaseModel):
    """Deliveries, the newest first."""

    items: list[DeliveryView]
    next: str | None = Field(description="the cursor of the rest, null at the end", examples=["17"])


WebhookId = Annotated[str, Path(max_length=64, examples=["3f9c0a1b2c3d"])]
DeliveryId = Annotated[str, Path(max_length=64, examples=["17"])]


def sees_all(who: Who) -> None:
    if who.tags is not None:
        raise RoleTooSmall("a webhook is told of all clients: this takes a user who sees them all")


def webhook_view(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "types": None if webhook.types is None else sorted(webhook.types),
        "note": webhook.note,
        "enabled": webhook.enabled,
        "created_at": moment(webhook.created),
        "waiting": webhook.waiting,
        "dead": webhook.dead,
        "last_error": webhook.last_error or None,
        "last_delivered_at": moment(webhook.last_delivered),
    }


def delivery_view(row: dict[str, Any]) -> DeliveryView:
    return DeliveryView(
        id=str(row["id"]),
        state=DeliveryState.dead if row["due"] is None else DeliveryState.waiting,
        due_at=moment(row["due"]),
        created_at=moment(row["created"]),
        **{name: row[name] for name in ("event", "type", "attempts", "status", "error", "body")},
    )
