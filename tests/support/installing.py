"""The commands of docs/install.md.

python -m tests.support.installing HEADING [NUMBER]    prints a block of them
"""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/install.md"


def blocks() -> dict[str, list[str]]:
    """Of each heading; that of the page itself is ''."""
    parts = re.split(r"(?m)^## (.*)\n", "\n" + PAGE.read_text())
    texts = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    return {heading: re.findall(r"(?ms)^```sh\n(.*?)^```", text) for heading, text in texts.items()}


def block(heading: str, number: str = "1") -> str:
    found = blocks().get(heading, [])
    if len(found) < int(number):
        sys.exit(f"{PAGE} has no block {number} of commands under '{heading}'; there are: {', '.join(blocks())}")
    return found[int(number) - 1]


if __name__ == "__main__":
    print(block(*sys.argv[1:]), end="")
