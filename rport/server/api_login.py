"""Logins of the API: from what a request shows to who it is.

A password costs a tenth of a second, so one that was right is remembered for a minute, as a keyed digest that is worth
nothing elsewhere: a loop of curl does not wait for each. It counts as long as the user and his password are the same.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from rport.server.accounts import User
from rport.server.admission import quoted
from rport.server.delays import Delays
from rport.server.door.gate import source_of, tags
from rport.server.errors import Busy, NotAllowed, TooSoon, Unauthorized
from rport.server.hashing import Hashing
from rport.server.journal import Journal
from rport.server.opaque import well_formed
from rport.server.passwords import PASSWORD_MAX
from rport.server.people import People
from rport.server.principal import Principal
from rport.server.totp import step_of
from rport.text import cut, escape
from rport.throttle import KEPT_ALL_RATE, KEPT_RATE, Throttle

REMEMBERED = 60.0  # seconds for which a password that was right need not be looked at again
REMEMBERED_MAX = 1024  # passwords, some 300 octets each
SOURCE_MAX = 16  # logins at once from one source, with those whose answer is held back: five guesses a second

WRONG = "unknown user or wrong password"
WRONG_CODE = "the second factor's code is wrong, or was used already: wait for the next one"
CODE_WANTED = "this user has a second factor: send its code, too (X-Rport-OTP: 123456)"
WRONG_TOKEN = "the server has no such token: it was revoked, has expired, or is mistyped"
NO_COOKIE = "this login is over: log in again"

log = logging.getLogger("rport")


class _CodeWanted(Unauthorized):
    """The password was right, and the second factor is missing."""


class Basic(NamedTuple):
    """A name and a password, and the second factor's code or nothing."""

    user: str
    password: str
    code: str

    def __repr__(self) -> str:
        return f"Basic({self.user!r}, ...)"


class Bearer(NamedTuple):
    token: str

    def __repr__(self) -> str:
        return "Bearer(...)"


class Session(NamedTuple):
    """A browser's cookie."""

    value: str

    def __repr__(self) -> str:
        return "Session(...)"


Shown = Basic | Bearer | Session


