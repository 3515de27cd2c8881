from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.programs import closing_all


@pytest.fixture
def keep() -> Iterator[Callable[[Any], Any]]:
    """Whatever is kept is stopped when the test ends."""
    with closing_all() as keep_:
        yield keep_
