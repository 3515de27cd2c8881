"""Short lists come in pages as long ones do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import done
from tests.support.programs import Server

Keep = Callable[[Any], Any]

pytestmark = pytest.mark.e2e

LISTS = {
    "/enrolments": {"server": "https://rport.example.com"},
    "/webhooks": {"url": "https://hook.example.com", "types": ["client.connected"]},
    "/clients/web-1/credentials": {"kind": "secret"},
}


@pytest.mark.parametrize("path", LISTS)
def test_each_comes_once(keep: Keep, tmp_path: Path, path: str) -> None:
    server = keep(Server(tmp_path))
    done(server, "POST", "/clients", {"id": "web-1"})
    for _ in range(5):
        done(server, "POST", path, LISTS[path])
    whole = done(server, "GET", path)
    assert (len(whole["items"]), whole["next"]) == (5, None)
    pages, cursor = list[list[Any]](), ""
    while True:
        page = done(server, "GET", f"{path}?limit=2&cursor={cursor}")
        pages.append(page["items"])
        if not (cursor := page["next"]):
            break
    assert [len(items) for items in pages] == [2, 2, 1]
    assert [item for items in pages for item in items] == whole["items"]
