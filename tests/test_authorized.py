"""The authorized-keys file."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.errors import UsageError
from rport.keys import public_text
from rport.server import authorized
from rport.server.authorized import load_keys, parse_keys

PUBLIC, OTHER = bytes(range(32)), bytes(range(1, 33))


def entry(name: str = "laptop", public: bytes = PUBLIC, *lines: str) -> str:
    return "\n".join(["[[key]]", f'name = "{name}"', f'public = "{public_text(public)}"', *lines, ""])


def test_a_key_that_may_do_everything() -> None:
    key = parse_keys(entry(), "f").get(PUBLIC)
    assert key is not None
    assert (key.name, key.public) == ("laptop", PUBLIC)
    assert key.listen.allow("0.0.0.0", 1)
    assert key.comes_from("203.0.113.9")


def test_a_key_with_limits(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        entry("a", PUBLIC, "listen = ['^2222$']", "from = ['192.0.2.0/24', '2001:db8::1', '::ffff:198.51.100.7']")
        + entry("b", OTHER)
    )
    keys = load_keys(str(path))
    assert keys is not None
    assert len(keys) == 2
    key = keys.get(PUBLIC)
    assert key is not None
    assert key.listen.allow("0.0.0.0", 2222)
    assert not key.listen.allow("0.0.0.0", 2223)
    sources = [
        "192.0.2.7",
        "::ffff:192.0.2.7",
        "2001:db8::1",
        "2001:db8::1%eth0",
        "198.51.100.7",
        "192.0.3.7",
        "2001:db8::2",
        "unknown",
    ]
    assert [key.comes_from(source) for source in sources] == [True] * 5 + [False] * 3
    assert keys.get(bytes(32)) is None


def test_no_file_and_an_empty_one() -> None:
    assert load_keys(None) is None
    assert len(parse_keys("", "f")) == 0


BROKEN = [
    ("[[key", "this is no TOML"),
    ("x = " + "9" * 5000, "this is no TOML"),
    ("x = 1", "'x' is unknown here"),
    ("[key]\nname = 'a'", "in two brackets"),
    ("key = [1]", "in two brackets"),
    (entry("a", PUBLIC, "form = []"), "key 1 ('a'): unknown field 'form'; did you mean from?"),
    (entry("a", PUBLIC, "zzz = []"), "key 1 ('a'): unknown field 'zzz'; there are name, public, listen, from"),
    (entry("") + entry("b", OTHER), "key 1 (''): name: give a text"),
    (entry() + "[[key]]\nname = 'b'", "key 2 ('b'): public: give rport-pub- and 64 hex digits"),
    (f"[[key]]\npublic = '{public_text(PUBLIC)}'", "key 1: name: give a text"),
    ("[[key]]\nname = 'b'\npublic = 5", "public: give rport-pub- and 64 hex digits"),
    ("[[key]]\nname = 'b'\npublic = 'rport-pub-zz'", "public: give rport-pub- and 64 hex digits"),
    (f"[[key]]\nname = 'b'\npublic = '{PUBLIC.hex()}'", "public: give rport-pub- and 64 hex digits"),
    (entry("a") + entry("b"), "key 2 ('b'): the same public key as that of 'a'"),
    (entry("a") + entry("a", OTHER), "key 2 ('a'): the same name as that of 'a'"),
    (entry("a", PUBLIC, "listen = '*'"), "key 1 ('a'): listen: give a list"),
    (entry("a", PUBLIC, "listen = ['(']"), "listen: the rule '(' is no regular expression"),
    (entry("a", PUBLIC, "from = []"), "from: give a list of networks"),
    (entry("a", PUBLIC, "from = '10.0.0.0/8'"), "from: give a list of networks"),
    (
        entry("a", PUBLIC, "from = ['10.0.0.1/8']"),
        "10.0.0.1/8' is no address or network: write it like 10.0.0.0/8; did",
    ),
    (entry("a", PUBLIC, "from = ['here']"), "from: 'here' is no address or network: write it like 10.0.0.0/8"),
    (entry("a", PUBLIC, "from = [5]"), "from: '5' is no address or network"),
    (entry("a", PUBLIC, f"from = {['10.0.0.0/8'] * 257}"), "from: 257 networks, 256 are allowed"),
    (entry("a" * 65), "at most 64 characters"),
    (entry("a\\n"), "at most 64 characters"),
]


@pytest.mark.parametrize(("text", "reason"), BROKEN)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)) as caught:
        parse_keys(text, "/etc/keys.toml")
    assert str(caught.value).startswith("authorized-keys file /etc/keys.toml")
    assert "\n" not in str(caught.value)


def test_too_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorized, "KEYS_MAX", 1)
    assert len(parse_keys(entry(), "f")) == 1
    with pytest.raises(UsageError, match="2 keys, 1 are allowed"):
        parse_keys(entry() + entry("b", OTHER), "f")


@given(st.text(max_size=200))
def test_any_text_is_keys_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_keys(text, "f")
