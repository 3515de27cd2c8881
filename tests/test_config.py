"""Where an option's value comes from, and what is said of a bad one."""

import argparse
import os
from pathlib import Path
from typing import Any

import pytest

from rport.client import options as client
from rport.client import settings as client_settings
from rport.config import File, Table, check, reload
from rport.errors import UsageError
from rport.options import Option, one_of, path
from rport.server import options as server
from rport.server import settings as server_settings

PROGRAMS = [(client.TABLE, client_settings), (server.TABLE, server_settings)]


def number(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"{text!r} is no number")
    return int(text)


TABLE = Table("prog", [
    Option("word", "a word", "W", positional=True),
    Option("rest", "more words", "R", many=True, positional=True),
    Option("size", "a number", "N", number, "7", live=True),
    Option("name", "a name", "X", env=("OLD_NAME",)),
    Option("tag", "tags", "T", many=True),
    Option("line", "lines", "L", many=True, lines=True),
    Option("pass", "a secret", "P", secret=True),
    Option("fast", "a flag", live=True),
], "about", "")  # fmt: skip


def resolved(argv: list[str] = [], environ: dict[str, str] = {}, toml: str | None = None) -> dict[str, Any]:  # noqa: B006
    file = None if toml is None else File("f.toml", toml, TABLE)
    return TABLE.resolve(TABLE.parser("1").parse(argv), environ, file)[0]


def problem(argv: list[str] = [], environ: dict[str, str] = {}, toml: str | None = None) -> str:  # noqa: B006
    with pytest.raises(UsageError) as caught:
        resolved(argv, environ, toml)
    return str(caught.value)


def test_nothing_given() -> None:
    assert resolved() == {
        "config": None,
        "word": None,
        "rest": (),
        "size": 7,
        "name": None,
        "tag": (),
        "line": (),
        "pass": None,
        "fast": False,
    }


def test_the_command_line_goes_before_the_environment_and_that_before_the_file() -> None:
    argv, environ, toml = ["--size", "1"], {"RPORT_SIZE": "2"}, "size = 3"
    assert resolved(argv, environ, toml)["size"] == 1
    assert resolved([], environ, toml)["size"] == 2
    assert resolved([], {"RPORT_SIZE": ""}, toml)["size"] == 3
    assert resolved([], {}, "")["size"] == 7


def test_variables() -> None:
    assert resolved([], {"RPORT_NAME": "new", "OLD_NAME": "old"})["name"] == "new"
    assert resolved([], {"OLD_NAME": "old"})["name"] == "old"
    assert resolved([], {"RPORT_TAG": " a  b\nc"})["tag"] == ("a", "b", "c")
    assert resolved([], {"RPORT_LINE": "a: b\n\n c: d \n"})["line"] == ("a: b", "c: d")
    assert [resolved([], {"RPORT_FAST": text})["fast"] for text in ("1", "true", "YES", "0", "no")] == [
        *(True, True, True, False, False)
    ]


def test_the_file() -> None:
    toml = 'size = "12"\nname = 5\ntag = ["a", 1]\nrest = []\nfast = true\nword = "w"\n'
    values = resolved([], {}, toml)
    assert [values[name] for name in ("size", "name", "tag", "rest", "fast", "word")] == [
        *(12, "5", ("a", "1"), (), True, "w")
    ]


def test_a_list_replaces_the_lists_behind_it() -> None:
    assert resolved(["w", "a", "b"], {"RPORT_REST": "c"}, 'rest = ["d"]')["rest"] == ("a", "b")
    assert resolved(["--tag", "x", "-tag=y"], {}, 'tag = ["z"]')["tag"] == ("x", "y")


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("\nsise = 1", "f.toml:2: sise: unknown key; did you mean size?"),
        ("zzzzzz = 1", "f.toml:1: zzzzzz: unknown key; see prog --help"),
        ("config = 1", "f.toml:1: config: unknown key; see prog --help"),
        ("[zzzzz]\nx = 1", "f.toml:1: zzzzz: there are no sections here"),
        ("fast = 1", "f.toml:1: fast: true or false is expected here"),
        ("size = [1]", "f.toml:1: size: a text or a number is expected here"),
        ("size = 1.5", "f.toml:1: size: a text or a number is expected here"),
        ('tag = "a"', 'f.toml:1: tag: a list such as ["..."] is expected here'),
        ('tag = ["a", [1]]', 'f.toml:1: tag: a list such as ["..."] is expected here'),
        ('# size\n\nsize = "x"', "f.toml:3: size: 'x' is no number"),
        ("size = true", "f.toml:1: size: 'true' is no number"),
        (f"size = 0x{'f' * 5000}", "f.toml:1: size: a text or a number is expected here"),
    ],
)
def test_problems_of_a_file(toml: str, text: str) -> None:
    assert problem(toml=toml) == text


