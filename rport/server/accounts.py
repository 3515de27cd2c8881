"""Users, tokens and cookies as the store has them, and what may be done with them: each function is one change, in a
transaction that People.changing() has opened."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.errors import UsageError
from rport.facts import TAG
from rport.server import passwords
from rport.server.errors import NotAllowed, TokenNotFound, UserConflict, UserNotFound
from rport.server.opaque import digest, new_id, new_secret
from rport.server.principal import Principal
from rport.server.store import schema
from rport.server.store.changes import changes

T = TypeVar("T")

USERS_MAX = 1000  # people and programs that look after machines; all are read at each change
TOKENS_MAX = 100  # of one user
COOKIES_MAX = 16  # of one user: browsers that are logged in; the oldest one goes
COOKIE_TIME = 12 * 3600.0  # seconds: a working day
PASSWORD_MIN = 8  # characters, NIST SP 800-63B; the delays do the rest
PASSWORD_LONGEST = passwords.PASSWORD_MAX // 4  # characters, of four octets at most

NAME = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"  # no colon: HTTP Basic ends a name with it
TAGS_MAX = 64


@dataclass(frozen=True, slots=True)
class User:
    """`totp`: the second factor's secret; `totp_used`: its last step that was used, as far as the store knows."""

    name: str
    secret: str = field(repr=False)
    role: str
    tags: frozenset[str] | None
    totp: str | None = field(repr=False)
    totp_used: int
    created: float

    @property
    def chief(self) -> bool:
        """May do all, on all clients: one of these there has to be."""
        return self.role == "admin" and self.tags is None


@dataclass(frozen=True, slots=True)
class Token:
    """`used` as the store knows it; People.used() knows better."""

    id: str
    hash: str = field(repr=False)
    user: str
    note: str
    role: str
    tags: frozenset[str] | None
    created: float
    expires: float | None
    used: float | None
    used_from: str | None


@dataclass(frozen=True, slots=True)
class Cookie:
    hash: str
    user: str
    created: float
    expires: float


class Accounts:
    """All of them at one moment. `number` rises with each change."""

    def __init__(
        self,
        number: int = 0,
        users: Iterable[User] = (),
        tokens: Iterable[Token] = (),
        cookies: Iterable[Cookie] = (),
    ) -> None:
        self.number = number
        self.users = {user.name: user for user in users}
        self.tokens = {token.id: token for token in tokens}
        self.by_hash = {token.hash: token.id for token in self.tokens.values()}
        self.cookies = {cookie.hash: cookie for cookie in cookies}

    def user(self, name: str) -> User:
        """Raises UserNotFound."""
        if not self.users:
            raise UserNotFound("there are no users yet; the first one is made by: rportd user add NAME --role admin")
        if name not in self.users:
            raise UserNotFound(f"there is no user {name[:64]!r}")
        return self.users[name]

    def tokens_of(self, user: str | None) -> list[Token]:
        """In the order in which they were made; None = of all."""
        found = (token for token in self.tokens.values() if user in (None, token.user))
        return sorted(found, key=lambda token: (token.created, token.id))

    def chief_besides(self, name: str) -> bool:
        return any(user.chief for user in self.users.values() if user.name != name)


async def read_accounts(db: AsyncConnection) -> Accounts:
    """The number first: what is read behind it is as new, or newer."""
    number = await changes(db)
    users = await _rows(db, schema.users, User)
    tokens = await _rows(db, schema.tokens, Token)
    return Accounts(number, users, tokens, await _rows(db, schema.cookies, Cookie))


async def _rows(db: AsyncConnection, table: sa.Table, kind: type[T]) -> list[T]:
    found = []
    for row in (await db.execute(sa.select(table))).mappings():
        values: dict[str, Any] = dict(row)
        if values.get("tags") is not None:
            values["tags"] = frozenset(values["tags"])
        found.append(kind(**values))
    return found


# --- users -----------------------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Raises UsageError."""
    if not re.fullmatch(NAME, name):
        raise UsageError("a user's name has 1 to 64 of A-Z a-z 0-9 . _ @ + -, and begins with a letter or a digit")
    return name


def check_tags(tags: Iterable[str] | None) -> frozenset[str] | None:
    """Raises UsageError."""
    if tags is None:
        return None
    found = frozenset(tags)
    if not found or len(found) > TAGS_MAX or not all(re.fullmatch(TAG, tag) for tag in found):
        raise UsageError(f"give 1 to {TAGS_MAX} tags of A-Z a-z 0-9 . _ : / = @ + -, each of at most 64 characters")
    return found


