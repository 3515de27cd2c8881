"""One connection's worth of tunnels, as the client has them."""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from rport import __version__, control
from rport._pump import Conn, Pump, Target
from rport.client.dial import Dialled
from rport.client.policy import is_local, refusal
from rport.client.resolve import Resolver
from rport.client.settings import Settings
from rport.client.status import Status
from rport.errors import AuthFailed, LinkLost, Refused, RportError
from rport.facts import Facts
from rport.hosts import PORT_MAX
from rport.remote import CAPS, UNIX, Remote, target_name
from rport.session import CHECKS_MAX, CODE_BUSY, CODE_FORBIDDEN, CODE_NAME, TUNNEL_MAX, Session

PORT_RETRY_MIN, PORT_RETRY_MAX = 0.1, 5.0  # seconds between tries for a port that somebody else holds
VERSION_SHOWN = 64  # characters of the server's version and of its name for the session
TELL_AGAIN = 10.0  # seconds between two lines about one target that cannot be reached
OFFERS_MAX = 256  # tunnels that the server asked for: as many as it may have at all
LOOKUPS_MAX = 256  # names that are looked up at a time, PENDING_MAX; a stream that is reset does not end its own

log = logging.getLogger("rport")
log_state = logging.getLogger("rport.state")  # what Status tells, too


def jitter(low: float, high: float) -> float:
    """Anything between the two. The random module would cost a hundredth of the client's memory."""
    return low + (high - low) * int.from_bytes(os.urandom(4)) / 0xFFFFFFFF


