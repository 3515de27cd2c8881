"""The client: dials out, keeps one session, dials targets for what comes back through it."""

import sys

from rport import signals


def main() -> int:
    """The entry point: the exit code."""
    signals.begin()
    try:
        from rport.client.cli import main as run  # here: signals may come at any moment

        return run()
    finally:
        signals.end()


if __name__ == "__main__":
    sys.exit(main())
