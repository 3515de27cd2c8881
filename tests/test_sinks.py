import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rport.errors import UsageError
from rport.sinks import File, Stream


@contextlib.contextmanager
def opened(path: Path) -> Iterator[File]:
    sink = File(str(path))
    yield sink
    sink.close()


def test_a_renamed_file_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with opened(path) as sink:
        assert sink.write(b"one")
        path.rename(tmp_path / "log.1")
        assert sink.write(b"two")
        path.unlink()
        assert sink.write(b"three")
    assert (tmp_path / "log.1").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_a_file_that_is_cut_short_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with opened(path) as sink:
        sink.write(b"one")
        os.truncate(path, 0)
        sink.write(b"two")
    assert path.read_bytes() == b"two\n"


def test_what_was_there_stays_and_others_cannot_read_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    before = os.umask(0o022)
    try:
        for line in (b"one", b"two"):
            with opened(path) as sink:
                sink.write(line)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", [".", "missing/log", "x\0"])
def test_a_file_that_cannot_be_written_is_named(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    if "\0" in name:
        path = "/proc/self/nothing"
    with pytest.raises(UsageError, match=path):
        File(path)


def test_relative_paths_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path("log")) as sink:
        monkeypatch.chdir("/")
        sink.write(b"one")
        (tmp_path / "log").rename(tmp_path / "log.1")
        sink.write(b"two")
    assert (tmp_path / "log").read_text() == "two\n"


def test_where_no_new_file_can_be_made_the_old_one_serves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory, moved = tmp_path / "d", tmp_path / "m"
    directory.mkdir()
    with opened(directory / "log") as sink:
        directory.rename(moved)
        assert sink.write(b"one")
        assert sink.write(b"two")
        assert capfd.readouterr().err.count("lines go to the file that was there before") == 1
        moved.rename(directory)
        assert sink.write(b"three")
    assert (directory / "log").read_text() == "one\ntwo\nthree\n"


def test_a_full_disk_is_told_once_and_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    sink = File("/dev/full")
    for _ in range(5):
        assert not sink.write(b"one")
    sink.close()
    assert capfd.readouterr().err == (
        "log file /dev/full: No space left on device; lines are left out until it can be written\n"
    )


def test_a_pipe_that_nobody_reads_holds_up_nobody() -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    sink = Stream(writer)
    written = [sink.write(b"x" * 99) for _ in range(2 * size // 100)]
    assert written == sorted(written, reverse=True)
    assert os.read(reader, size) == (b"x" * 99 + b"\n") * written.count(True)
    assert sink.write(b"again")
    assert os.read(reader, size) == b"again\n"
    os.close(reader)
    assert not sink.write(b"gone")
    os.close(writer)


def test_a_torn_line_keeps_to_itself() -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    sink = Stream(writer)
    assert not sink.write(b"x" * (size + 1000))
    assert os.read(reader, size) == b"x" * size
    assert sink.write(b"again")
    assert os.read(reader, size) == b"\nagain\n"
    os.close(reader)
    os.close(writer)
