"""starts.py ROOT ONE OTHER MAX: how long the program OTHER takes to start and end, as a multiple of ONE.

Both run in the tree ROOT, in turns, so that what else the machine does is the same to both; the least of each counts.
Ends with 1 above MAX.
"""

import subprocess
import sys
import time

ROUNDS = 15
# As much as a program does before it waits for others: the client is refused at once, a server has no such free port.
WORDS = {
    "rport": (["--max-retry-count", "0", "127.0.0.1:1"], 6),
    "rportctl": (["status", "--url", "http://127.0.0.1:1"], None),
    "rportd": (["db", "check", "--db", "sqlite:////nowhere/rportd.db"], 1),
}
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "RPORT_CONFIG": "none",
    "RPORT_ALLOW_ROOT": "yes",
}


def start(root: str, program: str) -> float:
    """Seconds."""
    words, code = WORDS[program.rpartition("/")[2]]
    begin = time.perf_counter()
    done = subprocess.run(["chroot", root, program, *words], env=ENVIRONMENT, capture_output=True, text=True)
    took = time.perf_counter() - begin
    if done.returncode == 0 or (code is not None and done.returncode != code):
        sys.exit(f"{program} {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return took


def main() -> int:
    root, one, other, most = sys.argv[1:]
    pairs = [(start(root, one), start(root, other)) for _ in range(ROUNDS)]
    of_one, of_other = (min(times) for times in zip(*pairs, strict=True))
    ratio = of_other / of_one
    print(f"{ratio:.2f} ({of_other * 1000:.0f} ms to {of_one * 1000:.0f} ms)")
    return ratio > float(most)


sys.exit(main())
