"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import report
from tests.bench.peers import DIRECT, PEERS, Peer
from tests.bench.process import ProgramFailed
from tests.bench.results import Results
from tests.bench.setting import FULL, QUICK, Scale, Setting
from tests.bench.works import WORKS, Work

_ENDED = 130  # exit code after Ctrl-C, as a shell reports it


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        asked = [name for name in text.split(",") if name]
        if unknown := [name for name in asked if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return asked

    return names


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="rport beside other tunnels, in one run")
    default_peers = [name for name in PEERS if name != DIRECT.name]
    parser.add_argument("--quick", action="store_true", help="short runs, under three minutes in all")
    parser.add_argument("--only", type=_names(WORKS), default=list(WORKS), metavar="WORK[,...]", help=", ".join(WORKS))
    parser.add_argument(
        "--peers", type=_names(PEERS), default=default_peers, metavar="PEER[,...]", help=", ".join(PEERS)
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every work, instead of three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    return parser.parse_args(words)


def _scale(arguments: argparse.Namespace) -> Scale:
    scale = QUICK if arguments.quick else FULL
    if arguments.rounds:
        scale = dataclasses.replace(scale, rounds=arguments.rounds, heavy_rounds=arguments.rounds)
    return scale


def _available(names: Sequence[str], results: Results) -> list[Peer]:
    """The peers whose programs are installed; the others become a note."""
    found = []
    for name in names:
        if missing := PEERS[name].missing():
            results.notes.append(f"{name}: not on PATH ({', '.join(missing)})")
        else:
            found.append(PEERS[name])
    return found


def _measure(setting: Setting, work: Work, peers: Sequence[Peer], results: Results) -> None:
    """All rounds of a work, the peers taking turns; one that fails is left out of the rounds that remain."""
    running = work.peers(peers)
    rounds = work.rounds(setting.scale)
    for number in range(rounds):
        for peer in list(running):
            print(f"{work.name} {number + 1}/{rounds} {peer.name}", file=sys.stderr, flush=True)
            try:
                results.add(work.name, peer.name, work.measure(setting, peer))
            except (ProgramFailed, OSError) as error:
                print(f"  {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                results.failures[work.name][peer.name] = str(error)
                running.remove(peer)
                setting.discard(peer)


def _run(arguments: argparse.Namespace, results: Results) -> None:
    peers = _available(arguments.peers, results)
    if arguments.quick:
        results.notes.append(f"quick: short runs; {QUICK.swarm_return} clients come back, not {FULL.swarm_return}")
    with ExitStack() as stack:
        setting = Setting(stack, _scale(arguments))
        for name in WORKS:
            if name in arguments.only:
                _measure(setting, WORKS[name], peers, results)


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code; what was measured is reported even when the run is cut short."""
    arguments = _arguments(words)
    results = Results()
    code = 0
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _run(arguments, results)
    except KeyboardInterrupt:
        results.notes.append("cut short")
        code = _ENDED
    print(report.markdown(results), end="")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(results), indent=2) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
