"""Targets and listening hosts as the API is told."""

import pytest

from rport.errors import UsageError
from rport.remote import Remote
from rport.server.tunnels.target import read_query, read_target


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("22", "127.0.0.1:22"),
        ("db.internal:5432", "db.internal:5432"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("0.0.0.0:22", "127.0.0.1:22"),
    ],
)
def test_a_target_is_shown_as_what_is_dialled_and_reads_the_same_again(target: str, shown: str) -> None:
    remote = read_target(target, "127.0.0.1", 2222, "v2")
    assert (remote.target, remote.lhost, remote.lport, remote.proxy) == (shown, "127.0.0.1", 2222, "v2")
    assert read_target(shown, "127.0.0.1", 2222, "v2").target == shown


@pytest.mark.parametrize(
    "target",
    ["", "0", "65536", "2222:22", "a:b", "1:2:3", "unix:app", "unix:", "22?proxy=v1", "22/udp", "http://x:1", "٢٢"],
)
def test_no_target(target: str) -> None:
    with pytest.raises(UsageError, match=r"^target="):
        read_target(target, "127.0.0.1", 0, "")


@pytest.mark.parametrize("lhost", ["", "a b", "::1::", "22", "x" * 254, "a\x00"])
def test_no_listening_host(lhost: str) -> None:
    with pytest.raises(UsageError, match=r"^lhost="):
        read_target("22", lhost, 0, "")


def test_the_originals_parameters() -> None:
    assert read_query("2222", "22", "") == Remote("0.0.0.0", 2222, "0.0.0.0", 22)
    assert read_query("127.0.0.1:0", "unix:/run/x", "v1") == Remote("127.0.0.1", 0, "unix:/run/x", 0, "v1")
    with pytest.raises(UsageError, match=r"^local="):
        read_query("x", "22", "")
    with pytest.raises(UsageError, match="it stands in remote= already"):
        read_query("1", "22?proxy=v1", "v1")
    with pytest.raises(UsageError, match="give v1 or v2"):
        read_query("1", "22", "v3")
