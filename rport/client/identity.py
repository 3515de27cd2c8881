"""`rport key`: the key pair by which a server knows this client."""

import os
from collections.abc import Sequence
from socket import gethostname

from rport import keys
from rport.cli import Parser, complain, default_state_dir
from rport.errors import UsageError

FILE = "identity"  # in the state directory

_EPILOG = """\
Give the file to rport with --identity, and the lines that are printed to whoever runs the server.

example:
  rport key ~/.config/rport/identity
  rport --identity ~/.config/rport/identity HOST:PORT 3389
"""


def key_command(argv: Sequence[str]) -> int:
    """`rport key [FILE]`: the exit code."""
    p = Parser(prog="rport key", description="Make a key pair for --identity in a new file.", epilog=_EPILOG)
    p.add_argument("file", metavar="FILE", nargs="?", help=f"where to; else {FILE} in the state directory")
    path = p.parse(argv).file
    try:
        if path is None:
            path = os.path.join(os.environ.get("RPORT_STATE_DIR") or default_state_dir(), FILE)
        public = keys.public_text(keys.create(path).public)
    except UsageError as error:
        return complain("rport key", error)
    print(f"The key pair is in {path}: keep it to this machine, and use it with --identity {path}")
    print("For the server's authorized-keys file:\n")
    print(f'[[key]]\nname = "{_name()}"\npublic = "{public}"')
    return 0


def _name() -> str:
    """The machine's, as a proposal; what TOML would not read as it is becomes a dash."""
    name = "".join(char if char.isascii() and (char.isalnum() or char in ".-_") else "-" for char in gethostname())
    return name[:64] or "client"
