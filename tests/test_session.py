"""A session's upkeep against a peer that answers, falls silent, or never reads."""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable

import pytest

from rport import session as upkeep
from rport._pump import Pump
from rport.channel import Channel
from rport.errors import LinkLost
from rport.session import Session
from tests.support.wire import CLOSE, CONTROL, PING, PONG, WirePeer, frame, key_pair_for, tcp_pair

Body = Callable[[Session, WirePeer], Awaitable[None]]


class Listening(Session):
    """A session that writes down its messages."""

    def on_message(self, kind: str, message: object) -> None:
        self.heard = [*getattr(self, "heard", []), kind]


def run(body: Body) -> None:
    async def main() -> None:
        pump = Pump(asyncio.get_running_loop())
        near, far = tcp_pair()
        mine, theirs = key_pair_for(client=False, cipher="chacha20poly1305")
        session = Listening(pump, Channel(near), mine, client=False)
        session.link.admit_peer()
        session.link.start()
        peer = WirePeer(far, theirs, client=True)
        try:
            async with asyncio.timeout(30):
                await body(session, peer)
        finally:
            pump.close()
            peer.close()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become fractions of seconds."""
    monkeypatch.setattr(upkeep, "PONG_TIMEOUT", 0.2)
    monkeypatch.setattr(upkeep, "PING_PAUSE_MIN", 0.02)


def test_a_session_whose_pings_are_answered_stays() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        session.start_keepalive(0.05)
        for _ in range(8):  # far beyond the time after which silence is noticed
            token = (await asyncio.to_thread(peer.wait_for, PING))[2]
            await asyncio.to_thread(peer.send, frame(0, PONG, token))
        assert session.link.alive
        assert session.rtt > 0

    run(body)


def test_pings_come_as_often_as_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that is more often than silence is looked for."""
    monkeypatch.setattr(upkeep, "PONG_TIMEOUT", 3600.0)

    async def body(session: Session, peer: WirePeer) -> None:
        session.start_keepalive(0.05)
        token = (await asyncio.to_thread(peer.wait_for, PING))[2]
        await asyncio.to_thread(peer.send, frame(0, PONG, token))
        for _ in range(3):
            await asyncio.to_thread(peer.wait_for, PING)
        assert session.link.alive

    run(body)


def test_a_silent_peer_is_noticed() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        session.start_keepalive(0.05)
        await session.ended.wait()
        assert isinstance(session.error, LinkLost)
        assert "went silent" in str(session.error)

    run(body)


def test_without_keepalive_silence_is_no_reason() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        session.start_keepalive(0)
        assert await asyncio.to_thread(peer.wait_for, PING)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.ended.wait()

    run(body)


def test_a_process_that_slept_asks_again_before_it_gives_up() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        session.start_keepalive(0.05)
        assert await asyncio.to_thread(peer.wait_for, PING)
        await asyncio.to_thread(peer.wait_for, PING)
        time.sleep(1.5)  # the whole loop stands still, as in a suspended process
        token = (await asyncio.to_thread(peer.wait_for, PING))[2]
        await asyncio.to_thread(peer.send, frame(0, PONG, token))
        await asyncio.to_thread(peer.wait_for, PING)
        assert session.link.alive

    run(body)


def test_a_goodbye_reaches_a_peer_that_reads() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        session.link.finish_session(upkeep.CLOSE_REPLACED, "elsewhere")
        got = await asyncio.to_thread(peer.wait_for, CLOSE)
        assert got[2] == struct.pack(">B", upkeep.CLOSE_REPLACED) + b"elsewhere"
        peer.close()
        await session.ended.wait()
        assert session.error is None

    run(body)


def test_a_goodbye_does_not_wait_for_ever_for_a_peer_that_never_reads() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        with pytest.raises(OverflowError):  # the sockets' buffers are full, and so is the queue behind them
            while True:
                session.link.control(bytes(65000))
                await asyncio.sleep(0)
        session.link.finish_session(upkeep.CLOSE_OK)
        await session.ended.wait()

    run(body)


def test_nothing_is_heard_behind_a_goodbye() -> None:
    async def body(session: Session, peer: WirePeer) -> None:
        await asyncio.to_thread(peer.control, type="before")
        while not getattr(session, "heard", []):
            await asyncio.sleep(0)
        session.link.finish_session(upkeep.CLOSE_OK)
        session.on_control(frame(0, CONTROL, b"\x81\xa4type\xa5after")[8:])
        assert session.heard == ["before"]  # type: ignore[attr-defined]

    run(body)