class ApiLogin:
    """One per server."""

    def __init__(self, people: People, journal: Journal) -> None:
        self.hashing = Hashing()
        self._people = people
        self._journal = journal
        self._delays = Delays()
        self._throttle = Throttle(time.monotonic(), KEPT_RATE, KEPT_ALL_RATE)  # of what the journal has of failures
        self._key = os.urandom(32)
        self._remembered: OrderedDict[bytes, tuple[str, float]] = OrderedDict()  # his secret then, and until when
        self._inside: Counter[str] = Counter()  # logins by source

    def close(self) -> None:
        self.hashing.close()

    async def authenticate(self, shown: Shown, source: str) -> Principal:
        """Raises Unauthorized, TooSoon, Busy; and what the store raises, where a code has to be remembered as used."""
        if isinstance(shown, Session):
            who = self._people.of_cookie(shown.value, source)
            if who is None:
                raise Unauthorized(NO_COOKIE)
            return who
        if isinstance(shown, Bearer):
            who = self._people.of_token(shown.token, source) if well_formed(shown.token, "rpt") else None
            if who is None:
                raise await self._failed_token(source)
            return who
        user = self._recall(shown) or await self.prove(shown, source)
        return self._people.of_password(user, source)

    async def prove(self, shown: Basic, source: str) -> User:
        """Whose name, password and code they are. Raises as authenticate() does."""
        with self._trying(shown.user, source):
            user = await self._check_password(shown.user, shown.password, source)
            if user.totp is not None:
                await self._check_code(user, shown.code, source)
        if user.totp is None:
            self._remember(shown, user)
        return user

    async def confirm_password(self, user: User, password: str, source: str) -> None:
        """He who is logged in shows that it is he. Raises as authenticate() does."""
        with _not_out(), self._trying(user.name, source):
            await self._check_password(user.name, password, source)

    async def confirm_code(self, user: User, code: str, source: str) -> None:
        """The same, by his second factor."""
        with _not_out(), self._trying(user.name, source):
            await self._check_code(user, code, source)

    async def _check_password(self, name: str, password: str, source: str) -> User:
        user = self._people.accounts.users.get(name)
        right = await self.hashing.verify(user.secret if user is not None else None, password[:PASSWORD_MAX])
        if not right or user is None or self._people.accounts.users.get(name) != user:
            raise await self._failed(name, source, WRONG)
        return user

    async def _check_code(self, user: User, code: str, source: str) -> None:
        if not code:
            raise _CodeWanted(CODE_WANTED)
        step = step_of(user.totp or "", code, time.time(), self._people.step(user))
        if step is None or not await self._people.use_step(user, step):
            raise await self._failed(user.name, source, WRONG_CODE)

    @contextlib.contextmanager
    def _trying(self, name: str, source: str) -> Iterator[None]:
        """Raises TooSoon and Busy; a try that ends well is held against nobody."""
        unit, now = source_of(source), time.monotonic()
        wait = self._delays.begin(source, name, unit, now)
        if wait:
            raise TooSoon(wait)
        try:
            with self._place(source):
                yield
        except _CodeWanted:  # the code comes as fast as he types it, or never in time behind a longer delay
            self._delays.undecided(source, name, unit, now)
            raise
        self._delays.succeeded(source, name, unit)

    @contextlib.contextmanager
    def _place(self, source: str) -> Iterator[None]:
        """Raises Busy."""
        unit = source_of(source)
        if self._inside[unit] >= SOURCE_MAX:
            raise Busy("too many logins at once from your address; try again in a moment")
        self._inside[unit] += 1
        try:
            yield
        finally:
            self._inside[unit] -= 1
            if not self._inside[unit]:
                del self._inside[unit]

    # --- what was right ------------------------------------------------------------------------------------------

    def _digest(self, shown: Basic) -> bytes:
        text = f"{len(shown.user)}:{shown.user}{shown.password}"
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()

    def _remember(self, shown: Basic, user: User) -> None:
        self._remembered[self._digest(shown)] = user.secret, time.monotonic() + REMEMBERED
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def _recall(self, shown: Basic) -> User | None:
        key = self._digest(shown)
        secret, until = self._remembered.get(key, ("", 0.0))
        user = self._people.accounts.users.get(shown.user)
        if user is not None and user.secret == secret and user.totp is None and time.monotonic() < until:
            return user
        self._remembered.pop(key, None)
        return None

    # --- what was wrong ------------------------------------------------------------------------------------------

    async def _failed(self, name: str, source: str, text: str) -> Unauthorized:
        """Held back, as it is for a client that logs in."""
        hold = self._delays.failed(source, name, source_of(source), time.monotonic())
        self._tell(f"user {quoted(name)}", escape(cut(name, 64)), source, text)
        await asyncio.sleep(hold)
        return Unauthorized(text)

    async def _failed_token(self, source: str) -> Unauthorized:
        hold = self._delays.failed_without_user(source, time.monotonic())
        self._tell("a token", "", source, WRONG_TOKEN)
        with contextlib.suppress(Busy), self._place(source):  # nobody guesses one: who fills the places is not held
            await asyncio.sleep(hold)
        return Unauthorized(WRONG_TOKEN)

    def _tell(self, who: str, name: str, source: str, text: str) -> None:
        # share/fail2ban reads this line: its form is fixed, and what a stranger chose stands in quotes.
        log.warning("api: login failed for %s from %s", who, source, extra={"user": name} | tags(source))
        self._journal.logins_failed["api"] += 1
        if self._throttle.admits(source_of(source), time.monotonic()):
            self._throttle.due(time.monotonic())
            actor = f"user {name}" if name else who
            self._journal.note(actor, source[:64], "login", "api", text)
            self._journal.tell("login.failed", user=name, source=source[:64], what="api")


@contextlib.contextmanager
def _not_out() -> Iterator[None]:
    """He is logged in, whatever else he gets wrong: 401 would have his browser ask for all of it again."""
    try:
        yield
    except Unauthorized as error:
        raise NotAllowed(str(error)) from None
