"""One client's session at the server: admission, its tunnels, its end."""

import asyncio
import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from rport import __version__, control
from rport._pump import Pump
from rport.channel import Channel
from rport.errors import ProtocolError, Refused
from rport.handshake import HandshakeResult
from rport.hosts import host_port
from rport.remote import CAPS, Remote
from rport.server import registry
from rport.server.admission import Attempt, Grant, LoginFailed
from rport.server.checks import Checks
from rport.server.door.gate import tags
from rport.server.errors import NotAllowed
from rport.server.hello import Enrolment, Hello
from rport.server.inventory import Client
from rport.server.inventory.identity import process_of
from rport.server.tunnels.listening import Listening
from rport.server.tunnels.pool import TUNNELS_MAX
from rport.session import (
    CLOSE_OK,
    CLOSE_REFUSED,
    CLOSE_REPLACED,
    KEEPALIVE,
    TUNNEL_MAX,
    Session,
)

if TYPE_CHECKING:
    from rport.server.service import Service

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
        self.client: Client | None = None  # the machine that it is, once it was admitted
        self.ending = ""  # why the server ends it
        self.process = ""  # which process of the client it is
        self.caps: set[str] = set()  # of the client
        self.public = keys.remote_static
        self._admission: asyncio.Task[None] | None = None
        self._held_until = 0.0  # the loop's time at which a failed login is answered
        self.tunnels = Listening(self)
        self._checks = Checks(self.send)

    def on_message(self, kind: str, message: control.Message) -> None:
        if self.entry is None:
            if kind not in ("hello", "enroll") or self._admission is not None:
                raise ProtocolError(f"{kind!r} before the welcome" if self._admission else f"{kind!r} before hello")
            enrols = kind == "enroll"
            self._begin(Enrolment.read(message, self.public, self.peer[0]) if enrols else Hello.read(message))
        elif kind == "declare":
            ref = control.get_int(message, "ref", 0, TUNNELS_MAX - 1)
            self.tunnels.declare(ref, Remote.from_wire(message.get("remote")))
        elif kind == "answer":
            error = control.get_str(message, "error") if "error" in message else None
            self.tunnels.answered(control.get_int(message, "id", 1, TUNNEL_MAX), error)
        elif kind == "checked":
            self._checks.answered(message)

    def tags(self, **more: object) -> dict[str, object]:
        user = self.entry.user if self.entry else ""
        return super().tags(client=host_port(*self.peer), user=user) | more

    # --- admission -----------------------------------------------------------------------------------------------

    def _begin(self, hello: Hello | Enrolment) -> None:
        """Nothing else is taken from the client until this is decided, for which the front door's deadline stands."""
        self._admission = asyncio.get_running_loop().create_task(self._decide(hello))
        self._admission.add_done_callback(self._decided)

    async def _decide(self, hello: Hello | Enrolment) -> None:
        try:
            if self.service.draining:
                raise Refused("busy", "the server is going down; try again")
            if isinstance(hello, Enrolment):
                return await self._enrol(hello)
            attempt = Attempt(self.peer[0], hello.user, hello.password, hello.identity, self.public)
            self.grant = await self.service.admission.check(attempt)
            client = self.service.identify(self.grant, hello, self.public)
        except LoginFailed as error:
            self.service.on_login_failed(hello.user, self.peer[0])
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
            self._admit(hello, client)

    async def _enrol(self, enrolment: Enrolment) -> None:
        """Raises Refused. The session has no other purpose."""
        client, name = await self.service.enrol(enrolment)
        log.info("%s: %s enrolled as %s", self.name, self.peer[0], client, extra=self.tags())
        self.send({"type": "enrolled", "id": client, "name": name})
        self.link.finish_session(CLOSE_OK, "enrolled")

    def _decided(self, task: "asyncio.Task[None]") -> None:
        """One session's trouble is not another's."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            log.error("%s: failed", self.name, exc_info=error)
            self.link.abort(error)

    def _admit(self, hello: Hello, client: Client) -> None:
        user = self.grant.user.name if self.grant.user is not None else ""  # what nobody checked is nobody's name
        old = client.session
        self.caps, self.client, self.process = hello.caps, client, process_of(hello.identity)
        key = self.grant.key.name if self.grant.key is not None else ""
        entry = self.entry = registry.Entry(
            secrets.token_hex(32), hello.version, host_port(*self.peer), user, client.id, key=key
        )
        self.link.admit_peer()
        self.service.admit(self, client, hello)
        if old is not None:
            log.info("%s: takes over from %s", self.name, old.name, extra=self.tags())
            old.yield_to_successor()
        self.admitted.set()
        self.send({"type": "welcome", "version": __version__, "session": entry.id, "caps": list(CAPS)})
        shown = f", {self.grant}" if str(self.grant) else ""
        log.info("%s: Open (client %s, %s%s)", self.name, entry.version, entry.address, shown, extra=self.tags())
        self.service.inventory.greet(client)  # before its tunnels are told of
        for ref, remote in enumerate(hello.remotes[:TUNNELS_MAX]):
            self.tunnels.declare(ref, remote)
        self.start_keepalive(KEEPALIVE)

    def review(self) -> None:
        """Users or keys have changed: it stays, stays with fewer tunnels, or goes."""
        assert self.entry is not None
        if self.link.closing:  # it is on its way out, and what it still carries is not waited for
            return self.link.abort(None)
        try:
            self.grant = self.service.admission.renew(self.grant, self.peer[0], self.public)
        except Refused as error:
            return self.expel(error)
        return self.tunnels.review()

    def expel(self, error: Refused) -> None:
        """Visitors are cut off at once: a client that reads nothing could put the end of its session off."""
        log.warning(
            "%s: %s is not let in any more: %s", self.name, str(self.grant) or "its client", error, extra=self.tags()
        )
        self.tunnels.end(str(error), cut=True)
        self.ending = str(error)
        return self.refuse(error.code, str(error))

    def disconnect(self, reason: str) -> None:
        """Somebody wants it ended; the client may come back."""
        self.ending = reason
        self.link.finish_session(CLOSE_OK, reason)

    def refuse(self, code: str, text: str) -> None:
        """Say why, then end the session."""
        self.send({"type": "refuse", "code": code, "message": text})
        self.link.finish_session(CLOSE_REFUSED, text)

    # --- tunnels -----------------------------------------------------------------------------------------------------

    async def check_target(self, remote: Remote) -> float:
        """Milliseconds in which the client reached it, its name looked up, within 2.5 s.

        Of `remote` only the target counts. Raises NotAllowed, TargetUnreachable, TooManyChecks.
        """
        if not {"check"} | replace(remote, proxy="").needs <= self.caps:
            raise NotAllowed("this client is too old for it; update rport there")
        return await self._checks.ask(replace(remote, proxy=""))

    def yield_to_successor(self) -> None:
        """The same client is there on a new connection: its ports are free at once, whatever becomes of this one."""
        self.tunnels.end("the same client connected again")
        self.link.finish_session(CLOSE_REPLACED, "the same client connected again")

    # --- the end -------------------------------------------------------------------------------------------------

    def on_refused(self, tunnel: int, code: int, text: str) -> None:
        remote = self.tunnels.on_refused(tunnel, text)
        target = remote.target if remote else f"tunnel {tunnel}"
        about = self.tags(limit=self.name, tunnel=remote)
        log.warning("%s: %s cannot be reached: %s", self.name, target, text, extra=about)

    def on_closed(self, error: Exception | None) -> None:
        super().on_closed(error)
        if self._admission is not None:
            self._admission.cancel()
        self._checks.end()
        if self.entry is not None:
            reason = self.ending or str(error or (self.goodbye[1] if self.goodbye else "ended by the server"))
            self.tunnels.end(reason)
            self.service.dismiss(self, reason)
            log.info("%s: Closed (%s)", self.name, reason, extra=self.tags())
        elif error is not None:
            log.warning("%s: %s: %s", self.name, self.peer[0], error, extra=self.tags(**tags(self.peer[0])))
        # Whoever does not wait for his answer, since a right one would have come at once, keeps his place all the same.
        asyncio.get_running_loop().call_at(self._held_until, self.admitted.set)
