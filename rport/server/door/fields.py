"""The fields of an HTTP head as a parser gives them (RFC 9110, section 5). Pure."""

from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case


def values(headers: Headers, wanted: bytes) -> list[bytes]:
    """Of each field of that name."""
    return [value.strip() for name, value in headers if name == wanted]


def elements(headers: Headers, wanted: bytes) -> list[bytes]:
    """All of a list, which may be given in more than one field (section 5.3)."""
    return [item for value in values(headers, wanted) for part in value.split(b",") if (item := part.strip())]
