"""The configuration file that `rport enroll` writes, or finds to be the right one already."""

import argparse
import json
import os
import stat
from typing import NamedTuple

from rport import files
from rport.client.options import TABLE
from rport.client.settings import Settings
from rport.config import NO_FILE, File, given
from rport.errors import UsageError
from rport.facts import parse_name
from rport.options import Option, path, value_of

# What the next connection needs as much as this one does.
CONNECTION = ("proxy", "header", "hostname", "tls-ca", "tls-cert", "tls-key", "tls-server-name")


class Place(NamedTuple):
    """Where the file is to be (None: nowhere), and what is there already."""

    path: str | None
    usual: bool  # rport finds it without being told
    lines: list[str]
    old: str | None = None  # the text of a file that sets nothing, which stays below
    same: bool = False  # it is this machine's already
    id: str | None = None  # that it says

    @classmethod
    def find(cls, words: argparse.Namespace, settings: Settings) -> "Place":
        """Raises UsageError where somebody else's file is in the way; nobody has been asked for anything by then."""
        assert settings.identity is not None
        lines = _lines(words, settings)
        named = value_of(TABLE.options[0], given(TABLE.options[0], words, os.environ, None))
        if named == NO_FILE:
            return cls(None, False, lines)
        where = os.path.abspath(named) if named else _usual()
        place = cls(where, not named, lines)
        if words.force or not os.path.lexists(where):
            return place
        file = File.load(where, TABLE)
        if file.empty:
            return place._replace(old=files.read(where, 1 << 20, "configuration file"))
        there = TABLE.resolve(argparse.Namespace(), {}, file)[0]
        if any(there[name] != getattr(settings, name) for name in ("server", "fingerprint", "identity")):
            raise UsageError(
                f"{where} is there already, and is about something else: name another with --config, or --force"
            )
        return place._replace(same=True, id=there["id"])

    def write(self, client: str, name: str) -> str:
        """`written` or `unchanged`; the text itself where it is written nowhere. Raises UsageError."""
        text = "".join(f"{line}\n" for line in [*self.lines, *_named(client, name)])
        if self.path is None:
            return text
        if self.same and self.id not in (None, client):
            raise UsageError(f"{self.path} has the id {self.id}, and the server says {client}; --force writes that")
        if not self.same:
            self._write(self.path, f"{text}\n{self.old}" if self.old else text)
        return "unchanged" if self.same else "written"

    def _write(self, where: str, text: str) -> None:
        try:
            before = os.stat(where) if os.path.exists(where) else None
            os.makedirs(os.path.dirname(where), mode=0o755, exist_ok=True)
            files.write(where, text, replace=True)
            if before is not None and self.usual and os.geteuid() == 0:  # the service reads it by its group
                os.chown(where, before.st_uid, before.st_gid)
                os.chmod(where, stat.S_IMODE(before.st_mode) & 0o660)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"{where} cannot be written: {reason}; the machine is known now: mend that, and type the same again"
            ) from None


def _usual() -> str:
    """Root's is the system's. Raises UsageError."""
    if os.geteuid() == 0:
        from rport.install.units import PROGRAMS

        return PROGRAMS[TABLE.prog].config
    return TABLE.places(os.environ)[0]


def _lines(words: argparse.Namespace, settings: Settings) -> list[str]:
    """What is known before the server has answered."""
    assert settings.identity is not None
    address = settings.address
    where = f"{'https' if address.tls else 'http'}://{address.netloc}{'' if address.path == '/' else address.path}"
    lines = [_line("server", where), _line("fingerprint", settings.fingerprint or "")]
    lines.append(_line("identity", settings.identity))
    for name in ("tag", *CONNECTION, "tls-insecure"):
        option = TABLE.find(name)
        assert option is not None
        texts = [_lasting(option, item.text) for item in given(option, words, os.environ, None) or ()]
        if option.flag and value_of(option, given(option, words, os.environ, None)):
            lines.append(f"{name} = true")
        elif texts and not option.flag:
            lines.append(f"{name} = [{', '.join(map(_quoted, texts))}]" if option.many else _line(name, texts[0]))
    return lines


def _named(client: str, name: str) -> list[str]:
    lines = [_line("id", client)]
    try:
        return [*lines, _line("name", parse_name(name))]
    except UsageError:  # there is none
        return lines


def _lasting(option: Option, text: str) -> str:
    """Good wherever rport is started."""
    if option.hint == "file":
        return os.path.abspath(path(text))
    if option.secret and text.startswith("@") and not text.startswith("@@"):
        return "@" + os.path.abspath(text[1:])
    return text


def _line(name: str, text: str) -> str:
    return f"{name} = {_quoted(text)}"


def _quoted(text: str) -> str:
    """As TOML has it; JSON leaves DEL as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
