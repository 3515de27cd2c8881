# ruff: noqa: F401, F811 - pytest takes what is imported
"""What Windows and 32-bit ARM have: no uvloop. The programs run in asyncio's own loop, and the same holds of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_backend import (
    test_a_site_the_api_and_tunnels_share_a_port,
    test_a_stop_waits_for_what_is_under_way,
    test_a_websocket_goes_through_and_ends_with_the_server,
)
from tests.e2e.test_life import (
    test_api,
    test_client_returns_to_a_killed_server_on_the_same_port,
    test_login,
    test_orderly_stop_lets_connections_end,
)
from tests.e2e.test_proxies import test_logins
from tests.e2e.test_tls import authority, pair, server, test_an_orderly_stop, test_sighup_reads_again
from tests.e2e.test_tunnel import (
    Keep,
    test_bytes_go_there_and_back,
    test_parallel_visitors_each_get_their_own_bytes,
    test_refused_target_resets_the_visitor_and_says_why,
    test_resets_travel_both_ways_and_leak_nothing,
    test_target_half_closes_and_still_gets_the_rest,
    test_visitor_half_closes_and_still_gets_the_answer,
    test_visitor_that_never_reads_harms_nobody,
)
from tests.support.programs import Client, Server

HIDING = Path(__file__).parents[1] / "support/without_uvloop"


@pytest.fixture(scope="module", autouse=True)
def hidden() -> Iterator[None]:
    """From every program that is started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HIDING))
        yield


def test_it_is_hidden(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    client = keep(Client(server, "127.0.0.1:0:127.0.0.1:1", state=tmp_path))
    for program in (server, client):
        assert "uvloop" not in Path(f"/proc/{program.pid}/maps").read_text()
