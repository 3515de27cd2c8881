"""Which paths are this server's own, whatever a backend behind it has. Pure."""

API = "/api"
HEALTH = frozenset({"/healthz", "/readyz"})  # for whoever watches over it
METRICS = "/metrics"


def is_api(path: str) -> bool:
    """`path` as it was meant, without percent signs."""
    return path == API or path.startswith(f"{API}/")


def is_ours(path: str) -> bool:
    return is_api(path) or path == METRICS or path in HEALTH
