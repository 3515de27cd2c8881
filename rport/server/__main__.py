"""Starts `rportd`, or says in one line what is missing."""

import sys

from rport import signals


def main() -> int:
    """The entry point: the exit code."""
    signals.begin()
    try:
        return _run()
    finally:
        signals.end()


def _run() -> int:
    import importlib.util  # here: signals may come at any moment

    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "httptools")):
        print("rportd needs its server parts: pip install 'rport[server]'", file=sys.stderr)
        return 1
    from rport.server.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
