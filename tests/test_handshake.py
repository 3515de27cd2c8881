import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from rport import control, handshake, sodium
from rport.errors import HandshakeError
from rport.handshake import CHACHA20POLY1305, CipherState, HandshakeState, Initiator, Responder

VECTORS = Path(__file__).parent / "vectors"
AEGIS128L, AEGIS256 = "aegis128l", "aegis256"
BOTH = [AEGIS256, CHACHA20POLY1305]
ALL = [AEGIS128L, *BOTH]
STATIC = bytes(range(32))
PUBLIC = bindings.crypto_scalarmult_base(STATIC)


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["vectors"]
    return vectors


def raw(vector: dict[str, Any], key: str) -> bytes | None:
    return bytes.fromhex(vector[key]) if key in vector else None


def state(vector: dict[str, Any], side: str) -> HandshakeState:
    return HandshakeState(
        vector["protocol_name"].split("_")[1],
        initiator=side == "init",
        prologue=raw(vector, f"{side}_prologue") or b"",
        static=raw(vector, f"{side}_static"),
        ephemeral=raw(vector, f"{side}_ephemeral"),
    )


def exchanged() -> tuple[bytes, bytes]:
    """Both messages of one handshake with fixed keys."""
    initiator, responder = Initiator(BOTH, ephemeral=b"i" * 32), Responder(STATIC, BOTH, ephemeral=b"r" * 32)
    message1 = initiator.message1()
    responder.read_message1(message1)
    return message1, responder.message2()


MESSAGE1, MESSAGE2 = exchanged()


def waiting_initiator() -> Initiator:
    initiator = Initiator(BOTH, ephemeral=b"i" * 32)
    assert initiator.message1() == MESSAGE1
    return initiator


@pytest.mark.parametrize("vector", load("noise_nx_xx.json"), ids=lambda v: f"{v['protocol_name'][6:8]}-{v['source']}")
def test_published_vectors(vector: dict[str, Any]) -> None:
    sides = [state(vector, "init"), state(vector, "resp")]
    count = len(handshake.PATTERNS[vector["protocol_name"].split("_")[1]])
    texts = [(bytes.fromhex(item["payload"]), bytes.fromhex(item["ciphertext"])) for item in vector["messages"]]
    for turn, (payload, message) in enumerate(texts[:count]):
        assert sides[turn % 2].write_message(payload) == message
        assert sides[1 - turn % 2].read_message(message) == payload
    assert sides[0].hash == sides[1].hash == (raw(vector, "handshake_hash") or sides[0].hash)
    assert sides[0].split() == sides[1].split()[::-1]
    # Transport messages go on in turn, each direction under a key and counter of its own.
    senders = [CipherState(side.split()[0]) for side in sides]
    receivers = [CipherState(side.split()[1]) for side in sides]
    for turn, (payload, message) in enumerate(texts[count:], count):
        assert senders[turn % 2].encrypt(b"", payload) == message
        assert receivers[1 - turn % 2].decrypt(b"", message) == payload


def test_x25519_vectors() -> None:
    for vector in load("x25519_wycheproof.json"):
        side = HandshakeState("NX", initiator=True, prologue=b"", ephemeral=bytes.fromhex(vector["private"]))
        side._remote_ephemeral = bytes.fromhex(vector["public"])
        if vector["expect"] == "shared":
            assert side._dh("ee").hex() == vector["shared"], vector["tcId"]
        else:
            with pytest.raises(HandshakeError, match="unfit public key"):
                side._dh("ee")


def test_chacha20poly1305_vectors() -> None:
    """The primitive under CipherState, which itself can only make counting nonces."""
    for vector in load("chacha20poly1305_ietf_wycheproof.json"):
        key, nonce, ad, plain = (bytes.fromhex(vector[name]) for name in ("key", "nonce", "ad", "msg"))
        sealed = bytes.fromhex(vector["ct"] + vector["tag"])
        if vector["valid"]:
            assert sodium.encrypt(plain, ad, nonce, key) == sealed
            assert sodium.decrypt(sealed, ad, nonce, key) == plain
        else:
            with pytest.raises((sodium.CryptoError, ValueError)):
                sodium.decrypt(sealed, ad, nonce, key)


