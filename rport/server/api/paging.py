"""Lists in pages: a page ends with a cursor, and the next one begins behind what that names. Pure.

What comes and goes between two pages neither shifts the others nor shows one twice.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from rport.server import cursors
from rport.server.cursors import BadCursor

T = TypeVar("T")
Key = list[str | float]

Limit = Annotated[int, Query(description="items on a page", ge=1, le=1000, examples=[100])]
Cursor = Annotated[
    str | None,
    Query(description="the `next` of the page before; left out or empty = from the beginning", max_length=2048),
]


def part(items: Sequence[T], key: Callable[[T], Key], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """Of `items`, in the order of `key`, those behind the cursor; and the next cursor. Raises BadCursor."""
    if cursor:
        after = cursors.read(cursor)
        try:
            items = [item for item in items if key(item) > after]
        except TypeError:
            raise BadCursor from None
    found = list(items[:limit])
    return found, cursors.write(key(found[-1])) if len(items) > limit else None


def sorted_part(
    items: Iterable[T], key: Callable[[T], Key], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """The same of items in any order. Raises BadCursor."""
    return part(sorted(items, key=key), key, limit, cursor)
