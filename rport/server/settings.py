"""All that a user decides about a server."""

from typing import Any, NamedTuple

from rport.cli import default_state_dir
from rport.errors import UsageError
from rport.login import Login
from rport.server.door.backend import Backend
from rport.server.networks import Network
from rport.server.tunnels.ranges import Ranges


class Settings(NamedTuple):
    """The rows of rport/server/options.py, read."""

    state_dir: str
    host: str = "0.0.0.0"
    port: int = 8080
    key: str | None = None
    auth: Login | None = None
    authfile: str | None = None
    authorized_keys: str | None = None
    proxy: Backend | None = None
    trusted_proxy: tuple[Network, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    port_range: range | None = None
    exclude_ports: Ranges | None = None
    tunnel_host: str = "127.0.0.1"
    db: str | None = None
    cors_origin: tuple[str, ...] = ()
    public_url: str | None = None
    keep_disconnected: float = 90 * 86400.0
    keep_audit: float = 365 * 86400.0
    keep_events: float = 7 * 86400.0
    otel: bool = False
    log_level: str = "info"
    log_format: str = "text"
    log_file: str | None = None
    verbose: bool = False
    allow_root: bool = False


def build(values: dict[str, Any]) -> Settings:
    """Raises UsageError for values that do not go together."""
    settings = Settings(**{field: values[field] for field in Settings._fields})
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        raise UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    return settings._replace(state_dir=settings.state_dir or default_state_dir())
