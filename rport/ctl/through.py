"""A tunnel that lasts as long as this program does something through it."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from rport.ctl import find
from rport.ctl.api import Api, part
from rport.ctl.command import Words
from rport.ctl.errors import Conflict, NotFound
from rport.ctl.session import Session
from rport.ctl.signalled import Stop
from rport.ctl.table import ago
from rport.errors import RportError
from rport.text import escape

IDLE = 3600.0  # seconds: when this program is killed, or its machine dies, the server closes the tunnel by itself
LOOK = 5.0  # seconds between two looks whether it is still there


class Passage(NamedTuple):
    """An open one: `host` and `port` are where this machine finds it."""

    host: str
    port: int
    client: dict[str, Any]
    stop: Stop
    api: Api
    path: str

    def connections(self) -> int | None:
        """Open now; None when the tunnel is there no more."""
        try:
            return int(self.api.get(self.path)["figures"]["connections"])
        except NotFound:
            return None


@contextlib.contextmanager
def passage(session: Session, words: Words, target: str, scheme: str, connections: int) -> Iterator[Passage]:
    """Open it, for this machine alone unless `--source` says otherwise; close it, whatever happens."""
    api = session.api
    client = find.client(api, words.client)
    if client["state"] != "connected":  # what the server would say of it is about tunnels that last
        raise Conflict(f"{client['name']} is not connected; last seen: {ago(client.get('last_seen'))}")
    lhost, host = places(api, words.lhost, words.at)
    body = {
        "target": words.target or target,
        "lhost": lhost,
        "scheme": scheme,
        "stored": False,
        "sources": list(words.source) or ["caller"],
        "idle_timeout": IDLE,
        "connection_limit": connections,
        "note": f"rportctl {scheme} on {socket.gethostname()}"[:200],
    }
    with Stop() as stop:
        row = api.ask("POST", f"/clients/{part(client['id'])}/tunnels", body=body)
        path = f"/clients/{part(client['id'])}/tunnels/{part(row['id'])}"
        try:
            yield Passage(host, row["lport"], client, stop, api, path)
        finally:
            _close(session, path, row["lport"])


def places(api: Api, lhost: str | None, at: str | None) -> tuple[str, str]:
    """Where the server is to listen, and where this machine finds that: at the address that the API answers at."""
    family, address = api.peer()
    loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    if lhost is None:
        lhost = address if loopback else ("::" if family == socket.AF_INET6 else "0.0.0.0")
        return lhost, at or address
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(lhost).is_unspecified:
            address = lhost
    return lhost, at or address


def _close(session: Session, path: str, port: int) -> None:
    try:
        session.api.ask("DELETE", path)
    except NotFound:
        pass  # it ended before
    except RportError as error:
        session.warn(f"the tunnel on port {port} could not be closed and stays for up to an hour: {error}")


def wait(way: Passage) -> bool:
    """Until Ctrl-C: True. False when the tunnel went before."""
    while not way.stop.wait(LOOK):
        try:
            if way.connections() is None:
                return False
        except RportError as error:
            print(f"rportctl: {escape(str(error))}", file=sys.stderr)
    return True
