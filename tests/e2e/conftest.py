"""What end-to-end tests share.

A module's SCENARIOS mostly wait for a timeout. They run side by side from its first test on, and its last one, which
takes `scenario`, asks of each how it went.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import closing_all
from tests.support.site import Site

Keep = Callable[[Any], Any]
Scenario = Callable[[Keep, Path], None]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Whatever is kept is stopped when the test ends."""
    with closing_all() as keep_:
        yield keep_


@pytest.fixture
def site(keep: Keep, tmp_path: Path) -> Site:
    return Site(keep, tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scenario" in metafunc.fixturenames:
        scenarios = metafunc.module.SCENARIOS
        metafunc.parametrize("scenario", scenarios, indirect=True, ids=[scenario.__name__ for scenario in scenarios])


@pytest.fixture
def scenario(request: pytest.FixtureRequest, running: dict[Scenario, Future[None]]) -> Future[None]:
    return running[request.param]


@pytest.fixture(scope="module", autouse=True)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Scenario, Future[None]]]:
    """Those of the module's scenarios that are asked for, begun."""

    def run(scenario: Scenario, state: Path) -> None:
        with closing_all() as keep:
            scenario(keep, state)

    calls = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    wanted = [call.params["scenario"] for call in calls if call is not None and "scenario" in call.params]
    with ThreadPoolExecutor(max(len(wanted), 1)) as pool:
        yield {scenario: pool.submit(run, scenario, tmp_path_factory.mktemp("state")) for scenario in wanted}
