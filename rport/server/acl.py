"""Where a user, or a client's key, may have the server listen. Pure.

A rule is a regular expression that is searched in the listening address as the server binds it, `lhost:lport`, and in
the port alone. What is matched is the parsed address in its one spelling, never the text that a peer chose.
"""

import functools
import ipaddress
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

from rport.hosts import listen_address

PATTERN_MAX = 1024  # characters: a longer list of ports belongs into several rules
EVERYTHING = ("", "*")


@dataclass(frozen=True, slots=True)
class Acl:
    """Rules, one of which has to match; without any nothing is allowed. Two are equal when their texts are."""

    texts: tuple[str, ...]
    _patterns: tuple[re.Pattern[str], ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, texts: object) -> "Acl":
        """From a list of texts. Raises ValueError that says what is wrong with which."""
        if not isinstance(texts, Sequence) or isinstance(texts, str):
            raise ValueError('give a list of regular expressions, such as ["^0\\\\.0\\\\.0\\\\.0:2222$"]')
        return cls(tuple(texts), tuple(map(_compile, texts)))

    def allow(self, host: str, port: int) -> bool:
        """Whether the server may listen on `host`, an address or localhost; a name is never listened on."""
        try:
            where = shown_address(host, port)
        except ValueError:
            return False
        return any(pattern.search(where) or pattern.search(str(port)) for pattern in self._patterns)


def shown_address(host: str, port: int) -> str:
    """What rules are searched in: an IPv6 address in brackets and without its zone. Raises ValueError for a name.

    A zone says on which link the address is, may be written as a number or a name, and would let its writer put digits
    of his choice into the text.
    """
    return f"{_shown_host(host)}:{port}"


@functools.lru_cache(maxsize=256)  # a search for a port asks of the same one thousands of times
def _shown_host(host: str) -> str:
    address = listen_address(host)
    return f"[{ipaddress.IPv6Address(int(address))}]" if address.version == 6 else str(address)


def _compile(text: object) -> re.Pattern[str]:
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.40} is no text: a rule is a regular expression in quotes")
    if len(text) > PATTERN_MAX:
        raise ValueError(f"a rule of {len(text)} characters: {PATTERN_MAX} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a later Python may read it otherwise is nothing for the log
            return re.compile("" if text in EVERYTHING else text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the rule {text!r} is no regular expression: {error}") from None


ANYWHERE = Acl.parse(["*"])
