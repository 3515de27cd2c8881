"""Users, looked after by admins of all clients."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, Field

from rport.server.accounts import (
    NAME,
    PASSWORD_LONGEST,
    PASSWORD_MIN,
    TAGS_MAX,
    User,
    add_user,
    change_user,
    check_tags,
    remove_user,
)
from rport.server.api.access import Who, needs
from rport.server.api.common import Closed, Tag
from rport.server.api.fields import Flag
from rport.server.api.paging import Cursor, Limit, part
from rport.server.api.problems import may_fail
from rport.server.errors import RoleTooSmall, Unprocessable
from rport.server.plane import Plane
from rport.server.times import moment


class Role(StrEnum):
    """Each may do what those before it may."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"


Tags = (
    Annotated[
        list[Tag],
        Field(min_length=1, max_length=TAGS_MAX, examples=[["berlin"]]),
    ]
    | None
)
Password = Annotated[str, Field(min_length=PASSWORD_MIN, max_length=PASSWORD_LONGEST)]
Name = Annotated[str, Path(max_length=64, description="the user's name", examples=["alice"])]
SCOPE = "sees clients with one of these tags alone; null = all of them"


class UserView(BaseModel):
    """Somebody who may use the API."""

    name: str = Field(examples=["alice"])
    role: Role = Field(examples=["operator"])
    tags: list[str] | None = Field(description=SCOPE, examples=[["berlin"]])
    totp: bool = Field(description="whether there is a second factor", examples=[False])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])


class UserPage(BaseModel):
    """A part of the list."""

    items: list[UserView]
    next: str | None = Field(description="cursor of the next part; null = this is the last one", examples=[None])


class NewUser(Closed):
    """Somebody who is to use the API."""

    name: str = Field(max_length=64, pattern=NAME, examples=["alice"])
    password: Password = Field(examples=["correct horse battery"])
    role: Role = Field(examples=["operator"])
    tags: Tags = Field(default=None, description=SCOPE)


class UserChange(Closed):
    """What is left out stays as it is."""

    password: Password | None = Field(default=None, examples=["staple 4242"])
    role: Role | None = Field(default=None, examples=["viewer"])
    tags: Tags = Field(default=None, description=SCOPE)
    totp: Flag | None = Field(
        default=None, description="false takes the second factor away, for a user who lost it", examples=[False]
    )


_GONE: dict[int | str, dict[str, Any]] = {204: {"description": "The user, his tokens and logins are gone"}}


def view_of(user: User) -> UserView:
    values = {"name": user.name, "role": user.role, "totp": user.totp is not None, "created_at": moment(user.created)}
    return UserView(**values, tags=None if user.tags is None else sorted(user.tags))  # type: ignore[arg-type]


def _of_all_clients(who: Who) -> None:
    """Else he could make himself one who sees more than he does."""
    if who.tags is not None:
        raise RoleTooSmall("users are looked after by admins who see all clients")


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["users"])
    admin = needs("admin")
    admin["dependencies"].append(Depends(_of_all_clients))

    @routes.get("/users", operation_id="list_users", responses=may_fail(422), **admin)
    async def list_users(limit: Limit = 100, cursor: Cursor = None) -> UserPage:
        """All users, by name."""
        users = sorted(plane.people.accounts.users.values(), key=lambda user: user.name)
        found, after = part(users, lambda user: [user.name], limit, cursor)
        return UserPage(items=[view_of(user) for user in found], next=after)

    @routes.post("/users", operation_id="create_user", status_code=201, responses=may_fail(409, 503, 507), **admin)
    async def create_user(who: Who, new: NewUser) -> UserView:
        """One more user. The first one has to be an admin of all clients."""
        tags = check_tags(new.tags)
        secret = await plane.login.hashing.make(new.password)
        async with plane.people.changing(who, "user.add", f"user {new.name}", role=new.role, tags=new.tags) as change:
            await add_user(change.db, change.before, new.name, secret, new.role, tags)
        return view_of(plane.people.accounts.user(new.name))

    @routes.get("/users/{name}", operation_id="get_user", responses=may_fail(404), **admin)
    async def get_user(name: Name) -> UserView:
        """One user."""
        return view_of(plane.people.accounts.user(name))

    @routes.patch("/users/{name}", operation_id="update_user", responses=may_fail(404, 409, 422, 503, 507), **admin)
    async def update_user(who: Who, name: Name, wanted: UserChange) -> UserView:
        """Another role, scope or password; no second factor. It counts at once, for tokens and logins, too."""
        plane.people.accounts.user(name)
        changed = await _changed(wanted)
        shown = {key: value for key, value in wanted.model_dump(exclude_unset=True).items() if key != "password"}
        if wanted.password is not None:
            shown["password"] = "another"
        async with plane.people.changing(who, "user.change", f"user {name}", **shown) as change:
            await change_user(change.db, change.before, name, changed)
        return view_of(plane.people.accounts.user(name))

    @routes.delete(
        "/users/{name}", operation_id="delete_user", status_code=204,
        responses=_GONE | may_fail(404, 409, 503, 507), **admin,
    )  # fmt: skip
    async def delete_user(who: Who, name: Name) -> Response:
        """Remove a user with his tokens and logins."""
        plane.people.accounts.user(name)
        async with plane.people.changing(who, "user.remove", f"user {name}") as change:
            await remove_user(change.db, change.before, name)
        return Response(status_code=204)

    async def _changed(wanted: UserChange) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        if wanted.role is not None:
            changed["role"] = wanted.role
        if "tags" in wanted.model_fields_set:
            changed["tags"] = check_tags(wanted.tags)
        if wanted.password is not None:
            changed["secret"] = await plane.login.hashing.make(wanted.password)
        if wanted.totp:
            raise Unprocessable("totp: a second factor is made by its user; here it can be taken away, by false")
        if wanted.totp is False:
            changed |= {"totp": None, "totp_used": 0}
        return changed

    return routes
