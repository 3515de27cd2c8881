"""The client's life: connect, declare the remotes, serve, reconnect."""

import asyncio
import contextlib
import logging
import os
import time

from rport import __version__, known_servers
from rport._pump import Pump
from rport._seal import preferred_ciphers
from rport.client.dial import dial, proxy_for
from rport.client.facts import gather
from rport.client.resolve import Resolver
from rport.client.session import ClientSession, jitter
from rport.client.settings import Settings
from rport.client.status import Status
from rport.errors import (
    AuthFailed,
    ConnectError,
    FingerprintMismatch,
    Refused,
    RetriesExhausted,
    RportError,
    UsageError,
)
from rport.keys import fingerprint, fingerprint_matches
from rport.session import CLOSE_GOING_DOWN, CLOSE_OK
from rport.statistics import Statistics, sentence

WELCOME_TIMEOUT = 20.0  # seconds from the handshake to the server's answer; it may be checking a slow password hash
RETRY_START = 0.1  # seconds before the first retry
# Seconds after which a session counts as good and the backoff starts over: a link that is lost every minute is back at
# once each time, a server that throws everybody out is not asked ten times a second.
STABLE = 5.0

log = logging.getLogger("rport")
log_state = logging.getLogger("rport.state")  # what Status tells, too


class Agent:
    """Keeps one session up until told to stop, or until an error is final."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.identity = os.urandom(32).hex()
        self.session: ClientSession | None = None
        self.status = Status(server=str(settings.address))
        self.statistics: Statistics | None = None  # while it runs
        self._picked: dict[int, int] = {}
        self._ciphers = preferred_ciphers()
        self._resolver = Resolver()
        self._verdict: RportError | None = None  # the last answer that was final, had no more tries been asked for
        self._uptime = 0.0  # seconds that the last session was up
        self._ending = ""  # why it is no more
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def stop(self) -> None:
        """Let run() return after an orderly CLOSE."""
        self._stop.set()
        self._hurry.set()

    def reconfigure(self, settings: Settings) -> None:
        """For the next connection; the wait for it ends now (SIGHUP)."""
        self.settings = settings
        if self.session is not None:
            self.session.trace()
        self._hurry.set()

    def log_statistics(self) -> None:
        """SIGUSR2."""
        if self.statistics is None:
            return
        status, session = self.status, self.session
        tunnels = sum(tunnel.up for tunnel in status.tunnels.values())
        numbers = self.statistics.numbers()
        self.statistics.printed(numbers)
        own = {
            "version": __version__,
            "server": str(self.settings.address),
            "connected_seconds": round(time.monotonic() - status.since, 3) if session else 0,
            "session": status.session if session else "",
            "latency_ms": round(session.rtt * 1000, 1) if session else 0,
            "cipher": session.cipher if session else "",
            "tunnels": tunnels,
        }
        where = f"connected to {status.server}, {session.cipher}" if session else f"not connected to {status.server}"
        line = sentence(f"{where}, {tunnels} tunnels", numbers)
        log.info("%s", line, extra={"statistics": own | numbers._asdict()})

    async def run(self) -> None:
        """Returns after stop(); raises the RportError that is final."""
        pump = Pump(asyncio.get_running_loop())
        self.statistics = Statistics(pump)
        failures = 0
        try:
            while not self._stop.is_set():
                error = await self._once(pump)
                if self._stop.is_set():
                    return
                if error is None and self._uptime > STABLE:
                    failures = 0
                await self._wait(error, failures)
                failures += 1
        finally:
            if self.session is not None:
                log.info("Stopping")
                self.status.enter("stopping")
                self.session.link.finish_session(CLOSE_OK, "the client stops")
                await self.session.ended.wait()
            pump.close()

    async def _once(self, pump: Pump) -> RportError | None:
        """One session from dial to end; why it could not be or ended, None when it had been up."""
        work = asyncio.ensure_future(self._session(pump))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return None
            return work.result()
        finally:
            for task in (work, stop):
                task.cancel()

    async def _session(self, pump: Pump) -> RportError | None:
        try:
            session = await self._connect(pump)
        except RportError as error:
            return error
        self.session = session
        self.status.enter("connected", tries=0, trouble="")
        session.start_keepalive(self.settings.keepalive)
        connected = time.monotonic()
        await session.ended.wait()
        self._uptime = time.monotonic() - connected
        self.session = None
        self.status.declare(session.remotes)
        code, text = session.goodbye or (None, "")
        self._ending = str(session.error or text or "the server ended the session")
        log.log(logging.INFO if code == CLOSE_GOING_DOWN else logging.WARNING, "Disconnected: %s", self._ending)
        return session.refusal

    async def _connect(self, pump: Pump) -> ClientSession:
        """Dial, shake hands, say hello; a session that was welcomed. Raises RportError."""
        address, proxy = self.settings.address, proxy_for(self.settings)
        self.status.enter("connecting", server=str(address), host=address.host, proxy=str(proxy or ""))
        log_state.info("Connecting to %s%s", address, f" through the proxy {proxy}" if proxy else "")
        started = time.monotonic()
        dialled = await dial(self.settings, proxy, self._ciphers, self._resolver, self._check_fingerprint)
        latency = time.monotonic() - started
        log.debug("Handshake done, %s", dialled.keys.cipher)
        facts = gather(self.settings, dialled.channel.sock)
        session = ClientSession(pump, dialled, self.settings, self._picked, self._resolver, self.status)
        session.hello(self.identity, facts)
        session.link.start(dialled.early)
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT):
                await asyncio.shield(session.welcomed)
        except TimeoutError:
            session.link.abort(None)
            raise ConnectError(f"{address.netloc} did not answer the hello within {WELCOME_TIMEOUT:g} s") from None
        except RportError:  # the next try is another session, whether or not the server ends this one
            session.link.finish_session(CLOSE_OK)
            raise
        log_state.info("Connected (Latency %.1fms)", latency * 1000)
        return session

    def _check_fingerprint(self, public: bytes) -> None:
        came = fingerprint(public)
        self.status.tell(fingerprint=came, trust="")
        log_state.info("Fingerprint %s", came)
        if self.settings.fingerprint is not None:
            if not fingerprint_matches(self.settings.fingerprint, came):
                raise FingerprintMismatch(
                    f"this is not the expected server: expected fingerprint {self.settings.fingerprint}, came {came}"
                )
            self.status.tell(trust="pinned")
            return
        assert self.settings.state_dir is not None, "there is no pin"
        path = os.path.join(self.settings.state_dir, "known_servers")
        where = self.settings.address.netloc
        state = known_servers.check(path, where, came)
        if state == "changed":
            raise FingerprintMismatch(
                f"THE KEY OF {where} HAS CHANGED: somebody may be listening in. It is now {came}. If that is right, "
                f"remove the line of {where} from {path}, or give --fingerprint"
            )
        self.status.tell(trust="new" if state == "new" else "remembered")
        if state == "new":
            known_servers.remember(path, where, came)
            log.info("First contact with %s: its fingerprint is remembered in %s", where, path)

    async def _wait(self, error: RportError | None, failures: int) -> None:
        """Sleep before the next try; raises when there is none."""
        if isinstance(error, UsageError):  # a file of ours, which no other try makes any better
            raise error
        limit = self.settings.max_retry_count
        final = isinstance(error, (FingerprintMismatch, AuthFailed)) or (
            isinstance(error, Refused) and error.code != "busy"  # going down, for one: another is there in a moment
        )
        if final or not isinstance(error, Refused):  # a server that only wants us to wait has not changed its mind
            self._verdict = error if final else None
        if self._verdict is not None and (limit is None or failures >= limit):
            raise self._verdict
        if limit is not None and failures >= limit:
            raise RetriesExhausted(str(error or self._ending) + (f" (tried {failures + 1} times)" if limit else ""))
        delay = min(RETRY_START * 2 ** min(failures, 30), max(self.settings.max_retry_interval, RETRY_START))
        delay *= jitter(0.75, 1.0)
        if error is not None:
            log.warning("%s", error)
        self.status.enter(
            "waiting", trouble=str(error or self._ending), tries=failures + 1, next_try=time.monotonic() + delay
        )
        log_state.info("Retrying in %s...", f"{delay * 1000:.0f}ms" if delay < 1 else f"{delay:.1f}s")
        self._hurry.clear()
        if self._stop.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._hurry.wait()
