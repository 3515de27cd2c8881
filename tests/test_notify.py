"""What a service manager hears; tests/e2e/test_service.py has the programs."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from rport.notify import Supervisor
from tests.support.manager import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_status_cannot_be_another_message(manager: Manager) -> None:
    supervisor = Supervisor(lambda: "a\nMAINPID=1", dict(manager.env))
    supervisor.ready()
    supervisor.close()
    assert manager.listen() == ["READY=1\nSTATUS=a\\nMAINPID=1"]


def test_many_changes_are_one_message(manager: Manager) -> None:
    async def work() -> None:
        count = 0
        supervisor = Supervisor(lambda: str(count), dict(manager.env))
        for count in range(1000):  # noqa: B007  describe() looks at it
            supervisor.changed()
        while not manager.listen():
            await asyncio.sleep(0.01)
        supervisor.close()

    run(work())
    assert manager.listen() == ["STATUS=999"]


def test_a_change_to_the_same_is_none(manager: Manager) -> None:
    async def work() -> None:
        said = ["a"]
        supervisor = Supervisor(lambda: said[0], dict(manager.env))
        supervisor.ready()
        supervisor.changed()
        supervisor._tell()
        said[0] = "b"
        supervisor._tell()
        supervisor.close()

    run(work())
    assert manager.listen() == ["READY=1\nSTATUS=a", "STATUS=b"]


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "9" * 4000},
        {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_is_not_ours_hears_nothing(manager: Manager, watchdog: dict[str, str]) -> None:
    environ = {**manager.env, **watchdog}
    supervisor = Supervisor(lambda: "", environ)
    assert environ == {}
    supervisor.ready()
    supervisor.close()
    assert manager.beats == 0


def test_beats_until_it_is_closed(manager: Manager) -> None:
    async def work() -> None:
        environ = {**manager.env, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())}
        supervisor = Supervisor(lambda: "", environ)
        supervisor.ready()
        while manager.beats < 3:
            await asyncio.sleep(0.001)
        supervisor.close()
        supervisor.close()

    run(work())


def test_nobody_listens(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "none")}, {"NOTIFY_SOCKET": "/" + "x" * 300}):
        supervisor = Supervisor(lambda: "", environ)
        supervisor.ready()
        supervisor.reloading()
        supervisor.changed()
        supervisor.close()
    assert len(caplog.messages) == 2


def test_a_manager_that_goes(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(lambda: "", dict(manager.env))
    manager.close()
    supervisor.ready()
    supervisor.close()
    assert caplog.messages == ["The service manager does not hear READY=1: Connection refused"]
