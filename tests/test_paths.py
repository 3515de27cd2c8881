"""Which paths are the server's own."""

import pytest

from rport.server.paths import is_api, is_ours


@pytest.mark.parametrize(
    ("path", "api", "ours"),
    [
        ("/api", True, True),
        ("/api/", True, True),
        ("/api/v1/status", True, True),
        ("/apis", False, False),
        ("/API", False, False),
        ("//api", False, False),
        ("/x/../api", False, False),
        ("/metrics", False, True),
        ("/metrics/", False, False),
        ("/healthz", False, True),
        ("/readyz", False, True),
        ("/healthz/x", False, False),
        ("/", False, False),
        ("", False, False),
    ],
)
def test_what_a_backend_never_sees(path: str, api: bool, ours: bool) -> None:
    assert (is_api(path), is_ours(path)) == (api, ours)
