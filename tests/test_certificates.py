"""The server's certificate follows its files, and survives what cannot be used."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from rport.errors import UsageError
from rport.server import watch
from rport.server.door.certificates import Certificates
from rport.server.settings import Settings
from tests.support.certificates import Authority

PATIENCE = 10.0  # seconds; only a failing test takes them


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    return [authority.issue("DNS:localhost") for _ in range(2)]


class Place:
    """Where a server's files are."""

    def __init__(self, directory: Path, pair: tuple[Path, Path]) -> None:
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"
        self.put(pair)

    def put(self, pair: tuple[Path, Path]) -> None:
        for path, source in zip((self.cert, self.key), pair, strict=True):
            path.touch(0o600)
            path.write_bytes(source.read_bytes())

    @property
    def settings(self) -> Settings:
        return Settings("", tls_cert=str(self.cert), tls_key=str(self.key))


@pytest.fixture
def place(tmp_path: Path, pairs: list[tuple[Path, Path]]) -> Place:
    return Place(tmp_path, pairs[0])


def follow(certificates: Certificates, change: Callable[[], object], told: Callable[[], bool]) -> None:
    """Keep it fresh while `change` is made, until it is `told`."""

    async def scene() -> None:
        keeping = asyncio.ensure_future(certificates.keep_fresh())
        change()
        async with asyncio.timeout(PATIENCE):
            while not told():
                await asyncio.sleep(0.001)
        keeping.cancel()

    asyncio.run(scene())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.Watch.__init__, "__kwdefaults__", {"poll": 0.005})


def test_a_new_pair_is_used(place: Place, pairs: list[tuple[Path, Path]]) -> None:
    certificates = Certificates(place.settings)
    first = certificates.context
    follow(certificates, lambda: place.put(pairs[1]), lambda: certificates.context is not first)


def test_a_broken_pair_is_not_and_the_next_good_one_is(
    place: Place, pairs: list[tuple[Path, Path]], caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(place.settings)
    first = certificates.context
    follow(certificates, lambda: place.key.write_bytes(pairs[1][1].read_bytes()), lambda: bool(caplog.records))
    assert certificates.context is first
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"--tls-key: the key in {place.key} does not belong to the certificate in {place.cert}; "
        "the certificate that was read before stays in use"
    )
    follow(certificates, lambda: place.put(pairs[1]), lambda: certificates.context is not first)


def test_a_reload_reads_again_and_follows_other_files(
    place: Place, pairs: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    certificates = Certificates(place.settings)
    first = certificates.context
    certificates.reconfigure(place.settings)
    second = certificates.context
    assert second is not first
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other", pairs[0])
    certificates.reconfigure(other.settings)
    third = certificates.context
    assert third is not second
    follow(certificates, lambda: other.put(pairs[1]), lambda: certificates.context is not third)


def test_tls_is_not_switched_by_a_reload(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    without = Certificates(Settings(""))
    assert without.context is None
    asyncio.run(without.keep_fresh())
    without.reconfigure(place.settings)
    assert without.context is None
    certificates = Certificates(place.settings)
    context = certificates.context
    certificates.reconfigure(Settings(""))
    assert certificates.context is context
    assert [record.getMessage() for record in caplog.records] == [
        "--tls-cert: to begin or to end with TLS takes a restart"
    ] * 2


def test_at_the_start_they_must_be_good(place: Place) -> None:
    place.cert.unlink()
    with pytest.raises(UsageError, match="--tls-cert"):
        Certificates(place.settings)
