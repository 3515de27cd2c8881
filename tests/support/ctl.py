"""rportctl, run to its end within the tests' process."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rport.ctl import cli
from tests.support.api_double import ApiDouble


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Ctl:
    """Of a user with an own home, asking `double`."""

    def __init__(self, double: ApiDouble, capfd: pytest.CaptureFixture[str]) -> None:
        self.double = double
        self._capfd = capfd

    def __call__(self, *argv: str) -> Done:
        try:
            code = cli.main(argv)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Done(code, *self._capfd.readouterr())


@pytest.fixture
def ctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Ctl]:
    double = ApiDouble()
    for name in ("PROFILE", "TOKEN", "CA", "INSECURE", "TIMEOUT", "JSON"):
        monkeypatch.delenv(f"RPORT_{name}", raising=False)
    monkeypatch.setenv("RPORT_URL", double.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    yield Ctl(double, capfd)
    double.close()
