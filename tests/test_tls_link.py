"""A Link over TLS: all that holds for one over a bare socket, and what TLS can do to it besides."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rport._pump import Pump
from rport._seal import Seal
from rport.channel import Channel, TlsChannel
from rport.errors import LinkLost
from rport.tls import Tls, client_context, server_context
from tests.support import wire
from tests.support.certificates import Authority
from tests.support.encrypted import EncryptedSocket, key_updates
from tests.support.wire import (
    CONTROL,
    PING,
    PONG,
    Watcher,
    WirePeer,
    ask,
    frame,
    key_pair_for,
    link_with_peer,
    run,
    settle,
    tcp_pair,
    until,
)
from tests.test_pump import *  # noqa: F403  # all of it once more, over the carrier that the fixture below puts in

BAD_RECORD = b"\x17\x03\x03\x00\x40" + bytes(64)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

Contexts = dict[bool, ssl.SSLContext]  # by whether it is the server's


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    cert, key = map(str, authority.issue("DNS:localhost"))
    return {True: server_context(cert, key), False: client_context(str(authority.ca), None, None, insecure=False)}


def end_of(contexts: Contexts, *, client: bool) -> Tls:
    return Tls(contexts[not client], str, server=not client, name="localhost" if client else None)


@pytest.fixture(autouse=True)
def _over_tls(contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    def carrier(near: socket.socket, far: socket.socket, client: bool) -> tuple[Channel, Any]:
        ours, theirs = end_of(contexts, client=client), end_of(contexts, client=not client)
        while not (ours.ready and theirs.ready):
            for one, other in ((ours, theirs), (theirs, ours)):
                one.shake_hands()
                other.feed(one.drain())
        return TlsChannel(near, ours), EncryptedSocket(far, theirs)

    monkeypatch.setattr(wire, "carrier", carrier)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, contexts: Contexts) -> Iterator[None]:
    contexts[False].maximum_version = VERSIONS[request.param]
    yield
    contexts[False].maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("client", [True, False])
def test_both_versions_and_both_sides(client: bool) -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=client)
        for number in range(4):
            peer.send(frame(0, CONTROL, bytes([number]) * 60000))
        assert await settle(peer) == []
        assert [(data[0], len(data)) for data in watcher.controls] == [(number, 60000) for number in range(4)]
        peer.close()

    run(body)


@pytest.mark.usefixtures("version")
def test_garbage_ends_it_and_says_so() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        peer.sock.raw.sendall(BAD_RECORD)
        await watcher.ended.wait()
        assert isinstance(watcher.error, LinkLost)
        assert str(watcher.error).startswith("TLS broke: ")
        peer.close()

    run(body)


def test_garbage_behind_a_good_record_needs_no_further_event() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        peer.sock.raw.sendall(peer.sock.encrypted(peer.record(frame(0, CONTROL, b"good"))) + BAD_RECORD)
        await watcher.ended.wait()
        assert watcher.controls == [b"good"]
        assert str(watcher.error).startswith("TLS broke: ")
        peer.close()

    run(body)


@pytest.mark.parametrize("polite", [True, False])
def test_an_end_of_tls_without_a_close_of_ours_is_a_cut(polite: bool) -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        if polite:
            peer.sock.tls.end()
            peer.sock.raw.sendall(peer.sock.tls.drain())
        else:
            peer.close()
        await watcher.ended.wait()
        assert str(watcher.error) == "the connection was cut off"
        peer.close()

    run(body)


@pytest.mark.parametrize("piece", [1, 7])
def test_ciphertext_may_trickle(piece: int) -> None:
    async def body(pump: Pump) -> None:
        link, watcher, peer = link_with_peer(pump, client=False)
        octets = peer.sock.encrypted(peer.record(frame(0, CONTROL, b"slow")))
        for start in range(0, len(octets), piece):
            sent = time.monotonic()
            peer.sock.raw.sendall(octets[start : start + piece])
            await until(lambda sent=sent: link.silence() < time.monotonic() - sent)  # each octet is heard
        await until(lambda: watcher.controls == [b"slow"])
        peer.close()

    run(body)


def test_many_small_tls_records_are_one_of_ours() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=True)
        record = peer.record(frame(0, CONTROL, b"x" * 3000))
        peer.sock.raw.sendall(b"".join(peer.sock.encrypted(bytes([octet])) for octet in record))
        await until(lambda: watcher.controls == [b"x" * 3000])
        peer.close()

    run(body)


def test_what_came_with_the_handshake_needs_no_further_event(contexts: Contexts) -> None:
    """The client's last flight and its first record together: they are inside the TLS object when the Link begins."""

    async def body(pump: Pump) -> None:
        near, far = tcp_pair()
        mine, theirs = key_pair_for(client=False, cipher="aegis256")
        ours, client = end_of(contexts, client=False), end_of(contexts, client=True)
        peer = WirePeer(EncryptedSocket(far, client), theirs, client=True)  # type: ignore[arg-type]
        client.shake_hands()
        ours.feed(client.drain())
        ours.shake_hands()
        client.feed(ours.drain())
        assert client.shake_hands()
        finished = client.drain()
        ours.feed(finished + peer.sock.encrypted(peer.record(frame(0, PING, bytes(8)))))
        assert ours.shake_hands()
        assert ours.incoming.pending

        sealer, opener = Seal(mine.cipher, mine.send_key), Seal(mine.cipher, mine.recv_key)
        link = TlsChannel(near, ours).make_link(sealer, opener, False, pump, Watcher())
        link.admit_peer()
        link.start()
        assert await ask(peer.receive) == (0, PONG, bytes(8))
        peer.close()

    run(body)


