"""What a machine tells of itself: what it is called, and what runs there (PROTOCOL.md, section 8).

Both ends read and write it here. What identifies, `id` and `tags`, has a form; all else is text for humans.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rport import control
from rport.errors import ProtocolError, UsageError
from rport.text import quote

NAME_MAX = 64  # characters: a host name's label has 63
TEXT_MAX = 256  # characters of a text; the longest name of a distribution has some 60
TAGS_MAX = 32  # what sorts machines, not a data base
ADDRESSES_MAX = 32  # a host of containers has more, of which nobody wants to read

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TAG = r"[A-Za-z0-9._:/=@+-]{1,64}"  # one's own, one that administrators give, and one that says whom a user sees


class Facts(NamedTuple):
    """Empty where nothing was told. `addresses` are in their canonical spelling; `tags` are each there once."""

    id: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    os: str = ""
    os_version: str = ""
    kernel: str = ""
    arch: str = ""
    hostname: str = ""
    addresses: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, object]:
        """As it stands in a hello; also fit for JSON."""
        told = {key: value for key, value in self._asdict().items() if value}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}

    @classmethod
    def from_wire(cls, message: Mapping[str, object]) -> "Facts":
        """What of it stands in a message. Raises ProtocolError."""
        given = {key: clean(_text(message, key, TEXT_MAX)) for key in _TEXTS}
        try:
            return cls(
                id=parse_id(_text(message, "id", TEXT_MAX)) if "id" in message else "",
                name=clean(_text(message, "name", NAME_MAX)),
                tags=_once(parse_tag(tag) for tag in _texts(message, "tags", TAGS_MAX)),
                addresses=_once(_address(text) for text in _texts(message, "addresses", ADDRESSES_MAX)),
                **given,
            )
        except UsageError as error:
            raise ProtocolError(f"unfit facts: {error}") from None


_TEXTS = ("os", "os_version", "kernel", "arch", "hostname")


def parse_id(text: str) -> str:
    """Raises UsageError."""
    if not _ID.fullmatch(text):
        raise UsageError(f"{quote(text)} is no id: give 1 to 64 of A-Z a-z 0-9 . _ -, a letter or a digit first")
    return text


def parse_name(text: str) -> str:
    """Raises UsageError."""
    if not text.strip() or not text.isprintable() or len(text) > NAME_MAX:
        raise UsageError(f"{quote(text)} is no name: give 1 to {NAME_MAX} characters that can be shown")
    return text.strip()


def parse_tag(text: str) -> str:
    """Raises UsageError."""
    if not re.fullmatch(TAG, text):
        raise UsageError(f"{quote(text)} is no tag: give 1 to 64 of A-Z a-z 0-9 . _ : / = @ + -, such as site=berlin")
    return text


def clean(text: str, size: int = TEXT_MAX) -> str:
    """Fit to be shown on one line: what cannot be shown is a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text.strip())[:size]


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _text(message: Mapping[str, object], key: str, size: int) -> str:
    return _measured(control.get_str(message, key, ""), key, size)


def _texts(message: Mapping[str, object], key: str, count: int) -> list[str]:
    found = control.get_list(message, key, [])
    if len(found) > count:
        raise ProtocolError(f"{len(found)} {key}, {count} are allowed")
    return [_measured(control.get_str({key: item}, key), key, TEXT_MAX) for item in found]


def _measured(text: str, key: str, size: int) -> str:
    if len(text) > size:
        raise ProtocolError(f'control message whose "{key}" has {len(text)} characters, {size} are allowed')
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ProtocolError(f"{quote(text)} is no address") from None
