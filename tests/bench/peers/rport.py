"""rport itself, as its two commands are used."""

from __future__ import annotations

import sys

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.ports import HOST, free_port


class Rport(Peer):
    """One server process, one client process, everything encrypted. Keys and known servers live in the instance."""

    name = "rport"
    label = "rport"

    def start(self, launch: Launch) -> Running:
        port = free_port()
        self.start_server(launch, port)
        remotes = [f"{HOST}:{visitor}:{HOST}:{target}" for visitor, target in launch.tunnels]
        argv = (sys.executable, "-m", "rport.client", f"{HOST}:{launch.way(port)}", *remotes)
        launch.client(*argv, env=self._environment(launch, "client"))
        return launch.ready()

    def start_server(self, launch: Launch, port: int) -> None:
        """A server alone; started a second time in the same directory it has the same key."""
        argv = (sys.executable, "-m", "rport.server", "--host", HOST, "--port", str(port))
        launch.server(*argv, listens=port, env=self._environment(launch, "server"))

    @staticmethod
    def _environment(launch: Launch, side: str) -> dict[str, str]:
        return {"RPORT_STATE_DIR": str(launch.directory / side)}