def test_a_failed_decryption_keeps_the_counter() -> None:
    sender, receiver = CipherState(b"k" * 32), CipherState(b"k" * 32)
    sealed = sender.encrypt(b"", b"text")
    for bad in (b"", sealed[:15], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(HandshakeError):
            receiver.decrypt(b"", bad)
    assert receiver.decrypt(b"", sealed) == b"text"


def test_agreement() -> None:
    initiator, responder = Initiator(BOTH), Responder(STATIC, BOTH)
    responder.read_message1(initiator.message1())
    mine, theirs = initiator.read_message2(responder.message2()), responder.result
    assert (mine.send_key, mine.recv_key) == (theirs.recv_key, theirs.send_key)
    assert mine.send_key != mine.recv_key
    assert mine.handshake_hash == theirs.handshake_hash
    assert (mine.remote_static, theirs.remote_static) == (PUBLIC, None)
    assert mine.cipher == theirs.cipher == AEGIS256


def test_every_handshake_has_keys_of_its_own() -> None:
    assert Initiator(BOTH).message1() != Initiator(BOTH).message1()


def test_keys_are_not_printed() -> None:
    result = waiting_initiator().read_message2(MESSAGE2)
    assert repr(result.send_key) not in repr(result)
    assert repr(result.recv_key) not in repr(result)


@pytest.mark.parametrize(
    ("offer", "supported", "choice"),
    [
        (BOTH, BOTH, AEGIS256),
        (BOTH, BOTH[::-1], CHACHA20POLY1305),
        (BOTH[::-1], BOTH, CHACHA20POLY1305),
        ([CHACHA20POLY1305], BOTH, CHACHA20POLY1305),
        (BOTH, [CHACHA20POLY1305], CHACHA20POLY1305),
        (["unheard-of", *BOTH], BOTH, AEGIS256),
        (ALL, ALL, AEGIS128L),
        (ALL, BOTH, AEGIS256),
        ([AEGIS256, AEGIS128L, CHACHA20POLY1305], ALL, AEGIS256),
        (ALL, [AEGIS128L, CHACHA20POLY1305, AEGIS256], AEGIS128L),
        ([AEGIS256, CHACHA20POLY1305], [AEGIS128L, CHACHA20POLY1305, AEGIS256], CHACHA20POLY1305),
    ],
)
def test_choice(offer: list[str], supported: list[str], choice: str) -> None:
    initiator, responder = Initiator(offer), Responder(STATIC, supported)
    responder.read_message1(initiator.message1())
    assert initiator.read_message2(responder.message2()).cipher == choice


def test_no_common_cipher() -> None:
    with pytest.raises(HandshakeError, match="no common cipher"):
        Responder(STATIC, BOTH).read_message1(Initiator(["unheard-of"]).message1())


def test_a_choice_that_was_not_offered() -> None:
    initiator, responder = Initiator([CHACHA20POLY1305]), Responder(STATIC, BOTH)
    responder.read_message1(initiator.message1())
    responder._cipher = AEGIS256
    with pytest.raises(HandshakeError, match="not offered"):
        initiator.read_message2(responder.message2())


@pytest.mark.parametrize("position", range(len(MESSAGE1)))
def test_an_altered_message1_is_noticed_at_the_latest_by_the_client(position: int) -> None:
    altered = bytearray(MESSAGE1)
    altered[position] ^= 1

    def run() -> None:
        initiator, responder = waiting_initiator(), Responder(STATIC, BOTH)
        responder.read_message1(bytes(altered))
        initiator.read_message2(responder.message2())

    with pytest.raises(HandshakeError):
        run()


@pytest.mark.parametrize("position", range(len(MESSAGE2)))
def test_an_altered_message2(position: int) -> None:
    altered = bytearray(MESSAGE2)
    altered[position] ^= 1
    with pytest.raises(HandshakeError):
        waiting_initiator().read_message2(bytes(altered))


def test_cut_and_lengthened_messages() -> None:
    for bad in [*(MESSAGE2[:size] for size in range(len(MESSAGE2))), MESSAGE2 + b"\0"]:
        with pytest.raises(HandshakeError):
            waiting_initiator().read_message2(bad)
    for bad in [*(MESSAGE1[:size] for size in range(len(MESSAGE1))), MESSAGE1 + b"\0"]:
        with pytest.raises(HandshakeError):
            Responder(STATIC, BOTH).read_message1(bad)


@given(st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        waiting_initiator().read_message2(data)
    with pytest.raises(HandshakeError):
        Responder(STATIC, BOTH).read_message1(data)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"ciphers": []},
        {"ciphers": "aegis256"},
        {"ciphers": [1]},
        {"ciphers": [AEGIS256, None]},
        {"ciphers": [CHACHA20POLY1305] * 17},
    ],
)
def test_unreadable_offers(payload: dict[str, object]) -> None:
    with pytest.raises(HandshakeError, match="cipher offer"):
        Responder(STATIC, BOTH).read_message1(PUBLIC + control.pack(payload))


