import os

import pytest

from rport.errors import UsageError
from rport.privileges import check_root, is_service


def test_is_service() -> None:
    me = str(os.getpid())
    assert is_service({"NOTIFY_SOCKET": "@x"})
    assert is_service({"SYSTEMD_EXEC_PID": me, "INVOCATION_ID": "0"})
    assert not is_service({"SYSTEMD_EXEC_PID": "1", "INVOCATION_ID": "0"})  # what a service started, a shell perhaps
    assert not is_service({"INVOCATION_ID": "0"})
    assert not is_service({})


def test_is_service_of_an_old_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert is_service({"INVOCATION_ID": "0"})
    assert not is_service({})


def test_check_root(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    service = {"NOTIFY_SOCKET": "@x"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check_root("rport", False, service)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    check_root("rport", True, service)
    assert not caplog.messages
    with pytest.raises(UsageError, match=r"set User= .*`rport service install`.* --allow-root"):
        check_root("rport", False, service)
    check_root("rport", False, {})
    assert caplog.messages == ["Running as root, which is not needed; --allow-root if it is meant"]