class ClientSession(Session):
    """One connection's worth of tunnels."""

    def __init__(
        self,
        pump: Pump,
        dialled: Dialled,
        settings: Settings,
        picked: dict[int, int],
        resolver: Resolver,
        status: Status | None = None,
    ) -> None:
        super().__init__(pump, dialled.channel, dialled.keys, client=True)
        self.settings = settings
        self.resolver = resolver
        self.status = status or Status()
        self.picked = picked  # by index of the remote, the port that the server picked
        self.refusal: RportError | None = None  # by which the server ended the session, perhaps long after the welcome
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Those that every server understands come first: the hello holds them, and the others wait for the welcome.
        self.remotes = sorted(settings.remotes, key=lambda remote: bool(remote.needs))
        self._targets: dict[int, tuple[str, int]] = {}  # by tunnel
        self._told: dict[int, float] = {}  # when it was last said that a tunnel's target cannot be reached
        self._complaints: dict[int, str] = {}  # by index of the remote, why it has no tunnel
        self._declared: dict[int, int] = {}  # by index of the remote, its tunnel
        self._served: set[int] = set()  # indices of remotes that have, or had, a tunnel
        self._offered: set[int] = set()
        self._retries: set[int] = set()  # remotes that wait to be declared again
        self._lookups = 0
        self._checks = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: dict[int, float] = {}
        self.status.declare(self.remotes)
        self.link.admit_peer()  # the handshake has proved its key

    def hello(self, identity: str, facts: Facts) -> None:
        """Queue the hello; `identity` is the same for all sessions of this process."""
        message: dict[str, object] = {
            "type": "hello",
            "version": __version__,
            "identity": identity,
            "remotes": [self._wanted(ref) for ref, remote in enumerate(self.remotes) if not remote.needs],
            "caps": list(CAPS),
            **facts.to_wire(),
        }
        if self.settings.auth is not None:
            message["user"], message["password"] = self.settings.auth
        self.send(message)

    def on_message(self, kind: str, message: control.Message) -> None:
        if kind == "welcome":
            self._on_welcome(message)
        elif kind == "refuse":
            self._on_refuse(message)
        elif kind == "tunnel":
            self._on_tunnel(message)
        elif kind == "offer":
            self._on_offer(message)
        elif kind == "withdraw":
            self._on_withdraw(message)
        elif kind == "check":
            self._on_check(message)

    def _on_welcome(self, message: control.Message) -> None:
        if self.welcomed.done():
            return
        self.welcomed.set_result(None)
        self.status.tell(
            version=control.get_str(message, "version", "")[:VERSION_SHOWN],
            session=control.get_str(message, "session", "")[:VERSION_SHOWN],
        )
        caps = control.get_list(message, "caps", [])
        for ref, remote in enumerate(self.remotes):
            if not remote.needs:
                continue
            if all(need in caps for need in remote.needs):
                self._declare(ref)
            else:
                self.status.down(ref, remote, "this server is too old; update rportd")
                log.error("Tunnel %s: there is none, this server is too old; update rportd", remote)

    def _on_refuse(self, message: control.Message) -> None:
        code, text = control.get_str(message, "code"), control.get_str(message, "message")
        error: RportError = AuthFailed(text) if code == "auth" else Refused(code, text)
        self.refusal = error
        if not self.welcomed.done():
            self.welcomed.set_exception(error)

    def _on_tunnel(self, message: control.Message) -> None:
        """The server's answer to a declared remote: its id and port, or why there is none."""
        ref = control.get_int(message, "ref", 0, len(self.remotes) - 1)
        remote = self.remotes[ref]
        if "error" in message:
            if (number := self._declared.pop(ref, None)) is not None:  # it had one, which the server has closed
                self._drop(number)
            if self.picked.pop(ref, None) is not None:  # taken meanwhile: any other will do
                self._declare(ref)
                return
            if ref in self._retries:
                return
            wait = min(self._waits.get(ref, PORT_RETRY_MIN / 2) * 2, PORT_RETRY_MAX)
            self._waits[ref] = wait
            reason = control.get_str(message, "error")
            level = logging.DEBUG if self._complaints.get(ref) == reason else logging.ERROR
            about = self.tags(limit="the server", tunnel=remote)
            log.log(level, "Tunnel %s: %s; trying again", remote, reason, extra=about)
            self._complaints[ref] = reason
            self.status.down(ref, remote, reason)
            self._retries.add(ref)
            self._spawn(self._declare_again(ref, wait * jitter(0.8, 1.2)))
            return
        self._waits.pop(ref, None)
        self._complaints.pop(ref, None)
        port = control.get_int(message, "lport", 1, PORT_MAX)
        if not remote.lport:
            self.picked[ref] = port
        number = control.get_int(message, "id", 1, TUNNEL_MAX)
        self._drop(self._declared.get(ref, number))  # a remote has one tunnel, however often the server says so
        self._declared[ref] = number
        self._serve(number, remote.dialled, remote.rport)
        there = replace(remote, lport=port)
        self.status.up(ref, there)
        again = {"limit": "the server"} if ref in self._served else {}
        self._served.add(ref)
        log_state.info("Tunnel %s", there, extra=self.tags(tunnel=there, **again))

    async def _declare_again(self, ref: int, wait: float) -> None:
        await asyncio.sleep(wait)
        self._retries.discard(ref)
        self._declare(ref)

    def _declare(self, ref: int) -> None:
        self.send({"type": "declare", "ref": ref, "remote": self._wanted(ref)})

    def _wanted(self, ref: int) -> dict[str, object]:
        """A declared remote; where the server was to pick the port, the one that it picked the last time."""
        remote = self.remotes[ref]
        return replace(remote, lport=remote.lport or self.picked.get(ref, 0)).to_wire()

    def _on_offer(self, message: control.Message) -> None:
        """A tunnel that somebody asked for at the server: this client's own rules decide."""
        number = control.get_int(message, "id", 1, TUNNEL_MAX)
        remote = Remote.from_wire(message.get("remote"))
        reason = refusal(self.settings.allow, remote.dialled, remote.rport)
        if reason is None and len(self._offered | {number}) > OFFERS_MAX:
            reason = f"this client has taken {OFFERS_MAX} offers already"
        answer: dict[str, object] = {"type": "answer", "id": number}
        if reason is not None:
            about = self.tags(limit="the server", tunnel=remote)
            log.warning("The server asked for a tunnel to %s: refused, %s", remote.target, reason, extra=about)
            answer["error"] = reason
        else:
            self._offered.add(number)
            self._serve(number, remote.dialled, remote.rport)
            self.status.up(-number, remote, offered=True)
            about = self.tags(limit="the server", tunnel=remote)
            log_state.info("Tunnel %s (asked for by the server)", remote, extra=about)
        self.send(answer)

    def _serve(self, number: int, host: str, port: int) -> None:
        self._targets[number] = (host, port)
        try:
            target = Target(host.removeprefix(UNIX) if host.startswith(UNIX) else [(host, port, 0)])
            self.link.set_target(number, target)
        except ValueError:
            self.link.set_target(number, None)

    def _on_withdraw(self, message: control.Message) -> None:
        """An offered tunnel is no more."""
        number = control.get_int(message, "id", 1, TUNNEL_MAX)
        if number in self._offered:
            reason = control.get_str(message, "error", "no reason given")
            where = target_name(*self._targets[number])
            log.warning("The server closed its tunnel to %s: %s", where, reason, extra=self.tags(limit="the server"))
            self._drop(number)

    def _on_check(self, message: control.Message) -> None:
        """Does a target answer?"""
        number = control.get_int(message, "id", 1, TUNNEL_MAX)
        remote = Remote.from_wire(message.get("remote"))
        if self._checks >= CHECKS_MAX:
            busy = {"code": CODE_BUSY, "error": f"this client checks {CHECKS_MAX} targets already"}
            self.send({"type": "checked", "id": number, **busy})
            return
        self._checks += 1
        self._spawn(self._try_target(number, remote))

    async def _try_target(self, number: int, remote: Remote) -> None:
        from rport.client.check import check  # here: few servers ask

        try:
            result = await check(self.settings, self.resolver, remote)
        finally:
            self._checks -= 1
        level = logging.WARNING if result.get("code") == CODE_FORBIDDEN else logging.DEBUG
        said = result.get("error", "it does")
        about = self.tags(limit="the server")
        log.log(level, "The server asked whether %s answers: %s", remote.target, said, extra=about)
        self.send({"type": "checked", "id": number, **result})

    def _drop(self, number: int) -> None:
        self.link.drop_target(number)
        self._targets.pop(number, None)
        self._told.pop(number, None)
        self._offered.discard(number)
        self.status.drop(-number)

    def on_dial(self, conn: Conn, tunnel: int) -> None:
        if self._lookups >= LOOKUPS_MAX:
            self.link.refuse_dial(conn, CODE_BUSY, "too many names are being looked up")
            return
        self._lookups += 1
        self._spawn(self._dial_name(conn, *self._targets[tunnel]))

    def on_refused(self, tunnel: int, code: int, text: str) -> None:
        """The server's log has a line for each visitor; here one says now and then what is wrong with the target."""
        now = time.monotonic()
        often = now - self._told.get(tunnel, -TELL_AGAIN) < TELL_AGAIN
        if not often and tunnel in self._targets:
            self._told[tunnel] = now
        where = target_name(*self._targets[tunnel]) if tunnel in self._targets else f"of tunnel {tunnel}"
        level = logging.DEBUG if often else logging.WARNING
        log.log(level, "Target %s cannot be reached: %s", where, text, extra=self.tags(limit="the server"))

    async def _dial_name(self, conn: Conn, host: str, port: int) -> None:
        try:
            found = await self.resolver.resolve(host, port)
        except OSError as error:
            self.link.refuse_dial(conn, CODE_NAME, f"{host} does not resolve: {error.strerror}")
            return
        finally:
            self._lookups -= 1
        addresses = [(str(where[0]).partition("%")[0], port, where[3] if len(where) == 4 else 0) for *_, where in found]
        if is_local(host):  # it needed no rule, so it must not lead elsewhere, whatever a name server says
            addresses = [address for address in addresses if is_local(address[0])]
        if not addresses:
            self.link.refuse_dial(conn, CODE_FORBIDDEN, f"{host} is not on this client's loopback")
            return
        self.link.dial(conn, Target(addresses))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_closed(self, error: Exception | None) -> None:
        super().on_closed(error)
        for task in self._tasks:
            task.cancel()
        if not self.welcomed.done():
            self.welcomed.set_exception(error or LinkLost("the server ended the session"))
        self.welcomed.exception()  # looked at, whether or not anybody waits
