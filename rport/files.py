"""State files: private, and written whole or not at all.

Paths are plain text here: pathlib would cost each client half a mebibyte and a tenth of its start.
"""

import contextlib
import errno
import os

from rport.errors import UsageError

StrPath = str | os.PathLike[str]


def write(path: StrPath, text: str, *, replace: bool) -> None:
    """Write the file, readable by its owner alone, and its directories. Raises OSError.

    Without `replace` a file that is there already stays and is no error.
    """
    path = os.fspath(path)
    _make_directory(os.path.dirname(path))
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)  # unlike a rename, never replaces
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def read(path: StrPath, limit: int, what: str) -> str:
    """The text of a file that a user wrote, of at most `limit` bytes of UTF-8. Raises UsageError that begins with
    `what` it is and where."""
    name = f"{what} {os.fspath(path)}"
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > limit:
        raise UsageError(f"{name}: longer than {limit} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8, at byte {error.start + 1}") from None


def _make_directory(path: str) -> None:
    if not path:
        return
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except FileExistsError:  # of the directory, which it names otherwise than any other system call would
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
