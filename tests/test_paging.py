"""Lists in parts."""

import base64
import json

import pytest

from rport.server.api.paging import part
from rport.server.cursors import ADVICE, BadCursor


def pages(items: list[int], limit: int) -> list[list[int]]:
    found, cursor = part(items, lambda item: [item], limit, None)
    parts = [found]
    while cursor is not None:
        found, cursor = part(items, lambda item: [item], limit, cursor)
        parts.append(found)
    return parts


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11])
def test_all_parts_are_the_list(limit: int) -> None:
    parts = pages(list(range(10)), limit)
    assert [item for found in parts for item in found] == list(range(10))
    assert all(0 < len(found) <= limit for found in parts)


def test_what_comes_and_goes_between_two_parts() -> None:
    _, cursor = part([10, 20, 30], lambda item: [item], 2, None)
    assert part([5, 20, 25, 30], lambda item: [item], 9, cursor)[0] == [25, 30]
    assert part([], lambda item: [item], 9, cursor) == ([], None)


def test_an_empty_cursor_is_none() -> None:
    assert part([1, 2], lambda item: [item], 9, "") == ([1, 2], None)


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor", ["x", "%", "\xe4", "////", encoded({}), encoded(None), encoded(["a"]), encoded([[1]]), "W" * 300]
)
def test_what_is_no_cursor(cursor: str) -> None:
    with pytest.raises(BadCursor, match=ADVICE):
        part([1, 2, 3], lambda item: [item], 2, cursor)