def test_keys_may_change_now_and_then() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=False)
        for number in range(4):
            peer.sock.raw.sendall(key_updates(peer.sock.tls, 100, asking=True))
            peer.send(frame(0, CONTROL, bytes([number]) * 60000))
            assert await settle(peer) == []
        assert [(data[0], len(data)) for data in watcher.controls] == [(number, 60000) for number in range(4)]
        peer.close()

    run(body)


def test_a_peer_that_changes_its_keys_and_nothing_else_is_cut_off() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=False)
        flood = key_updates(peer.sock.tls, 4000)
        with contextlib.suppress(ConnectionError):
            await ask(lambda: peer.sock.raw.sendall(flood))
        await watcher.ended.wait()
        assert str(watcher.error) == "TLS broke: the peer keeps this end busy with changes of keys"
        peer.close()

    run(body)


def test_replies_of_tls_that_wait_to_be_sent_are_bounded() -> None:
    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=False)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):  # of 27 octets each
                peer.sock.raw.sendall(key_updates(peer.sock.tls, 1, asking=True))
                peer.send(frame(0, CONTROL, b"to be taken, and not answered"))
                await asyncio.sleep(0)
        await watcher.ended.wait()
        assert str(watcher.error) == "TLS broke: the peer keeps this end busy with changes of keys"
        peer.close()

    run(body)


def test_others_get_their_turn_between_changes_of_keys() -> None:
    """However many come: data between them, so that it goes on."""

    async def body(pump: Pump) -> None:
        _, watcher, peer = link_with_peer(pump, client=False)
        turns: list[int] = []
        watcher.on_control = lambda data: turns.append(turn)  # type: ignore[method-assign]
        flood = b"".join(
            key_updates(peer.sock.tls, 2000) + peer.sock.encrypted(peer.record(frame(0, CONTROL, b"x")))
            for _ in range(20)
        )
        sending = asyncio.ensure_future(ask(lambda: peer.sock.raw.sendall(flood)))
        turn = 0
        while len(turns) < 20:
            turn += 1
            await asyncio.sleep(0)
        assert len(set(turns)) > 1
        await sending
        peer.close()

    run(body)
