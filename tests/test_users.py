"""The authfile, and who it lets in."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import UsageError
from rport.login import Login
from rport.server import passwords, users
from rport.server.passwords import make_hash
from rport.server.users import User, Users, load_users, parse_authfile

SECRET = "the-password"
EXAMPLE = (
    '{"user1:foobaz": [".*"], "user2:bingo": ["210\\\\.211\\\\.212.*", "107\\\\.108\\\\.109.*"], '
    '"rport:password123": ["^999"]}'
)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that libsodium takes: what is tested here is not how dear a hash is."""
    monkeypatch.setattr(passwords, "OPSLIMIT", 1)
    monkeypatch.setattr(passwords, "MEMLIMIT", 8192)


def written(directory: Path, text: str | bytes) -> str:
    path = directory / "users.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_the_example_of_the_original(tmp_path: Path) -> None:
    found = load_users(None, written(tmp_path, EXAMPLE))
    assert found is not None
    assert found.verify("user1", "foobaz")
    assert found.verify("user2", "bingo")
    assert found.verify("rport", "password123")
    assert not found.verify("user1", "bingo")
    names = [user for name in ("user1", "user2", "rport") if (user := found.get(name)) is not None]
    may = [
        (user.name, host, port)
        for user in names
        for host, port in (("0.0.0.0", 9999), ("107.108.109.1", 80), ("0.0.0.0", 80))
        if user.listen.allow(host, port)
    ]
    assert may == [
        ("user1", "0.0.0.0", 9999),
        ("user1", "107.108.109.1", 80),
        ("user1", "0.0.0.0", 80),
        ("user2", "107.108.109.1", 80),
        ("rport", "0.0.0.0", 9999),
    ]


def test_passwords_have_colons_and_any_letters(tmp_path: Path) -> None:
    text = json.dumps({"a:b:c": [], "ü:pä$$": [], "empty:": []})
    found = load_users(None, written(tmp_path, text))
    assert found is not None
    assert found.verify("a", "b:c")
    assert found.verify("ü", "pä$$")
    assert found.verify("empty", "")
    assert not found.verify("empty", "x")


@pytest.mark.parametrize("name", ["nobody", ""])
@pytest.mark.parametrize("password", ["", SECRET])
@pytest.mark.parametrize("secret", [SECRET, "", "hashed"])
def test_an_unknown_user_never_comes_in(name: str, password: str, secret: str) -> None:
    found = Users([User("me", make_hash(SECRET) if secret == "hashed" else secret)])
    assert not found.verify(name, password)


def test_hashed_and_plain_users_in_one_file(tmp_path: Path) -> None:
    found = load_users(
        Login("root", make_hash("r")), written(tmp_path, json.dumps({f"h:{make_hash(SECRET)}": [], "p:q": []}))
    )
    assert found is not None
    assert found.verify("h", SECRET)
    assert found.verify("p", "q")
    assert found.verify("root", "r")
    assert not found.verify("h", make_hash(SECRET))
    assert not found.verify("p", SECRET)
    root = found.get("root")
    assert root is not None
    assert root.listen.allow("0.0.0.0", 1)


def test_every_login_costs_one_hash_once_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = make_hash(SECRET)
    found = Users([User("h", hashed), User("p", "q")])
    calls: list[str] = []
    real = passwords.verify

    def counting(secret: str, password: str) -> bool:
        calls.append(secret)
        return real(secret, password)

    monkeypatch.setattr(passwords, "verify", counting)
    for name, password in (("h", SECRET), ("h", "x"), ("p", "q"), ("p", "x"), ("nobody", "x")):
        calls.clear()
        found.verify(name, password)
        assert [secret for secret in calls if passwords.is_hash(secret)] == [hashed], name


def test_plain_users_alone_need_no_thread() -> None:
    assert not Users([User("p", "q")]).slow
    assert Users([User("p", "q"), User("h", make_hash("x"))]).slow


def test_nobody_is_configured() -> None:
    assert load_users(None, None) is None


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    found = load_users(None, written(tmp_path, "{}"))
    assert found is not None
    assert not len(found)
    assert not found.verify("", "")


DAMAGED = "$argon2id$v=19$m=65536,t=2,p=1$abc"
BROKEN: list[tuple[str | bytes, str]] = [
    ("", "line 1, column 1: this is no JSON"),
    ("{", "line 1, column 2"),
    (f'{{\n"me:{SECRET}": [],\n}}', "line 3, column 1"),
    (f'{{"me:{SECRET}": [".*"', "column"),
    ("[]", "give an object such as"),
    ("null", "give an object such as"),
    (f'{{"{SECRET}": []}}', "entry 1: the key must be user:password"),
    (f'{{"a:b": [], ":{SECRET}": []}}', "entry 2: the key must be user:password"),
    (f'{{"me:{SECRET}": "*"}}', "user 'me': give a list"),
    (f'{{"me:{SECRET}": {{}}}}', "user 'me': give a list"),
    (f'{{"me:{SECRET}": [1]}}', "user 'me': 1 is no text"),
    (f'{{"me:{SECRET}": ["("]}}', "user 'me': the rule '(' is no regular expression"),
    (f'{{"me:{SECRET}": [], "me:other": []}}', "user 'me': is there twice"),
    (f'{{"me:{SECRET}": [], "me:{SECRET}": []}}', "user 'me': is there twice"),
    (f'{{"me:{DAMAGED}": []}}', "user 'me': its $argon2id$ hash is cut short"),
    ('{"me:$2b$12$abcdefghijklmnopqrstuv": []}', "user 'me': its hash is not Argon2id"),
    ('{"me:$6$abc$def": []}', "user 'me': its hash is not Argon2id"),
    ('{"me:\\ud800": []}', "user 'me': half of a surrogate pair"),
    (b'{"me:\xff": []}', "not UTF-8, at byte 6"),
    ("[" * 100_000, "no JSON that could be"),
    ('{"me:x": ' + "9" * 5000 + "}", "no JSON that could be"),
    (" " * (users.FILE_MAX + 1), f"longer than {users.FILE_MAX} bytes"),
]


@pytest.mark.parametrize(("text", "reason"), BROKEN)
def test_what_is_wrong_is_named_and_no_password_shown(text: str | bytes, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=re.escape(reason)) as caught:
        load_users(None, path)
    said = str(caught.value)
    assert said.startswith(f"authfile {path}")
    assert "\n" not in said
    assert SECRET not in said
    assert DAMAGED not in said
    assert len(said) < 500 + len(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"authfile .*nowhere: No such file or directory"):
        load_users(None, str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"authfile .*: Is a directory"):
        load_users(None, str(tmp_path))


def test_too_many_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "USERS_MAX", 2)
    assert len(parse_authfile('{"a:x": [], "b:x": []}', "f")) == 2
    with pytest.raises(UsageError, match="3 users, 2 are allowed"):
        parse_authfile('{"a:x": [], "b:x": [], "c:x": []}', "f")


def test_one_user_in_two_places(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="user 'me' is there twice: once in --auth"):
        load_users(Login("me", "x"), written(tmp_path, '{"me:y": []}'))


def test_a_hash_in_auth_that_cannot_be_verified() -> None:
    with pytest.raises(UsageError, match="--auth: user 'me': its hash is not Argon2id"):
        load_users(Login("me", "$2b$12$abc"), None)


def test_passwords_are_not_printed() -> None:
    assert SECRET not in repr(User("me", SECRET))


@given(st.one_of(st.text(max_size=200), st.from_type(dict).map(repr)))
def test_any_text_is_users_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_authfile(text, "f")
