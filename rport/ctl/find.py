"""Which client, or tunnel, somebody means: an id, a name, or how one begins."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from rport.ctl.api import Api, part
from rport.ctl.errors import NotFound
from rport.errors import UsageError

SHOWN = 6  # candidates that an error lists
Row = dict[str, Any]


def client(api: Api, text: str, *, whole: bool = False) -> Row:
    """`=ID` is that id and nothing else; with `whole`, how one begins is not enough.

    Raises NotFound, and UsageError that lists those which it may be.
    """
    if text.startswith("="):
        only_one: Row = api.get(f"/clients/{part(text[1:])}")
        return only_one
    _refuse_nothing(text)
    exact: Row | None = None
    if not {"/", "\\"} & set(text):  # no id has them, and proxies on the way take them for their own
        with contextlib.suppress(NotFound, UsageError):
            exact = api.get(f"/clients/{part(text)}")
    if exact is not None and exact.get("managed", True):
        return exact
    rows = list(api.rows("/clients", q=text))
    named = [row for row in rows if row["name"] == text]
    if exact is not None:
        # A machine that gives its id itself shall not take the place of one that is called so.
        others = [row for row in named if row["id"] != exact["id"]]
        return only([exact, *others], f"client {text!r}, or ={text} by id,", _shown, "")
    found = named or [row for row in rows if row["name"].startswith(text) or row["id"].startswith(text)]
    if whole and found and not named:
        raise NotFound(f"there is no client {text!r}; give the whole id or name, such as {_shown(found[0])}")
    return only(found, f"client {text!r}", _shown, "rportctl clients lists them")


def _refuse_nothing(text: str) -> None:
    """All begin so: a script's variable that is not set would mean the only one that there is, and `rm` remove it."""
    if not text:
        raise UsageError(f"there is nothing that is called {text!r}")


def _shown(row: Row) -> str:
    return f"{row['name']} ({row['id']})"


def client_id(api: Api, text: str) -> str:
    """As client(), also of one that is gone: what happened to it is still known."""
    try:
        return str(client(api, text)["id"])
    except NotFound:
        return text


def tunnel(api: Api, client_id: str, text: str) -> Row:
    """Of a client. Raises as client()."""
    _refuse_nothing(text)
    rows = list(api.rows(f"/clients/{part(client_id)}/tunnels"))
    if text.startswith(":"):
        found = [row for row in rows if str(row["lport"]) == text[1:]]
    else:
        found = [row for row in rows if row["id"] == text] or [row for row in rows if row["id"].startswith(text)]
    advice = "rportctl tunnel list shows those that there are"
    return only(found, f"tunnel {text!r}", lambda row: f"{row['id']} (:{row['lport']} => {row['target']})", advice)


def only(rows: Sequence[Row], what: str, shown: Callable[[Row], str], advice: str) -> Row:
    """The one that there is."""
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise NotFound(f"there is no {what}; {advice}")
    candidates = ", ".join(sorted(map(shown, rows))[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")
    raise UsageError(f"{what} may be one of {len(rows)}: {candidates}")
