"""What happens, as it happens."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from rport.server.api.access import Who, needs
from rport.server.api.fields import Line
from rport.server.api.problems import may_fail
from rport.server.api.stream import Stream
from rport.server.event import TYPES
from rport.server.events import Wish
from rport.server.plane import Plane

NUMBER_MAX = 2**53  # what JSON's numbers hold exactly
EVENT_STREAM = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx, which else collects

EventType = StrEnum("EventType", {name.replace(".", "_"): name for name in TYPES})  # type: ignore[misc]

_ABOUT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events. `data` is an object with id, at, type, client and data.",
        "content": {EVENT_STREAM: {}},
    }
}

Number = Annotated[int | None, Query(ge=0, le=NUMBER_MAX, description="0 = all that are kept", examples=[1042])]
LastNumber = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=NUMBER_MAX, description="as `after`, which it overrules", examples=[1042]),
]
Types = Annotated[
    list[EventType] | None, Query(max_length=len(TYPES), description="such alone", examples=[["tunnel.opened"]])
]
OfClient = Annotated[Line | None, Query(max_length=64, description="of this client alone", examples=["web-1"])]


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["events"])

    @routes.get(
        "/events",
        operation_id="stream_events",
        response_class=Response,
        responses=_ABOUT | may_fail(503),
        **needs("viewer"),
    )
    async def events(
        who: Who,
        after: Number = None,
        last: LastNumber = None,
        type: Types = None,
        client: OfClient = None,
    ) -> Stream:
        """Listen to events.

        From now on, or from behind the event number `after` on. When events behind it are no longer kept, the first
        event is a `gap`, whose data names the `oldest` that there is. A comment comes every 15 seconds of silence. The
        stream ends with the credentials that opened it, when the server stops, and for a client that does not read.
        """
        wish = Wish(who, frozenset(map(str, type or ())), client or "")
        listener = plane.events.listen(wish, after if last is None else last)
        return Stream(plane.events.stream(listener), EVENT_STREAM, listener.ended, HEADERS)

    return routes
