"""Enrolment codes, and what the server does with one: the protocol's half of it, against a real rportd's parts."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rport import keys
from rport.enrolment import CODE_MAX, PREFIX, SECRET_MAX, SERVER_MAX, make_code, read_code
from rport.errors import ProtocolError, Refused, UsageError
from rport.facts import Facts
from rport.server.hello import Enrolment
from rport.server.service import Service
from tests.support.service import serving
from tests.support.wire import CLOSE, CONTROL, WirePeer, ask, connect

FINGERPRINT = keys.fingerprint(bytes(32))
SERVER = "https://tunnel.example.com/rport"


def test_a_code_has_it_all() -> None:
    code = make_code(SERVER, FINGERPRINT, "s" * 40)
    assert code.startswith("rpe_")
    assert set(code) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    found = read_code(f"  {code}\n")
    assert found == (SERVER, FINGERPRINT, "s" * 40)
    assert "s" * 40 not in repr(found)
    assert read_code(make_code(SERVER, FINGERPRINT.replace(":", "").upper(), "s" * 40)) == found


def test_every_length_of_padding() -> None:
    for size in range(1, SECRET_MAX + 1):
        assert read_code(make_code(SERVER, FINGERPRINT, "?" * size)).secret == "?" * size


def test_every_cut_is_noticed() -> None:
    code = make_code(SERVER, FINGERPRINT, "secret-secret")
    for size in range(len(code)):
        with pytest.raises(UsageError):
            read_code(code[:size])
        with pytest.raises(UsageError):
            read_code(code[size + 1 :])


@pytest.mark.parametrize(
    "text",
    ["", "rpe_", "rpt_abc", "rpe_\u0661", "rpe_ab cd", "rpe_" + "A" * CODE_MAX, "rpe_AAAAA", "--help", "rpe_\ud800"],
)
def test_what_is_none_is_not_shown(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_code(text)
    assert str(caught.value) == "this is no enrolment code, or a part of one: copy all of it, from rpe_ on"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "fields",
    [
        (SERVER, "00" * 31, "s"),
        (SERVER, FINGERPRINT[:23], "s"),
        (SERVER, FINGERPRINT, ""),
        (SERVER, FINGERPRINT, "s" * (SECRET_MAX + 1)),
        (SERVER, FINGERPRINT, "a b"),
        ("", FINGERPRINT, "s"),
        ("x" * (SERVER_MAX + 1), FINGERPRINT, "s"),
        ("a\nb", FINGERPRINT, "s"),
    ],
)
def test_unfit_fields(fields: tuple[str, str, str]) -> None:
    with pytest.raises(UsageError):
        make_code(*fields)


@pytest.mark.parametrize("fields", [{}, {"s": 1, "f": 1, "c": 1}, {"s": SERVER, "f": "00" * 32}, [1], "x"])
def test_other_things_in_msgpack(fields: object) -> None:
    import base64

    with pytest.raises(UsageError):
        read_code(PREFIX + base64.urlsafe_b64encode(msgpack.packb(fields)).decode().rstrip("="))


def test_the_longest_is_a_code() -> None:
    assert len(make_code("x" * SERVER_MAX, FINGERPRINT, "s" * SECRET_MAX)) <= CODE_MAX


# --- the message ------------------------------------------------------------------------------------------------------

KEY = bytes(range(32))
MESSAGE = {"type": "enroll", "version": "1", "code": "s" * SECRET_MAX, "name": "box", "tags": ["a"]}


def test_the_message_is_read() -> None:
    found = Enrolment.read(MESSAGE, KEY, "192.0.2.1")
    assert found == ("s" * SECRET_MAX, KEY, Facts(name="box", tags=("a",)), "192.0.2.1", "1")
    assert "sss" not in repr(found)


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ({**MESSAGE, "code": "s" * (SECRET_MAX + 1)}, KEY),
        ({**MESSAGE, "code": 1}, KEY),
        ({**MESSAGE, "tags": 1}, KEY),
        ({"type": "enroll", "version": "1"}, KEY),
        (MESSAGE, None),
    ],
)
def test_unfit_messages(message: dict[str, Any], key: bytes | None) -> None:
    with pytest.raises(ProtocolError):
        Enrolment.read(message, key, "192.0.2.1")


# --- the server -------------------------------------------------------------------------------------------------------


async def say(port: int, static: bytes | None = KEY, **more: object) -> list[Any]:
    """What a server says to an enrolment, up to the session's end."""
    peer: WirePeer = await ask(lambda: connect(port, static=static))
    with contextlib.closing(peer):
        peer.control(**{**MESSAGE, **more})
        got = await ask(peer.drain)
    return [
        msgpack.unpackb(payload) if kind == CONTROL else payload for _, kind, payload in got if kind in (CONTROL, CLOSE)
    ]


