"""What peers and users named, made fit for a column of the store, a line of the log and JSON. Pure."""

from collections.abc import Mapping
from typing import Any

TEXT_MAX = 300  # characters of one text in the details of something
ITEMS_MAX = 64  # of one list or object there
DEPTH_MAX = 4


def plain(text: str, limit: int) -> str:
    """No NUL, which PostgreSQL does not take, no half of a character, at most `limit` characters."""
    return text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def plain_data(value: Any, depth: int = 0) -> Any:
    """The same of all texts in it; what is not JSON is shown as its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < DEPTH_MAX:
        if isinstance(value, Mapping):
            items = list(value.items())[:ITEMS_MAX]
            return {plain(str(name), TEXT_MAX): plain_data(item, depth + 1) for name, item in items}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain_data(item, depth + 1) for item in list(value)[:ITEMS_MAX]]
    return plain(str(value), TEXT_MAX)
