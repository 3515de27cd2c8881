"""Starts `rportd`, or says in one line what is missing."""

import importlib.util
import sys

from rport.cli import begin


def main() -> int:
    """The entry point: the exit code."""
    begin()
    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "httptools")):
        print("rportd needs its server parts: pip install 'rport[server]'", file=sys.stderr)
        return 1
    from rport.server.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
