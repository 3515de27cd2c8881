"""`rportctl __complete KIND PREFIX`: what a shell offers. It says nothing in trouble: Tab is no place for that."""

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence

from rport import files
from rport.ctl.command import GLOBALS, Words
from rport.ctl.session import Session
from rport.errors import RportError
from rport.options import value_of

FRESH = 10.0  # seconds that what the server said is taken for the truth
PATIENCE = 2.0  # seconds that it gets to say so
CACHE_MAX = 1 << 22  # octets: a hundred thousand names
OFFERED = 500  # more than anybody looks through


def answer(argv: Sequence[str]) -> int:
    """The exit code; a line for each word that begins so."""
    kind, prefix = (*argv, "", "")[:2]
    with contextlib.suppress(RportError, OSError, ValueError, KeyError, TypeError):
        session = Session(_words())
        for word in _offered(session, kind, prefix)[:OFFERED]:
            print(word)
    return 0


def _offered(session: Session, kind: str, prefix: str) -> list[str]:
    if kind == "profiles":
        return sorted(name for name in session.profiles.all if name.startswith(prefix))
    if kind != "clients":
        return []
    clients = _clients(session)
    names = {name for name, _ in clients if name.startswith(prefix)}
    ids = {id for name, id in clients if prefix and id.startswith(prefix) and not name.startswith(prefix)}
    return sorted(names | ids)


def _words() -> Words:
    """Nothing is given but what the environment says."""
    from rport.ctl.command import given

    words = Words(behind=[], given=set())
    for option in GLOBALS:
        setattr(words, option.field, value_of(option, given(option, None)))
    words.timeout = min(words.timeout, PATIENCE)
    return words


def _clients(session: Session) -> list[tuple[str, str]]:
    """Their names and ids; the id twice where two have the name."""
    place = session.api.place.url
    path = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rport", "names.json")
    with contextlib.suppress(RportError, OSError, ValueError, KeyError, TypeError):
        if time.time() - os.stat(path).st_mtime < FRESH:
            kept = json.loads(files.read(path, CACHE_MAX, "file"))
            if kept["server"] == [place, session.profile]:
                return [(str(name), str(id)) for name, id in kept["clients"]]
    rows = list(session.api.rows("/clients"))
    counts = Counter(row["name"] for row in rows)
    found = [
        (row["name"] if counts[row["name"]] == 1 and _plain(row["name"]) else row["id"], row["id"]) for row in rows
    ]
    with contextlib.suppress(OSError):
        files.write(path, json.dumps({"server": [place, session.profile], "clients": found}), replace=True)
    return found


def _plain(name: str) -> bool:
    """A word that no shell takes for anything else."""
    return bool(name) and all(c.isalnum() or c in "._-+@" for c in name) and not name.startswith("-")
