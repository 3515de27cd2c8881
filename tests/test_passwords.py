"""Passwords plain and hashed."""

import pytest

from rport.errors import UsageError
from rport.server import passwords
from rport.server.passwords import check_secret, cost, is_hash, make_hash, verify


def test_a_hash_fits_its_password_alone() -> None:
    made = make_hash("päss: word")
    assert is_hash(made)
    assert cost(made) == passwords.OPSLIMIT * passwords.MEMLIMIT // 1024
    check_secret(made)
    assert verify(made, "päss: word")
    assert not verify(made, "pass: word")
    assert not verify(made, made)
    assert not verify(made, "")


def test_a_hash_is_salted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "OPSLIMIT", 1)
    monkeypatch.setattr(passwords, "MEMLIMIT", 8192)
    assert make_hash("x") != make_hash("x")


def test_plain_passwords() -> None:
    assert verify("$ecret", "$ecret")
    assert verify("", "")
    assert not verify("a", "")
    assert not verify("", "a")
    assert cost("$ecret") == 0
    check_secret("$ecret")
    check_secret("$argon")
    check_secret("")


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA", "cut short"),
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43 + "\n", "cut short"),
        ("$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43, "too much memory or time"),
        ("$argon2id$v=19$m=1048576,t=9,p=1$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43, "too much memory or time"),
        ("$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43, "impossible"),
        ("$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43, "not Argon2id"),
        ("$2y$10$abcdefghijklmnopqrstuv", "not Argon2id"),
        ("$1$salt$hash", "not Argon2id"),
        ("$y$j9T$salt$hash", "not Argon2id"),
    ],
)
def test_hashes_that_could_never_be_verified(secret: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        check_secret(secret)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("password", "reason"), [("", "empty"), ("a" * (passwords.PASSWORD_MAX + 1), "4096 fit into a login")]
)
def test_passwords_that_no_login_could_give(password: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make_hash(password)
