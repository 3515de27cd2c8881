"""A client's session with a server that goes to extremes; nothing here leaves the machine."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgpack
import pytest

from rport._pump import Pump
from rport.channel import Channel
from rport.client import agent
from rport.client.address import Address
from rport.client.agent import Agent
from rport.client.dial import Dialled
from rport.client.policy import Rule
from rport.client.resolve import AddrInfo, Resolver
from rport.client.session import LOOKUPS_MAX, OFFERS_MAX, ClientSession
from rport.client.settings import Settings
from rport.errors import AuthFailed, ProtocolError, Refused
from rport.facts import Facts
from rport.remote import Remote
from rport.session import CODE_FORBIDDEN
from tests.support.wire import (
    ACCEPT,
    CLOSE,
    CONTROL,
    REFUSE,
    RESET,
    Frame,
    WirePeer,
    ask,
    frame,
    key_pair_for,
    open_frame,
    settle,
    until,
)

Body = Callable[[ClientSession, WirePeer], Awaitable[None]]


class Silent(Resolver):
    """A dead name server."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        self.asked += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never")


class Fixed(Resolver):
    """Every name is at `address`."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (self.address, port))]


def options(*remotes: str) -> Settings:
    return Settings(Address("127.0.0.1", 1, "/"), tuple(Remote.parse(text) for text in remotes), fingerprint="00" * 8)


def pair() -> tuple[Dialled, WirePeer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    mine, theirs = key_pair_for(client=True, cipher="chacha20poly1305")
    return Dialled(Channel(near), mine, b""), WirePeer(far, theirs, client=False)


def run(body: Body, *remotes: str, resolver: Callable[[], Resolver] = Resolver) -> None:
    async def main() -> None:
        pump = Pump(asyncio.get_running_loop())
        dialled, peer = pair()
        session = ClientSession(pump, dialled, options(*remotes), {}, resolver())
        session.link.start()
        try:
            async with asyncio.timeout(30):
                await body(session, peer)
        finally:
            pump.close()
            peer.close()

    asyncio.run(main())


def control(**message: object) -> bytes:
    return frame(0, CONTROL, msgpack.packb(message))


def offer(number: int, rhost: str = "127.0.0.1") -> bytes:
    remote = {"lhost": "0.0.0.0", "lport": 1, "rhost": rhost, "rport": 1}
    return control(type="offer", id=number, remote=remote)


def test_offers_that_are_taken_are_bounded() -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        numbers = range(1, OFFERS_MAX + 3)
        peer.send(*(offer(number) for number in numbers), offer(1))
        answers = [msgpack.unpackb(payload) for _, _, payload in await settle(peer)]
        assert [answer["id"] for answer in answers] == [*numbers, 1]
        assert [answer["id"] for answer in answers if "error" in answer] == [*numbers][-2:]

    run(body)


def test_a_remote_has_one_tunnel_whatever_the_server_says() -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            session.remotes = [Remote("127.0.0.1", 0, *target.getsockname())]
            peer.send(*(control(type="tunnel", ref=0, id=number, lport=1) for number in range(1, 1000)))
            peer.send(open_frame(2, tunnel=998), open_frame(4, tunnel=999))
            answers = {await ask(lambda: peer.receive()[:2]), await ask(lambda: peer.receive()[:2])}
            assert answers == {(2, REFUSE), (4, ACCEPT)}

    run(body)


def test_a_tunnel_that_the_server_closes_is_served_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    """One that it offered, and one that was declared; what it carried is reset by the server's own RESET."""

    async def body(session: ClientSession, peer: WirePeer) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            session.remotes = [Remote("127.0.0.1", 5, *target.getsockname())]
            peer.send(control(type="tunnel", ref=0, id=7, lport=5), offer(8))
            await settle(peer)
            peer.send(control(type="tunnel", ref=0, error="not allowed"), control(type="withdraw", id=8, error="gone"))
            peer.send(open_frame(2, tunnel=7), open_frame(4, tunnel=8))
            answers = [item for item in await settle(peer) if item[1] in (ACCEPT, REFUSE)]
            assert {item[:2] for item in answers} == {(2, REFUSE), (4, REFUSE)}
        said = [record.getMessage() for record in caplog.records]
        assert "The server closed its tunnel to 127.0.0.1:1: gone" in said
        assert any("not allowed; trying again" in line for line in said)

    run(body)


