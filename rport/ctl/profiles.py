"""The servers and logins of this user: ~/.config/rport/credentials.json, which nobody else may read.

A token is in the keyring where there is one, and else in the file.
"""

import contextlib
import json
import os
import stat
from typing import Any

from rport import files
from rport.ctl.errors import NotFound
from rport.errors import UsageError

FILE_MAX = 1 << 20  # octets: thousands of profiles
SERVICE = "rportctl"  # as keyrings call it


class Profiles:
    """As they stand in the file; save() writes them back."""

    def __init__(self, path: str, data: dict[str, Any]) -> None:
        self.path = path
        self.all: dict[str, dict[str, Any]] = data["profiles"]
        self.current: str | None = data.get("current")

    @classmethod
    def load(cls) -> "Profiles":
        """None is there yet: an empty one. Raises UsageError."""
        path = default_path()
        if not os.path.exists(path):
            return cls(path, {"profiles": {}})
        _refuse_open(path)
        try:
            data = json.loads(files.read(path, FILE_MAX, "file"))
            if not all(isinstance(profile["url"], str) for profile in data["profiles"].values()):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"{path} is damaged: correct it, or remove it and log in again") from None
        return cls(path, data)

    def save(self) -> None:
        """Raises UsageError."""
        text = json.dumps({"current": self.current, "profiles": self.all}, indent=2) + "\n"
        try:
            files.write(self.path, text, replace=True)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None

    def get(self, name: str) -> dict[str, Any]:
        """Raises NotFound."""
        if name not in self.all:
            known = ", ".join(sorted(self.all)) or "none yet"
            raise NotFound(f"there is no profile {name!r}: there are {known}")
        return self.all[name]

    def put(self, name: str, profile: dict[str, Any], token: str | None) -> None:
        """Keep it, and use it from now on. Raises UsageError."""
        ring = _keyring()
        self.forget_token(name)
        if token is not None:
            kept = ring is not None and _attempt(ring.set_password, SERVICE, name, token)
            profile |= {"keyring": True} if kept else {"token": token}
        self.all[name] = profile
        self.current = name
        self.save()

    def remove(self, name: str) -> None:
        """Raises NotFound and UsageError."""
        self.get(name)
        self.forget_token(name)
        del self.all[name]
        if self.current == name:
            self.current = None
        self.save()

    def token(self, name: str) -> str | None:
        """Raises UsageError for a keyring that does not give it."""
        profile = self.get(name)
        if not profile.get("keyring"):
            return profile.get("token")
        ring = _keyring()
        token = None
        if ring is not None:
            with contextlib.suppress(Exception):  # of any backend's own kinds
                token = ring.get_password(SERVICE, name)
        if token is None:
            raise UsageError(f"the keyring does not give the token of profile {name!r}: unlock it, or log in again")
        return str(token)

    def forget_token(self, name: str) -> None:
        if self.all.get(name, {}).get("keyring") and (ring := _keyring()) is not None:
            _attempt(ring.delete_password, SERVICE, name)


def default_path() -> str:
    """Raises UsageError for a user without a home."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if base.startswith("~"):
        raise UsageError("this user has no home directory: set XDG_CONFIG_HOME, or RPORT_URL and RPORT_TOKEN")
    return os.path.join(base, "rport", "credentials.json")


def _refuse_open(path: str) -> None:
    """Whoever reads it can do what its owner may."""
    if os.name == "posix" and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise UsageError(f"{path} can be read or written by others: chmod 600 {path}, and log in anew if they did")


def _keyring() -> Any:
    """The module, where it is installed and has somewhere safe to keep things; else None."""
    try:
        import keyring  # here: a tenth of a second
    except ImportError:
        return None
    try:
        return keyring if keyring.get_keyring().priority >= 1 else None
    except Exception:  # of any backend's own kinds
        return None


def _attempt(call: Any, *words: str) -> bool:
    """A keyring may be locked, or have nobody who unlocks it: then the file serves."""
    try:
        call(*words)
    except Exception:
        return False
    return True
