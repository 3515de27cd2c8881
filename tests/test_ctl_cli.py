"""Words into commands: where options may stand, what is refused, and that nothing is loaded before its time."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rport.ctl import cli, commands
from rport.ctl.command import GLOBALS, Command, Words, parse, parser, usage


def command(name: str) -> Command:
    found = cli.find(name.split())
    assert found is not None
    return found


def words(name: str, *argv: str) -> Words:
    return parse(command(name), argv)


@pytest.mark.parametrize("row", commands.COMMANDS, ids=lambda row: row.name)
def test_each_command_has_its_function_and_help(row: Command, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, function = row.run.partition(":")
    assert callable(getattr(import_module(f"rport.ctl.{module}"), function))
    with pytest.raises(SystemExit) as ended:
        cli.main([*row.name.split(), "--help"])
    assert ended.value.code == 0
    assert usage(row) in capsys.readouterr().out
    for example in row.examples:  # what is shown can be parsed
        argv = example.partition(" |")[0].partition(" >")[0].split()[1:]
        names, options = cli.split([word for word in argv if not word.startswith("@")])
        assert cli.find(names) == row
        assert options == []


def test_names_are_unique_and_options_are_not_those_of_all() -> None:
    names = [row.name for row in commands.COMMANDS]
    assert len(set(names)) == len(names)
    taken = {option.name for option in GLOBALS}
    for row in commands.COMMANDS:
        own = [option.name for option in row.options]
        assert len(set(own)) == len(own)
        assert not taken & set(own), row.name


def test_words_are_read() -> None:
    w = words("tunnel open", "web-1", "22", "--idle", "none", "--expires", "8h", "--rate-to-target", "1.5M")
    assert (w.client, w.target, w.idle, w.expires, w.rate_to_target) == ("web-1", "22", None, 28800.0, 1500000)
    assert w.given >= {"idle", "expires", "rate_to_target"}
    assert "note" not in w.given
    assert (w.lport, words("tunnel open", "a", "b", "--lport", "2222").lport) == (None, 2222)
    assert words("client tag", "a", "x", "y").tag == ("x", "y")
    assert words("tunnel list").client is None


def test_a_note_may_be_empty_and_so_may_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPORT_PROFILE", "")
    words = parse(command("tunnel change"), ["web-1", "22", "--note", ""])
    assert (words.note, words.profile) == ("", None)


def test_what_stands_behind_two_dashes_is_not_ours() -> None:
    w = words("ssh", "web-1", "--user", "me", "--", "--json", "-L", "1:a:2", "--", "x")
    assert (w.client, w.user, w.json, w.behind) == ("web-1", "me", False, ["--json", "-L", "1:a:2", "--", "x"])


def test_options_of_all_commands_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Words] = []
    monkeypatch.setattr("rport.ctl.status.status", lambda session, words: seen.append(words))
    for argv in (["--url", "http://localhost", "--json", "status"], ["status", "--json", "--url=http://localhost"]):
        assert cli.main(argv) == 0
    assert [(w.url, w.json) for w in seen] == [("http://localhost", True)] * 2


def test_the_environment_counts_for_options_of_all_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPORT_URL", "https://a.example")
    monkeypatch.setenv("RPORT_TOKEN", "rpt_abc")
    monkeypatch.setenv("RPORT_USER", "nobody")
    w = words("ssh", "web-1")
    assert (w.url, w.token, w.user, w.timeout) == ("https://a.example", "rpt_abc", None, 15.0)
    assert words("status", "--url", "https://b.example").url == "https://b.example"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "usage: rportctl COMMAND"),
        (["cleints"], "rportctl: there is no command 'cleints'; did you mean clients?"),
        (["qqqq"], "rportctl: there is no command 'qqqq'; see rportctl --help"),
        (["tunnel", "opn"], "rportctl: there is no command 'tunnel opn'; did you mean tunnel open?"),
        (["profil", "list"], "rportctl: there is no command 'profil'; did you mean profile list?"),
        (["cleints", "web-1"], "rportctl: there is no command 'cleints'; did you mean clients?"),
        (["--json"], "rportctl: give a command; see rportctl --help"),
        (["status", "--jsn"], "rportctl status: unknown option --jsn; did you mean --json?"),
        (["status", "more"], "rportctl status: unexpected argument 'more'; see rportctl status --help"),
        (["client", "show"], "rportctl client show: the following arguments are required: CLIENT"),
        (["clients", "--state", "dead"], "rportctl: --state: 'dead' is none of connected, disconnected"),
        (["http", "web-1", "0"], "rportctl: '0': the port must be a number from 1 to 65535"),
        (["status", "--timeout", "0"], "rportctl: --timeout: without any time there is no answer: write it like 15s"),
        (["status", "--token", "rpt_geheim"], "rportctl: --token: `ps` shows arguments to all users of this machine: "
         "give @FILE"),
        (["credential", "create", "a", "--public", ""], "rportctl: --public: it is empty: give KEY, or leave it out"),
        (["ssh", "web-1", "--lhost="], "rportctl: --lhost: it is empty: give HOST, or leave it out"),
        (["events", "--after", "x"], "rportctl: --after: 'x' is no number of an event: give one that an event had"),
        (["clients", "--tag", "a", "--tag", ""], "rportctl: --tag: it is empty: give T, or leave it out"),
        (["user", "add", "me", "--password", "geheim"], "rportctl: --password: `ps` shows arguments to all users of "
         "this machine: give @FILE"),
    ],
)  # fmt: skip
def test_usage_errors(argv: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    code: Any
    try:
        code = cli.main(argv)
    except SystemExit as ended:
        code = ended.code
    out, err = capfd.readouterr()
    assert code == 1
    assert (out + err).startswith(text)
    assert len(err.splitlines()) <= 1
    assert "geheim" not in out + err


def test_a_token_that_is_none_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t").write_text("rpt_geheim and more\n")
    assert cli.main(["status", "--token", f"@{tmp_path}/t"]) == 1
    assert capfd.readouterr().err == (
        "rportctl: --token: this is no token: give the text that begins with rpt_ alone\n"
    )


def test_help_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["webhook"]) == 0
    out = capsys.readouterr().out
    assert "webhook add" in out
    assert "tunnel open" not in out


def test_little_is_loaded_for_help() -> None:
    code = "import rport.ctl.cli as c, sys\ntry: c.main(['--help'])\nexcept SystemExit: pass\nprint('|', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("|")[2].split())
    assert not {"asyncio", "http.client", "ssl", "json", "keyring", "nacl", "msgpack", "rport._mux"} & loaded


def test_no_command_loads_an_event_loop_or_the_core() -> None:
    code = "import importlib, sys\nfor m in sys.argv[1:]: importlib.import_module(m)\nprint(*sys.modules)"
    modules = {f"rport.ctl.{row.run.partition(':')[0]}" for row in commands.COMMANDS}
    modules |= {"rport.ctl.api", "rport.ctl.session", "rport.ctl.watch", "rport.ctl.complete"}
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True)
    assert not {"asyncio", "keyring", "nacl", "msgpack", "rport._mux", "webbrowser"} & set(done.stdout.split())


def test_parsers_take_an_option_in_both_spellings() -> None:
    assert parser(command("clients")).parse(["-watch"]).watch is True
