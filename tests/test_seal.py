"""Record protection (PROTOCOL.md, section 4)."""

import json
from collections.abc import Callable
from pathlib import Path

import nacl.bindings
import nacl.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport._seal import CIPHERS, Seal, preferred_ciphers
from rport.errors import ProtocolError
from rport.hkdf import hkdf

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


def test_a_record_is_what_the_protocol_document_says() -> None:
    for cipher, key_size, nonce_size in (("aegis128l", 16, 16), ("aegis256", 32, 32), ("chacha20poly1305", 32, 12)):
        material = hkdf(SECRET, info=f"rport-v2 {cipher}".encode(), length=96)
        sealer = Seal(cipher, SECRET)
        for number in range(3):
            iv = int.from_bytes(material[32 : 32 + nonce_size], "big") ^ number
            sealed = _aead(cipher, "encrypt")(b"octets", b"", iv.to_bytes(nonce_size, "big"), material[:key_size])
            assert sealer.seal_bytes(b"octets") == sealed


def _aead(cipher: str, verb: str) -> Callable[[bytes, bytes, bytes, bytes], bytes]:
    suffix = "_ietf" if cipher == "chacha20poly1305" else ""
    function: Callable[[bytes, bytes, bytes, bytes], bytes] = getattr(
        nacl.bindings, f"crypto_aead_{cipher}{suffix}_{verb}"
    )
    return function


@pytest.mark.parametrize("cipher", ["aegis128l", "aegis256"])
def test_libsodium_s_aegis_agrees_with_the_published_vectors(cipher: str) -> None:
    vectors = json.loads((Path(__file__).parent / "vectors" / "aegis_tag256.json").read_text())[cipher]
    assert len(vectors) > 4
    for vector in vectors:
        key, nonce, ad, ct, tag = (bytes.fromhex(vector[name]) for name in ("key", "nonce", "ad", "ct", "tag"))
        if vector["valid"]:
            message = bytes.fromhex(vector["msg"])
            assert _aead(cipher, "encrypt")(message, ad, nonce, key) == ct + tag
            assert _aead(cipher, "decrypt")(ct + tag, ad, nonce, key) == message
        else:
            with pytest.raises(nacl.exceptions.CryptoError):
                _aead(cipher, "decrypt")(ct + tag, ad, nonce, key)


def test_bad_seals_are_refused() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        Seal("aegis256", b"short")
    with pytest.raises(ValueError, match="unknown cipher"):
        Seal("rot13", SECRET)


def test_secrets_do_not_show() -> None:
    assert SECRET.hex() not in repr(Seal("aegis256", SECRET))


def test_measurement_has_an_answer() -> None:
    ciphers = preferred_ciphers()
    assert ciphers[-1] == "chacha20poly1305"
    assert set(ciphers) <= set(CIPHERS)
