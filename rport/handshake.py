"""The key exchange: Noise_NX_25519_ChaChaPoly_BLAKE2b (Noise revision 34), or XX for a client with a key; sans-IO.

Message 1 carries the pattern and the ciphers that the client offers for the records, in the order of its preference;
message 2 the server's static key and its choice; in XX, message 3 the client's static key. Message 1 is in clear, but
hashed: whoever alters it breaks message 2.

Nothing here knows a socket or a clock. A damaged, forged or untimely message raises HandshakeError and nothing else;
the object is of no use afterwards.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from rport import control, sodium
from rport.errors import HandshakeError, ProtocolError
from rport.hkdf import HASH_LEN, hkdf

CHACHA20POLY1305 = "chacha20poly1305"  # every implementation has it; nothing behind it in a list counts

DH_LEN = sodium.KEY_LEN
PAYLOAD_MAX = 4096  # plaintext bytes beside the keys; an offer takes about 50
MESSAGE_MAX = PAYLOAD_MAX + 2 * DH_LEN + 2 * sodium.TAG_LEN
OFFER_MAX = 16  # cipher names

# Noise, section 7.5: the tokens of each message, initiator's first, then in turn.
PATTERNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "NX": (("e",), ("e", "ee", "s", "es")),
    "XX": (("e",), ("e", "ee", "s", "es"), ("s", "se")),
}


def protocol_name(pattern: str) -> str:
    return f"Noise_{pattern}_25519_ChaChaPoly_BLAKE2b"


def prologue(pattern: str) -> bytes:
    """PROTOCOL.md, section 3."""
    return b"rport-v2 " + protocol_name(pattern).encode()


class CipherState:
    """ChaCha20-Poly1305 under one key with a counting nonce (Noise, section 5.1)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._counter = 0

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        sealed = sodium.encrypt(plaintext, ad, self._nonce(), self._key)
        self._counter += 1
        return sealed

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Raises HandshakeError; the counter then stays."""
        try:
            plain = sodium.decrypt(ciphertext, ad, self._nonce(), self._key)
        except sodium.CryptoError as error:
            raise HandshakeError("handshake message damaged or forged") from error
        self._counter += 1
        return plain

    def _nonce(self) -> bytes:
        return bytes(4) + self._counter.to_bytes(8, "little")


class SymmetricState:
    """Chaining key and transcript hash (Noise, section 5.2)."""

    def __init__(self, protocol_name: str) -> None:
        name = protocol_name.encode()
        self.hash = name.ljust(HASH_LEN, b"\0") if len(name) <= HASH_LEN else sodium.blake2b(name)
        self._chaining_key = self.hash
        self._cipher: CipherState | None = None

    def mix_hash(self, data: bytes) -> None:
        self.hash = sodium.blake2b(self.hash + data)

    def mix_key(self, secret: bytes) -> None:
        output = hkdf(secret, salt=self._chaining_key, length=2 * HASH_LEN)
        self._chaining_key = output[:HASH_LEN]
        self._cipher = CipherState(output[HASH_LEN : HASH_LEN + 32])

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        data = self._cipher.encrypt(self.hash, plaintext) if self._cipher else plaintext
        self.mix_hash(data)
        return data

    def decrypt_and_hash(self, data: bytes) -> bytes:
        plaintext = self._cipher.decrypt(self.hash, data) if self._cipher else data
        self.mix_hash(data)
        return plaintext

    @property
    def tag_len(self) -> int:
        """What encryption adds at this point: nothing before the first key."""
        return sodium.TAG_LEN if self._cipher else 0

    def split(self) -> tuple[bytes, bytes]:
        """Two 32-byte keys: initiator to responder, responder to initiator."""
        output = hkdf(b"", salt=self._chaining_key, length=2 * HASH_LEN)
        return output[:32], output[HASH_LEN : HASH_LEN + 32]


class HandshakeState:
    """Both sides of any pattern in PATTERNS (Noise, section 5.3). Private keys are 32 bytes each."""

    def __init__(
        self,
        pattern: str,
        *,
        initiator: bool,
        prologue: bytes,
        static: bytes | None = None,
        ephemeral: bytes | None = None,
    ) -> None:
        self._symmetric = SymmetricState(protocol_name(pattern))
        self._symmetric.mix_hash(prologue)
        self._messages = PATTERNS[pattern]
        self._turn = 0
        self._initiator = initiator
        self._static = static
        self._ephemeral = os.urandom(DH_LEN) if ephemeral is None else ephemeral
        self._remote_ephemeral: bytes | None = None
        self.remote_static: bytes | None = None

    @property
    def hash(self) -> bytes:
        """The transcript hash: 64 bytes that both sides share when all messages are through."""
        return self._symmetric.hash

    def write_message(self, payload: bytes) -> bytes:
        """The next message. Raises HandshakeError when it is not this side's turn, or the peer's key is unfit."""
        message = b""
        for token in self._next_tokens(writing=True):
            if token == "e":
                public = sodium.public_key(self._ephemeral)
                self._symmetric.mix_hash(public)
                message += public
            elif token == "s":
                message += self._symmetric.encrypt_and_hash(sodium.public_key(self._own("s")))
            else:
                self._symmetric.mix_key(self._dh(token))
        return message + self._symmetric.encrypt_and_hash(payload)

    def read_message(self, data: bytes) -> bytes:
        """The payload of the peer's next message. Raises HandshakeError."""
        tokens = self._next_tokens(writing=False)
        if len(data) > MESSAGE_MAX:
            raise HandshakeError(f"handshake message of {len(data)} bytes, {MESSAGE_MAX} are allowed")
        for token in tokens:
            if token == "e":
                self._remote_ephemeral, data = _cut(data, DH_LEN)
                self._symmetric.mix_hash(self._remote_ephemeral)
            elif token == "s":
                sealed, data = _cut(data, DH_LEN + self._symmetric.tag_len)
                self.remote_static = self._symmetric.decrypt_and_hash(sealed)
            else:
                self._symmetric.mix_key(self._dh(token))
        payload = self._symmetric.decrypt_and_hash(data)
        if len(payload) > PAYLOAD_MAX:
            raise HandshakeError(f"handshake payload of {len(payload)} bytes, {PAYLOAD_MAX} are allowed")
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """Two 32-byte keys, to send with and to receive with. Raises HandshakeError before the last message."""
        if self._turn != len(self._messages):
            raise HandshakeError("handshake not finished")
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)

    def _next_tokens(self, *, writing: bool) -> tuple[str, ...]:
        """Take a turn. It is taken even if the message then fails: a broken transcript must not be gone on with."""
        turn = self._turn
        if turn >= len(self._messages) or (turn % 2 == 0) == (self._initiator != writing):
            raise HandshakeError("handshake message out of turn")
        self._turn += 1
        return self._messages[turn]

    def _dh(self, token: str) -> bytes:
        """The token's first letter is the initiator's key, the second the responder's."""
        own, remote = (token[0], token[1]) if self._initiator else (token[1], token[0])
        try:
            return sodium.shared_secret(self._own(own), self._remote(remote))
        except sodium.CryptoError as error:  # the all-zero result of a low-order key
            raise HandshakeError("handshake with an unfit public key") from error

    def _own(self, kind: str) -> bytes:
        key = self._ephemeral if kind == "e" else self._static
        if key is None:
            raise HandshakeError("handshake pattern that needs a static key")
        return key

    def _remote(self, kind: str) -> bytes:
        key = self._remote_ephemeral if kind == "e" else self.remote_static
        if key is None:
            raise HandshakeError("handshake pattern that uses a key before it is sent")
        return key


