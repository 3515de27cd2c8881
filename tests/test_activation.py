"""What is passed in is tested in tests/e2e/test_service.py, where the descriptors have the right numbers."""

import os

import pytest

from rport.errors import UsageError
from rport.server.activation import inherited


def test_nothing_for_this_process() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "OTHER": "1"}
    assert inherited(environ) == []
    assert environ == {"OTHER": "1"}
    assert inherited({}) == []
    assert inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}) == []


@pytest.mark.parametrize("count", ["", "x", "-1", "9" * 5000])
def test_no_number(count: str) -> None:
    with pytest.raises(UsageError, match=r"^LISTEN_FDS='.*': not a number"):
        inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})
