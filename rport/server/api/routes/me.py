"""Who asks: what he may, his password and his second factor."""

import time

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from rport.server import totp
from rport.server.accounts import User, change_user
from rport.server.api.access import Who, needs
from rport.server.api.common import Closed
from rport.server.api.credentials import OTP
from rport.server.api.problems import may_fail
from rport.server.api.routes.users import SCOPE, Role
from rport.server.api_login import WRONG_CODE
from rport.server.errors import NotAllowed, UserConflict
from rport.server.plane import Plane
from rport.server.principal import Principal

PENDING_TIME = 600.0  # seconds to type the first code in


class Me(BaseModel):
    """Who asks, and what he may."""

    name: str = Field(examples=["alice"])
    role: Role = Field(examples=["operator"])
    kind: str = Field(description="`user`, `token`, or `local` while the server has no users", examples=["user"])
    tags: list[str] | None = Field(description=SCOPE, examples=[["berlin"]])
    totp: bool = Field(description="whether there is a second factor", examples=[False])
    token: str | None = Field(description="id of the token that was shown", examples=["5f0c2b9a1e77"])


class PasswordChange(Closed):
    """A user's own."""

    current: str = Field(max_length=4096, examples=["correct horse battery"])
    password: str = Field(
        max_length=4096, description="the new one, of 8 characters at least", examples=["staple 4242"]
    )


class TotpOffer(BaseModel):
    """A second factor that waits for its first code."""

    secret: str = Field(description="Base32", examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"])
    uri: str = Field(
        description="for an authenticator, as a QR code",
        examples=["otpauth://totp/rport:alice?secret=J...&issuer=rport"],
    )


class TotpCode(Closed):
    """Six digits, of now."""

    code: str = Field(max_length=16, examples=["123456"])


def view_of(plane: Plane, who: Principal) -> Me:
    user = plane.people.accounts.users.get(who.name) if who.kind != "local" else None
    has_code = user is not None and user.totp is not None
    tags = None if who.tags is None else sorted(who.tags)
    return Me(name=who.name, role=Role(who.role), kind=who.kind, tags=tags, totp=has_code, token=who.token or None)


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["me"])
    pending: dict[str, tuple[str, float]] = {}  # second factors that wait for their first code, by user

    def myself(who: Principal) -> User:
        """Raises NotAllowed where it is not he himself who asks."""
        if who.kind != "user":
            raise NotAllowed("this takes a login with the password, not a token, and a user to begin with")
        return plane.people.accounts.user(who.name)

    @routes.get("/me", operation_id="get_me", responses=may_fail(), **needs("viewer"))
    async def me(who: Who) -> Me:
        """Who the server takes you for, and what you may do."""
        return view_of(plane, who)

    @routes.patch("/me", operation_id="change_password", responses=may_fail(409, 429, 503, 507), **needs("viewer"))
    async def change_password(who: Who, change: PasswordChange) -> Me:
        """Another password. It ends the logins of your other browsers; your tokens go on."""
        user = myself(who)
        await plane.login.confirm_password(user, change.current, who.source)
        secret = await plane.login.hashing.make(change.password)
        kind, _, value = who.proof.partition(" ")
        async with plane.people.changing(who, "user.change", f"user {user.name}", changed=["password"]) as made:
            _unchanged(made.before.user(user.name), user)
            await change_user(made.db, made.before, user.name, {"secret": secret}, value if kind == "cookie" else "")
        return view_of(plane, who)

    @routes.post("/me/totp", operation_id="offer_totp", responses=may_fail(409), **needs("viewer"))
    async def offer(who: Who) -> TotpOffer:
        """A new second factor. It counts from when its first code was sent by PUT, within ten minutes."""
        user = myself(who)
        if user.totp is not None:
            raise UserConflict("there is a second factor already: remove it first")
        secret = totp.new_secret()
        pending[user.name] = secret, time.monotonic() + PENDING_TIME
        for name in pending.keys() - plane.people.accounts.users.keys():
            del pending[name]
        return TotpOffer(secret=secret, uri=totp.uri(secret, user.name))

    @routes.put("/me/totp", operation_id="confirm_totp", responses=may_fail(409, 503, 507), **needs("viewer"))
    async def confirm(who: Who, first: TotpCode) -> Me:
        """From now on each login takes a code, too; tokens do not."""
        user = myself(who)
        secret, until = pending.get(user.name, ("", 0.0))
        if time.monotonic() > until:
            raise UserConflict("there is no second factor that waits for its first code: ask for one by POST")
        step = totp.step_of(secret, first.code, time.time(), 0)
        if step is None:
            raise NotAllowed(WRONG_CODE)
        async with plane.people.changing(who, "user.change", f"user {user.name}", changed=["totp"]) as made:
            if made.before.user(user.name).totp is not None:
                raise UserConflict("there is a second factor already: remove it first")
            values = {"totp": secret, "totp_used": step}
            await change_user(made.db, made.before, user.name, values)
        pending.pop(user.name, None)
        return view_of(plane, who)

    @routes.delete("/me/totp", operation_id="remove_totp", responses=may_fail(409, 429, 503, 507), **needs("viewer"))
    async def remove(request: Request, who: Who) -> Me:
        """No second factor any more. A code of it goes in X-Rport-OTP."""
        user = myself(who)
        if user.totp is None:
            raise UserConflict("there is no second factor")
        if not who.proof.startswith("password"):  # then the code has just been looked at, with the password
            await plane.login.confirm_code(user, request.headers.get(OTP, ""), who.source)
        async with plane.people.changing(who, "user.change", f"user {user.name}", changed=["totp"]) as made:
            await change_user(made.db, made.before, user.name, {"totp": None, "totp_used": 0})
        return view_of(plane, who)

    return routes


def _unchanged(now: User, then: User) -> None:
    if now.secret != then.secret:
        raise UserConflict("the password was changed at this very moment; try again")
