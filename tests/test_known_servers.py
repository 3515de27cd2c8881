import os
import stat
from pathlib import Path

import pytest

from rport.errors import UsageError
from rport.keys import fingerprint
from rport.known_servers import check, remember

ONE, TWO = fingerprint(b"1" * 32), fingerprint(b"2" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "known_servers"


def test_new_known_changed(path: Path) -> None:
    assert check(path, "h:1", ONE) == "new"
    remember(path, "h:1", ONE)
    assert check(path, "h:1", ONE) == "known"
    assert check(path, "H:1", ONE) == "known"
    assert check(path, "h:1", TWO) == "changed"
    assert check(path, "h:2", ONE) == "new"


def test_remembering_replaces_one_server_and_keeps_the_rest(path: Path) -> None:
    remember(path, "h:1", ONE)
    path.write_text(f"# mine\n\n{path.read_text()}[::1]:2 {TWO}\n")
    remember(path, "h:1", TWO)
    assert path.read_text() == f"# mine\n\n[::1]:2 {TWO}\nh:1 {TWO}\n"


def test_file_is_private_and_nothing_is_left_beside_it(path: Path) -> None:
    remember(path, "h:1", ONE)
    path.chmod(0o644)
    remember(path, "h:1", TWO)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["known_servers"]


def test_beginnings_and_several_lines(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(f"h:1 {ONE[:23].upper()}\nh:1 {TWO}")
    assert check(path, "h:1", ONE) == "known"
    assert check(path, "h:1", TWO) == "known"
    assert check(path, "h:1", fingerprint(b"")) == "changed"


@pytest.mark.parametrize("line", ["h:1", "h:1 zz", "h:1 aa:bb", f"h:1 {ONE} more"])
def test_malformed_lines_are_named(path: Path, line: str) -> None:
    path.parent.mkdir()
    path.write_text(f"# mine\n{line}\n")
    for use in (check, remember):
        with pytest.raises(UsageError, match=r"known_servers, line 2: not"):
            use(path, "other:1", ONE)
    assert path.read_text() == f"# mine\n{line}\n"


def test_no_text(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not text"):
        check(path, "h:1", ONE)


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"{tmp_path}: Is a directory; set RPORT_STATE_DIR"):
        check(tmp_path, "h:1", ONE)
    with pytest.raises(UsageError, match=r"Not a directory"):
        check(tmp_path / "file" / "known_servers", "h:1", ONE)
    (tmp_path / "directory" / "known_servers").mkdir(parents=True)
    with pytest.raises(UsageError, match="Is a directory"):
        remember(tmp_path / "directory" / "known_servers", "h:1", ONE)


@pytest.mark.parametrize("address", ["", "#h:1", "h :1", "h:1\nx:1"])
def test_unfit_addresses(path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="cannot be remembered"):
        remember(path, address, ONE)
