"""Who may log in, and where each may have the server listen. Pure, but for reading the file.

The authfile is a JSON object `"user:password": ["regex", ...]`; the password may be an Argon2id string. What is wrong
with it is said with the entry's number and user, never with a password.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rport import files
from rport.errors import UsageError
from rport.login import Login
from rport.server import passwords
from rport.server.acl import ANYWHERE, Acl

FILE_MAX = 4 << 20  # octets
USERS_MAX = 65536  # a fleet with a login for each device

_EXAMPLE = '{"user:password": ["^0\\\\.0\\\\.0\\\\.0:2222$"]}'


@dataclass(frozen=True, slots=True)
class User:
    """`secret` is the password, or its Argon2id string."""

    name: str
    secret: str = field(repr=False)
    listen: Acl = ANYWHERE


class Users:
    """By name; nobody at all is possible, and lets nobody in."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        """Raises ValueError for a name that is there twice."""
        self._users: dict[str, User] = {}
        for user in users:
            if user.name in self._users:
                raise ValueError(f"user {user.name!r} is there twice")
            self._users[user.name] = user
        dearest = max(self._users.values(), key=lambda user: passwords.cost(user.secret), default=None)
        # Against this one the password of a user that does not exist is verified, so that it takes as long.
        self.decoy = dearest.secret if dearest is not None and passwords.is_hash(dearest.secret) else None

    def __len__(self) -> int:
        return len(self._users)

    def get(self, name: str) -> User | None:
        return self._users.get(name)

    def verify(self, name: str, password: str) -> bool:
        """Whether that user has that password; takes as long whichever of the two is wrong. Blocks: see `slow`."""
        user = self._users.get(name)
        right = passwords.verify(user.secret if user is not None else "", password) and user is not None
        if self.decoy is not None and (user is None or not passwords.is_hash(user.secret)):
            passwords.verify(self.decoy, password)
        return right

    @property
    def slow(self) -> bool:
        """verify() takes a tenth of a second and belongs into a thread."""
        return self.decoy is not None


def load_users(login: Login | None, path: str | None) -> Users | None:
    """The user of --auth and those of --authfile; None where neither is given. Raises UsageError."""
    if login is None and path is None:
        return None
    users = [] if login is None else [user_of(login)]
    found = [] if path is None else parse_authfile(files.read(path, FILE_MAX, "authfile"), path)
    try:
        return Users([*users, *found])
    except ValueError as error:
        raise UsageError(f"authfile {path}: {error}: once in --auth, once here") from None


def user_of(login: Login) -> User:
    """The user of --auth, who may do everything. Raises UsageError."""
    try:
        passwords.check_secret(login.password)
    except ValueError as error:
        raise UsageError(f"--auth: user {login.user!r}: {error}") from None
    return User(login.user, login.password)


def parse_authfile(text: str, path: str) -> list[User]:
    """Raises UsageError that names `path`, the entry and what is wrong."""
    try:
        data = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"authfile {path}, {where}: this is no JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise UsageError(f"authfile {path}: this is no JSON that could be an authfile") from None
    if not isinstance(data, _Object):
        raise UsageError(f"authfile {path}: give an object such as {_EXAMPLE}")
    if len(data.pairs) > USERS_MAX:
        raise UsageError(f"authfile {path}: {len(data.pairs)} users, {USERS_MAX} are allowed")
    users = []
    names: set[str] = set()
    for number, (entry, rules) in enumerate(data.pairs, 1):
        try:
            users.append(_user(entry, rules, names))
        except ValueError as error:
            user, colon, _ = entry.partition(":")
            who = f"user {user[:64]!r}" if colon and user else f"entry {number}"
            raise UsageError(f"authfile {path}, {who}: {error}") from None
    return users


class _Object:
    """A JSON object with its keys as they stand there, twice if they do."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _user(entry: str, rules: object, names: set[str]) -> User:
    name, colon, secret = entry.partition(":")
    if not colon or not name:
        raise ValueError(f"the key must be user:password, as in {_EXAMPLE}")
    try:
        entry.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text") from None
    if name in names:
        raise ValueError("is there twice")
    names.add(name)
    passwords.check_secret(secret)
    if isinstance(rules, _Object | Mapping):
        raise ValueError('give a list of regular expressions, such as [".*"]')
    return User(name, secret, Acl.parse(rules))