@dataclass(frozen=True, slots=True)
class HandshakeResult:
    """What both sides agreed on: 32-byte keys, a 64-byte transcript hash, the record cipher's name."""

    cipher: str
    send_key: bytes = field(repr=False)
    recv_key: bytes = field(repr=False)
    handshake_hash: bytes
    remote_static: bytes | None


class Initiator:
    """The client: `message1()` out, `read_message2()` in, and then `message3` out where it is not empty.

    `offer` is in the order of preference; with `static`, a private key, the client shows that key to the server.
    """

    def __init__(self, offer: Sequence[str], *, static: bytes | None = None, ephemeral: bytes | None = None) -> None:
        self._offer = list(offer)
        self._pattern = "NX" if static is None else "XX"
        self._state = HandshakeState(
            self._pattern, initiator=True, prologue=prologue(self._pattern), static=static, ephemeral=ephemeral
        )
        self.message3 = b""

    def message1(self) -> bytes:
        payload: dict[str, object] = {"ciphers": self._offer}
        if self._pattern != "NX":
            payload["pattern"] = self._pattern
        return self._state.write_message(control.pack(payload))

    def read_message2(self, data: bytes) -> HandshakeResult:
        """Raises HandshakeError. `message3` goes out once the server's key was found to be the right one."""
        cipher = _read_choice(self._state.read_message(data))
        if cipher not in self._offer:
            raise HandshakeError("the server chose a cipher that was not offered")
        if self._pattern == "XX":
            self.message3 = self._state.write_message(control.pack({}))
        return _result(self._state, cipher)


