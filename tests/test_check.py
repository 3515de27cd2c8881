"""Does a target answer? Both ends of the question, with real targets."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgpack
import pytest

from rport.client import check as client_side
from rport.client.policy import Rule
from rport.client.resolve import Resolver
from rport.client.session import ClientSession
from rport.client.settings import Settings
from rport.errors import ProtocolError
from rport.remote import Remote
from rport.server import checks as server_side
from rport.server.checks import Checks
from rport.server.errors import NotAllowed, TargetUnreachable, TooManyChecks
from rport.session import (
    CHECKS_MAX,
    CODE_BUSY,
    CODE_FAILED,
    CODE_FORBIDDEN,
    CODE_NAME,
    CODE_REFUSED,
    CODE_TIMEOUT,
    CODE_UNREACHABLE,
)
from tests.support.neighbours import free_port
from tests.support.programs import Deaf
from tests.support.wire import CONTROL, WirePeer, ask, settle
from tests.test_agent import Fixed, Silent, control, run

LOCAL = "127.0.0.1"


def check(target: str, *rules: str, resolver: Callable[[], Resolver] = Resolver) -> dict[str, object]:
    """What the client answers."""

    async def main() -> dict[str, object]:
        settings = Settings(allow=tuple(Rule.parse(rule) for rule in rules))
        return await client_side.check(settings, resolver(), Remote.parse(target))

    return asyncio.run(main())


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server((LOCAL, 0)) as listener:
        listener.settimeout(10)
        yield listener


def test_a_target_that_answers_is_left_at_once(target: socket.socket) -> None:
    answer = check(f"{LOCAL}:{target.getsockname()[1]}")
    assert answer.keys() == {"ms"}
    assert 0 < float(str(answer["ms"])) < 1800
    with target.accept()[0] as visitor:
        visitor.settimeout(10)
        assert visitor.recv(1) == b""


def test_a_name_is_looked_up(target: socket.socket) -> None:
    port = target.getsockname()[1]
    assert "ms" in check(f"target.test:{port}", f"target.test:{port}", resolver=lambda: Fixed(LOCAL))


def test_nobody_listens() -> None:
    assert check(str(free_port())) == {"code": CODE_REFUSED, "error": "Connection refused"}


def test_a_target_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_side, "TIME", 0.2)
    with contextlib.closing(Deaf()) as deaf:
        assert check(f"{LOCAL}:{deaf.port}") == {"code": CODE_TIMEOUT, "error": "no answer within 0.2 s"}


def test_a_name_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_side, "TIME", 0.2)
    assert check("target.test:1", "any", resolver=Silent)["code"] == CODE_TIMEOUT


def test_a_name_that_is_none() -> None:
    answer = check("nowhere.invalid:1", "any", resolver=Nowhere)
    assert answer == {"code": CODE_NAME, "error": "nowhere.invalid does not resolve: Name or service not known"}


class Nowhere(Resolver):
    """A name server that knows none."""

    async def resolve(self, host: str, port: int) -> list[object]:  # type: ignore[override]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_what_the_rules_do_not_allow_is_not_dialled(target: socket.socket) -> None:
    answer = check("192.0.2.1:80", "10.0.0.0/8")
    assert answer["code"] == CODE_FORBIDDEN
    assert "(there are 10.0.0.0/8)" in str(answer["error"])
    port = target.getsockname()[1]
    assert check(f"localhost:{port}", resolver=lambda: Fixed("192.0.2.1"))["code"] == CODE_FORBIDDEN
    assert check(f"target.test:{port}", resolver=lambda: Fixed(LOCAL))["code"] == CODE_FORBIDDEN
    target.setblocking(False)
    with pytest.raises(BlockingIOError):
        target.accept()


@contextlib.contextmanager
def listening(path: Path, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(backlog)
        yield listener


def test_unix_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, remote = tmp_path / "s", f"0:unix:{tmp_path}/s"
    assert check(remote) == {"code": CODE_FORBIDDEN, "error": check(remote)["error"]}
    assert check(remote, "any") == {"code": CODE_UNREACHABLE, "error": "there is no such socket"}
    path.write_text("")
    assert check(remote, "any") == {"code": CODE_REFUSED, "error": "nobody listens on the socket"}
    path.unlink()
    with listening(path):
        assert check(remote, f"unix:{path}").keys() == {"ms"}
    assert check(remote, "any")["code"] == CODE_REFUSED
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert check(remote, "any") == {"code": CODE_FAILED, "error": "it is no stream socket"}
    path.unlink()
    monkeypatch.setattr(client_side, "QUEUE_PAUSE", 0.001)
    with listening(path, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        assert check(remote, "any") == {"code": CODE_BUSY, "error": "its queue of connections is full"}


def test_a_queue_that_has_room_in_a_moment(tmp_path: Path) -> None:
    async def main() -> None:
        with listening(tmp_path / "s", backlog=0) as listener, socket.socket(socket.AF_UNIX) as first:
            first.connect(str(tmp_path / "s"))
            work = asyncio.create_task(client_side._knock(str(tmp_path / "s")))
            await asyncio.sleep(0)
            assert not work.done()
            listener.accept()[0].close()
            await work

    asyncio.run(main())


# --- the client's session ---------------------------------------------------------------------------------------------


def asked(number: int, port: int, rhost: str = LOCAL) -> bytes:
    remote = {"lhost": "0.0.0.0", "lport": 0, "rhost": rhost, "rport": port}
    return control(type="check", id=number, remote=remote)


def test_a_session_answers(target: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        for number, (port, host) in enumerate([(target.getsockname()[1], LOCAL), (80, "192.0.2.1")], 1):
            peer.send(asked(number, port, host))
            answer = msgpack.unpackb((await ask(lambda: peer.wait_for(CONTROL)))[2])
            assert (answer["type"], answer["id"], "ms" in answer) == ("checked", number, number == 1)
        (line,) = caplog.messages
        assert line.startswith("The server asked whether 192.0.2.1:80 answers: no --allow rule")

    run(body)


def test_a_session_checks_so_many_at_a_time() -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        session.settings = session.settings._replace(allow=(Rule.parse("any"),))
        peer.send(*(asked(number, 80, "target.test") for number in range(1, CHECKS_MAX + 3)))
        answers = [msgpack.unpackb(payload) for _, _, payload in await settle(peer)]
        assert [(answer["id"], answer["code"]) for answer in answers] == [
            (CHECKS_MAX + 1, CODE_BUSY),
            (CHECKS_MAX + 2, CODE_BUSY),
        ]

    run(body, resolver=Silent)


def test_a_check_that_is_no_check_ends_the_session() -> None:
    async def body(session: ClientSession, peer: WirePeer) -> None:
        peer.send(control(type="check", id=1, remote={"rhost": 1}))
        await session.ended.wait()
        assert isinstance(session.error, ProtocolError)

    run(body)


# --- the server's side ------------------------------------------------------------------------------------------------

REMOTE = Remote.parse("80")
Said = list[Mapping[str, object]]


def asking(body: Callable[[Checks, Said], Awaitable[None]]) -> None:
    said: Said = []
    asyncio.run(body(Checks(said.append), said))  # type: ignore[arg-type]


async def begin(checks: Checks, count: int = 1) -> list[asyncio.Task[float]]:
    tasks = [asyncio.create_task(checks.ask(REMOTE)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_the_answer_is_told() -> None:
    async def body(checks: Checks, said: Said) -> None:
        (one,) = await begin(checks)
        assert said == [{"type": "check", "id": 1, "remote": REMOTE.to_wire()}]
        checks.answered({"id": 1, "ms": 4.5})
        assert await one == 4.5
        checks.answered({"id": 1, "ms": 9})  # nobody waits any more
        two, three = await begin(checks, 2)
        checks.answered({"id": 3, "error": "by my rules", "code": CODE_FORBIDDEN})
        checks.answered({"id": 2, "error": "Connection refused", "code": CODE_REFUSED})
        with pytest.raises(TargetUnreachable, match=r"^Connection refused$"):
            await two
        with pytest.raises(NotAllowed, match=r"^the client refuses: by my rules$"):
            await three

    asking(body)


def test_so_many_are_asked_at_a_time() -> None:
    async def body(checks: Checks, said: Said) -> None:
        tasks = await begin(checks, CHECKS_MAX)
        with pytest.raises(TooManyChecks):
            await checks.ask(REMOTE)
        assert len(said) == CHECKS_MAX
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        (more,) = await begin(checks)
        checks.end()
        for task in (*tasks[1:], more):
            with pytest.raises(TargetUnreachable, match="the client is gone"):
                await task

    asking(body)


def test_a_client_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "TIMEOUT", 0.05)

    async def body(checks: Checks, said: Said) -> None:
        with pytest.raises(TargetUnreachable, match=r"did not answer within 0\.05 s"):
            await checks.ask(REMOTE)
        assert not checks._waiting

    asking(body)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"ms": -1},
        {"ms": float("nan")},
        {"ms": float("inf")},
        {"ms": "1"},
        {"ms": True},
        {"error": 1},
        {"error": "x", "code": 0},
        {"error": "x", "code": 9},
        {"ms": 1, "id": 0},
    ],
)
def test_an_answer_that_is_none(answer: dict[str, object]) -> None:
    async def body(checks: Checks, said: Said) -> None:
        (one,) = await begin(checks)
        with pytest.raises(ProtocolError):
            checks.answered({"id": 1, **answer})
        one.cancel()

    asking(body)


def test_the_times_fit_together() -> None:
    """The client answers before the server has given up."""
    assert client_side.TIME < 2 < server_side.TIMEOUT
    assert client_side.QUEUE_PAUSE * client_side.QUEUE_TRIES < client_side.TIME
