"""The decision who comes in, apart from any session."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rport.errors import Refused, UsageError
from rport.login import parse_login
from rport.server import admission, delays, passwords
from rport.server.admission import Admission, Attempt, LoginFailed, quoted
from rport.server.credentials import Credentials
from rport.server.inventory import Inventory
from rport.server.passwords import make_hash
from rport.server.settings import Settings
from rport.server.users import Users

HERE = "192.0.2.1"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that libsodium takes: what is tested here is not how dear a hash is."""
    monkeypatch.setattr(passwords, "OPSLIMIT", 1)
    monkeypatch.setattr(passwords, "MEMLIMIT", 8192)


def login(auth: str, address: str = HERE, identity: str = "i") -> Attempt:
    user, _, password = auth.partition(":")
    return Attempt(address, user, password, identity, None)


def settings(directory: Path, users: dict[str, list[str]] | None = None, auth: str | None = None) -> Settings:
    path = directory / "users.json"
    if users is not None:
        path.write_text(json.dumps(users))
    return Settings(
        state_dir=str(directory),
        auth=parse_login(auth) if auth is not None else None,
        authfile=str(path) if users is not None else None,
    )


def run(made: Settings, body: Callable[[Admission], Awaitable[None]]) -> None:
    async def main() -> None:
        subject = Admission(made, Credentials(Inventory()))
        try:
            async with asyncio.timeout(30):
                await body(subject)
        finally:
            subject.close()

    asyncio.run(main())


async def outcome(subject: Admission, attempt: Attempt) -> str:
    try:
        await subject.check(attempt)
    except Refused as error:
        return error.code
    return "in"


class Slow:
    """Stands in for Argon2id: each check waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.working = threading.Semaphore(0)
        self.began = 0
        real = Users.verify

        def verify(users: Users, name: str, password: str) -> bool:
            self.began += 1
            self.working.release()
            assert self.go.wait(20)
            return real(users, name, password)

        monkeypatch.setattr(Users, "verify", verify)


def test_everybody_comes_in_where_nothing_is_configured(tmp_path: Path) -> None:
    async def body(subject: Admission) -> None:
        assert subject.open
        assert "every client is let in" in subject.warnings()[0]
        assert (await subject.check(login(""))).allows("0.0.0.0", 1)

    run(settings(tmp_path), body)


@pytest.mark.parametrize("secret", ["secret", "hashed"])
def test_the_right_password_alone(secret: str, tmp_path: Path) -> None:
    async def body(subject: Admission) -> None:
        assert not subject.warnings()
        attempts = [login("me:secret"), login("me:x", "192.0.2.2"), login("you:secret", "192.0.2.3"), login("")]
        assert [await outcome(subject, attempt) for attempt in attempts] == ["in", "auth", "auth", "auth"]
        grant = await subject.check(login("me:secret", identity="j"))
        assert (str(grant), grant.allows("0.0.0.0", 1), grant.allows("0.0.0.0", 22)) == ("user 'me'", False, True)

    run(settings(tmp_path, {f"me:{make_hash('secret') if secret == 'hashed' else secret}": ["^22$"]}), body)


def test_the_loop_goes_on_while_hashes_are_worked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)

    async def body(subject: Admission) -> None:
        checks = [asyncio.ensure_future(outcome(subject, login("me:secret", f"192.0.2.{n}"))) for n in range(5)]
        await asyncio.to_thread(slow.working.acquire)
        await asyncio.to_thread(slow.working.acquire)
        assert not any(check.done() for check in checks)
        assert slow.began == admission.CHECKS_MAX  # never more at a time
        slow.go.set()
        assert await asyncio.gather(*checks) == ["in"] * 5

    run(settings(tmp_path, {f"me:{make_hash('secret')}": []}), body)


def test_logins_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WAITING_MAX", 3)
    slow = Slow(monkeypatch)

    async def body(subject: Admission) -> None:
        fitting = [
            asyncio.ensure_future(outcome(subject, login("me:secret", f"192.0.2.{n}")))
            for n in range(admission.CHECKS_MAX + 3)
        ]
        await asyncio.sleep(0)
        assert await outcome(subject, login("me:secret", "192.0.2.99")) == "busy"
        slow.go.set()
        assert await asyncio.gather(*fitting) == ["in"] * len(fitting)
        assert await outcome(subject, login("me:secret", "192.0.2.99")) == "in"  # and it was held against nobody

    run(settings(tmp_path, {f"me:{make_hash('secret')}": []}), body)


def test_a_check_whose_client_has_gone_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)

    async def body(subject: Admission) -> None:
        checks = [asyncio.ensure_future(outcome(subject, login("me:secret", f"192.0.2.{n}"))) for n in range(20)]
        for _ in range(admission.CHECKS_MAX):
            await asyncio.to_thread(slow.working.acquire)
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        slow.go.set()
        assert await outcome(subject, login("me:secret", "192.0.2.99")) == "in"
        assert slow.began == admission.CHECKS_MAX + 1
        while subject._threads.calls:
            await asyncio.sleep(0)

    run(settings(tmp_path, {f"me:{make_hash('secret')}": []}), body)


@pytest.mark.parametrize(
    ("users", "expected"),
    [({}, "busy"), ({"me:other": []}, "busy"), ("same", "in")],
    ids=["removed", "another password", "another user came"],
)
def test_a_change_while_a_login_is_checked(
    users: dict[str, list[str]] | str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was right by the old file is not let in by the new one."""
    slow = Slow(monkeypatch)
    old = {f"me:{make_hash('secret')}": ["^22$"]}
    new = {**old, "you:x": []} if isinstance(users, str) else users

    async def body(subject: Admission) -> None:
        check = asyncio.ensure_future(outcome(subject, login("me:secret")))
        await asyncio.to_thread(slow.working.acquire)
        assert await subject.reconfigure(settings(tmp_path, new))
        slow.go.set()
        assert await check == expected

    run(settings(tmp_path, old), body)


