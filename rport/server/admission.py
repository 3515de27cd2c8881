"""Who may come in: the files that say so, the check of a login off the event loop, and what to do when they change."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from rport.errors import Refused, UsageError
from rport.keys import public_text
from rport.server.authorized import AuthorizedKeys, ClientKey, load_keys
from rport.server.credentials import Credentials, Managed
from rport.server.delays import Delays
from rport.server.errors import Busy
from rport.server.hashing import HashingThreads
from rport.server.settings import Settings
from rport.server.users import User, Users, load_users
from rport.server.watch import Watch

CHECKS_MAX = 2  # Argon2id at a time: 64 MiB and a processor each
# Logins that wait for one: some five seconds' worth on one processor, half of what a client has to come in.
WAITING_MAX = 64

NAME_SHOWN = 64  # characters of a user's name in the log

NO_KEY = (
    "the server lets in client keys that it knows, and none was shown: make one with `rport key`, have its public key "
    "put into the server's authorized keys, and give it with --identity"
)

STRANGER = (
    "the server lets in the clients that it was told of: have an enrolment code made, and run `rport enroll CODE`; or "
    "give the --auth or --identity that it has for this client"
)

log = logging.getLogger("rport")


class LoginFailed(Refused):
    """Wrong credentials. `who` is for the log; `hold` is how many seconds the answer is to be held back."""

    def __init__(self, message: str, who: str, hold: float) -> None:
        super().__init__("auth", message)
        self.who = who
        self.hold = hold


class Attempt(NamedTuple):
    """What a client shows: `public` is its key, proved by the handshake; `address` where it comes from."""

    address: str
    user: str
    password: str
    identity: str
    public: bytes | None

    def __repr__(self) -> str:
        return f"Attempt({self.address!r}, {self.user!r}, ...)"


@dataclass(frozen=True, slots=True)
class Grant:
    """By what a session was let in, and so where it may have the server listen."""

    user: User | None = None
    key: ClientKey | None = None
    client: Managed | None = None  # by a credential of the store, which the files have no say in

    def allows(self, host: str, port: int) -> bool:
        """The user's rules and the key's both, where there are both."""
        return (
            (self.user is None or self.user.listen.allow(host, port))
            and (self.key is None or self.key.listen.allow(host, port))
            and (self.client is None or self.client.listen.allow(host, port))
        )

    def __str__(self) -> str:
        if self.client is not None:
            return f"client {quoted(self.client.client)}"
        parts = [f"user {quoted(self.user.name)}"] if self.user is not None else []
        return ", ".join(parts + ([f"key {quoted(self.key.name)}"] if self.key is not None else []))


class Admission:
    """One per server. Raises UsageError when made with files that cannot be used."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._watch = Watch(*_paths(settings))  # before they are read, so that no change falls in between
        self._users, self._keys = _load(settings)
        self._delays = Delays()
        self._threads = HashingThreads(CHECKS_MAX, WAITING_MAX, "login")

    @property
    def open(self) -> bool:
        """Everybody is let in."""
        return self._users is None and self._keys is None and not self._credentials.closed

    def warnings(self) -> list[str]:
        """What whoever set it up should know."""
        if self.open:
            return [
                "No login configured: every client is let in; set one with --auth or RPORT_AUTH, --authfile or "
                "--authorized-keys"
            ]
        empty = [
            name
            for name, roll in (("authfile", self._users), ("authorized-keys file", self._keys))
            if roll is not None and not len(roll)
        ]
        return [f"The {name} is empty: nobody is let in" for name in empty]

    # --- the way in ----------------------------------------------------------------------------------------------

    async def check(self, attempt: Attempt) -> Grant:
        """Raises LoginFailed, or Refused with the code `busy` when it was not looked at. The caller bounds the time."""
        managed = self._credentials.find(attempt.user, attempt.password, attempt.public)
        if managed is not None:
            return Grant(client=managed)
        key = self._check_key(attempt)
        if self._users is None:
            if self._keys is None and not self.open:
                raise self._unknown(attempt)
            return Grant(key=key)
        wait = self._delays.begin(attempt.address, attempt.user, attempt.identity, time.monotonic())
        if wait:
            raise Refused("busy", f"too soon after a login that failed; try again in {max(wait, 0.1):.1f} s")
        users = self._users
        if not await self._verify(users, attempt):
            hold = self._delays.failed(attempt.address, attempt.user, attempt.identity, time.monotonic())
            text = (
                "unknown user or wrong password" if attempt.user else "the server wants one: give --auth or RPORT_AUTH"
            )
            raise LoginFailed(f"login failed: {text}", f"user {quoted(attempt.user)}", hold)
        self._delays.succeeded(attempt.address, attempt.user, attempt.identity)
        try:
            return self.renew(Grant(users.get(attempt.user), key), attempt.address, attempt.public)
        except Refused:
            raise Refused("busy", "the server's users were changed at this moment; try again") from None

    def _unknown(self, attempt: Attempt) -> LoginFailed:
        """Where nobody comes in but clients of the store."""
        hold = self._delays.failed_without_user(attempt.address, time.monotonic())
        key = f"key '{public_text(attempt.public)}'" if attempt.public is not None else "no key"
        return LoginFailed(f"login failed: {STRANGER}", f"user {quoted(attempt.user)}" if attempt.user else key, hold)

    def _check_key(self, attempt: Attempt) -> ClientKey | None:
        if self._keys is None:
            return None
        key = self._keys.get(attempt.public) if attempt.public is not None else None
        if key is not None and key.comes_from(attempt.address):
            return key
        hold = self._delays.failed_without_user(attempt.address, time.monotonic())
        if attempt.public is None:
            raise LoginFailed(f"login failed: {NO_KEY}", "no key", hold)
        shown = public_text(attempt.public)
        if key is None:
            raise LoginFailed(f"login failed: the server's authorized keys do not have {shown}", f"key '{shown}'", hold)
        text = f"login failed: the key {shown} may not be used from {attempt.address}"
        raise LoginFailed(text, f"key {quoted(key.name)}", hold)

    def wrong_code(self, address: str, text: str) -> LoginFailed:
        """Somebody there wanted to enrol with a code that is none. His neighbours do not pay: only the answer waits."""
        hold = self._delays.failed_without_user(address, time.monotonic())
        return LoginFailed(text, "an enrolment code", hold)

    async def _verify(self, users: Users, attempt: Attempt) -> bool:
        if not users.slow:
            return users.verify(attempt.user, attempt.password)
        try:
            return await self._threads.run(lambda: users.verify(attempt.user, attempt.password))
        except Busy as error:
            raise Refused("busy", str(error)) from None

    # --- what changes --------------------------------------------------------------------------------------------

    def renew(self, grant: Grant, address: str, public: bytes | None) -> Grant:
        """What a session that was let in may do now. Raises Refused that says why it may not stay.

        A key was proved by the handshake, whether or not anybody asked for one then.
        """
        if grant.client is not None:
            client = self._credentials.renew(grant.client)
            if client is None:
                raise Refused("auth", "the credential of this client was revoked or changed at the server")
            return Grant(client=client)
        if self._users is None and self._keys is None and not self.open:
            raise Refused("auth", "the server lets in none but the clients that it was told of, from now on")
        return Grant(self._renew_user(grant.user), self._renew_key(address, public))

    def _renew_user(self, old: User | None) -> User | None:
        if self._users is None:
            return None
        user = self._users.get(old.name) if old is not None else None
        if user is None or old is None:
            raise Refused("auth", "the server has no such user any more" if old else "the server wants a login now")
        if user.secret != old.secret:
            raise Refused("auth", "the password of this user was changed at the server")
        return user

    def _renew_key(self, address: str, public: bytes | None) -> ClientKey | None:
        if self._keys is None:
            return None
        key = self._keys.get(public) if public is not None else None
        if key is None:
            raise Refused("auth", "the server does not authorize this key any more" if public is not None else NO_KEY)
        if not key.comes_from(address):
            raise Refused("auth", f"this key may not be used from {address} any more")
        return key

    async def reconfigure(self, settings: Settings) -> bool:
        """Other files, or the same ones that may have changed. Broken ones change nothing, and are logged."""
        self._settings = settings
        self._watch = Watch(*_paths(settings))
        return await self._reread()

    async def follow(self, told: Callable[[], None]) -> None:
        """Call `told` behind each change of the files; never returns."""
        while True:
            await self._watch.changed()
            if await self._reread():
                told()

    async def _reread(self) -> bool:
        try:
            # In a thread: tens of thousands of users take a second.
            users, keys = await asyncio.get_running_loop().run_in_executor(None, _load, self._settings)
        except UsageError as error:
            log.error("%s; who may come in stays as it was", error)
            return False
        self._users, self._keys = users, keys
        if not self.open:
            rolls = {"users": users, "client keys": keys}
            counts = [f"{name}: {len(roll)}" for name, roll in rolls.items() if roll is not None]
            log.info("Who may come in was read again; %s", ", ".join(counts))
        for text in self.warnings():
            log.warning("%s", text)
        return True

    def close(self) -> None:
        self._threads.close()


def quoted(text: str) -> str:
    """A name that a client chose, for a log line: between two quotes that it cannot contain, so that no part of it can
    be taken for the rest of the line. share/fail2ban relies on that."""
    cut = text[:NAME_SHOWN].replace("\\", "\\\\").replace("'", "\\x27")
    return f"'{cut}'"


def _paths(settings: Settings) -> list[str]:
    return [path for path in (settings.authfile, settings.authorized_keys) if path is not None]


def _load(settings: Settings) -> tuple[Users | None, AuthorizedKeys | None]:
    return load_users(settings.auth, settings.authfile), load_keys(settings.authorized_keys)
