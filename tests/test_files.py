import os
import stat
from pathlib import Path

import pytest

from rport import files


def test_directories_and_file_are_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    files.write(path, "text", replace=True)
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["c"]


def test_a_file_that_is_there_is_replaced_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "c"
    for replace, content in ((False, "one"), (False, "one"), (True, "three")):
        files.write(str(path), content if replace or not path.exists() else "two", replace=replace)
        assert path.read_text() == content
        assert os.listdir(tmp_path) == ["c"]


def test_a_name_alone_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write("c", "text", replace=True)
    assert (tmp_path / "c").read_text() == "text"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.write(tmp_path / "file" / "c", "text", replace=True)
    with pytest.raises(NotADirectoryError):
        files.write(tmp_path / "file" / "directory" / "c", "text", replace=False)
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write(tmp_path / "directory", "text", replace=True)
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]