def test_a_narrower_rule_counts_for_who_is_being_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    secret = make_hash("secret")

    async def body(subject: Admission) -> None:
        check = asyncio.ensure_future(subject.check(login("me:secret")))
        await asyncio.to_thread(slow.working.acquire)
        assert await subject.reconfigure(settings(tmp_path, {f"me:{secret}": ["^22$"]}))
        slow.go.set()
        assert not (await check).allows("0.0.0.0", 80)

    run(settings(tmp_path, {f"me:{secret}": [".*"]}), body)


def test_failed_answers_are_held_back_and_say_whose_they_were(tmp_path: Path) -> None:
    async def body(subject: Admission) -> None:
        holds = []
        for user in ("a", "b", "c"):
            with pytest.raises(LoginFailed) as caught:
                await subject.check(login(f"{user}:x"))
            assert caught.value.who == f"user '{user}'"
            holds.append(caught.value.hold)
        assert 0 < holds[0] < holds[1] < holds[2]
        assert "secret" not in str(caught.value)

    run(settings(tmp_path, auth="me:secret"), body)


def test_the_right_password_within_the_delay_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "FIRST", 60.0)  # half a second may be over before we come again

    async def body(subject: Admission) -> None:
        assert await outcome(subject, login("me:x")) == "auth"
        assert await outcome(subject, login("me:secret")) == "busy"
        assert await outcome(subject, login("you:x")) == "auth"
        assert await outcome(subject, login("me:secret", "192.0.2.2")) == "in"

    run(settings(tmp_path, auth="me:secret"), body)


def test_broken_files_are_named_at_the_start(tmp_path: Path) -> None:
    made = settings(tmp_path, {})
    (tmp_path / "users.json").write_text("{")
    with pytest.raises(UsageError, match="authfile"):
        Admission(made, Credentials(Inventory()))


def test_changes_are_followed(tmp_path: Path) -> None:
    made = settings(tmp_path, {"me:secret": []})

    async def body(subject: Admission) -> None:
        told = asyncio.Event()
        following = asyncio.ensure_future(subject.follow(told.set))
        (tmp_path / "users.json").write_text('{"you:too": []}')
        await told.wait()
        following.cancel()
        assert await outcome(subject, login("you:too")) == "in"
        assert await outcome(subject, login("me:secret")) == "auth"

    run(made, body)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("bob", "'bob'"), ("a'b", r"'a\x27b'"), ("a\\", r"'a\\'"), ("", "''"), ("x" * 99, f"'{'x' * 64}'")],
)
def test_quoted_names(name: str, shown: str) -> None:
    assert quoted(name) == shown


def test_passwords_are_not_printed() -> None:
    assert "secret" not in repr(login("me:secret"))