def check_password(password: str) -> str:
    """Raises UsageError."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_LONGEST:
        raise UsageError(f"the password has {len(password)} characters; give {PASSWORD_MIN} to {PASSWORD_LONGEST}")
    return password


async def add_user(
    db: AsyncConnection, before: Accounts, name: str, secret: str, role: str, tags: frozenset[str] | None
) -> None:
    """`secret` is the password's hash. Raises UserConflict, UsageError."""
    check_name(name)
    if name in before.users:
        raise UserConflict(f"there is a user {name} already")
    if len(before.users) >= USERS_MAX:
        raise UserConflict(f"there are {USERS_MAX} users already, and there may be no more")
    if not (role == "admin" and tags is None) and not before.chief_besides(name):
        raise UserConflict("the first user has to be an admin of all clients, who can then make others")
    row = {"name": name, "secret": secret, "role": role, "tags": _listed(tags), "totp": None, "totp_used": 0}
    await db.execute(sa.insert(schema.users).values(**row, created=time.time()))


async def change_user(
    db: AsyncConnection, before: Accounts, name: str, changed: dict[str, Any], keep: str = ""
) -> None:
    """Columns of a user, `tags` as a set. A new password ends his browsers' logins, but for the cookie `keep`.

    Raises UserNotFound, and UserConflict where no admin would be left.
    """
    user = before.user(name)
    chief = changed.get("role", user.role) == "admin" and changed.get("tags", user.tags) is None
    if user.chief and not chief:
        _leave_a_chief(before, name)
    if "tags" in changed:
        changed = changed | {"tags": _listed(changed["tags"])}
    if changed:
        await db.execute(sa.update(schema.users).where(schema.users.c.name == name).values(**changed))
    if "secret" in changed:
        cookies = schema.cookies.c
        await db.execute(sa.delete(schema.cookies).where(cookies.user == name, cookies.hash != keep))


async def remove_user(db: AsyncConnection, before: Accounts, name: str, force: bool = False) -> None:
    """With his tokens and cookies. Raises UserNotFound, and UserConflict where no admin would be left."""
    if before.user(name).chief and not force:
        _leave_a_chief(before, name)
    for table in (schema.tokens, schema.cookies):
        await db.execute(sa.delete(table).where(table.c.user == name))
    await db.execute(sa.delete(schema.users).where(schema.users.c.name == name))


def _leave_a_chief(before: Accounts, name: str) -> None:
    if not before.chief_besides(name):
        raise UserConflict(f"{name} is the last admin of all clients: make another one first")


def _listed(tags: frozenset[str] | None) -> Any:
    return sa.null() if tags is None else sorted(tags)


# --- tokens and cookies ----------------------------------------------------------------------------------------------


async def add_token(
    db: AsyncConnection,
    before: Accounts,
    user: str,
    role: str,
    tags: frozenset[str] | None,
    expires: float | None,
    note: str,
) -> tuple[str, str]:
    """Its id, and the token itself, which nobody sees again. Raises UserNotFound, UserConflict."""
    before.user(user)
    if len(before.tokens_of(user)) >= TOKENS_MAX:
        raise UserConflict(f"{user} has {TOKENS_MAX} tokens already: revoke one that is not used any more")
    id, secret = new_id(), new_secret("rpt")
    row = {"id": id, "hash": digest(secret), "user": user, "note": note, "role": role, "tags": _listed(tags)}
    await db.execute(sa.insert(schema.tokens).values(**row, created=time.time(), expires=expires))
    return id, secret


async def remove_token(db: AsyncConnection, before: Accounts, id: str, owner: str | None = None) -> Token:
    """`owner`: it has to be his. Raises TokenNotFound."""
    token = before.tokens.get(id)
    if token is None or owner not in (None, token.user):
        raise TokenNotFound(f"there is no token {id[:16]!r}")
    await db.execute(sa.delete(schema.tokens).where(schema.tokens.c.id == id))
    return token


async def add_cookie(db: AsyncConnection, before: Accounts, user: str) -> str:
    """What a browser is to keep. Raises UserNotFound."""
    before.user(user)
    now, table = time.time(), schema.cookies
    mine = sorted((cookie for cookie in before.cookies.values() if cookie.user == user), key=lambda c: c.created)
    gone = [cookie.hash for cookie in mine[: len(mine) - COOKIES_MAX + 1]] if len(mine) >= COOKIES_MAX else []
    await db.execute(sa.delete(table).where((table.c.expires <= now) | table.c.hash.in_(gone)))
    value = new_secret("rps")
    row = {"hash": digest(value), "user": user, "created": now, "expires": now + COOKIE_TIME}
    await db.execute(sa.insert(table).values(**row))
    return value


async def remove_cookie(db: AsyncConnection, hash: str) -> None:
    """One browser's login; none is no error."""
    await db.execute(sa.delete(schema.cookies).where(schema.cookies.c.hash == hash))


def bounds(who: Principal, role: str | None, tags: frozenset[str] | None) -> tuple[str, frozenset[str] | None]:
    """What a token made by somebody may do: no more than he himself. Raises NotAllowed."""
    if role is not None and not who.at_least(role):
        raise NotAllowed(f"a token of the role {role} is more than {who.role}, which you have")
    if who.tags is not None and tags is not None and not tags <= who.tags:
        raise NotAllowed("a token sees clients with tags of yours alone")
    return role or who.role, who.tags if tags is None else tags
