"""What the front door goes by and a reload may change."""

from collections.abc import Sequence
from dataclasses import dataclass

from rport.server.door.backend import Backend
from rport.server.networks import Network


@dataclass
class Rules:
    """One object for the life of the server: what is changed in it holds for the connections that come after."""

    backend: Backend | None = None  # for requests that are neither the tunnel's nor the API's
    trusted: Sequence[Network] = ()  # reverse proxies whose word on their clients is taken
