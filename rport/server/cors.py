"""Origins of web pages (RFC 6454), as `--cors-origin` names them. Pure."""

import re

from rport.errors import UsageError

_FORM = re.compile(r"https?://([a-z0-9]([a-z0-9._-]*)|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT = {"http": ":80", "https": ":443"}


def parse_origin(text: str) -> str:
    """As a browser sends it. Raises UsageError."""
    origin = text.lower().removesuffix("/")
    if not _FORM.fullmatch(origin):
        raise UsageError(f"{text[:80]!r}: give an origin as browsers have it, like https://panel.example.com")
    return origin.removesuffix(_DEFAULT[origin.partition(":")[0]])
