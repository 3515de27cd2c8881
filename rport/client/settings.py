"""All that a user decides about a client."""

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from rport.cli import default_state_dir
from rport.client.address import Address
from rport.client.policy import Rule
from rport.client.upgrade import upgrade_request
from rport.errors import UsageError
from rport.facts import TAGS_MAX
from rport.login import Login
from rport.remote import Remote

if TYPE_CHECKING:
    from rport.client.proxy import Proxy  # few clients need it

REMOTES_MAX = 200  # a hello with so many fits into a control message, even where all target names have full length
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")  # lower case first, as curl has it


class Settings(NamedTuple):
    """The rows of rport/client/options.py, read. Durations in seconds."""

    server: Address | None = None  # None in a configuration file that leaves it to the command line
    remotes: tuple[Remote, ...] = ()
    fingerprint: str | None = None
    auth: Login | None = None
    identity: str | None = None
    id: str | None = None
    name: str | None = None
    tag: tuple[str, ...] = ()
    keepalive: float = 25.0
    max_retry_count: int | None = None
    max_retry_interval: float = 300.0
    allow: tuple[Rule, ...] = ()
    proxy: "Proxy | None" = None  # None: what the environment says
    header: tuple[tuple[str, str], ...] = ()
    hostname: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_server_name: str | None = None
    tls_insecure: bool = False
    state_dir: str | None = None
    log_level: str = "info"
    log_format: str = "text"
    log_file: str | None = None
    verbose: bool = False
    allow_root: bool = False

    @property
    def address(self) -> Address:
        """The server's. Raises UsageError when there is none."""
        if self.server is None:
            raise UsageError("no server given; try: rport HOST:PORT 3389, or rport --help")
        return self.server


def build(values: dict[str, Any]) -> Settings:
    """Raises UsageError for values that do not go together."""
    settings = Settings(**{field: values[field] for field in Settings._fields})
    if settings.fingerprint is None and settings.state_dir is None:  # else there is nothing to remember
        settings = settings._replace(state_dir=default_state_dir())
    if len(settings.remotes) > REMOTES_MAX:
        raise UsageError(f"{len(settings.remotes)} remotes given; one client carries at most {REMOTES_MAX}")
    for one, other in itertools.combinations(settings.remotes, 2):
        if one.clashes(other):
            raise UsageError(f"remotes {one} and {other}: the server can listen there for one of them only")
    if len(settings.tag) > TAGS_MAX:
        raise UsageError(f"{len(settings.tag)} tags given; a machine has at most {TAGS_MAX}")
    if settings.server is not None and settings.header:
        address = settings.server
        upgrade_request(settings.hostname or address.authority, address.path, "", settings.header)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    if settings.tls_insecure and settings.fingerprint is None:
        raise UsageError("--tls-insecure needs --fingerprint: something must say who the server is")
    return settings
