"""The numbers that the core was compiled with (PROTOCOL.md, section 9). What it does: test_mux_model.py."""

import re
from pathlib import Path

from rport._mux import constants


def test_numbers_are_those_of_the_protocol_document() -> None:
    text = (Path(__file__).parent.parent / "PROTOCOL.md").read_text()
    written = {
        name: int(value.replace(",", "")) for name, value in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.M)
    }
    assert constants() == written