def test_what_was_never_offered_cannot_be_withdrawn(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            session.remotes = [Remote("127.0.0.1", 5, *target.getsockname())]
            peer.send(control(type="tunnel", ref=0, id=7, lport=5), control(type="withdraw", id=7))
            peer.send(control(type="withdraw", id=9), open_frame(2, tunnel=7))
            assert (await ask(lambda: peer.wait_for(ACCEPT)))[0] == 2

    run(body)


def test_a_refusal_after_the_welcome_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(control(type="welcome", version="test", session="00" * 32))
        await settle(peer)
        assert session.refusal is None
        peer.send(control(type="refuse", code="auth", message="no such user any more"))
        await settle(peer)
        assert isinstance(session.refusal, AuthFailed)
        assert session.welcomed.exception() is None

    run(body)


def declared(frames: list[Frame]) -> list[dict[str, object]]:
    """Of these frames, the remotes that the client asks for."""
    messages = [msgpack.unpackb(payload) for _, kind, payload in frames if kind == CONTROL]
    return [{"ref": item["ref"]} | item["remote"] for item in messages if item["type"] == "declare"]


def test_what_an_older_server_would_misunderstand_waits_for_its_welcome() -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        session.hello("00" * 32, Facts())
        hello = msgpack.unpackb((await ask(lambda: peer.wait_for(CONTROL)))[2])
        assert hello["caps"] == ["check", "proxy", "unix"]
        assert [remote["lport"] for remote in hello["remotes"]] == [1, 3]
        peer.send(control(type="welcome", version="test", session="00" * 32, caps=["unix", "later", 1, []]))
        assert declared(await settle(peer)) == [{"ref": 2, "lhost": "0.0.0.0", "lport": 2, "unix": "/run/x.sock"}]
        peer.send(control(type="welcome", version="test", session="00" * 32, caps=["unix", "proxy"]))  # once is enough
        assert declared(await settle(peer)) == []

    run(body, "1", "2:unix:/run/x.sock", "3:22", "4:22?proxy=v1", "5:unix:/run/x.sock?proxy=v2")


def test_a_server_that_knows_both_gets_both(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(control(type="welcome", version="test", session="00" * 32, caps=["unix", "proxy"]))
        assert declared(await settle(peer)) == [
            {"ref": 0, "lhost": "0.0.0.0", "lport": 5, "unix": "/run/x.sock", "proxy": "v2"},
            {"ref": 1, "lhost": "0.0.0.0", "lport": 6, "rhost": "0.0.0.0", "rport": 22, "proxy": "v1"},
        ]
        assert not caplog.records

    run(body, "5:unix:/run/x.sock?proxy=v2", "6:22?proxy=v1")


def test_a_server_that_would_leave_the_header_out_is_complained_about(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(control(type="welcome", version="test", session="00" * 32))
        assert declared(await settle(peer)) == []
        assert [(line.levelname, line.getMessage()) for line in caplog.records] == [
            ("ERROR", "Tunnel 0.0.0.0:4 => 127.0.0.1:22?proxy=v1: there is none, this server is too old; update rportd")
        ]

    run(body, "4:22?proxy=v1")


@pytest.mark.parametrize(("path", "error"), [("/run/allowed", False), ("/run/Allowed", True), ("/run/other", True)])
def test_sockets_that_the_server_asks_for_need_a_rule(path: str, error: bool) -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        session.settings = session.settings._replace(allow=(Rule.parse("unix:/run/allowed"), Rule.parse("0.0.0.0/0")))
        peer.send(control(type="offer", id=1, remote={"lhost": "0.0.0.0", "lport": 1, "unix": path}))
        answer = msgpack.unpackb((await ask(lambda: peer.wait_for(CONTROL)))[2])
        assert answer == {"type": "answer", "id": 1} | ({"error": answer.get("error")} if error else {})
        if error:
            assert answer["error"].endswith(f"to dial it, give the client --allow unix:{path}")

    run(body)


def test_a_remote_waits_for_one_retry_whatever_the_server_says() -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(*(control(type="tunnel", ref=0, error="no") for _ in range(1000)))
        await settle(peer)
        assert len(asyncio.all_tasks()) < 5

    run(body, "3000")


def test_names_that_are_looked_up_are_bounded() -> None:
    resolver = Silent()

    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(control(type="tunnel", ref=0, id=1, lport=1))
        for first in range(2, 4000, 200):
            peer.send(*(open_frame(n) + frame(n, RESET, b"\1") for n in range(first, first + 200, 2)))
        peer.send(open_frame(4002))
        assert [got[:2] for got in await settle(peer) if got[0] == 4002] == [(4002, REFUSE)]
        assert resolver.asked <= LOOKUPS_MAX

    run(body, "3000:db.internal:5432", resolver=lambda: resolver)


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost."])
def test_what_needs_no_rule_stays_on_the_loopback(host: str) -> None:
    """A name server may know a localhost of its own."""

    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(offer(1, host), open_frame(2))
        got = await ask(lambda: peer.wait_for(REFUSE))
        assert got[2][0] == CODE_FORBIDDEN

    run(body, resolver=lambda: Fixed("192.0.2.1"))


@pytest.mark.parametrize("remotes", [1, 200])
def test_a_session_that_was_refused_does_not_stay(remotes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the server says why and hangs on, nor where the hello cannot be said."""

    async def main() -> None:
        pump = Pump(asyncio.get_running_loop())
        dialled, peer = pair()

        async def instead(*_: object) -> Dialled:
            return dialled

        monkeypatch.setattr(agent, "dial", instead)
        monkeypatch.setattr(Agent, "_check_fingerprint", lambda *_: None)
        one = Agent(options(*[f"{'b' * 250}:0:{'a' * 250}:80"] * remotes))
        try:
            async with asyncio.timeout(30):
                trying = asyncio.create_task(one._session(pump))
                peer.control(type="refuse", code="busy", message="later")
                assert isinstance(await trying, Refused if remotes == 1 else ProtocolError)
                if remotes == 1:
                    await ask(lambda: peer.wait_for(CLOSE))
                peer.close()
                await until(lambda: not pump.links)
        finally:
            pump.close()
            peer.close()

    asyncio.run(main())