def test_unknown_keys_in_an_offer_are_left_alone() -> None:
    responder = Responder(STATIC, BOTH)
    responder.read_message1(PUBLIC + control.pack({"ciphers": BOTH, "later": 1}))
    responder.message2()
    assert responder.result.cipher == AEGIS256


def test_payload_limit() -> None:
    side = HandshakeState("NX", initiator=False, prologue=b"")
    assert side.read_message(PUBLIC + bytes(4096)) == bytes(4096)
    side = HandshakeState("NX", initiator=False, prologue=b"")
    with pytest.raises(HandshakeError, match="4096 are allowed"):
        side.read_message(PUBLIC + bytes(4097))
    side = HandshakeState("NX", initiator=False, prologue=b"")
    with pytest.raises(HandshakeError, match=f"{handshake.MESSAGE_MAX} are allowed"):
        side.read_message(bytes(handshake.MESSAGE_MAX + 1))


def test_a_low_order_key_is_refused() -> None:
    responder = Responder(STATIC, BOTH)
    responder.read_message1(bytes(32) + control.pack({"ciphers": BOTH}))
    with pytest.raises(HandshakeError, match="unfit public key"):
        responder.message2()


def test_out_of_turn() -> None:
    with pytest.raises(HandshakeError, match="out of turn"):
        Initiator(BOTH).read_message2(MESSAGE2)
    with pytest.raises(HandshakeError, match="out of turn"):
        Responder(STATIC, BOTH).message2()
    with pytest.raises(HandshakeError, match="not finished"):
        _ = Responder(STATIC, BOTH).result
    with pytest.raises(HandshakeError, match="not finished"):
        HandshakeState("NX", initiator=True, prologue=b"").split()


def test_no_second_try_after_a_failure() -> None:
    initiator = waiting_initiator()
    with pytest.raises(HandshakeError):
        initiator.read_message2(MESSAGE2[:-1])
    with pytest.raises(HandshakeError, match="out of turn"):
        initiator.read_message2(MESSAGE2)


CLIENT = bytes(range(100, 132))
CLIENT_PUBLIC = bindings.crypto_scalarmult_base(CLIENT)


def with_key() -> tuple[Initiator, Responder, bytes]:
    """Both sides behind message 2 of a handshake in which the client shows its key, and the server's result pending."""
    initiator, responder = Initiator(BOTH, static=CLIENT), Responder(STATIC, BOTH)
    responder.read_message1(initiator.message1())
    assert responder.expects_message3
    return initiator, responder, responder.message2()


def test_a_client_with_a_key_shows_it() -> None:
    initiator, responder, message2 = with_key()
    mine = initiator.read_message2(message2)
    with pytest.raises(HandshakeError, match="not finished"):
        _ = responder.result
    responder.read_message3(initiator.message3)
    theirs = responder.result
    assert (mine.send_key, mine.recv_key) == (theirs.recv_key, theirs.send_key)
    assert mine.handshake_hash == theirs.handshake_hash
    assert (mine.remote_static, theirs.remote_static) == (PUBLIC, CLIENT_PUBLIC)


