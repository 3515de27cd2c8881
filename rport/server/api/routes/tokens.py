"""Tokens: one's own, and for admins everybody's."""

import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from rport.server.accounts import Token, User, add_token, bounds, check_tags, remove_token
from rport.server.api.access import Who, needs
from rport.server.api.common import Closed
from rport.server.api.fields import Line, Whole
from rport.server.api.paging import Cursor, Limit, part
from rport.server.api.problems import may_fail
from rport.server.api.routes.users import SCOPE, Role, Tags
from rport.server.errors import NotAllowed, TokenNotFound
from rport.server.plane import Plane
from rport.server.principal import Principal
from rport.server.times import moment

LIFE_MAX = 10 * 366 * 86400  # seconds: more is meant to be for ever

TokenId = Annotated[str, Path(max_length=16, description="the token's id", examples=["5f0c2b9a1e77"])]


class TokenView(BaseModel):
    """A program's way in, of a user's."""

    id: str = Field(examples=["5f0c2b9a1e77"])
    user: str = Field(description="whose it is", examples=["alice"])
    note: str = Field(examples=["backup script on web-1"])
    role: Role = Field(description="it may do no more than this, and than its user may", examples=["viewer"])
    tags: list[str] | None = Field(description=SCOPE, examples=[["berlin"]])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    expires_at: datetime | None = Field(description="null = never", examples=["2026-04-30T12:00:00Z"])
    last_used_at: datetime | None = Field(examples=["2026-02-01T08:30:00Z"])
    last_used_from: str | None = Field(description="the address", examples=["203.0.113.9"])


class TokenMade(TokenView):
    """A new token, with itself."""

    secret: str = Field(
        description="the token itself, shown this once",
        examples=["rpt_0123456789abcdef0123456789abcdef0123456789abcdef"],
    )


class TokenPage(BaseModel):
    """A part of the list."""

    items: list[TokenView]
    next: str | None = Field(description="cursor of the next part; null = this is the last one", examples=[None])


class NewToken(Closed):
    """A token that is to be made."""

    user: Line | None = Field(default=None, max_length=64, description="whose; else yours", examples=["alice"])
    note: Line = Field(default="", max_length=200, description="what it is for", examples=["backup script on web-1"])
    role: Role | None = Field(
        default=None, description="no more than yours; else yours, or the user's if that is less", examples=["viewer"]
    )
    tags: Tags = Field(default=None, description=SCOPE)
    expires_in: Annotated[int, Whole(1, LIFE_MAX)] | None = Field(
        default=None, description="seconds; null = never", examples=[7776000]
    )


_GONE: dict[int | str, dict[str, Any]] = {204: {"description": "It is good for nothing any more"}}


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["tokens"])
    people = plane.people

    def shown(token: Token) -> dict[str, Any]:
        used, used_from = people.used(token)
        return {
            "id": token.id,
            "user": token.user,
            "note": token.note,
            "role": token.role,
            "tags": None if token.tags is None else sorted(token.tags),
            "created_at": moment(token.created),
            "expires_at": moment(token.expires),
            "last_used_at": moment(used),
            "last_used_from": used_from,
        }

    @routes.get("/tokens", operation_id="list_tokens", responses=may_fail(422), **needs("viewer"))
    async def list_tokens(
        who: Who,
        user: Annotated[str | None, Query(max_length=64, description="of this one alone", examples=["alice"])] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> TokenPage:
        """Your tokens, the oldest first; an admin of all clients sees everybody's.

        A token sees those alone that may do no more than it.
        """
        owner = _owner(who)
        found = people.accounts.tokens_of(owner or user) if user in (None, owner) or owner is None else []
        found = [token for token in found if people.reaches(who, token)]
        items, after = part(found, lambda token: [token.created, token.id], limit, cursor)
        return TokenPage(items=[TokenView(**shown(token)) for token in items], next=after)

    @routes.post(
        "/tokens", operation_id="create_token", status_code=201,
        responses=may_fail(404, 409, 503, 507), **needs("viewer"),
    )  # fmt: skip
    async def create_token(who: Who, new: NewToken) -> TokenMade:
        """A token for a program. It may do no more than you, and ends no later than the token that you show."""
        user = new.user if new.user is not None else who.name
        if user != who.name and _owner(who) is not None:
            raise NotAllowed("tokens of others are made by admins who see all clients")
        if who.kind == "local":
            people.accounts.user(user)
        role, tags = bounds(who, new.role or _lesser(who, people.accounts.users.get(user)), check_tags(new.tags))
        expires = _expiry(who, new.expires_in)
        details = {"role": role, "tags": None if tags is None else sorted(tags), "note": new.note}
        async with people.changing(who, "token.create", f"user {user}", **details) as change:
            id, secret = await add_token(change.db, change.before, user, role, tags, expires, new.note)
            change.deed.details["token"] = id
        token = people.accounts.tokens.get(id)
        if token is None:
            raise TokenNotFound("the token was revoked at this very moment")
        return TokenMade(secret=secret, **shown(token))

    @routes.delete(
        "/tokens/{token_id}", operation_id="revoke_token", status_code=204,
        responses=_GONE | may_fail(404, 503, 507), **needs("viewer"),
    )  # fmt: skip
    async def revoke_token(who: Who, token_id: TokenId) -> Response:
        """The token is good for nothing from now on."""
        _find(who, token_id)
        async with people.changing(who, "token.revoke", f"token {token_id}") as change:
            token = await remove_token(change.db, change.before, token_id, _owner(who))
            change.deed.details["user"] = token.user
        return Response(status_code=204)

    def _find(who: Principal, token_id: str) -> None:
        token = people.accounts.tokens.get(token_id)
        if token is None or _owner(who) not in (None, token.user) or not people.reaches(who, token):
            raise TokenNotFound(f"there is no token {token_id!r}")

    def _expiry(who: Principal, expires_in: int | None) -> float | None:
        own = people.accounts.tokens.get(who.token)
        ends = [time.time() + expires_in] if expires_in is not None else []
        ends += [own.expires] if own is not None and own.expires is not None else []
        return min(ends, default=None)

    return routes


def _lesser(who: Principal, user: User | None) -> str | None:
    """The user's role, so that his token does not grow with him; None: that of `who` is less."""
    return user.role if user is not None and who.at_least(user.role) else None


def _owner(who: Principal) -> str | None:
    """Whose tokens he looks after; None = everybody's."""
    return None if who.at_least("admin") and who.tags is None else who.name
