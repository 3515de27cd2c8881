"""Who may use the API: users, their tokens and the cookies of their browsers, all in memory.

The store has the same. Whoever changes it, this process or `rportd user` beside it, raises a number there; what is in
memory is read again then, within a second.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa

from rport.server.accounts import Accounts, Cookie, Token, User, read_accounts
from rport.server.errors import ServerError, Unauthorized
from rport.server.journal import Deed, Journal
from rport.server.opaque import digest
from rport.server.principal import ROLES, Principal
from rport.server.store import Store, schema
from rport.server.store.changes import changes, raise_changes

POLL = 1.0  # seconds between looks at whether another process has changed something
USE_WRITTEN = 60.0  # seconds between two writes of when tokens were used last

OVER = "what you showed counts no more, since this request began"

log = logging.getLogger("rport")


class Change:
    """A deed on users, tokens or cookies: `before` is how they are, and nobody else changes them until it is over."""

    def __init__(self, deed: Deed, before: Accounts) -> None:
        self.deed = deed
        self.db = deed.db
        self.before = before


class People:
    """One per server, or per command. `on_change` are called when somebody's rights may be others than before."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self.on_change: list[Callable[[], None]] = []
        self.accounts = Accounts()
        self._store = store
        self._journal = journal
        self._used: dict[str, tuple[float, str]] = {}  # tokens by id: when, and from where
        self._unsaved: set[str] = set()  # of those
        self._steps: dict[str, int] = {}  # of second factors, by user: the last one that was used
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def any_users(self) -> bool:
        """Else the API is for callers on this machine alone."""
        return bool(self.accounts.users)

    # --- what the store has --------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Raises StoreUnavailable."""
        async with self._store.read() as db:
            self._take(await read_accounts(db))

    def start(self) -> None:
        shared = self._store.path is not None or not self._store.sqlite  # with other processes
        works = [self._save_uses_for_ever()] + ([self._follow()] if shared else [])
        self._tasks = [asyncio.get_running_loop().create_task(work) for work in works]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(ServerError):
            await self._save_uses()

    async def _follow(self) -> None:
        """Another process's changes."""
        while True:
            await asyncio.sleep(POLL)
            with contextlib.suppress(ServerError):  # it is told by whoever writes
                async with self._store.read() as db:
                    if await changes(db) != self.accounts.number:
                        self._take(await read_accounts(db))

    def _take(self, accounts: Accounts) -> None:
        """What was read while somebody changed it may be older than what is here."""
        if self.accounts.number and accounts.number <= self.accounts.number:
            return
        self.accounts = accounts
        for ids in (self._used, self._steps):
            for gone in ids.keys() - accounts.tokens.keys() - accounts.users.keys():
                del ids[gone]
        for call in self.on_change:
            call()

    @contextlib.asynccontextmanager
    async def changing(self, who: Principal, action: str, subject: str, **details: Any) -> AsyncIterator[Change]:
        """A deed; what is in memory is what it has made when it is over. Raises Unauthorized where he may no more, and
        StoreFull and StoreUnavailable."""
        async with self._journal.deed(who, action, subject, **details) as deed:
            if who.proof and not self.stands(who):  # a password was hashed meanwhile, or others had their turn
                raise Unauthorized(OVER)
            await raise_changes(deed.db)
            yield Change(deed, await read_accounts(deed.db))
            after = await read_accounts(deed.db)
            deed.then(lambda: self._take(after))

    # --- who somebody is -----------------------------------------------------------------------------------------

    def of_password(self, user: User, source: str) -> Principal:
        """Who has shown this user's password."""
        return Principal(user.name, user.role, "user", user.tags, source=source, proof=f"password {_mark(user)}")

    def of_cookie(self, value: str, source: str) -> Principal | None:
        """Whose browser has it."""
        cookie = self._cookie(digest(value))
        user = self.accounts.users.get(cookie.user) if cookie is not None else None
        if cookie is None or user is None:
            return None
        return Principal(user.name, user.role, "user", user.tags, source=source, proof=f"cookie {cookie.hash}")

    def of_token(self, secret: str, source: str) -> Principal | None:
        """Whose token it is; remembers that it was used."""
        token = self._token(self.accounts.by_hash.get(digest(secret), ""))
        user = self.accounts.users.get(token.user) if token is not None else None
        if token is None or user is None:
            return None
        self._used[token.id] = time.time(), source[:64]
        self._unsaved.add(token.id)
        return self._as_token(token, user, source)

    def _as_token(self, token: Token, user: User, source: str) -> Principal:
        """Never more than the user himself may now."""
        role = min(token.role, user.role, key=ROLES.index)
        tags = token.tags if user.tags is None else user.tags if token.tags is None else user.tags & token.tags
        return Principal(user.name, role, "token", tags, token.id, source, f"token {token.id}")

    def reaches(self, who: Principal, token: Token) -> bool:
        """Whether he may look at it and revoke it: one that leaked takes none away that may do more than it."""
        user = self.accounts.users.get(token.user)
        if who.kind != "token" or user is None:
            return True
        other = self._as_token(token, user, "")
        narrower = who.tags is None or (other.tags is not None and other.tags <= who.tags)
        return who.at_least(other.role) and narrower

    def stands(self, who: Principal) -> bool:
        """Whether he may still do all that he could when he came in; for answers that go on for long."""
        if who.kind == "local":
            return not self.any_users
        kind, _, value = who.proof.partition(" ")
        user = self.accounts.users.get(who.name)
        if user is None:
            return False
        if kind == "token":
            token = self._token(value)
            return token is not None and self._as_token(token, user, who.source) == who
        there = _mark(user) == value if kind == "password" else self._cookie(value) is not None
        return there and (user.role, user.tags) == (who.role, who.tags)

    def _token(self, id: str) -> Token | None:
        token = self.accounts.tokens.get(id)
        return token if token is not None and (token.expires is None or token.expires > time.time()) else None

    def _cookie(self, hash: str) -> Cookie | None:
        cookie = self.accounts.cookies.get(hash)
        return cookie if cookie is not None and cookie.expires > time.time() else None

    # --- what is written behind them -----------------------------------------------------------------------------

    def used(self, token: Token) -> tuple[float | None, str | None]:
        """When, and from where, last."""
        return self._used.get(token.id, (token.used, token.used_from))

    async def _save_uses_for_ever(self) -> None:
        while True:
            await asyncio.sleep(USE_WRITTEN)
            with contextlib.suppress(ServerError):
                await self._save_uses()

    async def _save_uses(self) -> None:
        batch = {id: self._used[id] for id in self._unsaved if id in self._used}
        self._unsaved.clear()
        if not batch:
            return
        try:
            async with self._store.write() as db:
                for id, (at, source) in batch.items():
                    change = sa.update(schema.tokens).where(schema.tokens.c.id == id)
                    await db.execute(change.values(used=at, used_from=source))
        except BaseException:
            self._unsaved.update(batch)
            raise

    async def use_step(self, user: User, step: int) -> bool:
        """A second factor's; False when it, or a later one, was used before. Raises StoreFull, StoreUnavailable."""
        if step <= self.step(user):
            return False
        self._steps[user.name] = step  # at once, and for good: two requests at a time are not both let in
        async with self._store.write() as db:
            c = schema.users.c
            change = sa.update(schema.users).where(c.name == user.name, c.totp_used < step).values(totp_used=step)
            return bool((await db.execute(change)).rowcount)

    def step(self, user: User) -> int:
        """The last one that was used."""
        return max(self._steps.get(user.name, 0), user.totp_used)


def _mark(user: User) -> str:
    """Of his password, as far as it is another when that is changed."""
    return blake2b(user.secret.encode(), digest_size=8).hexdigest()