def test_a_client_without_a_key_has_no_message3() -> None:
    initiator, responder = Initiator(BOTH), Responder(STATIC, BOTH)
    responder.read_message1(initiator.message1())
    assert not responder.expects_message3
    initiator.read_message2(responder.message2())
    assert not initiator.message3
    with pytest.raises(HandshakeError, match="out of turn"):
        responder.read_message3(b"")


def test_the_clients_key_is_not_sent_in_clear() -> None:
    initiator, _, message2 = with_key()
    assert CLIENT_PUBLIC not in message2
    initiator.read_message2(message2)
    assert CLIENT_PUBLIC not in initiator.message3


def test_an_altered_cut_or_lengthened_message3() -> None:
    initiator, _, message2 = with_key()
    initiator.read_message2(message2)
    message3 = initiator.message3
    flipped = [bytes([*message3[:i], message3[i] ^ 1, *message3[i + 1 :]]) for i in range(len(message3))]
    for bad in [*flipped, *(message3[:size] for size in range(len(message3))), message3 + b"\0", bytes(5000)]:
        responder = Responder(STATIC, BOTH, ephemeral=b"r" * 32)
        again = Initiator(BOTH, static=CLIENT, ephemeral=b"i" * 32)
        responder.read_message1(again.message1())
        again.read_message2(responder.message2())
        with pytest.raises(HandshakeError):
            responder.read_message3(bad)
        with pytest.raises(HandshakeError, match="not finished"):
            _ = responder.result


def test_a_replayed_message3_does_not_fit_another_handshake() -> None:
    initiator, _, message2 = with_key()
    initiator.read_message2(message2)
    responder = Responder(STATIC, BOTH)
    responder.read_message1(Initiator(BOTH, static=CLIENT).message1())
    responder.message2()
    with pytest.raises(HandshakeError, match="damaged or forged"):
        responder.read_message3(initiator.message3)


def test_a_second_message3_is_out_of_turn() -> None:
    initiator, responder, message2 = with_key()
    initiator.read_message2(message2)
    responder.read_message3(initiator.message3)
    with pytest.raises(HandshakeError, match="out of turn"):
        responder.read_message3(initiator.message3)


def test_a_client_key_of_low_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    initiator, responder, message2 = with_key()
    monkeypatch.setattr(sodium, "public_key", lambda private: bytes(32))
    initiator.read_message2(message2)
    with pytest.raises(HandshakeError, match="unfit public key"):
        responder.read_message3(initiator.message3)


def test_somebody_elses_public_key_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thief knows the public key, not the private one."""
    initiator, responder, message2 = with_key()
    monkeypatch.setattr(sodium, "public_key", lambda private: PUBLIC)
    initiator.read_message2(message2)
    with pytest.raises(HandshakeError, match="damaged or forged"):
        responder.read_message3(initiator.message3)


@pytest.mark.parametrize("said", ["NX", None])
def test_a_pattern_that_was_altered_on_the_way_breaks_message2(said: str | None) -> None:
    initiator, responder = Initiator(BOTH, static=CLIENT), Responder(STATIC, BOTH)
    ephemeral = initiator.message1()[:32]
    pattern = {} if said is None else {"pattern": said}
    responder.read_message1(ephemeral + control.pack({"ciphers": BOTH, **pattern}))
    with pytest.raises(HandshakeError, match="damaged or forged"):
        initiator.read_message2(responder.message2())


@pytest.mark.parametrize("pattern", ["KK", "", "nx", 1, None, ["NX"]])
def test_unknown_patterns(pattern: object) -> None:
    with pytest.raises(HandshakeError):
        Responder(STATIC, BOTH).read_message1(PUBLIC + control.pack({"ciphers": BOTH, "pattern": pattern}))


def test_another_prologue_does_not_fit() -> None:
    initiator = HandshakeState("NX", initiator=True, prologue=b"rport-v3")
    responder = HandshakeState("NX", initiator=False, prologue=handshake.prologue("NX"), static=STATIC)
    responder.read_message(initiator.write_message(b""))
    with pytest.raises(HandshakeError, match="damaged or forged"):
        initiator.read_message(responder.write_message(b""))
