"""One client's session at the server: admission, its tunnels, its end."""

import asyncio
import itertools
import logging
import secrets
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from rport import __version__, control
from rport._pump import Listener, Pump
from rport.channel import Channel
from rport.errors import ProtocolError, Refused
from rport.handshake import HandshakeResult
from rport.hosts import host_port
from rport.remote import CAPS, Remote
from rport.server import ports, registry
from rport.server.admission import Attempt, Grant, LoginFailed
from rport.server.errors import NotAllowed, PortUnavailable, TunnelExists
from rport.server.gate import tags
from rport.server.hello import Hello
from rport.session import CLOSE_REFUSED, CLOSE_REPLACED, KEEPALIVE, TUNNEL_MAX, Session

if TYPE_CHECKING:
    from rport.server.service import Service

TUNNELS_MAX = 256  # per session; a control message holds no more
DESCRIPTORS_KEPT = 32  # of the 64 that visitors leave: for clients and the API; what listens keeps its own for good
ANSWER_TIMEOUT = 10.0  # seconds for a client to say whether it serves an offered tunnel
CODE_FORBIDDEN = 7  # PROTOCOL.md, section 7

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
        self.grant = Grant()  # by what it was let in
        self.caps: set[str] = set()  # of the client
        self._public = keys.remote_static
        self._admission: asyncio.Task[None] | None = None
        self._held_until = 0.0  # the loop's time at which a failed login is answered
        self._numbers = itertools.count(1)  # of tunnels
        self._listeners: dict[int, Listener] = {}
        self._refs: dict[int, int] = {}  # by the number of a declared tunnel, the client's reference
        self._declined: dict[int, str] = {}  # by the client's reference, why there is no tunnel
        self._answers: dict[int, asyncio.Future[str | None]] = {}

    def on_message(self, kind: str, message: control.Message) -> None:
        if self.entry is None:
            if kind != "hello" or self._admission is not None:
                raise ProtocolError(f"{kind!r} before the welcome" if self._admission else f"{kind!r} before hello")
            self._on_hello(Hello.read(message))
        elif kind == "declare":
            ref = control.get_int(message, "ref", 0, TUNNELS_MAX - 1)
            self._declare(ref, Remote.from_wire(message.get("remote")))
        elif kind == "answer":
            answer = self._answers.pop(control.get_int(message, "id", 1, TUNNEL_MAX), None)
            if answer is not None and not answer.done():
                answer.set_result(control.get_str(message, "error") if "error" in message else None)

    def tags(self, **more: object) -> dict[str, object]:
        user = self.entry.user if self.entry else ""
        return super().tags(client=host_port(*self.peer), user=user) | more

    # --- admission -----------------------------------------------------------------------------------------------

    def _on_hello(self, hello: Hello) -> None:
        """Nothing else is taken from the client until this is decided, for which the front door's deadline stands."""
        self._admission = asyncio.get_running_loop().create_task(self._decide(hello))
        self._admission.add_done_callback(self._decided)

    async def _decide(self, hello: Hello) -> None:
        try:
            if self.service.draining:
                raise Refused("busy", "the server is going down; try again")
            attempt = Attempt(self.peer[0], hello.user, hello.password, hello.identity, self._public)
            self.grant = await self.service.admission.check(attempt)
        except LoginFailed as error:
            # share/fail2ban reads this line: its form is fixed, and what a client chose stands in quotes.
            log.warning(
                "%s: login failed for %s from %s", self.name, error.who, self.peer[0], extra=self.tags(user=hello.user)
            )
            self._held_until = asyncio.get_running_loop().time() + error.hold
            await asyncio.sleep(error.hold)
            self.refuse(error.code, str(error))
        except Refused as error:
            log.info("%s: %s not let in: %s", self.name, self.peer[0], error, extra=self.tags(**tags(self.peer[0])))
            self.refuse(error.code, str(error))
        else:
            self._admit(hello)

    def _decided(self, task: "asyncio.Task[None]") -> None:
        """One session's trouble is not another's."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            log.error("%s: failed", self.name, exc_info=error)
            self.link.abort(error)

    def _admit(self, hello: Hello) -> None:
        user = self.grant.user.name if self.grant.user is not None else ""  # what nobody checked is nobody's name
        old = self.service.predecessor(hello.identity, user, self.grant)
        if old is not None:
            log.info("%s: takes over from %s", self.name, old.name, extra=self.tags())
            old.yield_to_successor()
        self.caps = hello.caps
        key = self.grant.key.name if self.grant.key is not None else ""
        entry = self.entry = registry.Entry(
            secrets.token_hex(32), hello.version, host_port(*self.peer), user, hello.identity, key=key
        )
        self.link.admit_peer()
        self.service.admit(self)
        self.admitted.set()
        self.send({"type": "welcome", "version": __version__, "session": entry.id, "caps": list(CAPS)})
        shown = f", {self.grant}" if str(self.grant) else ""
        log.info("%s: Open (client %s, %s%s)", self.name, entry.version, entry.address, shown, extra=self.tags())
        for ref, remote in enumerate(hello.remotes[:TUNNELS_MAX]):
            self._declare(ref, remote)
        self.start_keepalive(KEEPALIVE)

    def review(self) -> None:
        """Users or keys have changed: it stays, stays with fewer tunnels, or goes."""
        assert self.entry is not None
        if self.link.closing:  # it is on its way out, and what it still carries is not waited for
            return self.link.abort(None)
        try:
            self.grant = self.service.admission.renew(self.grant, self.peer[0], self._public)
        except Refused as error:
            return self._expel(error)
        for tunnel in list(self.entry.tunnels.values()):
            if not self.grant.allows(tunnel.remote.lhost, tunnel.port):
                self.close_tunnel(tunnel.id, self._forbidden(tunnel.remote.lhost, tunnel.port))
        return None

    def _expel(self, error: Refused) -> None:
        """Visitors are cut off at once: a client that reads nothing could put the end of its session off."""
        assert self.entry is not None
        log.warning(
            "%s: %s is not let in any more: %s", self.name, str(self.grant) or "its client", error, extra=self.tags()
        )
        self.stop_listening()
        for number in self.entry.tunnels:
            self.link.cut_tunnel(number, CODE_FORBIDDEN)
        self.entry.tunnels.clear()
        return self.refuse(error.code, str(error))

    def refuse(self, code: str, text: str) -> None:
        """Say why, then end the session."""
        self.send({"type": "refuse", "code": code, "message": text})
        self.link.finish_session(CLOSE_REFUSED, text)

    # --- tunnels -------------------------------------------------------------------------------------------------

    def _declare(self, ref: int, remote: Remote) -> None:
        """A remote that the client declared: listen and say where, or say why not."""
        try:
            tunnel = self._listen(remote, self._reserve(remote), next(self._numbers))
        except (NotAllowed, PortUnavailable, TunnelExists) as error:
            level = logging.DEBUG if self._declined.get(ref) == str(error) else logging.WARNING  # it tries again
            self._declined[ref] = str(error)
            log.log(
                level, "%s: tunnel %s: %s", self.name, remote, error, extra=self.tags(limit=self.name, tunnel=remote)
            )
            self.send({"type": "tunnel", "ref": ref, "error": str(error)})
            return
        self._refs[tunnel.id] = ref
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
        try:
            self._check_allowed(remote.lhost, sock.getsockname()[1])  # the rules may have changed meanwhile
        except NotAllowed as error:
            sock.close()
            self.send({"type": "withdraw", "id": number, "error": str(error)})
            raise
        return self._listen(remote, sock, number)

    def _reserve(self, remote: Remote) -> socket.socket:
        assert self.entry is not None
        if remote.lport:  # before anything is said of who has the port
            self._check_allowed(remote.lhost, remote.lport)
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
        try:
            self._check_allowed(*sock.getsockname()[:2])  # what was really bound, and the port that was picked
        except NotAllowed as error:
            sock.close()
            advice = "" if remote.lport else "; the server picked that port: ask for one that is"
            raise NotAllowed(f"{error}{advice}") from None
        return sock

    # The rules are looked at when a tunnel comes to be and whenever they or what a session shows change; a tunnel that
    # they no longer allow has no listener from that moment on, and none of its streams goes on. As a stream begins at
    # its tunnel's listener and nowhere else, none is ever carried that the rules of that moment do not allow: asking
    # again for each would only cost time.

    def _check_allowed(self, lhost: str, lport: int) -> None:
        """Raises NotAllowed."""
        if not self.grant.allows(lhost, lport):
            raise NotAllowed(self._forbidden(lhost, lport))

    def _forbidden(self, lhost: str, lport: int) -> str:
        return f"listening on {host_port(lhost, lport)} is not allowed for {self.grant}"

    def _listen(self, remote: Remote, sock: socket.socket, number: int) -> registry.Tunnel:
        assert self.entry is not None
        port = sock.getsockname()[1]
        tunnel = registry.Tunnel(id=number, remote=remote, port=port)
        self._listeners[number] = Listener(self.link, sock.detach(), number, remote.proxy_version)
        self.entry.tunnels[number] = tunnel
        shown = replace(remote, lport=port)
        log.info("%s: %s Listening", self.name, shown, extra=self.tags(tunnel=shown))
        return tunnel

    def close_tunnel(self, number: int, reason: str) -> None:
        """Its port is free, what it carried is reset at both ends, and the client hears why."""
        assert self.entry is not None
        tunnel = self.entry.tunnels.pop(number)
        self._listeners.pop(number).close()
        self.link.cut_tunnel(number, CODE_FORBIDDEN)
        shown = replace(tunnel.remote, lport=tunnel.port)
        log.info("%s: %s Closed: %s", self.name, shown, reason, extra=self.tags(tunnel=shown))
        ref = self._refs.pop(number, None)
        if ref is None:
            self.send({"type": "withdraw", "id": number, "error": reason})
        else:
            self._declined[ref] = reason
            self.send({"type": "tunnel", "ref": ref, "error": reason})

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
        about = self.tags(limit=self.name, tunnel=found and found.remote)
        log.warning("%s: %s cannot be reached: %s", self.name, target, text, extra=about)

    def on_closed(self, error: Exception | None) -> None:
        super().on_closed(error)
        if self._admission is not None:
            self._admission.cancel()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result("the client is gone")
        self._answers.clear()
        if self.entry is not None:
            self.service.dismiss(self)
            reason = error or (self.goodbye[1] if self.goodbye else "ended by the server")
            log.info("%s: Closed (%s)", self.name, reason, extra=self.tags())
        elif error is not None:
            log.warning("%s: %s: %s", self.name, self.peer[0], error, extra=self.tags(**tags(self.peer[0])))
        # Whoever does not wait for his answer, since a right one would have come at once, keeps his place all the same.
        asyncio.get_running_loop().call_at(self._held_until, self.admitted.set)
