"""rportctl, started."""

import io
import sys

from rport import signals


def main() -> int:
    """The entry point: the exit code."""
    signals.begin()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may have letters that this terminal does not know
    try:
        from rport.ctl.cli import main as run  # here: signals may come at any moment

        return run()
    finally:
        signals.end()


if __name__ == "__main__":
    sys.exit(main())
