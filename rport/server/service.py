"""The server's heart: sessions by id, what the API asks for, the way in and the way out."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from rport import __version__
from rport._pump import Pump
from rport._seal import preferred_ciphers
from rport.channel import read_message
from rport.errors import LinkLost, ProtocolError, Refused
from rport.handshake import MESSAGE_MAX, Responder
from rport.keys import KeyPair
from rport.server import registry
from rport.server.admission import Admission, Grant
from rport.server.credentials import Credentials
from rport.server.door.certificates import Certificates
from rport.server.door.gate import ADMISSION_TIMEOUT, tags
from rport.server.door.rules import Rules
from rport.server.door.upgrade import Arrival
from rport.server.errors import SessionNotFound
from rport.server.hello import Enrolment, Hello
from rport.server.inventory import Client, Inventory
from rport.server.inventory.identity import Shown, process_of
from rport.server.session import ServerSession
from rport.server.settings import Settings
from rport.server.tunnels.listening import Live
from rport.server.tunnels.pool import Pool
from rport.session import CLOSE_GOING_DOWN
from rport.statistics import Statistics, sentence
from rport.websocket import MessageReader, encode_message

Enroller = Callable[[Enrolment], Awaitable[tuple[str, str]]]  # id and name of the client; raises Refused

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
        self.inventory = Inventory()
        self.credentials = Credentials(self.inventory)
        self.ports_pool = Pool(self.ports, settings)
        self.on_declared: Callable[[ServerSession, Live], None] = lambda session, live: None
        self.on_undeclared: Callable[[ServerSession, Live, str], None] = lambda session, live, reason: None
        self.admission = Admission(settings, self.credentials)
        self.enroller: Enroller | None = None  # who knows the codes
        self.on_login_failed: Callable[[str, str], None] = lambda user, address: None
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
        self.ports_pool.reconfigure(settings)
        self.rules.backend, self.rules.trusted = settings.proxy, settings.trusted_proxy
        self.certificates.reconfigure(settings)
        self._following.cancel()
        self._following = asyncio.get_running_loop().create_task(self._follow(settings))

    async def _follow(self, settings: Settings | None) -> None:
        """Whatever says who may come in has a say over who is there."""
        if settings is not None and await self.admission.reconfigure(settings):
            self.review()
        await self.admission.follow(self.review)

    def review(self) -> None:
        """Who may come in has changed."""
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

    def identify(self, grant: Grant, hello: Hello, public: bytes | None) -> Client:
        """Which machine it is. Raises Refused."""
        client = self.inventory.identify(_shown(grant, hello, public), grant.client and grant.client.client)
        client.begin(time.monotonic())
        return client

    def admit(self, session: ServerSession, client: Client, hello: Hello) -> None:
        """Its hello was accepted: the API sees it."""
        entry = session.entry
        assert entry is not None
        owner = _shown(session.grant, hello, session.public).owner
        self.inventory.connect(client, session, hello.facts, entry.version, entry.address, owner)
        self._sessions[entry.id] = session
        self.registry.add(entry)
        self.on_change()

    def dismiss(self, session: ServerSession, reason: str) -> None:
        assert session.entry is not None
        assert session.client is not None
        self.inventory.disconnect(session.client, session, reason)
        self._sessions.pop(session.entry.id, None)
        self.registry.remove(session.entry.id)
        self.on_change()

    def describe(self) -> str:
        """A line for whoever asks how it goes."""
        count = len(self.registry)
        return f"{'Stopping' if self.draining else 'Serving'}, {count} session{'' if count == 1 else 's'}"

    async def enrol(self, enrolment: Enrolment) -> tuple[str, str]:
        """The id and the name of the client whose key it is from now on. Raises Refused.

        A wrong code, which the enroller refuses as `auth`, is a failed login; what else it refuses counts for nothing.
        """
        if self.enroller is None:
            raise Refused("auth", "this server takes no enrolments")
        try:
            return await self.enroller(enrolment)
        except Refused as error:
            if error.code != "auth":
                raise
            raise self.admission.wrong_code(enrolment.address, str(error)) from None

    def session(self, session_id: str) -> ServerSession:
        """Raises SessionNotFound."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFound(f"no session {session_id[:80]}")
        return session

    def sessions(self) -> Iterator[ServerSession]:
        """All that were admitted."""
        return iter(self._sessions.values())

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
            session.tunnels.stop()
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


def _shown(grant: Grant, hello: Hello, public: bytes | None) -> Shown:
    # What nobody checked is nobody's name.
    return Shown(grant.user.name if grant.user is not None else "", public, hello.facts.id, process_of(hello.identity))
