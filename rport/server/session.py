"""One client's session at the server: admission, its tunnels, its end."""

import asyncio
import hmac
import itertools
import logging
import secrets
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from rport import __version__, control
from rport._pump import Listener, Pump
from rport.channel import Channel
from rport.errors import ProtocolError
from rport.handshake import HandshakeResult
from rport.link import CLOSE_REFUSED, CLOSE_REPLACED, KEEPALIVE, TUNNEL_MAX, Session
from rport.remote import CAPS, Remote, host_port
from rport.server import ports, registry
from rport.server.errors import NotAllowed, PortUnavailable, TunnelExists

if TYPE_CHECKING:
    from rport.server.service import Service

TUNNELS_MAX = 256  # per session; a control message holds no more
VERSION_SHOWN = 64  # characters of the client's version
DESCRIPTORS_KEPT = 32  # of the 64 that visitors leave: for clients and the API; what listens keeps its own for good
ANSWER_TIMEOUT = 10.0  # seconds for a client to say whether it serves an offered tunnel

log = logging.getLogger("rport")


class ServerSession(Session):
    """Made after the handshake; `admitted` is set when the hello was accepted."""

    def __init__(
        self, service: "Service", pump: Pump, channel: Channel, keys: HandshakeResult, peer: tuple[str, int]
    ) -> None:
        super().__init__(pump, channel, keys, client=False)
        self.service = service
        self.peer = peer
        self.name = f"session#{next(service.numbers)}"
        self.admitted = asyncio.Event()
        self.entry: registry.Entry | None = None
        self.caps: set[str] = set()  # of the client
        self._numbers = itertools.count(1)  # of tunnels
        self._listeners: dict[int, Listener] = {}
        self._declined: dict[int, str] = {}  # by the client's reference, why there is no tunnel
        self._answers: dict[int, asyncio.Future[str | None]] = {}

    def on_message(self, kind: str, message: control.Message) -> None:
        if self.entry is None:
            if kind != "hello":
                raise ProtocolError(f"{kind!r} before hello")
            self._on_hello(message)
        elif kind == "declare":
            ref = control.get_int(message, "ref", 0, TUNNELS_MAX - 1)
            self._declare(ref, Remote.from_wire(message.get("remote")))
        elif kind == "answer":
            answer = self._answers.pop(control.get_int(message, "id", 1, TUNNEL_MAX), None)
            if answer is not None and not answer.done():
                answer.set_result(control.get_str(message, "error") if "error" in message else None)

    # --- admission -----------------------------------------------------------------------------------------------

    def _on_hello(self, message: control.Message) -> None:
        user = control.get_str(message, "user", "")
        version = control.get_str(message, "version")
        identity = control.get_str(message, "identity")
        theirs = control.get_list(message, "caps", [])
        self.caps = {cap for cap in CAPS if cap in theirs}
        remotes = [Remote.from_wire(item) for item in control.get_list(message, "remotes", [])]
        if self.service.draining:
            return self.refuse("busy", "the server is going down; try again")
        if not self._login(user, control.get_str(message, "password", "")):
            log.warning("%s: login failed for user %r from %s", self.name, user[:64], self.peer[0])
            text = "unknown user or wrong password" if user else "the server wants one: give --auth or RPORT_AUTH"
            return self.refuse("auth", f"login failed: {text}")
        old = self.service.by_identity(identity, user)
        if old is not None:
            log.info("%s: takes over from %s", self.name, old.name)
            old.yield_to_successor()
        self._admit(
            registry.Entry(secrets.token_hex(32), version[:VERSION_SHOWN], host_port(*self.peer), user, identity)
        )
        for ref, remote in enumerate(remotes[:TUNNELS_MAX]):
            self._declare(ref, remote)
        self.start_keepalive(KEEPALIVE)
        return None

    def _admit(self, entry: registry.Entry) -> None:
        self.entry = entry
        self.link.admit_peer()
        self.service.admit(self)
        self.admitted.set()
        self.send({"type": "welcome", "version": __version__, "session": entry.id, "caps": list(CAPS)})
        log.info("%s: Open (client %s, %s)", self.name, entry.version, entry.address)

    def _login(self, user: str, password: str) -> bool:
        auth = self.service.settings.auth
        if auth is None:
            return True
        given, wanted = f"{user}:{password}".encode(), f"{auth[0]}:{auth[1]}".encode()
        return hmac.compare_digest(given, wanted)

    def refuse(self, code: str, text: str) -> None:
        """Say why, then end the session."""
        self.send({"type": "refuse", "code": code, "message": text})
        self.link.finish_session(CLOSE_REFUSED, text)

    # --- tunnels -------------------------------------------------------------------------------------------------

    def _declare(self, ref: int, remote: Remote) -> None:
        """A remote that the client declared: listen and say where, or say why not."""
        try:
            tunnel = self._listen(remote, self._reserve(remote), next(self._numbers))
        except (PortUnavailable, TunnelExists) as error:
            level = logging.DEBUG if self._declined.get(ref) == str(error) else logging.WARNING  # it tries again
            self._declined[ref] = str(error)
            log.log(level, "%s: tunnel %s: %s", self.name, remote, error)
            self.send({"type": "tunnel", "ref": ref, "error": str(error)})
            return
        self.send({"type": "tunnel", "ref": ref, "id": tunnel.id, "lport": tunnel.port})

    async def open_tunnel(self, remote: Remote) -> registry.Tunnel:
        """A tunnel asked for through the API. Raises TunnelExists, PortUnavailable, NotAllowed."""
        if not remote.needs <= self.caps:
            raise NotAllowed("this client is too old for it; update rport there")
        sock = self._reserve(remote)
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            shown = replace(remote, lport=sock.getsockname()[1])
            self.send({"type": "offer", "id": number, "remote": shown.to_wire()})
            async with asyncio.timeout(ANSWER_TIMEOUT):
                reason = await answer
        except TimeoutError:
            reason = f"the client did not answer within {ANSWER_TIMEOUT:g} s"
        except BaseException:
            sock.close()
            raise
        finally:
            self._answers.pop(number, None)
        if reason is None and (self.link.closing or not self.link.alive):
            reason = "the client is gone"
        if reason is not None:
            sock.close()
            raise NotAllowed(f"the client refuses: {reason}")
        return self._listen(remote, sock, number)

    def _reserve(self, remote: Remote) -> socket.socket:
        assert self.entry is not None
        if len(self.entry.tunnels) >= TUNNELS_MAX:
            raise PortUnavailable(f"this client has {TUNNELS_MAX} tunnels already")
        if remote.lport in self.service.ports:  # also where that is on another address: nobody shall pose as the API
            raise PortUnavailable(f"port {remote.lport} is the server's own")
        holder = self.service.holder(remote.lhost, remote.lport) if remote.lport else None
        if holder is not None:
            session, tunnel = holder
            if session is self and replace(tunnel.remote, lhost=remote.lhost, lport=remote.lport) == remote:
                raise TunnelExists("it is there already")
            whose = "this client" if session is self else session.name
            raise PortUnavailable(f"port {remote.lport} is taken by another tunnel of {whose}")
        sock = ports.listen(remote.lhost, remote.lport)
        if sock.fileno() >= self.service.pump.descriptor_limit - DESCRIPTORS_KEPT:
            sock.close()
            raise PortUnavailable("the server has no more room for tunnels")
        return sock

    def _listen(self, remote: Remote, sock: socket.socket, number: int) -> registry.Tunnel:
        assert self.entry is not None
        port = sock.getsockname()[1]
        tunnel = registry.Tunnel(id=number, remote=remote, port=port)
        self._listeners[number] = Listener(self.link, sock.detach(), number, remote.proxy_version)
        self.entry.tunnels[number] = tunnel
        log.info("%s: %s Listening", self.name, replace(remote, lport=port))
        return tunnel

    def stop_listening(self) -> None:
        """No new visitors; those that are there go on."""
        for listener in self._listeners.values():
            listener.close()

    def yield_to_successor(self) -> None:
        """The same client is there on a new connection: its ports are free at once, whatever becomes of this one."""
        assert self.entry is not None
        self.stop_listening()
        self.entry.tunnels.clear()
        self.link.finish_session(CLOSE_REPLACED, "the same client connected again")

    # --- the end -------------------------------------------------------------------------------------------------

    def on_refused(self, tunnel: int, code: int, text: str) -> None:
        found = self.entry and self.entry.tunnels.get(tunnel)
        target = found.remote.target if found else f"tunnel {tunnel}"
        log.warning("%s: %s cannot be reached: %s", self.name, target, text)

    def on_closed(self, error: Exception | None) -> None:
        super().on_closed(error)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result("the client is gone")
        self._answers.clear()
        if self.entry is not None:
            self.service.dismiss(self)
            reason = error or (self.goodbye[1] if self.goodbye else "ended by the server")
            log.info("%s: Closed (%s)", self.name, reason)
        elif error is not None:
            log.warning("%s: %s: %s", self.name, self.peer[0], error)
        self.admitted.set()
