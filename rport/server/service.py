"""The server's heart: sessions by id and identity, what the API asks for, the way in and the way out."""

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from rport import __version__
from rport._pump import Pump
from rport._seal import preferred_ciphers
from rport.channel import read_message
from rport.errors import LinkLost, ProtocolError
from rport.handshake import MESSAGE_MAX, Responder
from rport.keys import KeyPair
from rport.remote import Remote
from rport.server import registry
from rport.server.admission import Admission, Grant
from rport.server.certificates import Certificates
from rport.server.errors import SessionNotFound
from rport.server.gate import ADMISSION_TIMEOUT, tags
from rport.server.rules import Rules
from rport.server.session import ServerSession
from rport.server.settings import Settings
from rport.server.upgrade import Arrival
from rport.session import CLOSE_GOING_DOWN
from rport.statistics import Statistics, sentence
from rport.websocket import MessageReader, encode_message

DRAIN_TIME = 10.0  # seconds that carried connections get to end when the server stops

log = logging.getLogger("rport")


class Service:
    """One per process, on `port`; `ports` are all that the process listens on itself."""

    version = __version__

    def __init__(self, key: KeyPair, port: int, settings: Settings) -> None:
        """Raises UsageError for a certificate that cannot be used."""
        self.key = key
        self.certificates = Certificates(settings)
        self.ports = {port}
        self.settings = settings
        self.rules = Rules(settings.proxy, settings.trusted_proxy)
        self.registry = registry.Registry()
        self.on_change: Callable[[], None] = lambda: None  # describe() may give something else
        self.draining = False
        self.pump = Pump(asyncio.get_running_loop())
        self._statistics = Statistics(self.pump)
        self._sessions: dict[str, ServerSession] = {}
        self.numbers = itertools.count(1)  # of sessions, for the log
        self._tasks: set[asyncio.Task[None]] = set()
        self._ciphers = preferred_ciphers()
        self.admission = Admission(settings)
        self._following = asyncio.get_running_loop().create_task(self._follow(None))
        self._spawn(self.certificates.keep_fresh())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def reconfigure(self, settings: Settings) -> None:
        """New settings, of which the options that cannot change while it runs are as they were."""
        self.settings = settings
        for session in self._sessions.values():
            session.trace()
        self.rules.backend, self.rules.trusted = settings.proxy, settings.trusted_proxy
        self.certificates.reconfigure(settings)
        self._following.cancel()
        self._following = asyncio.get_running_loop().create_task(self._follow(settings))

    async def _follow(self, settings: Settings | None) -> None:
        """Whatever says who may come in has a say over who is there."""
        if settings is not None and await self.admission.reconfigure(settings):
            self._review()
        await self.admission.follow(self._review)

    def _review(self) -> None:
        for session in list(self._sessions.values()):
            session.review()

    # --- the way in ----------------------------------------------------------------------------------------------

    def on_arrival(self, arrival: Arrival) -> None:
        """The front door hands over an upgraded connection."""
        self._spawn(self._welcome(arrival))

    async def _welcome(self, arrival: Arrival) -> None:
        session: ServerSession | None = None
        try:
            async with asyncio.timeout_at(arrival.deadline):
                session = await self._shake_hands(arrival)
                await session.admitted.wait()
        except TimeoutError:
            peer = arrival.peer[0]
            log.warning("%s: not admitted within %g s", peer, ADMISSION_TIMEOUT, extra=tags(peer))
            if session is not None:
                session.link.abort(None)
        except (ProtocolError, LinkLost) as error:
            log.warning("%s: %s", arrival.peer[0], error, extra=tags(arrival.peer[0]))
        finally:
            arrival.leave()
            arrival.channel.close()  # unless a session has it

    async def _shake_hands(self, arrival: Arrival) -> ServerSession:
        channel = arrival.channel
        responder = Responder(self.key.private, self._ciphers)
        reader = MessageReader(MESSAGE_MAX, masked=True)
        reader.feed(arrival.early)
        responder.read_message1(await read_message(channel, reader))
        with contextlib.suppress(OSError):
            await channel.sendall(encode_message(responder.message2(), masked=False))
        if responder.expects_message3:
            responder.read_message3(await read_message(channel, reader))
        session = ServerSession(self, self.pump, channel, responder.result, arrival.peer)
        log.debug("%s: handshake with %s done, %s", session.name, arrival.peer[0], responder.result.cipher)
        session.link.start(reader.rest)
        return session

    # --- the table -----------------------------------------------------------------------------------------------

    def admit(self, session: ServerSession) -> None:
        """Its hello was accepted: the API sees it."""
        assert session.entry is not None
        self._sessions[session.entry.id] = session
        self.registry.add(session.entry)
        self.on_change()

    def dismiss(self, session: ServerSession) -> None:
        assert session.entry is not None
        self._sessions.pop(session.entry.id, None)
        self.registry.remove(session.entry.id)
        self.on_change()

    def describe(self) -> str:
        """A line for whoever asks how it goes."""
        count = len(self.registry)
        return f"{'Stopping' if self.draining else 'Serving'}, {count} session{'' if count == 1 else 's'}"

    def predecessor(self, identity: str, user: str, grant: Grant) -> ServerSession | None:
        """The session of the same client, login and key, whose place a new one takes."""
        found = self.registry.find_by_identity(identity, user)
        session = self._sessions.get(found.id) if found is not None else None
        return session if session is not None and session.grant.holder == grant.holder else None

    def holder(self, lhost: str, lport: int) -> tuple[ServerSession, registry.Tunnel] | None:
        """Whose tunnel stands in the way of listening there."""
        found = self.registry.holder_of(lhost, lport)
        return (self._sessions[found[0].id], found[1]) if found is not None else None

    async def open_tunnel(self, session_id: str, remote: Remote) -> registry.Tunnel:
        """For the API. Raises SessionNotFound, TunnelExists, PortUnavailable, NotAllowed."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFound(f"no session {session_id}")
        return await session.open_tunnel(remote)

    def statistics(self) -> dict[str, Any]:
        """All numbers, for the API and the log: docs/logging.md."""
        return self._own_numbers() | self._statistics.numbers()._asdict()

    def _own_numbers(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "sessions": len(self.registry),
            "sessions_total": self.registry.total,
            "tunnels": sum(len(entry.tunnels) for entry in self.registry.list()),
            "ciphers": dict(Counter(session.cipher for session in self._sessions.values())),
        }

    def log_statistics(self) -> None:
        """SIGUSR2."""
        own, numbers = self._own_numbers(), self._statistics.numbers()
        self._statistics.printed(numbers)
        ciphers = "".join(f", {count} with {cipher}" for cipher, count in own["ciphers"].items())
        first = f"{own['sessions']} sessions{ciphers} ({own['sessions_total']} in all), {own['tunnels']} tunnels"
        log.info("%s", sentence(first, numbers), extra={"statistics": own | numbers._asdict()})

    # --- the way out ---------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take no more visitors, let carried connections end for up to DRAIN_TIME, then say goodbye."""
        self.draining = True
        for session in self._sessions.values():
            session.stop_listening()
        deadline = asyncio.get_running_loop().time() + DRAIN_TIME
        while self._streams() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        for session in list(self._sessions.values()):
            session.link.finish_session(CLOSE_GOING_DOWN, "the server is going down")
        await asyncio.gather(*(session.ended.wait() for session in self._sessions.values()))
        self._following.cancel()
        self.admission.close()
        self.pump.close()

    def _streams(self) -> int:
        return sum(session.link.busy() for session in self._sessions.values())
