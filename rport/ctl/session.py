"""What a command works with: the API of the server that is meant, and the way to show what came."""

import json
import sys
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rport.ctl.command import Words
from rport.errors import UsageError
from rport.text import escape

if TYPE_CHECKING:
    from rport.ctl.api import Api
    from rport.ctl.place import Place
    from rport.ctl.profiles import Profiles


class Session:
    """Of one command."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.json: bool = words.json
        self._warned: set[str] = set()

    @cached_property
    def profiles(self) -> "Profiles":
        from rport.ctl.profiles import Profiles

        return Profiles.load()

    @cached_property
    def profile(self) -> str | None:
        """The name of the one that is meant. Raises NotFound and UsageError."""
        if self.words.profile is not None:
            self.profiles.get(self.words.profile)
            return str(self.words.profile)
        if self.words.url is None:
            return self.profiles.current
        place = _read(self.words.url)
        return next((name for name, one in self.profiles.all.items() if _read(one["url"]) == place), None)

    @cached_property
    def api(self) -> "Api":
        """Raises UsageError where nobody said which server."""
        name = self.profile
        if name is None and self.words.url is None:
            if known := ", ".join(sorted(self.profiles.all)):
                raise UsageError(f"which server? there are {known}; `rportctl profile use NAME`, or --profile")
            raise UsageError("which server? `rportctl login URL` remembers one; --url and RPORT_URL name one")
        profile = self.profiles.get(name) if name is not None else {}
        token = self.words.token
        if token is None and name is not None:
            token = self.profiles.token(name)
        return self.open(_read(self.words.url or profile["url"]), token, profile)

    def open(self, place: "Place", token: str | None, profile: dict[str, Any]) -> "Api":
        """The API there; how far its certificate is trusted, the words say, or the profile."""
        from rport.ctl.api import Api

        insecure = self.words.insecure or bool(profile.get("insecure"))
        if place.tls and insecure:
            self.warn("--insecure: whoever is on the way to the server can read and change all, the login too")
        elif not place.tls and token is not None and not place.is_here:
            self.warn(f"{place.url} is not encrypted: whoever is on the way can read the login; use https://")
        return Api(
            place,
            {"Authorization": f"Bearer {token}"} if token is not None else {},
            timeout=self.words.timeout,
            ca=self.words.ca or profile.get("ca"),
            insecure=insecure,
        )

    def warn(self, text: str) -> None:
        """On stderr, once."""
        if text not in self._warned:
            self._warned.add(text)
            print(f"rportctl: {escape(text)}", file=sys.stderr)

    def show(self, document: Any, lines: Iterable[str]) -> None:
        """JSON where that is wanted; else the lines, which are made only then. Others wrote parts of both."""
        if self.json:
            print(json.dumps(document, indent=2))
            return
        for line in lines:
            print(escape(line))

    def done(self, document: Any, text: str) -> None:
        """As show(), of one line."""
        self.show(document, (text,))


def _read(url: str) -> "Place":
    from rport.ctl.place import read_place

    return read_place(url)
