import os
import subprocess
import sys

import pytest

from rport.cli import Parser, complain, default_state_dir
from rport.errors import RetriesExhausted, UsageError


def parser() -> Parser:
    p = Parser(prog="prog")
    p.add_argument("word", nargs="?")
    p.option("host")
    p.option("port", "-p")
    p.option("key-file")
    p.option("verbose", "-v", action="store_true")
    return p


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["-port", "1"], {"port": "1"}),
        (["-port=1"], {"port": "1"}),
        (["--port=1"], {"port": "1"}),
        (["-p", "1"], {"port": "1"}),
        (["-p=1"], {"port": "1"}),
        (["-p1"], {"port": "1"}),
        (["-p", "-1"], {"port": "-1"}),
        (["--p", "1", "--v"], {"port": "1", "verbose": True}),
        (["--p=1"], {"port": "1"}),
        (["-host=1.2.3.4", "w", "-v"], {"host": "1.2.3.4", "word": "w", "verbose": True}),
        (["-key-file", "a b"], {"key_file": "a b"}),
        (["--host="], {"host": ""}),
        (["--", "w"], {"word": "w"}),
    ],
)
def test_forms(argv: list[str], wanted: dict[str, object]) -> None:
    assert vars(parser().parse(argv)).items() >= wanted.items()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-prot", "1"], "unknown option -prot; did you mean --port?"),
        (["-hots=1"], "unknown option -hots; did you mean --host?"),
        (["--keyfile=x"], "unknown option --keyfile; did you mean --key-file?"),
        (["--hots:secret"], "unknown option --hots; did you mean --host?"),
        (["-vp", "1"], "unknown option -vp; did you mean --port?"),
        (["-x"], "unknown option -x; see prog --help"),
        (["--hos", "1"], "unknown option --hos; did you mean --host?"),
        (["--host", "-secret"], "--host: expected one argument"),
        (["--port"], "--port: expected one argument"),
        (["--verbose=secret"], "--verbose: it takes no value"),
        (["-v=true"], "--verbose: it takes no value"),
        (["--vx"], "unknown option --vx; see prog --help"),
        (["a", "9"], "unexpected argument '9'; did you mean -p 9?"),
        (["a", "b"], "unexpected argument 'b'; see prog --help"),
        (["a", "\x1b"], r"unexpected argument '\x1b'; see prog --help"),
    ],
)
def test_usage_errors(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse(argv)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"prog: {text}\n"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("prog", RetriesExhausted("a\nb\x1b[2J")) == 6
    assert capsys.readouterr().err == "prog: a\\nb\\x1b[2J\n"


def test_state_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    assert default_state_dir() == "/h/.local/state/rport"
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_state_dir() == "/x/rport"
    monkeypatch.setenv("STATE_DIRECTORY", "/s:/t")
    assert default_state_dir() == "/s"


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a number without an entry in passwd
    with pytest.raises(UsageError, match="set RPORT_STATE_DIR"):
        default_state_dir()


def test_run_takes_all_the_descriptors_that_it_may() -> None:
    code = """
import resource
from rport.cli import run
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
async def main(): print(*resource.getrlimit(resource.RLIMIT_NOFILE))
run("prog", main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "200 200\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_no_connection_gets_the_number_of_a_closed_stream(closed: tuple[int, ...]) -> None:
    """Some supervisors close them; what is opened later must not be what prints go to."""
    code = """
import os, signal, sys
from rport.signals import begin
begin()
ends = os.pipe()
sys.exit(min(ends) if signal.getsignal(signal.SIGINT) is signal.SIG_DFL else 99)
"""
    redirections = " ".join(f"{number}>&-" for number in closed)
    ended = subprocess.run(["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", code])
    assert 2 < ended.returncode < 99


def test_closed_streams_where_there_is_no_dev_null() -> None:
    code = """
import os, sys
from rport.signals import begin
os.devnull = "/nowhere"
begin()
sys.exit(min(os.pipe()))
"""
    ended = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code])
    assert ended.returncode == 3


@pytest.mark.parametrize("module", ["rport.client", "rport.server"])
@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_output_that_cannot_be_written(module: str, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", module, "config", "example"],
            stdout=full, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    prog = "rportd" if module.endswith("server") else "rport"
    assert done.stderr == f"{prog}: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_who_has_seen_enough_hears_nothing() -> None:
    nobody_reads, end = os.pipe()
    os.close(nobody_reads)
    words = [sys.executable, "-m", "rport.server", "config", "example"]
    done = subprocess.run(words, stdout=end, stderr=subprocess.PIPE, text=True)
    os.close(end)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_bug_is_not_taken_for_a_mistake_of_the_user_s() -> None:
    code = """
import sys
from rport.cli import run
async def main(): raise ValueError("of ours")
sys.exit(run("prog", main()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 70
    assert done.stderr.endswith("ValueError: of ours\n")
