"""Other tunnel programs with their defaults, measured when they are on PATH."""

from __future__ import annotations

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.ports import HOST, free_port


class Chisel(Peer):
    """SSH over a WebSocket."""

    name = "chisel"
    label = "chisel"
    programs = ("chisel",)

    def start(self, launch: Launch) -> Running:
        port = free_port()
        launch.server("chisel", "server", "--host", HOST, "--port", str(port), "--reverse", listens=port)
        remotes = [f"R:{HOST}:{visitor}:{HOST}:{target}" for visitor, target in launch.tunnels]
        launch.client("chisel", "client", f"http://{HOST}:{launch.way(port)}", *remotes)
        return launch.ready()


_FRP_SERVER = """\
bindAddr = "{host}"
bindPort = {port}
proxyBindAddr = "{host}"
log.level = "error"
"""
_FRP_CLIENT = """\
serverAddr = "{host}"
serverPort = {port}
log.level = "error"
"""
_FRP_PROXY = """
[[proxies]]
name = "tunnel{visitor}"
type = "tcp"
localIP = "{host}"
localPort = {target}
remotePort = {visitor}
"""


class Frp(Peer):
    """frps and frpc; TLS and multiplexing as by default."""

    name = "frp"
    label = "frp"
    programs = ("frps", "frpc")

    def start(self, launch: Launch) -> Running:
        port = free_port()
        server = launch.write("frps.toml", _FRP_SERVER.format(host=HOST, port=port))
        launch.server("frps", "-c", server, listens=port)
        text = _FRP_CLIENT.format(host=HOST, port=launch.way(port))
        text += "".join(_FRP_PROXY.format(host=HOST, visitor=v, target=t) for v, t in launch.tunnels)
        launch.client("frpc", "-c", launch.write("frpc.toml", text))
        return launch.ready()


_RATHOLE = """\
[{side}]
{address} = "{host}:{port}"
default_token = "benchmark"
[{side}.transport]
type = "noise"
[{side}.transport.noise]
{key} = "{value}"
"""
_RATHOLE_SERVICE = """\
[{side}.services.tunnel{visitor}]
{address} = "{host}:{port}"
"""


class Rathole(Peer):
    """rathole with its Noise transport."""

    name = "rathole"
    label = "rathole, Noise"
    programs = ("rathole",)

    def start(self, launch: Launch) -> Running:
        port = free_port()
        words = launch.run("rathole", "--genkey").split()  # Private Key: ... Public Key: ...
        private, public = words[2], words[5]
        fields = {"side": "server", "address": "bind_addr", "host": HOST}
        text = _RATHOLE.format(**fields, port=port, key="local_private_key", value=private)
        text += "".join(_RATHOLE_SERVICE.format(**fields, visitor=v, port=v) for v, _ in launch.tunnels)
        launch.server("rathole", "--server", launch.write("server.toml", text), listens=port)
        fields = {"side": "client", "address": "remote_addr", "host": HOST}
        text = _RATHOLE.format(**fields, port=launch.way(port), key="remote_public_key", value=public)
        fields["address"] = "local_addr"
        text += "".join(_RATHOLE_SERVICE.format(**fields, visitor=v, port=t) for v, t in launch.tunnels)
        launch.client("rathole", "--client", launch.write("client.toml", text))
        return launch.ready()


class Wstunnel(Peer):
    """wstunnel over TLS, with the certificate that it carries."""

    name = "wstunnel"
    label = "wstunnel wss"
    programs = ("wstunnel",)

    def start(self, launch: Launch) -> Running:
        port = free_port()
        launch.server("wstunnel", "--log-lvl", "ERROR", "server", f"wss://{HOST}:{port}", listens=port)
        remotes = [part for v, t in launch.tunnels for part in ("-R", f"tcp://{HOST}:{v}:{HOST}:{t}")]
        launch.client("wstunnel", "--log-lvl", "ERROR", "client", *remotes, f"wss://{HOST}:{launch.way(port)}")
        return launch.ready()
