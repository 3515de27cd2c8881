"""`rportctl completion SHELL`: the file that packages install for it."""

import os
import sys

from rport import files
from rport.ctl.command import Words
from rport.ctl.session import Session
from rport.errors import UsageError

PLACES = {
    "bash": "bash-completion/completions/rportctl",
    "zsh": "zsh/site-functions/_rportctl",
    "fish": "fish/vendor_completions.d/rportctl.fish",
}
FILE_MAX = 1 << 20  # octets


def show(session: Session, words: Words) -> None:
    """Beside the package in a source tree, else where it was installed."""
    tree = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for base in (tree, sys.prefix, sys.base_prefix, os.path.expanduser("~/.local"), "/usr/local", "/usr"):
        path = os.path.join(base, "share", PLACES[words.shell])
        if os.path.exists(path):
            text = files.read(path, FILE_MAX, "file")
            return session.show({"shell": words.shell, "text": text}, text.splitlines())
    raise UsageError(f"the completions were not installed: there is no share/{PLACES[words.shell]}")
