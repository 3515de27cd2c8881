"""The machines."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from rport.server import opaque
from rport.server.acl import PATTERN_MAX, Acl
from rport.server.api.access import Who, needs
from rport.server.api.common import CLIENT_ID, ClientId, Closed, Tag, Tags
from rport.server.api.fields import Line, Prose
from rport.server.api.paging import Cursor, Limit
from rport.server.api.problems import may_fail
from rport.server.api.views import ClientPage, ClientState, ClientView, client_view
from rport.server.errors import RoleTooSmall, Unprocessable
from rport.server.inventory.changes import managed
from rport.server.inventory.client import NotConnected
from rport.server.inventory.history import history
from rport.server.inventory.listing import Wanted, page_in_turns
from rport.server.plane import Plane
from rport.server.times import moment

Sort = Literal[
    "name", "-name", "id", "-id", "last_seen", "-last_seen", "first_seen", "-first_seen",
    "os", "-os", "rtt", "-rtt", "address", "-address",
]  # fmt: skip
Rule = Annotated[Line, Field(max_length=PATTERN_MAX)]
Listen = Annotated[list[Rule] | None, Field(max_length=64, examples=[["^127\\.0\\.0\\.1:"]])]
Name = Annotated[Line, Field(max_length=64, examples=["web-1.example.com"])]
Note = Annotated[Prose, Field(max_length=1000, examples=["the old one, until May"])]

LISTEN_ABOUT = "regular expressions for where it may have the server listen, as in an authfile; null = anywhere"


class NewClient(Closed):
    """A client that comes in by credentials."""

    id: str | None = Field(
        default=None,
        max_length=64,
        pattern=CLIENT_ID,
        description="else one is made",
        examples=["web-1"],
    )
    name: Name = Field(default="", description="empty = as it calls itself")
    tags: Tags = Field(default=[])
    note: Note = ""
    listen: Listen = Field(default=None, description=LISTEN_ABOUT)


class ClientChange(Closed):
    """What is left out stays as it is."""

    name: Name | None = Field(default=None, description="empty = as it calls itself")
    tags: Tags | None = Field(default=None, description="instead of those that it has")
    note: Note | None = None
    listen: Listen = Field(default=None, description=LISTEN_ABOUT)


class ConnectionView(BaseModel):
    """One connection of a client."""

    session: str = Field(examples=["0f" * 32])
    address: str = Field(examples=["203.0.113.9:40312"])
    version: str = Field(examples=["0.1.0"])
    since: datetime = Field(examples=["2026-02-01T08:00:00Z"])
    until: datetime | None = Field(description="null = it is there", examples=["2026-02-01T09:00:00Z"])
    reason: str | None = Field(description="why it ended", examples=["the client stops"])


class ConnectionPage(BaseModel):
    """Some of the connections."""

    items: list[ConnectionView]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["clients"])

    @routes.get("/clients", operation_id="list_clients", responses=may_fail(422), **needs("viewer"))
    async def list_clients(
        who: Who,
        tag: Annotated[list[Tag], Query(description="has all of these, given or its own", max_length=16)] = [],  # noqa: B006
        os: Annotated[str, Query(description="`linux`, or the whole os_version", max_length=256)] = "",
        state: Annotated[ClientState | None, Query(description="left out: both")] = None,
        q: Annotated[str, Query(description="in id, name, hostname, addresses, tags or note", max_length=256)] = "",
        sort: Annotated[Sort, Query(description="`-` before it turns the order round")] = "name",
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> ClientPage:
        """Clients that are there, and that were."""
        wanted = Wanted(tuple(tag), os, state, q)
        found, rest = await page_in_turns([*plane.inventory.list(who)], wanted, sort, limit, cursor)
        return ClientPage(items=[client_view(client) for client in found], next=rest)

    @routes.post(
        "/clients",
        operation_id="create_client",
        status_code=201,
        responses=may_fail(409, 422, 503, 507),
        **needs("admin"),
    )
    async def create_client(who: Who, body: NewClient) -> ClientView:
        """Make a client that comes in by credentials, which are still to be made."""
        client = managed(
            body.id or opaque.new_id(),
            name=body.name,
            named=bool(body.name),
            tags=tuple(dict.fromkeys(body.tags)),
            note=body.note,
            listen=_acl(body.listen),
        )
        await plane.changes.add(who, client)
        return client_view(client)

    @routes.get("/clients/{client_id}", operation_id="get_client", responses=may_fail(404), **needs("viewer"))
    async def get_client(who: Who, client_id: ClientId) -> ClientView:
        """One client."""
        return client_view(plane.inventory.visible(who, client_id))

    @routes.patch(
        "/clients/{client_id}",
        operation_id="change_client",
        responses=may_fail(404, 422, 503, 507),
        **needs("operator"),
    )
    async def change_client(who: Who, client_id: ClientId, body: ClientChange) -> ClientView:
        """Change what is given: the note as operator, the rest as admin. What it may listen on counts at once."""
        client = plane.inventory.visible(who, client_id)
        values = _values(body)
        if not who.at_least("admin") and set(values) - {"note"}:
            raise RoleTooSmall(f"{', '.join(sorted(set(values) - {'note'}))}: this takes the role admin")
        if values:
            await plane.changes.change(who, client, values)
        return client_view(client)

    @routes.delete(
        "/clients/{client_id}",
        operation_id="delete_client",
        status_code=204,
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def delete_client(who: Who, client_id: ClientId) -> None:
        """Remove a client with its credentials, tunnels and history; its session ends."""
        await plane.changes.remove(who, plane.inventory.visible(who, client_id))

    @routes.get(
        "/clients/{client_id}/history",
        operation_id="list_connections",
        responses=may_fail(404, 422, 503),
        **needs("viewer"),
    )
    async def list_connections(
        who: Who, client_id: ClientId, limit: Limit = 100, cursor: Cursor = None
    ) -> ConnectionPage:
        """When it was connected, the newest first."""
        client = plane.inventory.visible(who, client_id)
        rows, rest = await history(plane.store, plane.records, client, limit, cursor)
        return ConnectionPage(items=[_connection_view(row) for row in rows], next=rest)

    @routes.delete(
        "/clients/{client_id}/session",
        operation_id="disconnect_client",
        status_code=204,
        responses=may_fail(404, 409),
        **needs("operator"),
    )
    async def disconnect_client(who: Who, client_id: ClientId) -> None:
        """End its session; as long as it may come in, it will come back."""
        client = plane.inventory.visible(who, client_id)
        if client.session is None:
            raise NotConnected(f"{client} is not connected")
        plane.journal.note(str(who), who.source, "client.disconnect", str(client), "ok", client.id)
        client.session.disconnect(f"disconnected by {who}")

    return routes


def _acl(rules: list[str] | None) -> Acl | None:
    """Raises Unprocessable."""
    try:
        return None if rules is None else Acl.parse(rules)
    except ValueError as error:
        raise Unprocessable(f"listen: {error}") from None


def _values(body: ClientChange) -> dict[str, Any]:
    """What was given: null means something for `listen` alone."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    values = {name: value for name, value in given.items() if value is not None or name == "listen"}
    if "listen" in values:
        values["listen"] = _acl(values["listen"])
    if "tags" in values:
        values["tags"] = tuple(dict.fromkeys(values["tags"]))
    return values


def _connection_view(row: Any) -> ConnectionView:
    return ConnectionView(
        session=row["session"],
        address=row["address"],
        version=row["version"],
        since=moment(row["since"]),
        until=moment(row["until"]),
        reason=row["reason"],
    )
