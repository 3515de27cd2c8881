"""What a machine tells of itself: what fits is taken as it is, one more is refused."""

import json

import pytest

from rport import control
from rport.errors import ProtocolError, UsageError
from rport.facts import (
    ADDRESSES_MAX,
    NAME_MAX,
    TAGS_MAX,
    TEXT_MAX,
    Facts,
    clean,
    parse_id,
    parse_name,
    parse_tag,
)
from rport.server.hello import Hello

ALL = Facts(
    id="web-1.example",
    name="Web Eins",
    tags=("site=berlin", "rack:4"),
    os="linux",
    os_version="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0",
    arch="x86_64",
    hostname="web1",
    addresses=("192.0.2.7", "2001:db8::7"),
)
HELLO = {"type": "hello", "version": "test", "identity": "00" * 32}


def test_what_one_end_tells_the_other_reads() -> None:
    wire = control.unpack(control.pack({"type": "hello", **ALL.to_wire()}))
    assert Facts.from_wire(wire) == ALL
    assert Facts.from_wire(json.loads(json.dumps(ALL.to_wire()))) == ALL
    assert not Facts().to_wire()
    assert Facts.from_wire({}) == Facts()


def test_a_hello_may_have_them_or_not() -> None:
    assert Hello.read(HELLO).facts == Facts()
    assert Hello.read({**HELLO, **ALL.to_wire(), "later": 1}).facts == ALL


@pytest.mark.parametrize(
    ("key", "fits", "one_more"),
    [
        ("id", "x" * 64, "x" * 65),
        ("name", "é" * NAME_MAX, "é" * (NAME_MAX + 1)),
        ("os", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
        ("os_version", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
        ("kernel", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
        ("arch", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
        ("hostname", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
        ("tags", [f"t{n}" for n in range(TAGS_MAX)], [f"t{n}" for n in range(TAGS_MAX + 1)]),
        ("tags", ["x" * 64], ["x" * 65]),
        ("addresses", [f"10.0.0.{n}" for n in range(ADDRESSES_MAX)], ["10.0.0.1"] * (ADDRESSES_MAX + 1)),
    ],
)
def test_each_has_a_limit(key: str, fits: object, one_more: object) -> None:
    taken = getattr(Facts.from_wire({key: fits}), key)
    assert (list(taken) if isinstance(fits, list) else taken) == fits
    with pytest.raises(ProtocolError):
        Facts.from_wire({key: one_more})


@pytest.mark.parametrize("value", [1, None, b"x", {}, 1.5, True])
@pytest.mark.parametrize("key", Facts._fields)
def test_nothing_of_another_type(key: str, value: object) -> None:
    for wrong in (value, [value]):
        with pytest.raises(ProtocolError):
            Facts.from_wire({key: wrong})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", ""),
        ("id", "-x"),
        ("id", "a/b"),
        ("id", "x\n"),
        ("id", "\u0661"),
        ("tags", [""]),
        ("tags", ["a b"]),
        ("tags", ["a,b"]),
        ("tags", ["\u00e9"]),
        ("addresses", ["10.0.0.256"]),
        ("addresses", ["example.com"]),
        ("addresses", ["10.0.0.0/8"]),
    ],
)
def test_what_identifies_has_a_form(key: str, value: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        Facts.from_wire({key: value})
    assert "\n" not in str(caught.value)


def test_what_humans_read_is_fit_to_be_shown() -> None:
    facts = Facts.from_wire({"name": "a\x1b[2J\nb", "os_version": "\u202edlo", "hostname": " h "})
    assert (facts.name, facts.os_version, facts.hostname) == ("a?[2J?b", "?dlo", "h")
    assert clean("\0" * 999, 5) == "?????"


def test_each_is_there_once_and_in_one_spelling() -> None:
    facts = Facts.from_wire({"tags": ["a", "b", "a"], "addresses": ["2001:DB8:0::1", "2001:db8::1"]})
    assert facts.tags == ("a", "b")
    assert facts.addresses == ("2001:db8::1",)


def test_what_a_user_gives() -> None:
    assert parse_id("0a.B_c-d") == "0a.B_c-d"
    assert parse_name(" Büro 3 ") == "Büro 3"
    assert parse_tag("env=prod/eu:1@x+y-z._") == "env=prod/eu:1@x+y-z._"


@pytest.mark.parametrize(
    ("read", "text", "what"),
    [
        (parse_id, "", "no id"),
        (parse_id, "x" * 65, "no id"),
        (parse_name, "  ", "no name"),
        (parse_name, "a\tb", "no name"),
        (parse_name, "x" * 65, "no name"),
        (parse_tag, "a b", "no tag"),
    ],
)
def test_what_a_user_may_not_give(read: object, text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        read(text)  # type: ignore[operator]
    assert str(caught.value).isprintable()


def test_the_longest_fit_beside_the_longest_remotes() -> None:
    """What one client may declare is one message, whatever else it tells."""
    from rport.client.settings import REMOTES_MAX
    from rport.remote import Remote

    remotes = [Remote("0.0.0.0", 65535, "h" * 253, 65535).to_wire()] * REMOTES_MAX
    most = Facts(
        "x" * 64,
        "n" * 64,
        tuple(f"{n:02}{'t' * 62}" for n in range(TAGS_MAX)),
        *["t" * 64] * 5,  # as long as uname has them
        tuple(f"2001:db8:1111:2222:3333:4444:5555:{n:x}" for n in range(0x1000, 0x1000 + ADDRESSES_MAX)),
    )
    control.pack({**HELLO, "user": "u" * 64, "password": "p" * 64, "remotes": remotes, **most.to_wire()})