def test_a_server_that_gives_no_codes(tmp_path: Path) -> None:
    async def body(service: Service, port: int) -> None:
        answer, goodbye = await say(port)
        assert answer == {"type": "refuse", "code": "auth", "message": "this server takes no enrolments"}
        assert goodbye[0] == 2

    serving(tmp_path, body)


def test_a_code_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Enrolment] = []

    async def enroller(enrolment: Enrolment) -> tuple[str, str]:
        seen.append(enrolment)
        return "box-1", "Box"

    async def body(service: Service, port: int) -> None:
        service.enroller = enroller
        answer, goodbye = await say(port)
        assert answer == {"type": "enrolled", "id": "box-1", "name": "Box"}
        assert goodbye == b"\0enrolled"
        (one,) = seen
        assert (one.secret, one.public_key) == ("s" * SECRET_MAX, keys.from_private(KEY).public)
        assert (one.address, one.facts.name) == ("127.0.0.1", "box")
        assert len(service.registry) == 0

    serving(tmp_path, body)
    assert "s" * SECRET_MAX not in caplog.text


def test_a_wrong_code_is_a_failed_login(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def enroller(enrolment: Enrolment) -> tuple[str, str]:
        raise Refused(*(("busy", "later") if enrolment.facts.name == "busy" else ("auth", "no such code")))

    async def body(service: Service, port: int) -> None:
        service.enroller = enroller
        for _ in range(2):
            assert (await say(port))[0] == {"type": "refuse", "code": "auth", "message": "no such code"}
        assert (await say(port, name="busy"))[0] == {"type": "refuse", "code": "busy", "message": "later"}
        failures = service.admission._delays._sources
        assert len(failures) == 1
        loop = asyncio.get_running_loop()
        for number in range(3, 5):  # 0.4, 0.8 s
            begun = loop.time()
            await say(port)
            assert loop.time() - begun >= 0.1 * 2 ** (number - 1)

    serving(tmp_path, body)
    failed = [line for line in caplog.messages if "login failed for an enrolment code from 127.0.0.1" in line]
    assert len(failed) == 4


def test_neither_without_a_key_nor_twice_nor_beside_a_hello(tmp_path: Path) -> None:
    begun = 0

    async def enroller(enrolment: Enrolment) -> tuple[str, str]:
        nonlocal begun
        begun += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never")

    async def body(service: Service, port: int) -> None:
        service.enroller = enroller
        assert [message for message in await say(port, static=None) if isinstance(message, dict)] == []
        assert begun == 0
        for second in (MESSAGE, {"type": "hello", "version": "1", "identity": "0", "remotes": []}):
            peer = await ask(lambda: connect(port, static=KEY))
            with contextlib.closing(peer):
                peer.control(**MESSAGE)
                peer.control(**second)
                got = await ask(peer.drain)
                assert CONTROL not in [kind for _, kind, _ in got]
        assert len(service.registry) == 0

    serving(tmp_path, body)
    assert begun <= 2


def test_a_failing_enroller_ends_one_session_alone(tmp_path: Path) -> None:
    async def enroller(enrolment: Enrolment) -> tuple[str, str]:
        if enrolment.facts.name == "bad":
            raise RuntimeError("out of order")
        return "a", "b"

    async def body(service: Service, port: int) -> None:
        service.enroller = enroller
        assert [message for message in await say(port, name="bad") if isinstance(message, dict)] == []
        assert (await say(port))[0]["type"] == "enrolled"

    serving(tmp_path, body)
