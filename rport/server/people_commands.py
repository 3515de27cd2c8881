"""`rportd user` and `rportd token`: who may use the API, written to the database, which a running server follows."""

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rport.cli import Parser, complain, default_state_dir
from rport.errors import RportError, UsageError
from rport.server.journal import Journal
from rport.server.options import TABLE
from rport.server.people import People
from rport.server.people_verbs import (
    add_user,
    change_password,
    create_token,
    list_tokens,
    list_users,
    remove_user,
    revoke_token,
)
from rport.server.principal import ROLES
from rport.server.settings import Settings, build
from rport.server.store import Store
from rport.server.store.engine import MEMORY, url_of

_WHERE_EPILOG = """\
The database is the one that rportd would use with the same --db, --state-dir and configuration file; a server that runs
on it knows of the change within a second.
"""
_USER_EPILOG = f"""\
{_WHERE_EPILOG}
  add NAME         a new user; the first one has to be an admin
  list             all users
  passwd NAME      another password; logins of his browsers end
  remove NAME      the user goes, with his tokens and logins

The password is asked for on a terminal, and else a line of the input; or --password @FILE names a file that holds it.

examples:
  rportd user add alice --role admin
  rportd user add bob --role operator --tag berlin < password.txt
"""
_TOKEN_EPILOG = f"""\
{_WHERE_EPILOG}
  create USER      a new token of a user's, which is printed, once
  list [USER]      all tokens, or his
  revoke ID        it is good for nothing from now on

examples:
  rportd token create alice --role viewer --expires 90d --note monitoring
  curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/api/v1/clients
"""
_NAMES = ("config", "db", "state-dir")  # the options that say which database

Work = Callable[[People, Namespace], Coroutine[Any, Any, None]]


def user_command(argv: Sequence[str]) -> int:
    """The exit code."""
    prog = "rportd user"
    p = Parser(prog=prog, usage=f"{prog} add|list|passwd|remove [NAME] [options]",
               description="Look after the users of the API.", epilog=_USER_EPILOG)  # fmt: skip
    p.add_argument("verb", metavar="VERB", nargs="?", help="add, list, passwd or remove")
    p.add_argument("name", metavar="NAME", nargs="?", help="of the user")
    _may(p)
    p.option("password", metavar="@FILE", help="of add and passwd: the file that the password is in")
    p.option("force", action="store_true", help="of remove: the last admin, too")
    works: dict[str, tuple[Work, bool | None]] = {
        "add": (add_user, True), "list": (list_users, False), "passwd": (change_password, True),
        "remove": (remove_user, True),
    }  # fmt: skip
    return _run(p, p.parse(argv), works, "give add NAME, list, passwd NAME or remove NAME")


def token_command(argv: Sequence[str]) -> int:
    """The exit code."""
    prog = "rportd token"
    p = Parser(prog=prog, usage=f"{prog} create USER|list [USER]|revoke ID [options]",
               description="Look after the tokens of the API's users.", epilog=_TOKEN_EPILOG)  # fmt: skip
    p.add_argument("verb", metavar="VERB", nargs="?", help="create, list or revoke")
    p.add_argument("name", metavar="USER|ID", nargs="?", help="whose it is, or which")
    _may(p)
    p.option("expires", metavar="TIME", help="of create: how long it is good, as 90d; else for ever")
    p.option("note", metavar="TEXT", help="of create: what it is for")
    works: dict[str, tuple[Work, bool | None]] = {
        "create": (create_token, True), "list": (list_tokens, None), "revoke": (revoke_token, True),
    }  # fmt: skip
    return _run(p, p.parse(argv), works, "give create USER, list or revoke ID")


def _may(p: Parser) -> None:
    p.option("role", metavar="ROLE", help=f"{', '.join(ROLES)}; else viewer for users, and the user's for tokens")
    p.option("tag", metavar="TAG", action="append", help="sees clients with this tag alone (repeatable)")
    p.option("json", action="store_true", help="of list: print JSON")
    for option in TABLE.options:
        if option.name in _NAMES:
            p.option(option.name, metavar=option.metavar, help=option.help)


def _run(p: Parser, words: Namespace, works: dict[str, tuple[Work, bool | None]], usage: str) -> int:
    work, named = works.get(words.verb, (None, None))
    if work is None or named not in (None, words.name is not None):
        p.error(f"{usage}; see {p.prog} --help")
    try:
        if words.role not in (None, *ROLES):
            raise UsageError(f"--role: {words.role[:20]!r} is none of {', '.join(ROLES)}")
        asyncio.run(_with_people(work, words))
    except RportError as error:
        return complain(p.prog, error)
    except (EOFError, KeyboardInterrupt):
        return complain(p.prog, UsageError("no password was given"))
    return 0


async def _with_people(work: Work, words: Namespace) -> None:
    settings: Settings = TABLE.load(words, build)
    if settings.db == MEMORY:
        raise UsageError("--db memory: that database is gone when rportd ends; use the API while it runs")
    store = Store(url_of(settings.db, settings.state_dir))
    journal = Journal(store)
    try:
        fresh = store.path is not None and not os.path.exists(store.path)
        if fresh and work is not add_user:  # a typing error would make a database for nothing
            raise UsageError(f"there is no database at {store.path}; rportd makes one at its first start")
        await store.upgrade()
        if fresh and store.path is not None:
            _give_away(store.path)
        await journal.start()
        people = People(store, journal)
        await people.load()
        await work(people, words)
        if fresh:
            print(f"the database is new: {store.path}; start rportd with the same --config, --db or --state-dir",
                  file=sys.stderr)  # fmt: skip
        _warn_of_another(settings)
    finally:
        await journal.close()
        await store.close()


def _warn_of_another(settings: Settings) -> None:
    """What root uses without --state-dir is his own, and he will have meant the service's."""
    from rport.install.units import PROGRAMS

    service = PROGRAMS[TABLE.prog].state
    if os.geteuid() != 0 or settings.db is not None or not os.path.isdir(service):
        return
    if settings.state_dir == default_state_dir() != service:
        print(f"this is not the service's database: that one is with --state-dir {service}", file=sys.stderr)


def _give_away(path: str) -> None:
    """Made by root in the directory of the user whom the server runs as: it is his, as all there is."""
    directory = os.stat(os.path.dirname(path) or ".")
    if os.geteuid() == 0 and directory.st_uid != 0:
        os.chown(path, directory.st_uid, directory.st_gid)
