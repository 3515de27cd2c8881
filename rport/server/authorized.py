"""Client keys that are let in: a TOML file of `[[key]]` tables. Pure, but for reading the file.

[[key]]
name = "laptop"
public = "rport-pub-..."
listen = ["^0\\\\.0\\\\.0\\\\.0:2222$"]     # as in the authfile; left out = everywhere
from = ["192.0.2.0/24"]              # where the client may come from; left out = from anywhere
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from rport import files
from rport.errors import UsageError
from rport.keys import parse_public
from rport.server.acl import ANYWHERE, Acl
from rport.server.networks import Network, is_within, parse_network

FILE_MAX = 4 << 20  # octets
KEYS_MAX = 65536  # a fleet with a key for each device
NAME_MAX = 64  # characters: it stands in log lines
SOURCES_MAX = 256

_EXPECTED = {
    "name": 'a text such as "laptop"',
    "public": 'the line that `rport key` printed, "rport-pub-..."',
    "listen": 'a list of regular expressions, such as [":2222$"]',
    "from": 'a list of networks, such as ["192.0.2.0/24"]',
}


@dataclass(frozen=True, slots=True)
class ClientKey:
    """`sources` None: from anywhere."""

    name: str
    public: bytes
    listen: Acl = ANYWHERE
    sources: tuple[Network, ...] | None = None

    def comes_from(self, address: str) -> bool:
        """Whether a client at that address may use it."""
        return self.sources is None or is_within(address, self.sources)


class AuthorizedKeys:
    """By public key; none at all is possible, and lets nobody in."""

    def __init__(self, keys: Iterable[ClientKey] = ()) -> None:
        self._keys = {key.public: key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, public: bytes) -> ClientKey | None:
        return self._keys.get(public)


def load_keys(path: str | None) -> AuthorizedKeys | None:
    """None without a file. Raises UsageError."""
    if path is None:
        return None
    return parse_keys(files.read(path, FILE_MAX, "authorized-keys file"), path)


def parse_keys(text: str, path: str) -> AuthorizedKeys:
    """Raises UsageError that names `path`, the entry and what was expected."""
    where = f"authorized-keys file {path}"
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: this is no TOML: {error}") from None
    for name in data:
        if name != "key":
            raise UsageError(f"{where}: {name[:40]!r} is unknown here: each key is a table that begins with [[key]]")
    tables = data.get("key", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{where}: each key is a table that begins with [[key]], in two brackets")
    if len(tables) > KEYS_MAX:
        raise UsageError(f"{where}: {len(tables)} keys, {KEYS_MAX} are allowed")
    keys = []
    seen: dict[object, str] = {}
    for number, table in enumerate(tables, 1):
        try:
            keys.append(_key(table, seen))
        except ValueError as error:
            name = table.get("name")
            who = f"key {number}" + (f" ({name[:NAME_MAX]!r})" if isinstance(name, str) else "")
            raise UsageError(f"{where}, {who}: {error}") from None
    return AuthorizedKeys(keys)


def _key(table: dict[str, Any], seen: dict[object, str]) -> ClientKey:
    for field in table:
        if field not in _EXPECTED:
            near = get_close_matches(field, _EXPECTED, 1)
            raise ValueError(f"unknown field {field[:40]!r}; " + _suggestion(near))
    name = _name(table)
    try:
        public = parse_public(table.get("public"))
    except UsageError as error:
        raise ValueError(f"public: {error}") from None
    for thing, kind in ((name, "name"), (public, "public key")):
        if thing in seen:
            raise ValueError(f"the same {kind} as that of {seen[thing]!r}")
        seen[thing] = name
    return ClientKey(name, public, _listen(table), _sources(table))


def _suggestion(near: list[str]) -> str:
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(_EXPECTED)}"


def _name(table: dict[str, Any]) -> str:
    name = table.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise ValueError(f"name: give {_EXPECTED['name']}, of at most {NAME_MAX} characters")
    return name


def _listen(table: dict[str, Any]) -> Acl:
    try:
        return Acl.parse(table["listen"]) if "listen" in table else ANYWHERE
    except ValueError as error:
        raise ValueError(f"listen: {error}") from None


def _sources(table: dict[str, Any]) -> tuple[Network, ...] | None:
    if "from" not in table:
        return None
    texts = table["from"]
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"from: give {_EXPECTED['from']}, or leave it out for any")
    if len(texts) > SOURCES_MAX:
        raise ValueError(f"from: {len(texts)} networks, {SOURCES_MAX} are allowed")
    return tuple(map(_network, texts))


def _network(text: object) -> Network:
    try:
        return parse_network(text if isinstance(text, str) else repr(text))
    except UsageError as error:
        raise ValueError(f"from: {error}") from None
