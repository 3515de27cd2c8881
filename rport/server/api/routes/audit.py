"""Who did what."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from rport.server.api.access import Who, needs
from rport.server.api.fields import Instant, Line
from rport.server.api.paging import Cursor, Limit
from rport.server.api.problems import may_fail
from rport.server.api.stream import Stream
from rport.server.audit_log import Sought
from rport.server.plane import Plane

JSON_LINES = "application/x-ndjson"

_ABOUT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An AuditEntry on each line, the oldest first.",
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
    }
}


class AuditEntry(BaseModel):
    """Something that somebody did, or tried."""

    id: int = Field(examples=[4711])
    at: datetime = Field(examples=["2026-01-31T12:00:00.123456Z"])
    actor: str = Field(description="user, token or client", examples=["token 3f9c0a1b2c3d of me"])
    source: str = Field(description="address; empty where there was none", examples=["192.0.2.7"])
    action: str = Field(examples=["tunnel.open"])
    subject: str = Field(description="on what", examples=["client web-1 tunnel 5d41402abc4b"])
    client: str | None = Field(description="the client that it was about", examples=["web-1"])
    result: str = Field(description="`ok`, or why it was not done", examples=["ok"])
    details: dict[str, Any] = Field(description="never a secret", examples=[{"lport": 2222}])


class AuditPage(BaseModel):
    """Entries, the newest first."""

    items: list[AuditEntry]
    next: str | None = Field(description="the cursor of the rest, null at the end", examples=["4611"])


async def _sought(
    who: Who,
    actor: Annotated[Line | None, Query(max_length=160, description="a user's name", examples=["me"])] = None,
    action: Annotated[
        Line | None,
        Query(max_length=40, description="the whole, or with a dot at the end its beginning", examples=["tunnel."]),
    ] = None,
    client: Annotated[Line | None, Query(max_length=64, description="about this client", examples=["web-1"])] = None,
    since: Annotated[Instant | None, Query(description="from then on")] = None,
    until: Annotated[Instant | None, Query(description="before then")] = None,
    q: Annotated[
        Line | None,
        Query(max_length=200, description="in actor, source, subject or result", examples=["192.0.2.7"]),
    ] = None,
) -> Sought:
    """What both routes are asked for."""
    start, end = (None if moment is None else moment.timestamp() for moment in (since, until))
    return Sought(who, actor or "", action or "", client or "", start, end, q or "")


Filter = Annotated[Sought, Depends(_sought)]


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["audit"])

    @routes.get("/audit", operation_id="list_audit", responses=may_fail(422, 503), **needs("admin"))
    async def audit(
        sought: Filter,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> AuditPage:
        """Look at the audit log.

        The newest entries come first. A page may hold fewer entries than `limit` and still have a `next`.
        """
        items, rest = await plane.audit.page(sought, limit, cursor)
        return AuditPage(items=[AuditEntry(**item) for item in items], next=rest)

    @routes.get(
        "/audit/export",
        operation_id="export_audit",
        response_class=Response,
        responses=_ABOUT | may_fail(503),
        **needs("admin"),
    )
    async def export(sought: Filter) -> Stream:
        """Take the whole audit log away, as JSON lines.

        The oldest entries come first. An answer that is cut short ends without its last chunk.
        """
        return Stream(await _begun(plane.audit.export(sought)), JSON_LINES)

    return routes


async def _begun(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """What fails before the first part is still an answer of its own."""
    first = await anext(parts)

    async def all_of_them() -> AsyncGenerator[bytes, None]:
        yield first
        async for part in parts:
            yield part

    return all_of_them()
