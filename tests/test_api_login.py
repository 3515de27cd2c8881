"""Passwords of the API's users: what is remembered, what is bounded, and that strangers learn nothing."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rport.server import api_login, delays, hashing, passwords
from rport.server.accounts import Accounts, User
from rport.server.api_login import SOURCE_MAX, ApiLogin, Basic, Bearer, Session
from rport.server.errors import Busy, ServerError, TooSoon, Unauthorized
from rport.server.opaque import new_secret
from tests.support.plane import bare_plane

HERE, THERE = "192.0.2.1", "192.0.2.2"
WORD = "correct horse"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "OPSLIMIT", 1)
    monkeypatch.setattr(passwords, "MEMLIMIT", 8192)
    monkeypatch.setattr(hashing, "DECOY", passwords.make_hash("nobody's"))


def run(body: Callable[[ApiLogin, Any], Awaitable[None]]) -> None:
    async def main() -> None:
        plane = bare_plane(None)
        secret = passwords.make_hash(WORD)
        plane.people.accounts = Accounts(1, [User(name, secret, "admin", None, None, 0, 1.0) for name in ("al", "bo")])
        try:
            async with asyncio.timeout(60):
                await body(plane.login, plane.people)
        finally:
            plane.login.close()
            await plane.store.close()

    asyncio.run(main())


class Counted:
    """How often Argon2id was asked, with what, and how many at once; `gate` holds them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        real = passwords.verify

        def verify(secret: str, password: str) -> bool:
            self.secrets.append(secret)
            self.gate.wait(20)
            return real(secret, password)

        monkeypatch.setattr(passwords, "verify", verify)


async def outcome(login: ApiLogin, user: str, password: str, source: str = HERE) -> str:
    try:
        return (await login.authenticate(Basic(user, password, ""), source)).name
    except ServerError as error:
        return type(error).__name__


def test_a_password_that_was_right_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)

    async def body(login: ApiLogin, people: Any) -> None:
        for _ in range(20):
            assert await outcome(login, "al", WORD) == "al"
        assert len(counted.secrets) == 1
        assert WORD.encode() not in b"".join(login._remembered)
        other = passwords.make_hash("another word")
        people.accounts = Accounts(2, [User("al", other, "admin", None, None, 0, 1.0)])
        assert await outcome(login, "al", WORD) == "Unauthorized"  # at once
        people.accounts = Accounts(3)
        assert await outcome(login, "al", "another word") != "al"

    run(body)


def test_it_is_forgotten_after_a_while_and_they_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    monkeypatch.setattr(api_login, "REMEMBERED_MAX", 1)

    async def body(login: ApiLogin, people: Any) -> None:
        for name in ("al", "bo", "al"):
            assert await outcome(login, name, WORD) == name
        assert len(counted.secrets) == 3
        assert len(login._remembered) == 1
        monkeypatch.setattr(api_login, "REMEMBERED", -1.0)  # seconds: they are over
        for _ in range(2):
            assert await outcome(login, "bo", WORD) == "bo"
        assert len(counted.secrets) == 5

    run(body)


def test_an_unknown_user_costs_what_a_known_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)

    async def body(login: ApiLogin, people: Any) -> None:
        assert await outcome(login, "nobody", "x" * 20) == "Unauthorized"
        assert counted.secrets == [hashing.DECOY]
        assert await outcome(login, "nobody2", "nobody's") == "Unauthorized"  # the decoy's own password

    run(body)


def test_the_shipped_decoy_is_as_dear_as_a_new_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    passwords.check_secret(hashing.DECOY)
    assert passwords.cost(hashing.DECOY) == passwords.cost(passwords.make_hash(WORD))
    assert not passwords.verify(hashing.DECOY, WORD)


def test_who_failed_waits_and_his_neighbours_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "FIRST", 60.0)  # half a second may be over before we come again

    async def body(login: ApiLogin, people: Any) -> None:
        assert await outcome(login, "al", "wrong") == "Unauthorized"
        with pytest.raises(TooSoon) as caught:
            await login.authenticate(Basic("al", WORD, ""), HERE)
        assert caught.value.headers == {"Retry-After": str(caught.value.wait)}
        assert caught.value.wait >= 1
        assert await outcome(login, "bo", WORD) == "bo"
        assert await outcome(login, "al", WORD, THERE) == "al"
        # Now it is remembered, wherever somebody guesses.
        assert await outcome(login, "al", WORD) == "al"

    run(body)


def test_one_source_has_so_many_logins_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)

    async def body(login: ApiLogin, people: Any) -> None:
        counted.gate.clear()
        tries = [asyncio.ensure_future(outcome(login, f"u{i}", "x")) for i in range(SOURCE_MAX)]
        while login._inside[HERE] < SOURCE_MAX:
            await asyncio.sleep(0)
        assert await outcome(login, "one more", "x") == "Busy"
        other = asyncio.ensure_future(outcome(login, "al", WORD, THERE))
        counted.gate.set()
        assert await other == "al"
        assert set(await asyncio.gather(*tries)) == {"Unauthorized"}
        assert not login._inside

    run(body)


def test_all_sources_have_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    monkeypatch.setattr(hashing, "API_WAITING_MAX", 3)

    async def body(login: ApiLogin, people: Any) -> None:
        counted.gate.clear()
        tries = [
            asyncio.ensure_future(outcome(login, "al", "x", f"192.0.2.{i}")) for i in range(hashing.API_THREADS + 3)
        ]
        while login.hashing.threads.calls < hashing.API_THREADS + 3:
            await asyncio.sleep(0)
        assert await outcome(login, "al", WORD, THERE) == "Busy"
        tries[-1].cancel()  # its client is gone, and nobody waits for it
        with contextlib.suppress(asyncio.CancelledError):
            await tries[-1]
        while login.hashing.threads.calls == hashing.API_THREADS + 3:
            await asyncio.sleep(0)
        counted.gate.set()
        await asyncio.gather(*tries[:-1])
        assert len(counted.secrets) == hashing.API_THREADS + 2
        while login.hashing.threads.calls:
            await asyncio.sleep(0)

    run(body)


def test_wrong_tokens_are_told_and_never_delay_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(login: ApiLogin, people: Any) -> None:
        for token in (new_secret("rpt"), "rpt_", "", "\xe4"):
            with pytest.raises(Unauthorized, match="no such token"):
                await login.authenticate(Bearer(token), HERE)
        with pytest.raises(Unauthorized, match="this login is over"):
            await login.authenticate(Session(new_secret("rps")), HERE)
        assert await outcome(login, "al", WORD) == "al"

    run(body)


def test_floods_of_failures_do_not_flood_the_audit_log(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(login: ApiLogin, people: Any) -> None:
        for i in range(500):
            login._tell(f"user 'u{i}'", f"u{i}", HERE, "x")
        assert 0 < login._journal.waiting < 100

    run(body)


def test_what_was_shown_is_not_printed() -> None:
    shown = repr([Basic("al", WORD, "123456"), Bearer(WORD), Session(WORD)])
    assert WORD not in shown
    assert "123456" not in shown
    assert Busy("x").headers == {}
