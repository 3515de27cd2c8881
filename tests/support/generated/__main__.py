"""`python -m tests.support.generated [--tools] [DOCUMENT]`: a line for each language; fails when one does not work."""

import argparse
import sys
import time
from pathlib import Path

from tests.support.generated import LANGUAGES, Missing, built, tools

STORED = tools.ROOT / "docs/openapi.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/clients", description="clients for the API in three languages, compiled")
    parser.add_argument("--tools", action="store_true", help="get the generators and compilers' packages, no more")
    parser.add_argument("document", nargs="?", type=Path, default=STORED)
    arguments = parser.parse_args()
    try:
        tools.get()
    except AssertionError as error:
        print(f"what needs them is left out: {error}")
    if arguments.tools:
        return 0
    failed = False
    for language in LANGUAGES:
        begun = time.monotonic()
        try:
            place, old = built(language, arguments.document)
        except Missing as error:
            print(f"{language.name}: left out: {error}")
        except AssertionError as error:
            print(f"{language.name}: failed\n{error}")
            failed = True
        else:
            took = "was there" if old else f"generated and compiled in {time.monotonic() - begun:.1f} s"
            print(f"{language.name}: {took}: {place.relative_to(tools.ROOT)}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
