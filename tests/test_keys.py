import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from rport import keys
from rport.errors import UsageError

PUBLIC = bytes(range(32))
PRINT = keys.fingerprint(PUBLIC)


def test_a_seed_gives_the_same_key_for_ever() -> None:
    pair = keys.from_seed("a phrase, \xfcber all")
    assert pair == keys.from_seed("a phrase, \xfcber all")
    assert pair.public == bindings.crypto_scalarmult_base(pair.private)
    # Pinned: users' scripts hold fingerprints that came from seeds.
    assert keys.fingerprint(keys.from_seed("x").public) == (
        "e0:c2:cd:8d:a6:52:58:d7:57:57:5c:1b:b8:d9:4c:8a:92:dd:66:25:5d:e3:c7:64:3c:41:c4:d4:58:89:00:2c"
    )


@pytest.mark.parametrize("seed", ["", "\udcff"])
def test_unfit_seeds(seed: str) -> None:
    with pytest.raises(UsageError, match="the seed is"):
        keys.from_seed(seed)


def test_the_private_key_is_not_printed() -> None:
    pair = keys.from_private(b"k" * 32)
    assert repr(pair) == f"KeyPair(public={pair.public!r})"


def test_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key"
    pair = keys.load_or_create(path)
    assert keys.load_or_create(path) == pair
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["key"]
    assert keys.load_or_create(tmp_path / "other") != pair


def test_mode_does_not_hang_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys.load_or_create(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_many_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda _: keys.load_or_create(tmp_path / "key"), range(32)))
    assert len({pair.private for pair in pairs}) == 1
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_file_open_to_others(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    keys.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"chmod 600 {path}"):
        keys.load_or_create(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"rport-key-1 ",
        b"00" * 32,
        b"rport-key-2 " + b"00" * 32,
        b"rport-key-1 " + b"00" * 31,
        b"rport-key-1 " + b"00" * 33,
        b"rport-key-1 " + b"0g" * 32,
    ],
)
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is damaged") as caught:
        keys.load_or_create(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "file" / "key", "Not a directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=f"{path}: {reason}; set RPORT_STATE_DIR"):
            keys.load_or_create(path)


def test_fingerprint_is_sha256() -> None:
    assert keys.fingerprint(b"").startswith("e3:b0:c4:42:98:fc:1c:14")
    assert len(PRINT) == 32 * 3 - 1


@given(st.integers(16, 64), st.booleans(), st.booleans())
def test_any_beginning_is_recognised(digits: int, colons: bool, upper: bool) -> None:
    text = PRINT.replace(":", "")[:digits]
    if colons:
        text = ":".join(text[index : index + 2] for index in range(0, digits, 2))
    parsed = keys.parse_fingerprint(text.upper() if upper else text)
    assert PRINT.startswith(parsed)
    assert keys.fingerprint_matches(parsed, PRINT)


def test_another_key_does_not_match() -> None:
    other = keys.fingerprint(PUBLIC[::-1])
    assert not keys.fingerprint_matches(other, PRINT)
    assert not keys.fingerprint_matches(PRINT[:-1] + "x", PRINT)
    assert not keys.fingerprint_matches(PRINT + ":00", PRINT)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has 0 hex digits"),
        (PRINT[:20], "has 14 hex digits: give 16 to 64"),
        (PRINT + "00", "has 66"),
        ("SHA256:" + PRINT, "not hex"),
        ("\u0663" * 16, "not hex"),
    ],
)
def test_unfit_fingerprints(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        keys.parse_fingerprint(text)


def test_a_client_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity"
    pair = keys.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load(path) == pair
    with pytest.raises(UsageError, match="is there already"):
        keys.create(path)
    assert keys.load(path) == pair


def test_a_client_key_does_not_replace_a_dangling_link(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is there already"):
        keys.create(path)


def test_a_client_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No such file or directory; make it with: rport key .*identity"):
        keys.load(tmp_path / "identity")
    with pytest.raises(UsageError, match="Is a directory"):
        keys.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Not a directory"):
        keys.create(tmp_path / "file" / "identity")


@given(st.binary(min_size=32, max_size=32))
def test_public_keys_as_text(public: bytes) -> None:
    text = keys.public_text(public)
    assert keys.parse_public(text) == public


@pytest.mark.parametrize(
    "text", ["", "rport-pub-", PUBLIC.hex(), f"rport-pub-{PUBLIC.hex()}0", "rport-pub-" + "zz" * 32, 5]
)
def test_unfit_public_keys(text: object) -> None:
    with pytest.raises(UsageError, match="64 hex digits"):
        keys.parse_public(text)