def test_no_toml() -> None:
    assert problem(toml="size = \n").startswith("f.toml: this is no TOML: Invalid value (at line 1, column")
    for toml in (f"size = {'9' * 5000}", f"size = {'[' * 20000}", f"size = {'{a=' * 20000}"):
        assert problem(toml=toml).startswith("f.toml: this is no TOML: ")


def test_a_problem_names_its_place() -> None:
    assert problem(["--size", "x"]) == "--size: 'x' is no number"
    assert problem([], {"RPORT_SIZE": "x"}) == "RPORT_SIZE: 'x' is no number"
    assert problem([], {"RPORT_FAST": "maybe"}) == "RPORT_FAST: 'maybe': give true or false"
    assert problem(["--size", "x"], {}, "sise = 1") == "f.toml:1: sise: unknown key; did you mean size? (and 1 more)"


def test_check_finds_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('size = "x"\nsise = 1\nfast = 3\n')
    assert check(TABLE, str(file), dict) == [
        f"{file}:2: sise: unknown key; did you mean size?",
        f"{file}:3: fast: true or false is expected here",
        f"{file}:1: size: 'x' is no number",
    ]
    file.write_text("size = 1\n")
    assert check(TABLE, str(file), dict) == []

    def picky(values: dict[str, Any]) -> None:
        raise UsageError("they do not go together")

    assert check(TABLE, str(file), picky) == ["they do not go together"]
    assert check(TABLE, str(file), dict, [picky, dict, picky]) == ["they do not go together"] * 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "configuration file {}: No such file or directory"),
        (b"\xff\xfe", "configuration file {}: not UTF-8, at byte 1"),
        (b"#" * ((1 << 20) + 1), "configuration file {}: longer than 1048576 bytes"),
    ],
)
def test_files_that_cannot_be_read(data: bytes | None, text: str, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    if data is not None:
        file.write_bytes(data)
    assert check(TABLE, str(file), dict) == [text.format(file)]


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"hush\r\n")
    assert resolved([f"--pass=@{file}"])["pass"] == "hush"
    assert resolved(["--pass=@@x"])["pass"] == "@x"
    assert resolved([], {"RPORT_PASS": f"@{file}"})["pass"] == "hush"
    assert resolved([], {}, f'pass = "@{file}"')["pass"] == "hush"
    assert resolved(["--name=@x"])["name"] == "@x"
    file.write_bytes(b"x" * 65537)
    assert problem([f"--pass=@{file}"]) == f"--pass: file {file}: longer than 65536 bytes"
    file.write_bytes(b"\xff")
    assert problem([f"--pass=@{file}"]) == f"--pass: file {file}: not UTF-8, at byte 1"
    assert problem(["--pass=@/nowhere"]) == "--pass: file /nowhere: No such file or directory"
    assert problem(toml='pass = "@a\\u0000b"').startswith("f.toml:1: pass: file a")


