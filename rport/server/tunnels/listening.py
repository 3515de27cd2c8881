"""What one session's client has the server listen on: what it declared, and what it was asked for."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rport._pump import Listener
from rport.hosts import host_port
from rport.remote import Remote
from rport.server import registry
from rport.server.errors import ClientAway, ClientSilent, NotAllowed, PortUnavailable, TunnelExists
from rport.server.tunnels.claim import bind, claim
from rport.server.tunnels.figures import Figures, Meter
from rport.server.tunnels.limits import UNLIMITED, Limits
from rport.server.tunnels.pool import Hold
from rport.session import CODE_FORBIDDEN

if TYPE_CHECKING:
    from rport.server.session import ServerSession

DESCRIPTORS_KEPT = 32  # of the 64 that visitors leave: for clients and the API; what listens keeps its own for good
ANSWER_TIMEOUT = 10.0  # seconds for a client to say whether it serves an offered tunnel
ERROR_MAX = 300  # characters of what a client says of a target
REFUSAL_MAX = 1000  # characters of why it serves no tunnel: its rules, a path, and what to do, which comes last

log = logging.getLogger("rport")


@dataclass(slots=True, eq=False)
class Live:
    """A tunnel that is listened for. `ref`: the client's own name for one that it declared. `ended` is called once,
    with the reason, and whether the whole session ends."""

    session: "ServerSession"
    number: int
    remote: Remote  # with the port as it is
    hold: Hold
    listener: Listener
    ref: int | None
    meter: Meter
    ended: Callable[[str, bool], None]
    last_error: str = ""
    since: float = 0.0  # seconds since 1970

    @property
    def declared(self) -> bool:
        """By the client, which says of itself what it wants."""
        return self.ref is not None

    @property
    def figures(self) -> Figures:
        return Figures(*self.listener.figures())

    def limit(self, limits: Limits) -> None:
        limits.apply(self.listener)


@dataclass(slots=True, eq=False)
class Offer:
    """A tunnel that the client takes: its port queues visitors, and nobody accepts them until accept()."""

    listening: "Listening"
    number: int
    hold: Hold
    sock: socket.socket

    def accept(self, limits: Limits, ended: Callable[[str, bool], None]) -> Live | None:
        """None when the session has ended meanwhile, or the rules have changed; the port stays held."""
        try:
            return self.listening.accept(self, limits, ended)
        finally:
            self.sock.close()

    def withdraw(self, reason: str) -> None:
        """The client need not serve it. The port stays held."""
        self.sock.close()
        self.listening.session.send({"type": "withdraw", "id": self.number, "error": reason})


class Listening:
    """One session's."""

    def __init__(self, session: "ServerSession") -> None:
        self.session = session
        self.live: dict[int, Live] = {}
        self._number = 0  # the last that was used
        self._declined: dict[int, str] = {}  # by the client's reference, why there is no tunnel
        self._answers: dict[int, asyncio.Future[str | None]] = {}

    @property
    def _client(self) -> str:
        assert self.session.client is not None
        return self.session.client.id

    # --- what the client declares --------------------------------------------------------------------------------

    def declare(self, ref: int, remote: Remote) -> None:
        """Listen and say where, or say why not."""
        session, number = self.session, self._number + 1
        try:
            sock, hold = self._claim(remote, f"d{number}")
        except (NotAllowed, PortUnavailable, TunnelExists) as error:
            level = logging.DEBUG if self._declined.get(ref) == str(error) else logging.WARNING  # it tries again
            self._declined[ref] = str(error)
            about = session.tags(limit=session.name, tunnel=remote)
            log.log(level, "%s: tunnel %s: %s", session.name, remote, error, extra=about)
            session.send({"type": "tunnel", "ref": ref, "error": str(error)})
            return
        self._number = number
        live = self._listen(number, hold, sock, ref, UNLIMITED, lambda reason, over: None)
        live.ended = lambda reason, over: self._declared_ended(live, reason)
        session.send({"type": "tunnel", "ref": ref, "id": live.number, "lport": live.remote.lport})
        session.service.on_declared(session, live)

    def _declared_ended(self, live: Live, reason: str) -> None:
        self.session.service.ports_pool.release(live.hold)
        self.session.service.on_undeclared(self.session, live, reason)

    # --- what it is asked for ------------------------------------------------------------------------------------

    async def offer(self, remote: Remote, tunnel: str) -> Offer:
        """Ask the client to serve a new tunnel of that id; the port is held for it from now on.

        Raises TunnelExists, PortTaken, PortUnavailable, NotAllowed, ClientAway, ClientSilent.
        """
        self._check_known(remote)
        sock, hold = self._claim(remote, tunnel)
        try:
            return await self._ask(sock, hold)
        except BaseException:
            self.session.service.ports_pool.release(hold)
            raise

    async def offer_again(self, hold: Hold) -> Offer:
        """As offer(), for a tunnel that has its port."""
        self._check_known(hold.remote)
        self.session.service.ports_pool.check_port(hold.remote.lport)
        return await self._ask(self._with_room(bind(hold, self._check_allowed)), hold)

    def _check_known(self, remote: Remote) -> None:
        if not remote.needs <= self.session.caps:
            raise NotAllowed("this client is too old for it; update rport there")

    async def _ask(self, sock: socket.socket, hold: Hold) -> Offer:
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        hold.pending = True
        try:
            self.session.send({"type": "offer", "id": number, "remote": hold.remote.to_wire()})
            self._check_alive()
            async with asyncio.timeout(ANSWER_TIMEOUT):
                reason = await answer
            self._check_alive()
            if reason is not None:
                raise NotAllowed(f"the client refuses: {reason[:REFUSAL_MAX]}")
        except TimeoutError:
            sock.close()
            self.session.send({"type": "withdraw", "id": number, "error": "the answer came too late"})
            raise ClientSilent(f"the client did not answer within {ANSWER_TIMEOUT:g} s; try again") from None
        except BaseException:
            sock.close()
            raise
        finally:
            hold.pending = False
            self._answers.pop(number, None)
        offer = Offer(self, number, hold, sock)
        try:
            self._check_allowed(hold.remote.lhost, hold.remote.lport)  # the rules may have changed meanwhile
        except NotAllowed as error:
            offer.withdraw(str(error))
            raise
        return offer

    def answered(self, number: int, error: str | None) -> None:
        """The client's word. One that nobody waits for any more is dropped."""
        answer = self._answers.get(number)
        if answer is not None and not answer.done():
            answer.set_result(error)

    def _check_alive(self) -> None:
        if self.session.link.closing or not self.session.link.alive:
            raise ClientAway("the client is gone; try again when it is back")

    def accept(self, offer: Offer, limits: Limits, ended: Callable[[str, bool], None]) -> Live | None:
        """See Offer.accept()."""
        remote = offer.hold.remote
        try:
            self._check_alive()
            self._check_allowed(remote.lhost, remote.lport)
        except (ClientAway, NotAllowed) as error:
            offer.withdraw(str(error))
            return None
        return self._listen(offer.number, offer.hold, offer.sock, None, limits, ended)

    # --- ports ---------------------------------------------------------------------------------------------------

    def _claim(self, remote: Remote, tunnel: str) -> tuple[socket.socket, Hold]:
        pool = self.session.service.ports_pool
        sock, hold = claim(pool, remote, self._client, tunnel, self._check_allowed)
        try:
            return self._with_room(sock), hold
        except BaseException:
            pool.release(hold)
            raise

    def _with_room(self, sock: socket.socket) -> socket.socket:
        if sock.fileno() >= self.session.service.pump.descriptor_limit - DESCRIPTORS_KEPT:
            sock.close()
            raise PortUnavailable("the server has no more room for tunnels")
        return sock

    # The rules are looked at when a tunnel comes to be and whenever they or what a session shows change; a tunnel that
    # they no longer allow has no listener from that moment on, and none of its streams goes on. As a stream begins at
    # its tunnel's listener and nowhere else, none is ever carried that the rules of that moment do not allow: asking
    # again for each would only cost time.

    def _check_allowed(self, lhost: str, lport: int) -> None:
        """Raises NotAllowed."""
        if not self.session.grant.allows(lhost, lport):
            raise NotAllowed(self._forbidden(lhost, lport))

    def _forbidden(self, lhost: str, lport: int) -> str:
        return f"listening on {host_port(lhost, lport)} is not allowed for {self.session.grant}"

    def review(self) -> None:
        """The rules, or what the session shows, have changed."""
        for live in list(self.live.values()):
            if not self.session.grant.allows(live.remote.lhost, live.remote.lport):
                self.close(live.number, self._forbidden(live.remote.lhost, live.remote.lport))

    # --- tunnels -------------------------------------------------------------------------------------------------

    def _listen(
        self,
        number: int,
        hold: Hold,
        sock: socket.socket,
        ref: int | None,
        limits: Limits,
        ended: Callable[[str, bool], None],
    ) -> Live:
        session, remote = self.session, hold.remote
        assert session.entry is not None
        listener = Listener(session.link, sock.detach(), number, remote.proxy_version)
        limits.apply(listener)  # before the first visitor is looked at
        live = Live(session, number, remote, hold, listener, ref, Meter(time.monotonic()), ended, since=time.time())
        hold.session = session.name
        self.live[number] = live
        session.entry.tunnels[number] = registry.Tunnel(id=number, remote=remote, port=remote.lport)
        log.info("%s: %s Listening", session.name, remote, extra=session.tags(tunnel=remote))
        return live

    def close(self, number: int, reason: str) -> None:
        """Its port is not listened on, what it carried is reset at both ends, and the client hears why."""
        session, live = self.session, self.live[number]
        live.listener.close()
        session.link.cut_tunnel(number, CODE_FORBIDDEN)
        log.info("%s: %s Closed: %s", session.name, live.remote, reason, extra=session.tags(tunnel=live.remote))
        if live.ref is None:
            session.send({"type": "withdraw", "id": number, "error": reason})
        else:
            self._declined[live.ref] = reason
            session.send({"type": "tunnel", "ref": live.ref, "error": reason})
        self._forget(live, reason, over=False)

    def stop(self) -> None:
        """No new visitors; those that are there go on."""
        for live in self.live.values():
            live.listener.close()

    def end(self, reason: str, *, cut: bool = False) -> None:
        """The session has none any more. `cut`: visitors are cut off at once."""
        for live in list(self.live.values()):
            live.listener.close()
            if cut:
                self.session.link.cut_tunnel(live.number, CODE_FORBIDDEN)
            self._forget(live, reason, over=True)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)  # _check_alive() tells the rest

    def _forget(self, live: Live, reason: str, *, over: bool) -> None:
        assert self.session.entry is not None
        del self.live[live.number]
        self.session.entry.tunnels.pop(live.number, None)
        live.hold.session = ""
        live.ended(reason, over)

    def on_refused(self, number: int, text: str) -> Remote | None:
        """A visitor's target cannot be reached: what tunnel that is, if it is still there."""
        live = self.live.get(number)
        if live is None:
            return None
        live.last_error = text[:ERROR_MAX]
        return live.remote