class Responder:
    """The server: `read_message1()` in, `message2()` out, with `expects_message3` also `read_message3()` in; then
    `result`. `supported` is in the order of preference."""

    def __init__(self, static_private: bytes, supported: Sequence[str], *, ephemeral: bytes | None = None) -> None:
        self._static, self._ephemeral = static_private, ephemeral
        self._supported = list(supported)
        self._cipher: str | None = None
        self._result: HandshakeResult | None = None
        self._state: HandshakeState | None = None
        self.expects_message3 = False

    def read_message1(self, data: bytes) -> None:
        """Raises HandshakeError, also when no cipher is common."""
        pattern, offer = _read_offer(_cut(data, DH_LEN)[1])
        self._state = HandshakeState(
            pattern, initiator=False, prologue=prologue(pattern), static=self._static, ephemeral=self._ephemeral
        )
        self._state.read_message(data)
        self._cipher = choose_cipher(offer, self._supported)
        self.expects_message3 = pattern == "XX"

    def message2(self) -> bytes:
        """Raises HandshakeError when message 1 was not read, or not fit."""
        if self._cipher is None or self._state is None:
            raise HandshakeError("handshake message out of turn")
        message = self._state.write_message(control.pack({"cipher": self._cipher}))
        if not self.expects_message3:
            self._result = _result(self._state, self._cipher)
        return message

    def read_message3(self, data: bytes) -> None:
        """The client's key. Raises HandshakeError; what is read proves that the client has the private one."""
        if self._cipher is None or self._state is None:
            raise HandshakeError("handshake message out of turn")
        _read_map(self._state.read_message(data))
        self._result = _result(self._state, self._cipher)

    @property
    def result(self) -> HandshakeResult:
        """Raises HandshakeError before message 2."""
        if self._result is None:
            raise HandshakeError("handshake not finished")
        return self._result


def choose_cipher(offer: Sequence[str], supported: Sequence[str]) -> str:
    """The first offered cipher that both sides put before ChaCha20-Poly1305, else that one: a side without hardware AES
    must not be made to do AEGIS.

    Offered names that this side does not know are passed over. Raises HandshakeError when nothing is common.
    """
    for cipher in _up_to_chacha(offer):
        if cipher in _up_to_chacha(supported):
            return cipher
    raise HandshakeError("no common cipher")


def _up_to_chacha(ciphers: Sequence[str]) -> Sequence[str]:
    if CHACHA20POLY1305 not in ciphers:
        return ciphers
    return ciphers[: ciphers.index(CHACHA20POLY1305) + 1]


def _read_offer(payload: bytes) -> tuple[str, list[str]]:
    """Pattern and ciphers."""
    if len(payload) > PAYLOAD_MAX:
        raise HandshakeError(f"handshake payload of {len(payload)} bytes, {PAYLOAD_MAX} are allowed")
    try:
        message = control.unpack_map(payload)
        pattern = control.get_str(message, "pattern", "NX")
        offer = control.get_list(message, "ciphers")
    except ProtocolError as error:
        raise HandshakeError("handshake with an unreadable cipher offer") from error
    names = [name for name in offer if isinstance(name, str)]
    if not 0 < len(offer) <= OFFER_MAX or len(names) != len(offer):
        raise HandshakeError("handshake with an unreadable cipher offer")
    if pattern not in PATTERNS:
        raise HandshakeError("handshake by a pattern that is not spoken here")
    return pattern, names


def _read_map(payload: bytes) -> None:
    """For what a later version may say there."""
    try:
        control.unpack_map(payload)
    except ProtocolError as error:
        raise HandshakeError("handshake with an unreadable payload") from error


def _read_choice(payload: bytes) -> str:
    try:
        return control.get_str(control.unpack_map(payload), "cipher")
    except ProtocolError as error:
        raise HandshakeError("handshake with an unreadable cipher choice") from error


def _result(state: HandshakeState, cipher: str) -> HandshakeResult:
    send_key, recv_key = state.split()
    return HandshakeResult(cipher, send_key, recv_key, state.hash, state.remote_static)


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise HandshakeError("handshake message cut short")
    return data[:size], data[size:]
