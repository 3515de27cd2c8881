"""The machine, or the image of one, that a service is installed on: small steps, each of which says what it did.

A step that finds all as it should be says so and changes nothing. With `dry` none changes anything.
"""

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from rport.errors import UsageError

BOOTED = "/run/systemd/system"  # there while systemd runs: sd_booted(3)


class Owner(NamedTuple):
    """Numbers of a user and a group; None where there is no such user yet."""

    user: int | None
    group: int | None


ROOT = Owner(0, 0)


class Host:
    """`root`: where its files are, `/` for this machine itself."""

    def __init__(self, root: str = "/", *, dry: bool = False) -> None:
        self.root, self.dry = os.path.abspath(root), dry

    @property
    def here(self) -> bool:
        return os.path.realpath(self.root) == "/"

    @property
    def booted(self) -> bool:
        """Whether there is a systemd to talk to."""
        return self.here and os.path.isdir(BOOTED) and shutil.which("systemctl") is not None

    def path(self, name: str) -> str:
        """Where a file of the host is for us. Raises UsageError where an image's links lead to files that are ours."""
        path = os.path.join(self.root, name.lstrip("/"))
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(os.path.dirname(path))]) != root:
            raise UsageError(f"{path}: a symbolic link on the way leads out of {self.root}")
        return path

    def has(self, name: str) -> bool:
        return os.path.lexists(self.path(name))

    def read(self, name: str) -> str | None:
        """A file's text; None when there is none. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), open(self.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()
        return None

    def say(self, what: str, done: str) -> None:
        print(f"{what}: {'would be ' if self.dry and done != 'unchanged' else ''}{done}")

    # --- users -------------------------------------------------------------------------------------------------------

    def find_user(self, name: str) -> Owner | None:
        if self.here:
            import pwd  # here: there is none on Windows

            with contextlib.suppress(KeyError):
                found = pwd.getpwnam(name)
                return Owner(found.pw_uid, found.pw_gid)
            return None
        for line in (self.read("/etc/passwd") or "").splitlines():
            fields = line.split(":")
            if fields[0] == name and len(fields) > 3 and fields[2].isdecimal() and fields[3].isdecimal():
                return Owner(int(fields[2]), int(fields[3]))
        return None

    def user(self, name: str, title: str, home: str) -> Owner:
        """A system user who cannot log in, with a group of the same name."""
        found = self.find_user(name)
        done = "unchanged" if found else "created"
        if found is None and not self.dry:
            if shutil.which("systemd-sysusers"):
                self.run("systemd-sysusers", f"--root={self.root}", "--inline", f'u {name} - "{title}" {home}')
            else:
                self.run("useradd", *self._prefix(), "--system", "--user-group", "--no-create-home", "--comment", title,
                         "--home-dir", home, "--shell", "/usr/sbin/nologin", name)  # fmt: skip
            found = self.find_user(name)
            if found is None:
                raise UsageError(f"there is no user {name} after making it")
        self.say(f"user {name}", done)
        return found or Owner(None, None)

    def remove_user(self, name: str) -> None:
        if self.find_user(name) is None:
            return
        self.run("userdel", *self._prefix(), name)
        self.say(f"user {name}", "removed")

    def _prefix(self) -> list[str]:
        return [] if self.here else ["--prefix", self.root]

    # --- files -------------------------------------------------------------------------------------------------------

    def directory(self, name: str, mode: int, owner: Owner) -> None:
        path = self.path(name)
        if os.path.isdir(path):
            self.say(name, "unchanged")
            return
        if not self.dry:
            os.makedirs(path, exist_ok=True)
            os.chown(path, owner.user or 0, owner.group or 0)
            os.chmod(path, mode)
        self.say(name, f"created, mode {mode:04o}")

    def file(self, name: str, text: str, mode: int, owner: Owner, *, keep: bool = False) -> bool:
        """Whether it changed. With `keep`, what is there already stays, whatever it says."""
        if keep and self.has(name):
            self.say(name, "unchanged")
            return False
        old = self.read(name)
        if old == text:
            self.say(name, "unchanged")
            return False
        if not self.dry:
            self._replace(self.path(name), text, mode, owner)
        self.say(name, "created" if old is None else "updated")
        return True

    def let_read(self, name: str, owner: Owner) -> None:
        """A file of root's alone, as `rport enroll` writes it, is for the owner's group to read, too."""
        path = self.path(name)
        if not owner.group or not self.has(name):
            return
        status = os.stat(path)
        if status.st_uid or status.st_gid or status.st_mode & 0o044:
            return
        if not self.dry:
            os.chown(path, 0, owner.group)
            os.chmod(path, stat.S_IMODE(status.st_mode) | 0o040)
        self.say(name, "given to the group of the service")

    def _replace(self, path: str, text: str, mode: int, owner: Owner) -> None:
        temporary = f"{path}.{os.getpid()}"  # systemd reads no unit with such a name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            os.chown(temporary, owner.user or 0, owner.group or 0)
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def remove(self, name: str) -> bool:
        """A file, or a directory with all in it. Whether it was there."""
        path = self.path(name)
        if not self.has(name):
            return False
        if not self.dry:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        self.say(name, "removed")
        return True

    # --- commands ----------------------------------------------------------------------------------------------------

    def systemctl(self, *words: str) -> None:
        """Says what it ran. Raises UsageError with what systemctl said when it failed."""
        self.run("systemctl", *([] if self.here else [f"--root={self.root}"]), *words)
        self.say(f"systemctl {' '.join(words)}", "done")

    def ask(self, *words: str) -> str:
        """What systemctl prints, whether or not it likes it; nothing when it is not installed."""
        try:
            where = [] if self.here else [f"--root={self.root}"]
            return subprocess.run(["systemctl", *where, *words], capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""

    def run(self, *argv: str) -> None:
        """Raises UsageError with what it said, in a line."""
        if self.dry:
            return
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError as error:
            raise UsageError(f"{argv[0]}: {error.strerror}") from None
        if done.returncode:
            said = _first_line(done.stderr) or f"exit code {done.returncode}"
            raise UsageError(f"{' '.join(argv)}: {said}")


def _first_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[0] if lines else ""
