"""What each verb of `rportd user` and `rportd token` does, once there is the database."""

import json
import sys
import time
from argparse import Namespace
from typing import Any

from rport import files
from rport.duration import parse_duration
from rport.errors import UsageError
from rport.options import SECRET_MAX
from rport.server import passwords
from rport.server.accounts import (
    User,
    add_token,
    change_user,
    check_name,
    check_password,
    check_tags,
    remove_token,
)
from rport.server.accounts import (
    add_user as insert_user,
)
from rport.server.accounts import (
    remove_user as delete_user,
)
from rport.server.hash_password import ask_password
from rport.server.people import People
from rport.server.principal import Principal
from rport.server.times import moment


def _me() -> Principal:
    return Principal("rportd", "admin", "command", source="this machine")


def _password(words: Namespace) -> str:
    """Its hash. Raises UsageError, which does not show it."""
    given = words.password
    if given is None:
        password = ask_password()
    elif given.startswith("@"):
        password = files.read(given[1:], SECRET_MAX, "file").removesuffix("\n").removesuffix("\r")
    else:
        raise UsageError("--password: give @FILE; what is an argument, other users of the machine could see")
    return passwords.make_hash(check_password(password))


# --- users -----------------------------------------------------------------------------------------------------------


async def add_user(people: People, words: Namespace) -> None:
    name, role, tags = check_name(words.name), words.role or "viewer", check_tags(words.tag)
    secret = _password(words)
    async with people.changing(_me(), "user.add", f"user {name}", role=role, tags=words.tag) as change:
        await insert_user(change.db, change.before, name, secret, role, tags)
    print(f"{name} may use the API as {role}")


async def change_password(people: People, words: Namespace) -> None:
    people.accounts.user(words.name)
    secret = _password(words)
    async with people.changing(_me(), "user.change", f"user {words.name}", changed=["password"]) as change:
        await change_user(change.db, change.before, words.name, {"secret": secret})
    print(f"{words.name} has another password")


async def remove_user(people: People, words: Namespace) -> None:
    people.accounts.user(words.name)
    async with people.changing(_me(), "user.remove", f"user {words.name}") as change:
        await delete_user(change.db, change.before, words.name, words.force)
    print(f"{words.name} is gone, with his tokens and logins")


async def list_users(people: People, words: Namespace) -> None:
    users = sorted(people.accounts.users.values(), key=lambda user: user.name)
    _show(words.json, [_user_row(user) for user in users])


def _user_row(user: User) -> dict[str, Any]:
    tags = None if user.tags is None else sorted(user.tags)
    return {"name": user.name, "role": user.role, "tags": tags, "totp": user.totp is not None,
            "created_at": _time(user.created)}  # fmt: skip


# --- tokens ----------------------------------------------------------------------------------------------------------


async def create_token(people: People, words: Namespace) -> None:
    user, tags = people.accounts.user(words.name), check_tags(words.tag)
    role, note = words.role or user.role, words.note or ""
    if len(note) > 200 or not note.isprintable():
        raise UsageError("--note: give at most 200 characters on one line")
    expires = None
    if words.expires is not None:
        life = parse_duration(words.expires)
        if life <= 0:
            raise UsageError("--expires: give how long it is to be good, as 90d")
        expires = time.time() + life
    async with people.changing(_me(), "token.create", f"user {user.name}", role=role, tags=words.tag) as change:
        id, secret = await add_token(change.db, change.before, user.name, role, tags, expires, note)
        change.deed.details["token"] = id
    print(f"token {id} of {user.name}; it is shown this once:", file=sys.stderr)
    print(secret)


async def revoke_token(people: People, words: Namespace) -> None:
    async with people.changing(_me(), "token.revoke", f"token {words.name[:16]}") as change:
        token = await remove_token(change.db, change.before, words.name)
        change.deed.details["user"] = token.user
    print(f"token {token.id} of {token.user} is good for nothing now")


async def list_tokens(people: People, words: Namespace) -> None:
    if words.name is not None:
        people.accounts.user(words.name)
    rows = []
    for token in people.accounts.tokens_of(words.name):
        tags = None if token.tags is None else sorted(token.tags)
        rows.append({"id": token.id, "user": token.user, "role": token.role, "tags": tags, "note": token.note,
                     "expires_at": _time(token.expires), "last_used_at": _time(token.used)})  # fmt: skip
    _show(words.json, rows)


# --- what is printed -------------------------------------------------------------------------------------------------


def _time(seconds: float | None) -> str | None:
    at = moment(seconds)
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _show(as_json: bool, rows: list[dict[str, Any]]) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    lines = [list(rows[0])] + [[_text(value) for value in row.values()] for row in rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else ",".join(value) if isinstance(value, list) else str(value)
