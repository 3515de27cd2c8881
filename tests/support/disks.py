"""Disks that fill up, or cannot be written: a small one of its own in memory, for as long as a block takes."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """A tmpfs at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """To the last octet; free() takes it back."""
        with contextlib.suppress(OSError), open(self.path / "filler", "ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        (self.path / "filler").unlink()

    def remount(self, *options: str) -> None:
        subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(self.path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, size: int = 2 << 20) -> Iterator[Disk]:
    """Skips the test where nothing may be mounted."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes rights that are not here")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


class FailingDisk(Disk):
    """An ext4 file system in a file. Files that are open for writing keep a tmpfs from becoming read-only."""

    def __init__(self, path: Path, image: Path) -> None:
        super().__init__(path)
        self._image = image

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True, capture_output=True)

    def fail(self) -> None:
        """As after an error of the device: read-only at once, whatever is open."""
        self.remount("abort")

    def mend(self) -> None:
        """When nobody has a file open there any more."""
        subprocess.run(["umount", str(self.path)], check=True)
        done = subprocess.run(["e2fsck", "-fy", str(self._image)], capture_output=True)
        assert done.returncode in (0, 1), done.stdout  # 1: it has mended something
        self.mount()


@contextlib.contextmanager
def failing_disk(path: Path, size: int = 16 << 20) -> Iterator[FailingDisk]:
    """Skips the test where nothing may be mounted."""
    path.mkdir()
    image = path.with_suffix(".image")
    with open(image, "wb") as file:
        file.truncate(size)
    disk = FailingDisk(path, image)
    try:
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
        disk.mount()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk that fails takes e2fsprogs, and rights that are not here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
        image.unlink()
