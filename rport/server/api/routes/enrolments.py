"""Codes by which fresh machines become clients."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from rport.errors import UsageError
from rport.server.api.access import Who, needs
from rport.server.api.common import Closed, Tags
from rport.server.api.fields import Line, Number, Whole
from rport.server.api.paging import Cursor, Key, Limit, sorted_part
from rport.server.api.problems import may_fail
from rport.server.enrolments import Enrolment
from rport.server.errors import Unprocessable
from rport.server.plane import Plane
from rport.server.public_url import URL_MAX, parse_public_url
from rport.server.times import moment

EXPIRES_MAX = 366 * 86400
COUNT_MAX = 1000  # codes in one request
Url = Annotated[Line, Field(max_length=URL_MAX)]

EnrolmentId = Annotated[str, Path(description="the enrolment's id", max_length=64, examples=["3f0c9a71be52"])]


class NewEnrolment(Closed):
    """What codes are to be made."""

    note: Line = Field(default="", max_length=200, examples=["rack 7"])
    tags: Tags = Field(default=[])
    uses: Annotated[int, Whole(1, 10_000)] = Field(
        default=1, description="machines that may come in by one code", examples=[1]
    )
    expires_in: Number = Field(default=86400.0, gt=0, le=EXPIRES_MAX, description="seconds", examples=[86400])
    server: Url | None = Field(
        default=None,
        description="the URL by which these machines reach the server; else that of --public-url",
        examples=["https://rport.example.com"],
    )
    count: Annotated[int, Whole(1, COUNT_MAX)] = Field(default=1, description="codes, all alike", examples=[1])


class EnrolmentView(BaseModel):
    """An enrolment code, without the code itself."""

    id: str = Field(examples=["3f0c9a71be52"])
    note: str = Field(examples=["rack 7"])
    tags: list[str] = Field(description="that the clients get", examples=[["web"]])
    uses: int = Field(examples=[1])
    used: int = Field(examples=[0])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    created_by: str = Field(examples=["me"])
    expires_at: datetime = Field(examples=["2026-02-01T12:00:00Z"])


class EnrolmentMade(EnrolmentView):
    """An enrolment code, with what is told but once."""

    code: str = Field(description="for `rport enroll`; shown this once", examples=["rpe_g6FzuWh0dHBzOi8v"])


class EnrolmentPage(BaseModel):
    """Some of them."""

    items: list[EnrolmentView]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


class EnrolmentsMade(BaseModel):
    """Those that were asked for."""

    items: list[EnrolmentMade]


def _fields(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "id": enrolment.id,
        "note": enrolment.note,
        "tags": list(enrolment.tags),
        "uses": enrolment.uses,
        "used": enrolment.used,
        "created_at": moment(enrolment.created),
        "created_by": enrolment.created_by,
        "expires_at": moment(enrolment.expires),
    }


def _newest_first(enrolment: Enrolment) -> Key:
    return [-enrolment.created, enrolment.id]


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["enrolments"], prefix="/enrolments")

    def server_of(body: NewEnrolment) -> str:
        if body.server is not None:
            try:
                return parse_public_url(body.server)
            except UsageError as error:
                raise Unprocessable(f"server: {error}") from None
        known = plane.service.settings.public_url
        if known is None:
            raise Unprocessable(
                "server: give the URL by which the machines reach this server, or start rportd with --public-url"
            )
        return known

    @routes.get("", operation_id="list_enrolments", responses=may_fail(422), **needs("admin"))
    async def list_enrolments(who: Who, limit: Limit = 100, cursor: Cursor = None) -> EnrolmentPage:
        """All enrolment codes, the newest first; the codes themselves the server does not know.

        Whoever sees only clients with certain tags sees the codes for such, and his own.
        """
        found, after = sorted_part(plane.enrolments.seen_by(who), _newest_first, limit, cursor)
        return EnrolmentPage(items=[EnrolmentView(**_fields(enrolment)) for enrolment in found], next=after)

    @routes.post(
        "", operation_id="create_enrolments", status_code=201, responses=may_fail(409, 422, 503, 507), **needs("admin")
    )
    async def create_enrolments(who: Who, body: NewEnrolment) -> EnrolmentsMade:
        """Make codes for `rport enroll`."""
        made = await plane.enrolments.create(
            who, server_of(body), body.count, body.uses, body.expires_in, body.note, tuple(dict.fromkeys(body.tags))
        )
        return EnrolmentsMade(items=[EnrolmentMade(code=code, **_fields(enrolment)) for enrolment, code in made])

    @routes.delete(
        "/{enrolment_id}",
        operation_id="revoke_enrolment",
        status_code=204,
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def revoke_enrolment(who: Who, enrolment_id: EnrolmentId) -> None:
        """No machine comes in by it any more; those that did stay."""
        await plane.enrolments.revoke(who, enrolment_id)

    return routes