def test_a_file_with_a_secret_is_for_few(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('\npass = "hush"\n')
    file.chmod(0o644)
    assert check(TABLE, str(file), dict) == [
        f"{file}:2: pass: everybody can read this file; chmod o-r {file}, or give @FILE"
    ]
    file.chmod(0o640)
    assert check(TABLE, str(file), dict) == []
    (tmp_path / "secret").write_text("hush")
    file.write_text(f'pass = "@{tmp_path}/secret"\n')
    file.chmod(0o644)
    assert check(TABLE, str(file), dict) == []


def test_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rport.config.SYSTEM_PLACE", str(tmp_path / "etc"))
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "home")}

    def found(*argv: str) -> str | None:
        file = TABLE.find_file(TABLE.parser("1").parse(argv), environ)
        return None if file is None else os.path.relpath(file.path, tmp_path)

    assert found() is None
    for place in ("etc/prog.toml", "home/rport/prog.toml", "named"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
        assert found() == ("etc/prog.toml" if place.startswith("etc") else "home/rport/prog.toml")
    assert found("--config", str(tmp_path / "named")) == "named"
    assert found("--config", "none") is None
    with pytest.raises(UsageError, match=r"^--config: give a path$"):
        found("--config", "")
    environ["RPORT_CONFIG"] = str(tmp_path / "named")
    assert found() == "named"


def test_a_file_of_the_service_that_is_not_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prog.toml").touch()
    monkeypatch.setattr("rport.config.SYSTEM_PLACE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match=r"/prog.toml: Permission denied; use sudo, or --config none$"):
        TABLE.find_file(TABLE.parser("1").parse([]), {"XDG_CONFIG_HOME": str(tmp_path / "home")})


def test_reload(caplog: pytest.LogCaptureFixture) -> None:
    from typing import NamedTuple

    class Settings(NamedTuple):
        size: int
        name: str
        fast: bool = False

    caplog.set_level("INFO", "rport")
    old = Settings(1, "a")
    assert reload(TABLE, old, lambda: Settings(2, "b", True)) == Settings(2, "a", True)
    assert reload(TABLE, old, lambda: Settings(1, "b")) == old
    assert reload(TABLE, old, lambda: old) == old

    def broken() -> Settings:
        raise UsageError("f.toml:1: size: no")

    assert reload(TABLE, old, broken) == old
    assert [record.getMessage() for record in caplog.records] == [
        "Reload: needs a restart: name",
        "Reload: changed size, fast",
        "Reload: needs a restart: name",
        "Reload: nothing else changed",
        "Reload: no change",
        "Reload: f.toml:1: size: no; everything stays as it was",
    ]


def test_values() -> None:
    assert one_of("a", "b")("A") == "a"
    with pytest.raises(UsageError, match="'c' is none of a, b"):
        one_of("a", "b")("c")
    assert path("~/x") == os.path.expanduser("~/x")
    for bad in ("", "a\0"):
        with pytest.raises(UsageError, match="give a path"):
            path(bad)


@pytest.mark.parametrize(("table", "module"), PROGRAMS, ids=["rport", "rportd"])
def test_every_row_has_its_setting(table: Table, module: Any) -> None:
    assert {option.field for option in table.options} - {"config"} == set(module.Settings._fields)


@pytest.mark.parametrize(("table", "module"), PROGRAMS, ids=["rport", "rportd"])
def test_defaults_are_the_same_in_both_places(table: Table, module: Any) -> None:
    values, _ = table.resolve(argparse.Namespace(), {}, None)
    built = module.build({**values, "state_dir": "/s"})
    assert built == module.Settings(state_dir="/s")


@pytest.mark.parametrize(("table", "module"), PROGRAMS, ids=["rport", "rportd"])
def test_rows_are_well_formed(table: Table, module: Any) -> None:
    names = [option.name for option in table.options]
    assert len(names) == len(set(names))
    for option in table.options:
        assert option.help
        assert option.help[-1] != "."
        assert not (option.flag and (option.many or option.secret or option.default))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tls_cert": "c"}, "--tls-cert and --tls-key belong together"),
        ({"tls_insecure": True}, "--tls-insecure needs --fingerprint"),
    ],
)
def test_what_does_not_go_together_at_the_client(values: dict[str, Any], text: str) -> None:
    plain, _ = client.TABLE.resolve(argparse.Namespace(), {}, None)
    with pytest.raises(UsageError, match=text):
        client_settings.build({**plain, **values})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tls_key": "k"}, "--tls-cert and --tls-key belong together"),
        ({"tls_client_ca": "c"}, "--tls-client-ca needs --tls-cert"),
    ],
)
def test_what_does_not_go_together_at_the_server(values: dict[str, Any], text: str) -> None:
    plain, _ = server.TABLE.resolve(argparse.Namespace(), {}, None)
    with pytest.raises(UsageError, match=text):
        server_settings.build({**plain, **values})
