"""Trust on first use: which fingerprint each server showed, one line each, `host:port fingerprint`.

Blank lines and lines that begin with # are kept as they are. A line may hold the beginning of a fingerprint, and a
server may have several lines: one that fits is enough.
"""

from typing import Literal

from rport import files
from rport.errors import UsageError
from rport.files import StrPath
from rport.keys import fingerprint_matches, parse_fingerprint

Verdict = Literal["new", "known", "changed"]

_ADVICE = "set RPORT_STATE_DIR to another directory, or give --fingerprint"


def check(path: StrPath, address: str, fingerprint: str) -> Verdict:
    """What the file at `path` says about the server at `address`, `host:port`. Raises UsageError for a bad file."""
    known = [prefix for name, prefix in map(_parse, _numbered(path)) if name == address.lower()]
    if not known:
        return "new"
    return "known" if any(fingerprint_matches(prefix, fingerprint) for prefix in known) else "changed"


def remember(path: StrPath, address: str, fingerprint: str) -> None:
    """Let `fingerprint` be the only one known for `address`. The file is replaced whole. Raises UsageError.

    Of two programs that do this at once the later wins; the loser's server is merely new again the next time.
    """
    address = address.lower()
    if not address or address.startswith("#") or any(char.isspace() for char in address):
        raise UsageError(f"{address!r} cannot be remembered as a server's address")
    kept = [line for line, entry in ((item[2], _parse(item)) for item in _numbered(path)) if entry[0] != address]
    try:
        files.write(path, "".join(f"{line}\n" for line in [*kept, f"{address} {fingerprint}"]), replace=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; {_ADVICE}") from error


def _numbered(path: StrPath) -> list[tuple[StrPath, int, str]]:
    """The lines, each with where it stands."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text: restore it, or delete it to trust anew") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {_ADVICE}") from error
    return [(path, number, line) for number, line in enumerate(text.splitlines(), 1)]


def _parse(item: tuple[StrPath, int, str]) -> tuple[str, str]:
    """Address and fingerprint, both empty for a comment. Raises UsageError that names the line."""
    path, number, line = item
    if not line.strip() or line.startswith("#"):
        return "", ""
    try:
        address, text = line.split()
        return address.lower(), parse_fingerprint(text)
    except (ValueError, UsageError):
        raise UsageError(f"{path}, line {number}: not `host:port fingerprint`; correct the line or remove it") from None
