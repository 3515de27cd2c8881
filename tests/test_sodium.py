import pytest
from nacl import bindings
from nacl.exceptions import CryptoError

from rport import sodium

KEY, NONCE = bytes(range(32)), bytes(range(12))


@pytest.mark.parametrize("size", [0, 1, 16, 4096])
def test_agrees_with_the_library_s_own_functions(size: int) -> None:
    plaintext, ad = bytes(size), b"ad" * (size % 3)
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, ad, NONCE, KEY)
    assert sodium.encrypt(plaintext, ad, NONCE, KEY) == sealed
    assert sodium.decrypt(sealed, ad, NONCE, KEY) == plaintext
    public = bindings.crypto_scalarmult_base(NONCE + KEY[12:])
    assert sodium.public_key(NONCE + KEY[12:]) == public
    assert sodium.shared_secret(KEY, public) == bindings.crypto_scalarmult(KEY, public)


def test_what_fails() -> None:
    sealed = sodium.encrypt(b"text", b"ad", NONCE, KEY)
    for damaged in (sealed[:-1], sealed[1:], b"\0" + sealed[1:], sealed[:15], b""):
        with pytest.raises(sodium.CryptoError):
            sodium.decrypt(damaged, b"ad", NONCE, KEY)
    with pytest.raises(sodium.CryptoError):
        sodium.decrypt(sealed, b"", NONCE, KEY)
    with pytest.raises(CryptoError):
        bindings.crypto_scalarmult(KEY, bytes(32))
    with pytest.raises(sodium.CryptoError):
        sodium.shared_secret(KEY, bytes(32))


def test_lengths_are_checked_before_c_reads_them() -> None:
    for call in (
        lambda: sodium.public_key(KEY[1:]),
        lambda: sodium.shared_secret(KEY, KEY[1:]),
        lambda: sodium.shared_secret(KEY[1:], KEY),
        lambda: sodium.encrypt(b"", b"", NONCE[1:], KEY),
        lambda: sodium.encrypt(b"", b"", NONCE, KEY[1:]),
        lambda: sodium.decrypt(bytes(16), b"", NONCE + b"x", KEY),
        lambda: sodium.decrypt(bytes(16), b"", NONCE, KEY + b"x"),
    ):
        with pytest.raises(ValueError, match="belong"):
            call()
