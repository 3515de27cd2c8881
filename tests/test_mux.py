"""Record protection and the numbers that the core was compiled with (PROTOCOL.md, sections 4 and 9)."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport._mux import CIPHERS, Seal, constants, prefers_aegis
from rport.errors import ProtocolError

SECRET = bytes(range(32))


def pair(cipher: str) -> tuple[Seal, Seal]:
    return Seal(cipher, SECRET), Seal(cipher, SECRET)


@pytest.mark.parametrize("cipher", CIPHERS)
@given(plaintexts=st.lists(st.binary(max_size=3000), max_size=6))
def test_records_open_in_order(cipher: str, plaintexts: list[bytes]) -> None:
    sealer, opener = pair(cipher)
    for number, plaintext in enumerate(plaintexts):
        assert opener.number == number
        sealed = sealer.seal_bytes(plaintext)
        assert len(sealed) > len(plaintext)
        assert opener.open_bytes(sealed) == plaintext


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_flipped_byte_is_noticed_and_moves_nothing(cipher: str) -> None:
    sealer, opener = pair(cipher)
    sealed = sealer.seal_bytes(b"a record of some length")
    for position in range(len(sealed)):
        broken = bytearray(sealed)
        broken[position] ^= 1
        with pytest.raises(ProtocolError):
            opener.open_bytes(bytes(broken))
    assert opener.number == 0
    assert opener.open_bytes(sealed) == b"a record of some length"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_replayed_skipped_and_cut_records_are_refused(cipher: str) -> None:
    sealer, opener = pair(cipher)
    first, second, third = (sealer.seal_bytes(text) for text in (b"1", b"2", b"3"))
    assert opener.open_bytes(first) == b"1"
    for wrong in (first, third, second[:-1], second + b"x", b"", second[:5]):
        with pytest.raises(ProtocolError):
            opener.open_bytes(wrong)
    assert opener.open_bytes(second) == b"2"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_rekey_changes_the_key_at_both_ends_and_numbers_go_on(cipher: str) -> None:
    sealer, opener = pair(cipher)
    before = sealer.seal_bytes(b"same")
    assert opener.open_bytes(before) == b"same"
    sealer.rekey(1.0)
    after = sealer.seal_bytes(b"same")
    with pytest.raises(ProtocolError):
        opener.open_bytes(after)
    opener.rekey(1.0)
    assert opener.open_bytes(after) == b"same"
    assert (opener.number, opener.records) == (2, 1)


def test_directions_and_ciphers_do_not_mix() -> None:
    sealed = Seal("aegis256", SECRET).seal_bytes(b"x" * 64)
    for opener in (Seal("chacha20poly1305", SECRET), Seal("aegis256", bytes(32))):
        with pytest.raises(ProtocolError):
            opener.open_bytes(sealed)


def test_bad_seals_are_refused() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        Seal("aegis256", b"short")
    with pytest.raises(ValueError, match="unknown cipher"):
        Seal("rot13", SECRET)


def test_secrets_do_not_show() -> None:
    assert SECRET.hex() not in repr(Seal("aegis256", SECRET))


def test_measurement_has_an_answer() -> None:
    assert prefers_aegis() in (True, False)


def test_numbers_are_those_of_the_protocol_document() -> None:
    text = (Path(__file__).parent.parent / "PROTOCOL.md").read_text()
    written = {
        name: int(value.replace(",", "")) for name, value in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.M)
    }
    assert constants() == written
