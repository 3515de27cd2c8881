"""Changes of real files, made in the ways in which editors, installers and orchestrators make them."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rport.server.watch import RESTLESS_MAX, Watch

PATIENCE = 10.0  # seconds; only a failing test takes them
POLL = 0.005


def tells(watch: Watch, change: Callable[[], object]) -> None:
    """The change is told, once."""

    async def scene() -> None:
        waiting = asyncio.ensure_future(watch.changed())
        await asyncio.sleep(0)
        change()
        await asyncio.wait_for(waiting, PATIENCE)
        again = asyncio.ensure_future(watch.changed())
        await asyncio.wait({again}, timeout=5 * POLL)
        assert not again.done()
        again.cancel()

    asyncio.run(scene())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("old")
    os.utime(path, (0, 0))  # many a kernel gives what changes within some milliseconds one and the same time
    return path


def rename_over(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("longer"),
        lambda path: path.write_text("new"),
        lambda path: rename_over(path, "new"),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o600),
        lambda path: (path.unlink(), path.symlink_to(os.devnull)),
    ],
    ids=["longer", "of the same size", "renamed over", "gone", "other rights", "a link now"],
)
def test_a_change_is_told(path: Path, change: Callable[[Path], object]) -> None:
    path.chmod(0o644)
    tells(Watch(str(path), poll=POLL), lambda: change(path))


def test_of_several_each_counts(path: Path) -> None:
    other = path.with_name("other")
    watch = Watch(str(path), str(other), poll=POLL)
    tells(watch, lambda: other.write_text("there now"))
    tells(watch, lambda: path.write_text("newer"))


def test_a_swapped_directory(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets: file -> ..data/file, ..data -> a directory that is exchanged as a whole."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "file").symlink_to("..data/file")

    def swap() -> None:
        (tmp_path / "..tmp").symlink_to("two")
        (tmp_path / "..tmp").rename(tmp_path / "..data")

    tells(Watch(str(tmp_path / "file"), poll=POLL), swap)


def test_a_relative_path_stays_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    watch = Watch("file", poll=POLL)
    monkeypatch.chdir("/")
    tells(watch, lambda: path.write_text("newer"))


def test_a_change_before_the_first_wait_counts(path: Path) -> None:
    watch = Watch(str(path), poll=POLL)
    path.write_text("newer")
    tells(watch, lambda: None)


def test_it_may_start_over_with_others(path: Path) -> None:
    other = path.with_name("other")
    watch = Watch(str(path), poll=POLL)
    path.write_text("newer")
    watch.start_over(str(other))
    tells(watch, lambda: other.write_text("there now"))


def test_a_file_that_never_rests_is_told_in_the_end(path: Path) -> None:
    async def scene() -> int:
        watch = Watch(str(path), poll=POLL)
        waiting, writes = asyncio.ensure_future(watch.changed()), 0
        while not waiting.done() and writes < 10_000:
            with path.open("a") as file:
                file.write("more")
            writes += 1
            await asyncio.sleep(POLL / 5)
        return writes

    assert RESTLESS_MAX <= asyncio.run(scene()) < 10_000
