"""Logging in and out, for browsers."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from rport.server.accounts import COOKIE_TIME, add_cookie, remove_cookie
from rport.server.api.access import Who, needs
from rport.server.api.common import Closed
from rport.server.api.credentials import COOKIE
from rport.server.api.guard import OTHER_PAGE, reached, source
from rport.server.api.origin import from_elsewhere
from rport.server.api.problems import may_fail
from rport.server.api.routes.me import Me, view_of
from rport.server.api_login import Basic
from rport.server.errors import NotAllowed
from rport.server.plane import Plane


class Login(Closed):
    """Who wants in."""

    user: str = Field(max_length=64, examples=["alice"])
    password: str = Field(max_length=4096, examples=["correct horse battery"])
    code: str | None = Field(
        default=None, max_length=16, description="of the second factor, for users who have one", examples=["123456"]
    )


_GONE: dict[int | str, dict[str, Any]] = {204: {"description": "The login is over"}}


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["login"])

    @routes.post("/login", operation_id="log_in", responses=may_fail(429, 503, 507))
    async def log_in(request: Request, response: Response, login: Login) -> Me:
        """Log a browser in: its cookie is good for 12 hours, and for this API alone."""
        scope = request.scope
        if from_elsewhere(scope["headers"], reached(scope)):
            raise NotAllowed(OTHER_PAGE)
        shown = Basic(login.user, login.password, login.code or "")
        user = await plane.login.prove(shown, source(scope))
        who = plane.people.of_password(user, source(scope))
        async with plane.people.changing(who, "login", "api") as change:
            value = await add_cookie(change.db, change.before, user.name)
        secure = reached(scope).secure
        response.set_cookie(
            COOKIE, value, int(COOKIE_TIME), path="/api", secure=secure, httponly=True, samesite="strict"
        )
        return view_of(plane, who)

    @routes.post(
        "/logout",
        operation_id="log_out",
        status_code=204,
        responses=_GONE | may_fail(503, 507),
        **needs("viewer"),
    )
    async def log_out(who: Who) -> Response:
        """End this browser's login. Tokens and passwords go on."""
        kind, _, value = who.proof.partition(" ")
        if kind == "cookie":
            async with plane.people.changing(who, "logout", "api") as change:
                await remove_cookie(change.db, value)
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path="/api", httponly=True, samesite="strict")
        return response

    return routes
