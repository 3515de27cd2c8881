"""SIGUSR2 ends nobody, at whatever moment it comes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.loops import LOOPS

STORM = """
import os, signal, sys
from rport import signals
signals.begin()
import asyncio
from rport.statistics import PAUSE, OnStatistics
from tests.support.loops import LOOPS

async def main():
    shown = []
    OnStatistics(asyncio.get_running_loop(), lambda: shown.append(1))
    for _ in range(1000):
        os.kill(os.getpid(), signal.SIGUSR2)
    while not shown:
        await asyncio.sleep(0.001)
    await asyncio.sleep(3 * PAUSE)
    print(len(shown))

with asyncio.Runner(loop_factory=LOOPS["{loop}"]) as runner:
    runner.run(main())
os.kill(os.getpid(), signal.SIGUSR2)
signals.end()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_is_answered_and_bounded(loop: str) -> None:
    done = subprocess.run([sys.executable, "-c", STORM.format(loop=loop)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert 1 <= int(done.stdout) <= 4


def test_a_loop_that_closes_says_nothing_of_it() -> None:
    """Without uvloop: where asyncio's own loop has closed its pipe for signals, and is told of them still."""
    code = """
import asyncio, os, signal, sys
sys.modules["uvloop"] = None
from rport import cli, signals
from rport.statistics import OnStatistics
from asyncio.selector_events import BaseSelectorEventLoop
signals.begin()
close_pipe = BaseSelectorEventLoop._close_self_pipe

def closed(loop):
    close_pipe(loop)
    os.kill(os.getpid(), signal.SIGUSR2)
    print("closed")

BaseSelectorEventLoop._close_self_pipe = closed

async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, int)
    OnStatistics(loop, int)

sys.exit(cli.run("rport", main()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


def test_an_idle_loop_wakes_for_it() -> None:
    code = """
import asyncio, os, signal, sys
from tests.support.loops import LOOPS, USUAL
from rport import signals
from rport.statistics import OnStatistics
signals.begin()

async def main():
    done = asyncio.Event()
    OnStatistics(asyncio.get_running_loop(), done.set)
    print("ready", flush=True)
    await done.wait()

with asyncio.Runner(loop_factory=LOOPS[USUAL]) as runner:
    runner.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGUSR2)
        assert process.wait(20) == 0


@pytest.mark.parametrize("argv", [["rport.client", "127.0.0.1:1", "--max-retry-count", "0"], ["rport.server", "x"]])
def test_from_the_first_moment_to_the_last(argv: list[str], tmp_path: Path) -> None:
    """From begin() on, which a wrapper makes visible; the program's own end has to come."""
    code = f"""
import sys
from rport import signals
begin = signals.begin
def shown():
    begin()
    print("begun", flush=True)
signals.begin = shown
import runpy
sys.argv = {argv!r}
runpy.run_module({argv[0]!r}, run_name="__main__", alter_sys=True)
"""
    env = {**os.environ, "RPORT_STATE_DIR": str(tmp_path), "RPORT_CONFIG": "none"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGUSR2)
            time.sleep(0.0005)  # so that it gets on
        assert process.returncode == (6 if argv[0] == "rport.client" else 1)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_next_to_nothing_is_imported_before_it() -> None:
    code = "import sys, os; before = set(sys.modules); import rport.signals; print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {name.partition(".")[0] for name in out.split()} & {"typing", "argparse", "re", "contextlib", "asyncio"}


def test_programs_that_are_started_do_not_inherit_it() -> None:
    code = "from rport import signals; signals.begin(); import os; os.execlp('cat', 'cat', '/proc/self/status')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ignored = int(out.partition("SigIgn:")[2].split()[0], 16)
    assert not ignored & 1 << signal.SIGUSR2 - 1
