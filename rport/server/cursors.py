"""Where a page of a list ends, as its cursor says it. Pure.

Of numbered rows it is the last one's number; of other lists it is what the last item is sorted by, as JSON in Base64.
"""

import base64
import binascii
import json
from typing import Any

from rport.server.errors import Unprocessable

ADVICE = "cursor: give the `next` of a page of the same list and order, or leave it out to begin anew"


class BadCursor(Unprocessable):
    """It is none of this list in this order."""

    kind = "bad-cursor"

    def __init__(self) -> None:
        super().__init__(ADVICE)


def row_behind(cursor: str | None) -> int | None:
    """The number that it says; None at the beginning. Raises BadCursor."""
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):  # so that both databases take the number
        raise BadCursor
    return int(cursor)


def write(place: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read(cursor: str) -> list[Any]:
    """What write() was given; whoever made it up may have put anything there. Raises BadCursor."""
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise BadCursor from None
    if not isinstance(place, list):
        raise BadCursor
    return place
